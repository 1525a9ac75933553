//! One end is killed; the tunnel comes back without a person.

use skybridge::lab::{LabError, wait::until};

use super::{BOTH, Case, settled};
use crate::world::{PATIENCE, Role, Setup, World};

pub const CASES: &[Case] = &[
    Case {
        name: "kill-us",
        title: "Skybridge killed by -9 and started again",
        checked: "the tunnel is back with new SAs",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            world.start()?;
            let old = world.agree()?.initiator_spi;
            world.carries_traffic()?;
            world.sky.kill()?;
            world.sky.start_and_wait()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
    Case {
        name: "kill-peer",
        title: "strongSwan killed by -9 and started again",
        checked: "the tunnel is back with new SAs",
        roles: BOTH,
        setup: restarting,
        run: |world| {
            world.start()?;
            let old = world.agree()?.initiator_spi;
            world.carries_traffic()?;
            world.swan.kill()?;
            world.swan.start()?;
            replaced(world, &old)?;
            settled(world)
        },
    },
];

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
