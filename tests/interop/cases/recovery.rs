//! One end is killed; the tunnel comes back without a person.

use skybridge::lab::{LabError, wait::until};

use super::{BOTH, Case, settled};
use crate::world::{PATIENCE, Role, Setup, World};

pub const CASES: &[Case] = &[
    Case {
        name: "dpd-us",
        title: "Skybridge killed by -9, found dead, started again",
        checked: "strongSwan's dead peer detection, the tunnel is back",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            let old = up(world)?;
            world.sky.kill()?;
            until("strongSwan finds Skybridge dead", PATIENCE, || {
                let sas = world.swan.sas()?;
                let gone = sas.iter().all(|sa| sa.initiator_spi != old);
                Ok(if gone { Ok(()) } else { Err(format!("{sas:?}")) })
            })?;
            world.sky.start_and_wait()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
    Case {
        name: "dpd-peer",
        title: "strongSwan killed by -9, found dead, started again",
        checked: "our dead peer detection, the tunnel is back",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            let old = up(world)?;
            world.swan.kill()?;
            until("Skybridge finds strongSwan dead", PATIENCE, || {
                let peer = world.peer()?;
                let alive = peer.ike.is_some() || peer.children.iter().any(|child| child.up);
                Ok(if alive { Err(format!("{peer:?}")) } else { Ok(()) })
            })?;
            world.swan.start()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
    Case {
        name: "kill-us",
        title: "Skybridge killed by -9 and started again at once",
        checked: "the tunnel is back with new SAs",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            let old = up(world)?;
            world.sky.kill()?;
            world.sky.start_and_wait()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
    Case {
        name: "kill-peer",
        title: "strongSwan killed by -9 and started again at once",
        checked: "the tunnel is back with new SAs",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            let old = up(world)?;
            world.swan.kill()?;
            world.swan.start()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
];

/// A tunnel with traffic; returns the initiator's SPI of its IKE SA.
fn up(world: &mut World) -> Result<String, LabError> {
    world.start()?;
    let sa = world.agree()?;
    world.carries_traffic()?;
    Ok(sa.initiator_spi)
}

fn restarting(role: Role) -> Setup {
    match role {
        Role::Initiator => Setup::default(),
        Role::Responder => {
            Setup { swan_child: "start_action = start\n    dpd_action = restart\n", ..Setup::default() }
        }
    }
}

/// Waits until strongSwan has a new IKE SA and the old one is gone.
fn replaced(world: &mut World, old: &str) -> Result<(), LabError> {
    until("a new IKE SA", PATIENCE, || {
        let sas = world.swan.sas()?;
        let new = sas.iter().any(|sa| sa.state == "ESTABLISHED" && sa.initiator_spi != old);
        let gone = sas.iter().all(|sa| sa.initiator_spi != old);
        Ok(if new && gone { Ok(()) } else { Err(format!("{sas:?}")) })
    })
}
