//! Every case: what is set, who may begin, and what must hold.

mod failures;
mod keylog;
mod peer_config;
mod recovery;
mod rekeys;
mod speed;
mod tunnels;

use skybridge::lab::LabError;

use crate::world::{Role, Setup, World};

/// One case; it runs once for each of its roles.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name in the test run; it is part of names of namespaces.
    pub name: &'static str,
    /// What it is, in the table.
    pub title: &'static str,
    /// What is checked besides the tunnel and its traffic.
    pub checked: &'static str,
    /// Skybridge's roles.
    pub roles: &'static [Role],
    pub setup: fn(Role) -> Setup,
    pub run: fn(&mut World) -> Result<(), LabError>,
}

pub const BOTH: &[Role] = &[Role::Initiator, Role::Responder];

/// All cases in the order of the table.
pub fn all() -> Vec<Case> {
    [
        tunnels::CASES,
        rekeys::CASES,
        speed::CASES,
        keylog::CASES,
        recovery::CASES,
        failures::CASES,
        peer_config::CASES,
    ]
    .concat()
}

/// Fails with `what` unless it holds.
fn ensure(holds: bool, what: impl Into<String>) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::check(what)) }
}

/// The tunnel comes up at both ends, carries traffic, and shows nothing clear.
fn tunnel(world: &mut World) -> Result<(), LabError> {
    world.start()?;
    settled(world)
}

/// What [`tunnel`] asks of a tunnel that was begun already.
fn settled(world: &mut World) -> Result<(), LabError> {
    world.agree()?;
    world.carries_traffic()?;
    world.nothing_was_clear()
}
