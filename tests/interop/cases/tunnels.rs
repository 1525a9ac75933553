//! Tunnels that come up: authentication, suites, selectors, addresses, NAT, fragments, path MTU.

use skybridge::{
    control::RekeyTarget,
    lab::{LabError, nat, wait::until},
};

use super::{BOTH, Case, ensure, settled, tunnel};
use crate::{
    certificates::Kind,
    world::{
        Nat, PATIENCE, PEER, Proof, Role, SKY_INNER, SKY_INNER6, SUITE_IKE, SWAN_INNER, SWAN_INNER6, Setup,
        World,
    },
};

pub const CASES: &[Case] = &[
    Case {
        name: "psk",
        title: "Pre-shared key",
        checked: "",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: tunnel,
    },
    Case {
        name: "rsa",
        title: "RSA certificates",
        checked: "RFC 7427 signatures",
        roles: BOTH,
        setup: |_| proofs(Kind::Rsa),
        run: tunnel,
    },
    Case {
        name: "p256",
        title: "ECDSA P-256 certificates",
        checked: "",
        roles: BOTH,
        setup: |_| proofs(Kind::EcdsaP256),
        run: tunnel,
    },
    Case {
        name: "p384",
        title: "ECDSA P-384 certificates",
        checked: "",
        roles: BOTH,
        setup: |_| proofs(Kind::EcdsaP384),
        run: tunnel,
    },
    Case {
        name: "ed25519",
        title: "Ed25519 certificates",
        checked: "",
        roles: BOTH,
        setup: |_| proofs(Kind::Ed25519),
        run: tunnel,
    },
    Case {
        name: "mixed",
        title: "Skybridge by certificate, strongSwan by pre-shared key",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { sky_proof: Proof::Certificate(Kind::EcdsaP256), ..Setup::default() },
        run: tunnel,
    },
    Case {
        name: "chain",
        title: "Long certificate chain (two intermediate CAs)",
        checked: "IKE_AUTH fragmented both ways (RFC 7383)",
        roles: BOTH,
        setup: |_| proofs(Kind::Chain),
        run: chain,
    },
    Case {
        name: "gcm256",
        title: "aes256gcm16-prfsha384-x25519, ESP aes256gcm16-x25519",
        checked: "suites, key exchange at the child's rekey",
        roles: BOTH,
        setup: |_| suites("aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519"),
        run: |world| suite(world, "AES_GCM_16", "CURVE_25519"),
    },
    Case {
        name: "gcm128",
        title: "aes128gcm16-prfsha256-ecp256, ESP aes128gcm16-ecp256",
        checked: "suites, key exchange at the child's rekey",
        roles: BOTH,
        setup: |_| suites("aes128gcm16-prfsha256-ecp256", "aes128gcm16-ecp256"),
        run: |world| suite(world, "AES_GCM_16", "ECP_256"),
    },
    Case {
        name: "chacha",
        title: "chacha20poly1305-prfsha384-ecp384, ESP chacha20poly1305-ecp384",
        checked: "suites, key exchange at the child's rekey",
        roles: BOTH,
        setup: |_| suites("chacha20poly1305-prfsha384-ecp384", "chacha20poly1305-ecp384"),
        run: |world| suite(world, "CHACHA20_POLY1305", "ECP_384"),
    },
    Case {
        name: "cbc",
        title: "aes256-sha256-modp2048, ESP aes256-sha256-modp2048",
        checked: "suites, key exchange at the child's rekey",
        roles: BOTH,
        setup: |_| suites("aes256-sha256-modp2048", "aes256-sha256-modp2048"),
        run: |world| suite(world, "AES_CBC", "MODP_2048"),
    },
    Case {
        name: "invalid-ke",
        title: "modp4096 after a wrong first guess (INVALID_KE_PAYLOAD)",
        checked: "the guess was refused, modp4096 was agreed",
        roles: BOTH,
        setup: invalid_ke,
        run: refused_guess,
    },
    Case {
        name: "selectors",
        title: "Several selectors each way, IPv4 and IPv6",
        checked: "both ends have all selectors",
        roles: BOTH,
        setup: |_| Setup {
            sky_selectors: [
                "10.1.0.0/17, 10.1.128.0/17, fd00:1::/64",
                "10.2.0.0/17, 10.2.128.0/17, fd00:2::/64",
            ],
            swan_selectors: [
                "10.2.0.0/17, 10.2.128.0/17, fd00:2::/64",
                "10.1.0.0/17, 10.1.128.0/17, fd00:1::/64",
            ],
            inner: vec![[SKY_INNER, SWAN_INNER], ["10.1.128.1", "10.2.128.1"], [SKY_INNER6, SWAN_INNER6]],
            ..Setup::default()
        },
        run: |world| {
            tunnel(world)?;
            narrowed(world, 3, 3, "10.2.128.0/17")
        },
    },
    Case {
        name: "narrower-us",
        title: "Narrowing: Skybridge's selectors are the smaller ones",
        checked: "the smaller selectors at both ends",
        roles: BOTH,
        setup: |_| Setup { sky_selectors: ["10.1.0.0/24", "10.2.0.0/24"], ..Setup::default() },
        run: |world| {
            tunnel(world)?;
            narrowed(world, 1, 1, "10.2.0.0/24")
        },
    },
    Case {
        name: "narrower-peer",
        title: "Narrowing: strongSwan's selectors are the smaller ones",
        checked: "the smaller selectors at both ends",
        roles: BOTH,
        setup: |_| Setup { swan_selectors: ["10.2.0.0/24", "10.1.0.0/24"], ..Setup::default() },
        run: |world| {
            tunnel(world)?;
            narrowed(world, 1, 1, "10.2.0.0/24")
        },
    },
    Case {
        name: "inner6",
        title: "IPv6 in IPv4",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { inner: vec![[SKY_INNER6, SWAN_INNER6]], ..inner6() },
        run: tunnel,
    },
    Case {
        name: "outer6",
        title: "IPv4 in IPv6",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { outer6: true, ..Setup::default() },
        run: tunnel,
    },
    Case {
        name: "both6",
        title: "IPv6 in IPv6",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { outer6: true, ..inner6() },
        run: tunnel,
    },
    Case {
        name: "nat-us",
        title: "Skybridge behind NAT (as responder: ports 500 and 4500 forwarded)",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { nat: Nat::Sky, ..Setup::default() },
        run: tunnel,
    },
    Case {
        name: "nat-peer",
        title: "strongSwan behind NAT (as responder: ports 500 and 4500 forwarded)",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { nat: Nat::Swan, ..Setup::default() },
        run: tunnel,
    },
    Case {
        name: "cookie-peer",
        title: "COOKIE demanded by strongSwan",
        checked: "the cookie came back",
        roles: &[Role::Initiator],
        setup: |_| Setup { swan_daemon: "cookie_threshold = 1\n", ..Setup::default() },
        run: peer_demands_cookie,
    },
    Case {
        name: "cookie-us",
        title: "COOKIE demanded by Skybridge",
        checked: "the cookie came back",
        roles: &[Role::Responder],
        setup: |_| Setup {
            sky_endpoint: "cookie_threshold = 0\ncookie_threshold_per_address = 0\n",
            ..Setup::default()
        },
        run: |world| {
            tunnel(world)?;
            said(world, "IKE_SA_INIT response 0 [ N(COOKIE)")?;
            said(world, "IKE_SA_INIT request 0 [ N(COOKIE) SA")
        },
    },
    Case {
        name: "path-mtu",
        title: "A path of 1,400 octets that swallows \"too big\" messages",
        checked: "Skybridge finds the path MTU by probing",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: path_mtu,
    },
];

fn proofs(kind: Kind) -> Setup {
    Setup { sky_proof: Proof::Certificate(kind), swan_proof: Proof::Certificate(kind), ..Setup::default() }
}

fn suites(ike: &'static str, esp: &'static str) -> Setup {
    Setup { sky_ike: ike, swan_ike: ike, sky_esp: esp, swan_esp: esp, ..Setup::default() }
}

fn inner6() -> Setup {
    Setup {
        sky_selectors: ["fd00:1::/64", "fd00:2::/64"],
        swan_selectors: ["fd00:2::/64", "fd00:1::/64"],
        inner: vec![[SKY_INNER6, SWAN_INNER6]],
        ..Setup::default()
    }
}

fn invalid_ke(role: Role) -> Setup {
    const WANTED: &str = "aes256-sha512-modp4096";
    match role {
        Role::Initiator => Setup {
            sky_ike: "aes256gcm16-prfsha384-x25519, aes256-sha512-modp4096",
            swan_ike: WANTED,
            ..Setup::default()
        },
        Role::Responder => Setup {
            sky_ike: WANTED,
            swan_ike: "aes256gcm16-prfsha384-x25519, aes256-sha512-modp4096",
            ..Setup::default()
        },
    }
}

/// strongSwan's log has a text.
fn said(world: &World, text: &str) -> Result<(), LabError> {
    ensure(world.swan.log().contains(text), format!("strongSwan has not said {text}"))
}

fn chain(world: &mut World) -> Result<(), LabError> {
    tunnel(world)?;
    let (ours, theirs) = match world.role {
        Role::Initiator => ("request", "response"),
        Role::Responder => ("response", "request"),
    };
    said(world, &format!("parsed IKE_AUTH {ours} 1 [ EF(2/"))?;
    said(world, &format!("generating IKE_AUTH {theirs} 1 [ EF(2/"))
}

fn suite(world: &mut World, encryption: &str, group: &str) -> Result<(), LabError> {
    world.start()?;
    let sa = world.agree()?;
    ensure(sa.encryption == encryption && sa.group == group, format!("another IKE suite: {sa:?}"))?;
    world.carries_traffic()?;
    world.sky.rekey(PEER, &RekeyTarget::Children, PATIENCE)?;
    let sa = world.agree()?;
    let child = sa.children.first().ok_or_else(|| LabError::check("no child"))?;
    ensure(child.encryption == encryption && child.group == group, format!("another ESP suite: {child:?}"))?;
    let peer = world.peer()?;
    let ours = peer.ike.map(|ike| ike.suite).unwrap_or_default();
    ensure(ours == world.setup.sky_ike, format!("our status says {ours}"))?;
    world.carries_traffic()?;
    world.nothing_was_clear()
}

fn refused_guess(world: &mut World) -> Result<(), LabError> {
    tunnel(world)?;
    said(world, "N(INVAL_KE)")?;
    let sa = world.agree()?;
    ensure(sa.group == "MODP_4096" && SUITE_IKE != "modp4096", format!("another group: {sa:?}"))
}

/// Both ends have this many selectors, and strongSwan has `own` among its own.
fn narrowed(world: &mut World, local: usize, remote: usize, own: &str) -> Result<(), LabError> {
    let sa = world.agree()?;
    let child = sa.children.first().ok_or_else(|| LabError::check("no child"))?;
    let theirs =
        child.local.len() == remote && child.remote.len() == local && child.local.iter().any(|ts| ts == own);
    ensure(theirs, format!("strongSwan has {child:?}"))?;
    let peer = world.peer()?;
    let child = peer.children.first().ok_or_else(|| LabError::check("no child"))?;
    let ours =
        child.local.len() == local && child.remote.len() == remote && child.remote.iter().any(|ts| ts == own);
    ensure(ours, format!("Skybridge has {child:?}"))
}

/// strongSwan counts half-open SAs: one is left open by a first attempt that gets no further.
fn peer_demands_cookie(world: &mut World) -> Result<(), LabError> {
    world.middle.nft(&nat::block("udp dport 4500"))?;
    world.start()?;
    world.swan.wait_log("generating IKE_SA_INIT response 0 [ SA KE")?;
    world.sky.kill()?;
    world.sky.start_and_wait()?;
    world.swan.wait_log("parsed IKE_SA_INIT request 0 [ N(COOKIE) SA")?;
    world.middle.nft(nat::CLEAR)?;
    settled(world)
}

fn path_mtu(world: &mut World) -> Result<(), LabError> {
    const MTU: u32 = 1_400;
    world.middle.set_mtu("swan0", MTU)?;
    world.swan_host.set_mtu("wan0", MTU)?;
    world.middle.nft(nat::SWALLOW_TOO_BIG)?;
    world.start()?;
    world.agree()?;
    until("Skybridge knows the path MTU", PATIENCE, || {
        let known = world.peer()?.path_mtu;
        let found = known.is_some_and(|mtu| u32::from(mtu) <= MTU && u32::from(mtu) > MTU - 40);
        Ok(if found { Ok(()) } else { Err(format!("{known:?}")) })
    })?;
    settled(world)
}
