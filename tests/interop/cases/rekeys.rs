//! New keys under traffic, from either side and from both at once.

use std::time::Duration;

use skybridge::{
    control::{Action, RekeyTarget},
    lab::{
        LabError,
        daemon::Keys,
        nat,
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
                at_once(world, "--child", "c", RekeyTarget::Children)?;
                at_once(world, "--ike", "t", RekeyTarget::Ike)?;
                for kind in ["CHILD_REKEY", "IKE_REKEY"] {
                    let words = format!("detected {kind} collision with {kind}");
                    ensure(world.swan.count(&words) > 0, format!("strongSwan has not said {words}"))?;
                }
                Ok(())
            })
        },
    },
    Case {
        name: "reload-networks",
        title: "Skybridge reloads with other networks under traffic",
        checked: "numbered datagrams both ways, none lost on the way to strongSwan, which interrupts its own way; the IKE SA stays",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: |world| {
            let [there, _] = streamed(world, |world| {
                let ike = world.peer()?.ike.map(|ike| ike.initiator_spi);
                for networks in ["10.2.0.0/24", "10.2.0.0/16"] {
                    let before = Keys::of(&world.peer()?);
                    world.setup.sky_selectors[1] = networks;
                    world.reload()?;
                    renewed(world, &before)?;
                }
                ensure(world.peer()?.ike.map(|ike| ike.initiator_spi) == ike, "the IKE SA was replaced")
            })?;
            ensure(there.lost() == 0, format!("{} lost: {there:?}", there.lost()))
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

/// Both ends ask before either has heard the other: IKE, not ESP, is held up between them meanwhile.
fn at_once(world: &mut World, option: &str, name: &str, what: RekeyTarget) -> Result<(), LabError> {
    const ASKS: &str = "generating CREATE_CHILD_SA request";
    let before = Keys::of(&world.peer()?);
    let asked = world.swan.count(ASKS);
    world.middle.nft(&nat::block("udp dport 4500 @th,64,32 0x0"))?;
    world.sky.act(&Action::Rekey { peer: PEER.to_owned(), what })?;
    world.swan.swanctl(&["--rekey", option, name])?;
    world.swan.wait_count(ASKS, asked + 1)?;
    world.middle.nft(nat::CLEAR)?;
    renewed(world, &before)
}

fn under_traffic(
    world: &mut World,
    rekeys: impl FnOnce(&mut World) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let [there, back] = streamed(world, rekeys)?;
    let drops = world.sky.status()?.drops;
    for (way, report) in [("to strongSwan", there), ("to Skybridge", back)] {
        ensure(
            report.lost() == 0,
            format!("{way}: {} lost, our drops {drops:?}: {report:?}", report.lost()),
        )?;
    }
    Ok(())
}

/// A tunnel with streams over it while something happens: to strongSwan, and to Skybridge.
fn streamed(
    world: &mut World,
    happens: impl FnOnce(&mut World) -> Result<(), LabError>,
) -> Result<[Report; 2], LabError> {
    world.start()?;
    world.agree()?;
    world.carries_traffic()?;
    let streams = [
        Stream::start(&world.sky_host, &world.swan_host, address(SWAN_INNER)?, RATE, 200)?,
        Stream::start(&world.swan_host, &world.sky_host, address(SKY_INNER)?, RATE, 200)?,
    ];
    flowing(&streams, 50)?;
    happens(world)?;
    flowing(&streams, 200)?;
    let [there, back] = streams;
    let reports = [there.stop()?, back.stop()?];
    world.nothing_was_clear()?;
    Ok(reports)
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
