//! `[peers.NAME]`.

use std::net::IpAddr;
use std::time::Duration;

/// How identities are written.
const IDENTITIES: &str = "write a host name, an address, user@host, a distinguished name such as \"C=CH, O=Example, CN=office\", or \"keyid:HEX\"";

use super::child::{self, Inherited, limits, proposals, start_of};
use super::{Context, auth, endpoint, is_name, preset};
use crate::config::file::{
    DpdFile, NumberOrWord, OneOrMany, PeerFile, PeerLifetimesFile, RetransmitFile, RetryFile,
};
use crate::config::source::At;
use crate::config::types::{ClampMss, Peer, Proof, Proofs};
use crate::ike::config::{
    ChildLifetime, IkeLifetime, LocalAuth, MtuProbe, PeerConfig, PeerName, RemoteAddress, RemoteAuth,
    StartPolicy, Timing,
};
use crate::pki::{Identity, IdentityPattern};
use crate::policy::Proposal;

pub(super) fn check(name: &str, mut file: PeerFile, context: &mut Context<'_>) -> Option<Peer> {
    let preset = preset::fill(&mut file);
    let written = format!("{file:?}");
    let at = At::root().key("peers").key(name);
    let PeerFile {
        preset: _,
        remote,
        remote_ike_port,
        remote_natt_port,
        start_encapsulated,
        local_address,
        local_id,
        remote_id,
        auth: auth_file,
        local_auth,
        remote_auth,
        ike,
        esp,
        start,
        dpd,
        lifetimes,
        retransmit,
        retry,
        keepalive,
        fragment_size,
        mtu,
        probe_mtu,
        clamp_mss,
        copy_dscp,
        copy_ecn,
        children,
    } = file;
    if !is_name(name) {
        let hint = "use up to 32 letters, digits, `-` and `_`".to_owned();
        context.error_at_key(&at, "bad-name", "this cannot be a peer's name", hint);
    }
    let remote = check_remote(remote, &at, context);
    let remote_is_any = remote == RemoteAddress::Any;
    let proofs = auth::proofs(auth_file.as_ref(), local_auth.as_ref(), remote_auth.as_ref());
    let sealed_id = auth::sealed_identity(auth_file.as_ref(), local_auth.as_ref(), context);
    let (local_auth, remote_auth) = auth::check(auth_file, local_auth, remote_auth, &at, context);
    let (local_id, remote_id) = identities(
        local_id.as_deref(),
        remote_id.as_deref(),
        (local_auth.as_ref(), remote_auth.as_ref()),
        (proofs, sealed_id),
        &remote,
        &at,
        context,
    );
    let start_policy = match start.map(start_of) {
        Some(start) if start != StartPolicy::Wait && remote_is_any => {
            let hint = "write \"wait\", or give the peer's address or name".to_owned();
            context.error(
                &at.key("start"),
                "contradiction",
                "a peer that may be anywhere cannot be connected to",
                hint,
            );
            StartPolicy::Wait
        }
        start => start.unwrap_or_default(),
    };
    let ike_at = at.key("ike");
    let ike = match ike {
        None => Proposal::default_ike(),
        Some(texts) => proposals(&texts, &ike_at, Proposal::parse_ike, Proposal::default_ike, context),
    };
    let esp = match esp {
        None => Proposal::default_esp(true),
        Some(texts) => {
            proposals(&texts, &at.key("esp"), Proposal::parse_esp, || Proposal::default_esp(true), context)
        }
    };
    let (ike_lifetime, child_lifetime) =
        check_lifetimes(lifetimes.unwrap_or_default(), &at.key("lifetimes"), context);
    let mtu = endpoint::mtu_of(mtu, &at.key("mtu"), context);
    let fragment_size = context.number(&at.key("fragment_size"), fragment_size, (576, 9000), 1280);
    let remote_ike_port = context.number(&at.key("remote_ike_port"), remote_ike_port, (1, u16::MAX), 500);
    let remote_natt_port = context.number(&at.key("remote_natt_port"), remote_natt_port, (1, u16::MAX), 4500);
    if remote_ike_port == remote_natt_port && start_encapsulated != Some(true) {
        let key = if remote_ike_port == 4500 { "remote_ike_port" } else { "remote_natt_port" };
        let hint = "give different ports, or set start_encapsulated = true".to_owned();
        context.error(
            &at.key(key),
            "port-clash",
            "`remote_ike_port` and `remote_natt_port` are the same",
            hint,
        );
    }
    let local_address = local_address.and_then(|text| {
        let parsed = text.parse::<IpAddr>().ok();
        if parsed.is_none() {
            let hint = "write an IPv4 or IPv6 address of this machine".to_owned();
            context.error(
                &at.key("local_address"),
                "bad-address",
                format!("`{}` is not an address", text.escape_default()),
                hint,
            );
        }
        parsed
    });
    if let (Some(local), RemoteAddress::Addresses(addresses)) = (local_address, &remote)
        && addresses.iter().all(|address| address.is_ipv4() != local.is_ipv4())
    {
        let hint = "give addresses of one family".to_owned();
        context.error(
            &at.key("local_address"),
            "contradiction",
            "`local_address` and `remote` are of different families",
            hint,
        );
    }
    let timing = check_timing(
        (dpd.unwrap_or_default(), retransmit.unwrap_or_default(), retry.unwrap_or_default()),
        keepalive,
        probe_mtu.unwrap_or(true).then(MtuProbe::default),
        &at,
        context,
    );
    let clamp_mss = check_clamp(clamp_mss, &at.key("clamp_mss"), context);

    let inherited = Inherited { esp: &esp, start: start_policy, lifetime: child_lifetime, remote_is_any };
    let children = children.unwrap_or_default();
    if children.is_empty() {
        let hint = format!("add a table [peers.{name}.children.NAME] with `local` and `remote`");
        context.error(
            &at,
            "missing-key",
            format!("`{at}` has no children: nothing could pass the tunnel"),
            hint,
        );
    }
    let (mut checked, mut routes, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for (child_name, child) in children {
        let child_at = at.key("children").key(&child_name);
        let (child, its_routes) = child::check(&child_name, child, &child_at, &inherited, context);
        if child.local.is_empty() {
            // It waits for its cluster to tell the ranges, or there is an error.
            waiting.push(child.name);
            continue;
        }
        if mtu.is_some_and(|mtu| mtu < 1280) && child.local.iter().any(|selector| !selector.is_ipv4()) {
            let message = "IPv6 needs an MTU of at least 1280 octets";
            context.error(
                &at.key("mtu"),
                "out-of-range",
                message,
                "write 1280 or more, or \"auto\"".to_owned(),
            );
        }
        checked.push(child);
        routes.push(its_routes);
    }
    let (certificate_not_after, expiring) = match &local_auth {
        Some(LocalAuth::Certificate(local)) => {
            (Some(local.not_after()), local.expiry_warning(context.unix_now).into_iter().collect())
        }
        _ => (None, Vec::new()),
    };
    if let Some(preset) = preset {
        let read = preset::Read {
            local_auth: local_auth.as_ref(),
            remote_auth: remote_auth.as_ref(),
            local_id: local_id.as_ref(),
            remote_id: remote_id.as_ref(),
            ike: &ike,
            children: &checked,
        };
        preset::check(preset, &read, &at, context);
    }
    let fingerprint = context.vault.fingerprint(&written);
    let (local_auth, remote_auth) = (local_auth?, remote_auth?);
    let ike = PeerConfig {
        remote_ike_port,
        remote_natt_port,
        start_encapsulated: start_encapsulated.unwrap_or(false),
        local_address,
        ike,
        ike_lifetime,
        timing,
        fragment_size,
        children: checked,
        ..PeerConfig::new(PeerName::from(name), remote, local_id?, remote_id?, local_auth, remote_auth)
    };
    Some(Peer {
        ike,
        mtu,
        clamp_mss,
        copy_dscp: copy_dscp.unwrap_or(true),
        copy_ecn: copy_ecn.unwrap_or(true),
        routes,
        waiting,
        proofs,
        expiring,
        certificate_not_after,
        fingerprint,
    })
}

fn check_remote(remote: Option<OneOrMany>, peer_at: &At, context: &mut Context<'_>) -> RemoteAddress {
    let at = peer_at.key("remote");
    let Some(remote) = remote else {
        let hint = "add remote = \"address\", \"host.name\" or \"any\"".to_owned();
        context.error(peer_at, "missing-key", format!("`{peer_at}` has no `remote`"), hint);
        return RemoteAddress::Any;
    };
    let texts = remote.texts();
    if let [(_, text)] = texts.as_slice() {
        if matches!(*text, "any" | "%any") {
            return RemoteAddress::Any;
        }
        if text.parse::<IpAddr>().is_err() && is_host_name(text) {
            return RemoteAddress::Name((*text).to_owned());
        }
    }
    let mut addresses = Vec::new();
    for (index, text) in &texts {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                let hint = "write the peer's address, or \"any\"".to_owned();
                context.error(
                    &at.maybe_index(*index),
                    "bad-address",
                    format!("no peer can be at {address}"),
                    hint,
                );
            }
            Ok(address) => addresses.push(address),
            Err(_) => {
                let (message, hint) =
                    if texts.len() > 1 && (is_host_name(text) || matches!(*text, "any" | "%any")) {
                        ("only addresses may stand in a list", "write one host name alone, or addresses")
                    } else {
                        (
                            "this is no address, host name or \"any\"",
                            "ports are `remote_ike_port` and `remote_natt_port`",
                        )
                    };
                context.error(&at.maybe_index(*index), "bad-address", message, hint.to_owned());
            }
        }
    }
    if texts.is_empty() {
        context.error(
            &at,
            "bad-address",
            "`remote` is empty",
            "write an address, a host name or \"any\"".to_owned(),
        );
    }
    RemoteAddress::Addresses(addresses)
}

/// Whether this is written like a host name that is no address.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last_is_word =
        text.rsplit('.').next().is_some_and(|last| last.chars().any(|c| c.is_ascii_alphabetic()));
    text.len() <= 253 && text.split('.').all(label) && last_is_word
}

fn identities(
    local: Option<&str>,
    remote: Option<&str>,
    auth: (Option<&LocalAuth>, Option<&RemoteAuth>),
    (proofs, sealed_id): (Proofs, Option<Identity>),
    address: &RemoteAddress,
    at: &At,
    context: &mut Context<'_>,
) -> (Option<Identity>, Option<IdentityPattern>) {
    let (local_at, remote_at) = (at.key("local_id"), at.key("remote_id"));
    let local_id = match (local, auth.0) {
        (Some(text), auth) => match Identity::parse(text) {
            Err(error) => {
                context.error(&local_at, "bad-identity", error, IDENTITIES.to_owned());
                None
            }
            Ok(identity) => {
                if let Some(LocalAuth::Certificate(certificate)) = auth
                    && let Err(error) = certificate.check_identity(&identity)
                {
                    let hint = "use a name that the certificate has, or leave `local_id` out".to_owned();
                    context.error(&local_at, "identity-mismatch", error, hint);
                }
                Some(identity)
            }
        },
        (None, Some(LocalAuth::Certificate(certificate))) => Some(certificate.default_identity()),
        (None, _) if sealed_id.is_some() => sealed_id,
        (None, _) if context.vault.sealed && proofs.local == Proof::Certificate => {
            let hint = "add local_id, or run this where the certificate can be read".to_owned();
            context.error(
                at,
                "missing-identity",
                "our certificate says who we are and cannot be read here",
                hint,
            );
            None
        }
        (None, _) => {
            let hint = "add local_id = \"this-end.example.com\"; the peer must expect the same".to_owned();
            context.error(at, "missing-identity", format!("`{at}` has no `local_id`"), hint);
            None
        }
    };
    let remote_id = match (remote, address) {
        (Some(text), _) => match IdentityPattern::parse(text) {
            Err(error) => {
                context.error(&remote_at, "bad-identity", error, IDENTITIES.to_owned());
                None
            }
            Ok(pattern) => Some(pattern),
        },
        (None, RemoteAddress::Addresses(addresses)) if addresses.len() == 1 => {
            addresses.first().map(|address| IdentityPattern::Exact(Identity::from_ip(*address)))
        }
        (None, _) => {
            let hint = "add remote_id = \"peer.example.com\", what the peer calls itself".to_owned();
            context.error(at, "missing-identity", format!("`{at}` has no `remote_id`"), hint);
            None
        }
    };
    if let (Some(pattern), Some(RemoteAuth::Psk(_))) = (&remote_id, auth.1)
        && pattern.exact().is_none()
    {
        let hint = "write the peer's own identity, or use certificates".to_owned();
        context.error(
            &remote_at,
            "contradiction",
            "with a pre-shared key the peer's identity must be a certain one",
            hint,
        );
    }
    if let (Some(local), Some(Some(remote))) = (&local_id, remote_id.as_ref().map(IdentityPattern::exact))
        && local.matches(remote)
    {
        let hint = "`local_id` is this end, `remote_id` the other".to_owned();
        context.error(&remote_at, "contradiction", "`local_id` and `remote_id` are the same", hint);
    }
    (local_id, remote_id)
}

fn check_lifetimes(
    file: PeerLifetimesFile,
    at: &At,
    context: &mut Context<'_>,
) -> (IkeLifetime, ChildLifetime) {
    let PeerLifetimesFile { ike, child, child_bytes, child_packets, jitter } = file;
    let jitter = f64::from(context.number(&at.key("jitter"), jitter, (0, 50), 10)) / 100.0;
    let mut ike_lifetime = IkeLifetime { jitter, ..IkeLifetime::default() };
    if ike.is_some() {
        let soft =
            context.duration(&at.key("ike"), ike.as_deref(), Duration::from_secs(2), ike_lifetime.rekey);
        ike_lifetime = IkeLifetime { rekey: soft, hard: child::hard_time(soft), jitter };
    }
    let child_lifetime = limits(
        ChildLifetime { jitter, ..ChildLifetime::default() },
        (at.key("child"), child),
        (at.key("child_bytes"), child_bytes),
        (at.key("child_packets"), child_packets),
        context,
    );
    (ike_lifetime, child_lifetime)
}

fn check_timing(
    files: (DpdFile, RetransmitFile, RetryFile),
    keepalive: Option<String>,
    mtu_probe: Option<MtuProbe>,
    at: &At,
    context: &mut Context<'_>,
) -> Timing {
    let (
        DpdFile { delay },
        RetransmitFile { base, factor, cap, tries },
        RetryFile { base: retry_base, cap: retry_cap },
    ) = files;
    let defaults = Timing::default();
    let (tenth, second) = (Duration::from_millis(100), Duration::from_secs(1));
    let dpd_default = defaults.dpd_delay.unwrap_or(Duration::from_secs(20));
    let dpd_delay = match delay.as_deref() {
        Some("off") => None,
        delay => Some(context.duration(&at.key("dpd").key("delay"), delay, second, dpd_default)),
    };
    let retransmit = at.key("retransmit");
    let retransmit_base =
        context.duration(&retransmit.key("base"), base.as_deref(), tenth, defaults.retransmit_base);
    let default_cap = defaults.retransmit_cap.max(retransmit_base);
    let retransmit_cap =
        context.duration(&retransmit.key("cap"), cap.as_deref(), retransmit_base, default_cap);
    let retry = at.key("retry");
    let retry_base = context.duration(&retry.key("base"), retry_base.as_deref(), tenth, defaults.retry_base);
    let default_cap = defaults.retry_cap.max(retry_base);
    Timing {
        retransmit_base,
        retransmit_factor: context.number(
            &retransmit.key("factor"),
            factor,
            (1.0, 4.0),
            defaults.retransmit_factor,
        ),
        retransmit_cap,
        retransmit_tries: context.number(&retransmit.key("tries"), tries, (1, 20), defaults.retransmit_tries),
        dpd_delay,
        keepalive: context.duration(&at.key("keepalive"), keepalive.as_deref(), second, defaults.keepalive),
        retry_base,
        retry_cap: context.duration(&retry.key("cap"), retry_cap.as_deref(), retry_base, default_cap),
        mtu_probe,
        ..defaults
    }
}

fn check_clamp(clamp: Option<NumberOrWord>, at: &At, context: &mut Context<'_>) -> ClampMss {
    match clamp {
        None => ClampMss::Auto,
        Some(NumberOrWord::Number(number)) => {
            let checked = context.number(at, Some(number), (216, 8960), 1360);
            u16::try_from(checked).map_or(ClampMss::Auto, ClampMss::To)
        }
        Some(NumberOrWord::Word(word)) if word == "auto" => ClampMss::Auto,
        Some(NumberOrWord::Word(word)) if word == "off" => ClampMss::Off,
        Some(NumberOrWord::Word(_)) => {
            let hint = "write \"auto\", \"off\" or a number from 216 to 8960 without quotes".to_owned();
            context.error(at, "unknown-word", format!("`{at}` does not know this word"), hint);
            ClampMss::Auto
        }
    }
}
