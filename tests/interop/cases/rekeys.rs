//! New keys under traffic, from either side and from both at once.

use std::{thread, time::Duration};

use skybridge::{
    control::{Action, RekeyTarget},
    lab::{
        LabError,
        daemon::Keys,
        traffic::stream::{Report, Stream},
        wait::until,
    },
};

use super::{BOTH, Case, ensure};
use crate::world::{PATIENCE, PEER, SKY_INNER, SWAN_INNER, Setup, World, address};

/// Datagrams a second, each way.
const RATE: u32 = 500;

pub const CASES: &[Case] = &[
    Case {
        name: "rekey-us",
        title: "Skybridge rekeys Child SA and IKE SA under traffic",
        checked: "numbered datagrams both ways, none lost",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: |world| {
            under_traffic(world, |world| {
                for what in [RekeyTarget::Children, RekeyTarget::Ike, RekeyTarget::Children] {
                    world.sky.rekey(PEER, &what, PATIENCE)?;
                    world.agree()?;
                }
                Ok(())
            })
        },
    },
    Case {
        name: "rekey-peer",
        title: "strongSwan rekeys Child SA and IKE SA under traffic",
        checked: "numbered datagrams both ways, none lost",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: |world| {
            under_traffic(world, |world| {
                for (what, name) in [("--child", "c"), ("--ike", "t"), ("--child", "c")] {
                    let before = Keys::of(&world.peer()?);
                    world.swan.swanctl(&["--rekey", what, name])?;
                    renewed(world, &before)?;
                }
                Ok(())
            })
        },
    },
    Case {
        name: "rekey-both",
        title: "Both ends rekey Child SA and IKE SA at the same time",
        checked: "numbered datagrams both ways, none lost; one IKE SA and one Child SA remain",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: |world| {
            under_traffic(world, |world| {
                for _ in 0..2 {
                    at_once(world, "--child", "c", RekeyTarget::Children)?;
                    at_once(world, "--ike", "t", RekeyTarget::Ike)?;
                }
                Ok(())
            })
        },
    },
];

/// Waits until both ends have other keys than before.
fn renewed(world: &mut World, before: &Keys) -> Result<(), LabError> {
    until("new keys", PATIENCE, || {
        Ok(if Keys::of(&world.peer()?) == *before { Err("the old ones".to_owned()) } else { Ok(()) })
    })?;
    world.agree().map(drop)
}

fn at_once(world: &mut World, option: &str, name: &str, what: RekeyTarget) -> Result<(), LabError> {
    let before = Keys::of(&world.peer()?);
    let (sky, swan) = (&world.sky, &world.swan);
    let (ours, theirs) = thread::scope(|scope| {
        let ours = scope.spawn(|| sky.act(&Action::Rekey { peer: PEER.to_owned(), what }));
        let theirs = scope.spawn(|| swan.swanctl(&["--rekey", option, name]));
        (ours.join().expect("a thread"), theirs.join().expect("a thread"))
    });
    ours?;
    theirs?;
    renewed(world, &before)
}

fn under_traffic(
    world: &mut World,
    rekeys: impl FnOnce(&mut World) -> Result<(), LabError>,
) -> Result<(), LabError> {
    world.start()?;
    world.agree()?;
    world.carries_traffic()?;
    let streams = [
        Stream::start(&world.sky_host, &world.swan_host, address(SWAN_INNER)?, RATE, 200)?,
        Stream::start(&world.swan_host, &world.sky_host, address(SKY_INNER)?, RATE, 200)?,
    ];
    flowing(&streams, 50)?;
    rekeys(world)?;
    flowing(&streams, 200)?;
    for (stream, way) in streams.into_iter().zip(["to strongSwan", "to Skybridge"]) {
        let report: Report = stream.stop()?;
        ensure(report.lost() == 0, format!("{way}: {} of {} lost: {report:?}", report.lost(), report.sent))?;
    }
    world.nothing_was_clear()
}

/// Waits until each stream has delivered `more` datagrams from now on.
fn flowing(streams: &[Stream], more: u64) -> Result<(), LabError> {
    let before: Vec<u64> = streams.iter().map(Stream::received).collect();
    until("datagrams arrive both ways", Duration::from_secs(20), || {
        let now: Vec<u64> = streams.iter().map(Stream::received).collect();
        let all = now.iter().zip(&before).all(|(now, before)| *now >= before + more);
        Ok(if all { Ok(()) } else { Err(format!("{before:?}, now {now:?}")) })
    })
}
