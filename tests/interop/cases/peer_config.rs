//! strongSwan with the configuration that `skybridge peer-config` writes, not a byte of it changed.

use super::{BOTH, Case, ensure, settled, tunnel};
use crate::{
    certificates::Kind,
    world::{Nat, Proof, SKY_INNER, SWAN_INNER, Setup, World},
};
use skybridge::lab::LabError;

const FARTHER: [&str; 2] = ["10.1.128.1", "10.2.128.1"];

pub const CASES: &[Case] = &[
    Case {
        name: "pc-psk",
        title: "`peer-config`: pre-shared key",
        checked: "default proposals, several selectors in one child",
        roles: BOTH,
        setup: |_| written(),
        run: several_selectors,
    },
    Case {
        name: "pc-cert",
        title: "`peer-config`: certificates",
        checked: "default proposals, several selectors in one child",
        roles: BOTH,
        setup: |_| Setup {
            sky_proof: Proof::Certificate(Kind::EcdsaP256),
            swan_proof: Proof::Certificate(Kind::EcdsaP256),
            ..written()
        },
        run: several_selectors,
    },
    Case {
        name: "pc-mixed",
        title: "`peer-config`: Skybridge by certificate, strongSwan by pre-shared key",
        checked: "",
        roles: BOTH,
        setup: |_| Setup { sky_proof: Proof::Certificate(Kind::EcdsaP256), ..written() },
        run: tunnel,
    },
    Case {
        name: "pc-names",
        title: "`peer-config`: two children; a distinguished name and a key ID",
        checked: "each child carries its own traffic",
        roles: BOTH,
        setup: |_| Setup {
            sky_id: "C=CH, O=Example, CN=sky",
            sky_remote_id: "keyid:0a1b2c",
            sky_ike: "aes256-sha256-modp2048",
            sky_esp: "aes256-sha512-ecp384",
            sky_selectors: ["10.1.0.0/17", "10.2.0.0/17"],
            sky_peer: "[peers.swan.children.far]\nlocal = [\"10.1.128.0/17\"]\nremote = [\"10.2.128.0/17\"]\n",
            ..written()
        },
        run: two_children,
    },
    Case {
        name: "pc-mail",
        title: "`peer-config`: a mail address and an address as identities, Skybridge behind NAT",
        checked: "`--address` is the NAT's",
        roles: BOTH,
        setup: |_| Setup {
            nat: Nat::Sky,
            sky_id: "sky@example.org",
            sky_remote_id: "198.51.100.2",
            sky_ike: "chacha20poly1305-prfsha512-x25519",
            sky_esp: "chacha20poly1305-x25519",
            ..written()
        },
        run: tunnel,
    },
];

/// Two prefixes at each end of one child, and strongSwan as it is told.
fn written() -> Setup {
    Setup {
        by_peer_config: true,
        sky_ike: "default",
        sky_esp: "default",
        sky_selectors: ["10.1.0.0/17, 10.1.128.0/17", "10.2.0.0/17, 10.2.128.0/17"],
        inner: vec![[SKY_INNER, SWAN_INNER], FARTHER],
        ..Setup::default()
    }
}

fn several_selectors(world: &mut World) -> Result<(), LabError> {
    world.start()?;
    let sa = world.agree()?;
    let [child] = sa.children.as_slice() else {
        return Err(LabError::check(format!("not one child: {sa:?}")));
    };
    ensure(child.local.len() == 2 && child.remote.len() == 2, format!("{child:?}"))?;
    settled(world)
}

fn two_children(world: &mut World) -> Result<(), LabError> {
    world.start()?;
    let sa = world.agree()?;
    ensure(sa.children.len() == 2, format!("not two children: {sa:?}"))?;
    settled(world)
}
