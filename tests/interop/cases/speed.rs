//! Files as fast as they go: our trains against a peer that sends and expects single packets.

use skybridge::{
    control::RekeyTarget,
    lab::{LabError, Namespace, traffic::http},
};

use super::{BOTH, Case, ensure};
use crate::world::{PATIENCE, PEER, SKY_INNER, SWAN_INNER, Setup, World, address};

pub const CASES: &[Case] = &[
    Case {
        name: "files",
        title: "Large files each way, Skybridge with segmentation offload",
        checked: "16 MiB each way with equal SHA-256, before and after rekeys; nothing refused",
        roles: BOTH,
        setup: |_| Setup::default(),
        run: files,
    },
    Case {
        name: "files-plain",
        title: "Large files each way, Skybridge without segmentation offload",
        checked: "16 MiB each way with equal SHA-256, before and after rekeys; nothing refused",
        roles: BOTH,
        setup: |_| Setup { sky_endpoint: "dataplane = { offload = false }\n", ..Setup::default() },
        run: files,
    },
];

const FILE: u64 = 16 << 20;

fn files(world: &mut World) -> Result<(), LabError> {
    world.start()?;
    world.agree()?;
    world.carries_traffic()?;
    both_ways(world, FILE)?;
    world.sky.rekey(PEER, &RekeyTarget::Children, PATIENCE)?;
    both_ways(world, FILE / 4)?;
    world.sky.rekey(PEER, &RekeyTarget::Ike, PATIENCE)?;
    both_ways(world, FILE / 4)?;
    let drops = world.sky.status()?.drops;
    // What the kernel makes by itself on a new device, such as router solicitations.
    let refused: Vec<_> = drops.iter().filter(|(reason, _)| *reason != "not_unicast").collect();
    ensure(refused.is_empty(), format!("Skybridge refused packets: {refused:?}"))
}

fn both_ways(world: &World, length: u64) -> Result<(), LabError> {
    file(&world.sky_host, &world.swan_host, SWAN_INNER, length)?;
    file(&world.swan_host, &world.sky_host, SKY_INNER, length)
}

fn file(to: &Namespace, from: &Namespace, at: &str, length: u64) -> Result<(), LabError> {
    let server = http::Server::start(from, http::any_port(address(at)?), 9)?;
    let fetched = http::fetch(to, server.address(), length, PATIENCE)?;
    let same = fetched.length == length && fetched.sha256 == http::sha256(9, length);
    ensure(same, format!("{} of {length} octets arrived from {at}, or others", fetched.length))
}
