//! `preset` of a peer: what is known of a vendor's gateway, as defaults for our side, and what cannot work with it.
//!
//! [`PRESETS`] is data, so that the documentation can be held against it. Proposals name one suite each: AWS and Google
//! choose by an order of their own, and may choose anew at each rekey. Lives end before those of the vendor's defaults,
//! so that we renew and both ends seldom do so at once.

use super::Context;
use crate::config::file::{
    DpdFile, NumberOrWord, OneOrMany, PeerFile, PeerLifetimesFile, PresetFile, StartFile,
};
use crate::config::source::At;
use crate::crypto::{Cipher, Group, Secret};
use crate::ike::config::{ChildConfig, LocalAuth, RemoteAuth};
use crate::pki::{Identity, IdentityPattern};
use crate::policy::Proposal;

/// The defaults of one preset.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) file: PresetFile,
    pub(crate) word: &'static str,
    /// The gateway in sentences.
    pub(crate) gateway: &'static str,
    pub(crate) ike: &'static str,
    pub(crate) esp: &'static str,
    pub(crate) ike_lifetime: &'static str,
    pub(crate) child_lifetime: &'static str,
    pub(crate) child_bytes: Option<&'static str>,
    pub(crate) dpd: &'static str,
    pub(crate) connect: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) clamp_mss: Option<u32>,
    /// Whether the gateway calls itself by its address, and us by ours.
    by_address: bool,
    /// Whether it makes one Child SA for each pair of prefixes, or only one at all.
    one_pair: bool,
    /// Which key exchange groups it has, if not all of ours.
    groups: Option<&'static [Group]>,
    chacha: bool,
}

const NIST_AND_MODP: &[Group] =
    &[Group::Ecp256, Group::Ecp384, Group::Ecp521, Group::Modp2048, Group::Modp3072, Group::Modp4096];

/// Every preset.
pub(crate) const PRESETS: [Preset; 7] = [
    Preset {
        file: PresetFile::Aws,
        word: "aws",
        gateway: "an AWS Site-to-Site VPN",
        ike: "aes256gcm16-prfsha384-ecp384",
        esp: "aes256gcm16-ecp384-noesn",
        // It begins to renew 18 minutes before the end of 8 hours and of 1 hour.
        ike_lifetime: "7h",
        child_lifetime: "40m",
        child_bytes: None,
        // It gives up after 40 seconds.
        dpd: "10s",
        connect: true,
        mtu: None,
        clamp_mss: None,
        by_address: true,
        one_pair: true,
        groups: Some(NIST_AND_MODP),
        chacha: false,
    },
    Preset {
        file: PresetFile::Azure,
        word: "azure",
        gateway: "an Azure VPN gateway",
        ike: "aes256-sha384-ecp384",
        esp: "aes256gcm16-ecp384-noesn",
        // Its own are 8 hours, 7 hours 30 minutes and 102,400,000 KB.
        ike_lifetime: "7h",
        child_lifetime: "6h",
        child_bytes: Some("80GiB"),
        dpd: "15s",
        connect: true,
        mtu: None,
        clamp_mss: Some(1350),
        by_address: true,
        one_pair: false,
        groups: Some(&[Group::Ecp256, Group::Ecp384, Group::Modp2048]),
        chacha: false,
    },
    Preset {
        file: PresetFile::Gcp,
        word: "gcp",
        gateway: "a Google Cloud VPN gateway",
        ike: "aes256gcm16-prfsha384-ecp384",
        esp: "aes256gcm16-ecp384-noesn",
        // Its own are 10 hours and 3 hours.
        ike_lifetime: "9h",
        child_lifetime: "2h30m",
        child_bytes: None,
        dpd: "20s",
        connect: true,
        // Its outer MTU is 1460.
        mtu: Some(1390),
        clamp_mss: None,
        by_address: true,
        one_pair: false,
        groups: None,
        chacha: true,
    },
    Preset {
        file: PresetFile::Alibaba,
        word: "alibaba",
        gateway: "an Alibaba Cloud VPN gateway",
        ike: "aes256-sha256-modp2048",
        esp: "aes256-sha256-modp2048-noesn",
        // Its own are one day.
        ike_lifetime: "20h",
        child_lifetime: "8h",
        child_bytes: None,
        dpd: "20s",
        connect: true,
        mtu: None,
        clamp_mss: None,
        by_address: false,
        one_pair: false,
        groups: Some(&[Group::Modp2048]),
        chacha: false,
    },
    Preset {
        file: PresetFile::Cisco,
        word: "cisco",
        gateway: "a Cisco IOS XE router",
        ike: "aes256-sha512-ecp384",
        esp: "aes256gcm16-ecp384-noesn",
        // Its own are 1 day, 1 hour and 4,608,000 KB.
        ike_lifetime: "20h",
        child_lifetime: "50m",
        child_bytes: Some("4GiB"),
        dpd: "20s",
        connect: false,
        mtu: None,
        clamp_mss: None,
        by_address: false,
        one_pair: true,
        groups: Some(NIST_AND_MODP),
        chacha: false,
    },
    Preset {
        file: PresetFile::Fortigate,
        word: "fortigate",
        gateway: "a FortiGate",
        ike: "aes256gcm16-prfsha384-ecp384",
        esp: "aes256gcm16-ecp384-noesn",
        // Its own are 1 day and 12 hours.
        ike_lifetime: "20h",
        child_lifetime: "10h",
        child_bytes: None,
        dpd: "20s",
        connect: false,
        mtu: None,
        clamp_mss: None,
        by_address: false,
        one_pair: false,
        groups: None,
        chacha: true,
    },
    Preset {
        file: PresetFile::Mikrotik,
        word: "mikrotik",
        gateway: "a MikroTik router",
        ike: "aes256-sha256-modp2048",
        esp: "aes256-sha256-modp2048-noesn",
        // Its own are 1 day and 30 minutes.
        ike_lifetime: "20h",
        child_lifetime: "25m",
        child_bytes: None,
        dpd: "20s",
        connect: false,
        mtu: None,
        clamp_mss: None,
        by_address: false,
        one_pair: true,
        groups: None,
        chacha: true,
    },
];

/// Puts the preset's values where nothing is written.
pub(super) fn fill(file: &mut PeerFile) -> Option<&'static Preset> {
    let wanted = file.preset?;
    let preset = PRESETS.iter().find(|preset| preset.file == wanted)?;
    let text = |value: &str| Some(value.to_owned());
    file.ike.get_or_insert_with(|| vec![preset.ike.to_owned()]);
    file.esp.get_or_insert_with(|| vec![preset.esp.to_owned()]);
    if preset.connect && !matches!(&file.remote, Some(OneOrMany::One(remote)) if remote == "any") {
        file.start.get_or_insert(StartFile::Connect);
    }
    let dpd = file.dpd.get_or_insert_with(DpdFile::default);
    dpd.delay = dpd.delay.take().or(text(preset.dpd));
    let lifetimes = file.lifetimes.get_or_insert_with(PeerLifetimesFile::default);
    lifetimes.ike = lifetimes.ike.take().or(text(preset.ike_lifetime));
    lifetimes.child = lifetimes.child.take().or(text(preset.child_lifetime));
    lifetimes.child_bytes = lifetimes.child_bytes.take().or(preset.child_bytes.map(str::to_owned));
    file.mtu = file.mtu.take().or(preset.mtu.map(NumberOrWord::Number));
    file.clamp_mss = file.clamp_mss.take().or(preset.clamp_mss.map(NumberOrWord::Number));
    Some(preset)
}

/// What a peer with a preset is, as far as it was read.
pub(super) struct Read<'a> {
    pub(super) local_auth: Option<&'a LocalAuth>,
    pub(super) remote_auth: Option<&'a RemoteAuth>,
    pub(super) local_id: Option<&'a Identity>,
    pub(super) remote_id: Option<&'a IdentityPattern>,
    pub(super) ike: &'a [Proposal],
    pub(super) children: &'a [ChildConfig],
}

/// Reports what the gateway cannot do.
pub(super) fn check(preset: &Preset, peer: &Read<'_>, at: &At, context: &mut Context<'_>) {
    let Preset { gateway, .. } = preset;
    if let (Some(LocalAuth::Psk(keys)), Some(RemoteAuth::Psk(_))) = (peer.local_auth, peer.remote_auth) {
        for key in keys {
            check_key(preset, key, at, context);
        }
        if preset.by_address {
            check_identities(preset, peer, at, context);
        }
    }
    let offers = |proposals: &[Proposal]| proposals.iter().any(|proposal| knows(preset, proposal));
    if !peer.ike.is_empty() && !offers(peer.ike) {
        let message = format!("{gateway} knows none of these proposals");
        context.error(
            &at.key("ike"),
            "preset",
            message,
            format!("write \"{}\", or leave it to preset = \"{}\"", preset.ike, preset.word),
        );
    }
    for child in peer.children {
        let child_at = at.key("children").key(child.name.as_str());
        if !child.esp.is_empty() && !offers(&child.esp) {
            let at = if context.layers.locate_key(&child_at.key("esp")).is_some() { &child_at } else { at };
            let message = format!("{gateway} knows none of these proposals");
            let hint = format!("write \"{}\", or leave it to preset = \"{}\"", preset.esp, preset.word);
            context.error(&at.key("esp"), "preset", message, hint);
        }
        if preset.one_pair && (child.local.len() > 1 || child.remote.len() > 1) {
            let message =
                format!("{gateway} has one Child SA for each pair of prefixes, and this child has several");
            let hint = match preset.file {
                PresetFile::Aws => {
                    "it has one pair at all: write one prefix at each end, or \"0.0.0.0/0\" with `routes`"
                }
                _ => "write one child a pair",
            };
            context.warning(&child_at, "preset", message, hint.to_owned());
        }
    }
    if preset.file == PresetFile::Aws && peer.children.len() > 1 {
        let message = format!("{gateway} has one Child SA, and there are several children");
        let hint = "write one child with \"0.0.0.0/0\" at both ends and `routes`".to_owned();
        context.warning(&at.key("children"), "preset", message, hint);
    }
}

fn check_key(preset: &Preset, key: &Secret, at: &At, context: &mut Context<'_>) {
    let text = key.expose();
    let refused = match preset.file {
        PresetFile::Aws => {
            let shape = text.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_'));
            (!shape || !(8..=64).contains(&text.len()) || text.first() == Some(&b'0'))
                .then_some("8 to 64 letters, digits, `.` and `_`, the first not 0")
        }
        PresetFile::Azure => {
            let shape = text.iter().all(|c| matches!(c, b' '..=b'~'));
            (!shape || text.len() > 128).then_some("at most 128 printable ASCII characters")
        }
        PresetFile::Alibaba => {
            let shape = text.iter().all(|c| matches!(c, b'!'..=b'~'));
            (!shape || text.len() > 100).then_some("at most 100 printable ASCII characters without blanks")
        }
        _ => None,
    };
    if let Some(shape) = refused {
        let message = format!("{} refuses this pre-shared key", preset.gateway);
        context.error(&at.key("auth"), "preset", message, format!("it takes {shape}"));
    }
}

fn check_identities(preset: &Preset, peer: &Read<'_>, at: &At, context: &mut Context<'_>) {
    let Preset { gateway, .. } = preset;
    if let Some(IdentityPattern::Exact(id)) = peer.remote_id
        && id.as_ip().is_none()
    {
        let message = format!("{gateway} calls itself by its address");
        let hint = "leave `remote_id` out where `remote` is that address, or write the address".to_owned();
        context.error(&at.key("remote_id"), "preset", message, hint);
    }
    if let Some(id) = peer.local_id
        && id.as_ip().is_none()
    {
        let message = format!("{gateway} knows its peer by the peer's public address");
        let hint = "write our public address as `local_id`, also behind a NAT".to_owned();
        context.warning(&at.key("local_id"), "preset", message, hint);
    }
}

fn knows(preset: &Preset, proposal: &Proposal) -> bool {
    let cipher = proposal.ciphers().iter().any(|cipher| match cipher {
        Cipher::ChaCha20Poly1305 => preset.chacha,
        Cipher::AesGcm { icv_len, .. } => *icv_len == 16 && preset.file != PresetFile::Alibaba,
        Cipher::AesCbc { .. } => true,
    });
    let group = match preset.groups {
        Some(groups) if !proposal.groups().is_empty() => {
            proposal.groups().iter().any(|group| groups.contains(group))
        }
        _ => true,
    };
    cipher && group
}
