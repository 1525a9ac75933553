//! Tunnels that must not come up, and what we say about it.

use std::{fs, time::Duration};

use skybridge::lab::{LabError, traffic::ping, wait::until};

use super::{BOTH, Case, ensure};
use crate::{
    certificates::Kind,
    world::{PATIENCE, PEER, Proof, SWAN_INNER, Setup, World, address},
};

const CHECKED: &str = "a clear reason at our side, the tunnel stays down";

macro_rules! refused {
    ($name:literal, $title:literal, $setup:expr, $words:expr) => {
        Case {
            name: $name,
            title: $title,
            checked: CHECKED,
            roles: BOTH,
            setup: |_| $setup,
            run: |world| refused(world, $words),
        }
    };
}

pub const CASES: &[Case] = &[
    refused!(
        "wrong-psk",
        "Wrong pre-shared key",
        Setup { sky_psk: "not what the other end has", ..Setup::default() },
        &[&["authenticat"], &["pre-shared key", "does not match"]]
    ),
    refused!(
        "wrong-id",
        "Wrong identity",
        Setup { swan_id: "somebody-else.example.org", ..Setup::default() },
        &[&["somebody-else.example.org"], &["authenticat"]]
    ),
    refused!(
        "expired",
        "Expired certificate",
        Setup { swan_proof: Proof::Certificate(Kind::Expired), ..Setup::default() },
        &[&["expired"]]
    ),
    refused!(
        "revoked",
        "Revoked certificate",
        Setup { swan_proof: Proof::Certificate(Kind::Revoked), ..Setup::default() },
        &[&["revoked"]]
    ),
    refused!(
        "no-ike",
        "No common IKE proposal",
        Setup { swan_ike: "aes128-sha256-modp3072", ..Setup::default() },
        &[&["proposal", "aes256gcm16-prfsha384-x25519"]]
    ),
    refused!(
        "no-esp",
        "No common ESP proposal",
        Setup { swan_esp: "aes128-sha256", ..Setup::default() },
        &[&["proposal", "aes256gcm16"]]
    ),
    refused!(
        "no-selectors",
        "No common selectors",
        Setup { sky_selectors: ["10.1.0.0/16", "10.77.0.0/16"], ..Setup::default() },
        &[&["selector"], &["ts_unacceptable", "10.77.0.0/16"]]
    ),
];

/// Waits until our reason has all the words of one of the lists, and checks that nothing is up.
fn refused(world: &mut World, words: &[&[&str]]) -> Result<(), LabError> {
    // An initiation that fails makes swanctl fail.
    match world.start() {
        Ok(()) => {}
        Err(error) if world.swan.sas().is_err() => return Err(error),
        Err(_) => {}
    }
    until("Skybridge says why", PATIENCE, || {
        world.sky.alive()?;
        let said = reasons(world)?;
        let low = said.to_lowercase();
        let clear = words.iter().any(|all| all.iter().all(|word| low.contains(word)));
        Ok(if clear { Ok(()) } else { Err(said) })
    })?;
    let children: Vec<_> = world.swan.sas()?.into_iter().flat_map(|sa| sa.children).collect();
    ensure(children.iter().all(|child| child.state != "INSTALLED"), format!("strongSwan has {children:?}"))?;
    ensure(world.peer()?.children.iter().all(|child| !child.up), "Skybridge has a Child SA")?;
    let answered = ping::once(&world.sky_host, address(SWAN_INNER)?, 56, Duration::from_millis(300))?;
    ensure(answered.is_err(), "a ping was answered")
}

/// Our reason: as the status has it, and the warnings in the log, which may go over several lines.
fn reasons(world: &World) -> Result<String, LabError> {
    let mut said = world.sky.peer(PEER)?.last_failure.map(|failure| failure.reason).unwrap_or_default();
    let log = fs::read_to_string(world.sky.log()).unwrap_or_default();
    let mut warning = false;
    for line in log.lines() {
        let begins = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].iter().any(|level| line.contains(level));
        warning = if begins { line.contains("WARN") || line.contains("ERROR") } else { warning };
        if warning {
            said += "\n";
            said += line;
        }
    }
    Ok(said)
}
