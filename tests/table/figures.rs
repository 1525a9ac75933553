//! How long a large table takes. The figures are printed (`--nocapture`), and only their being far off fails.

use std::{net::IpAddr, time::Duration};

use skybridge::{
    cluster::{
        model::{Protocol, ServiceId},
        plan::{Backend, Frontend},
        table::{Load, Mode},
    },
    lab::LabError,
};

use crate::{
    inside::Test,
    world::{World, ensure, wanted},
};

pub(crate) const TESTS: &[Test] = &[
    ("five_thousand_services_with_twenty_thousand_endpoints_are_loaded_and_changed", |_| large(5000, 4)),
    ("a_service_with_three_hundred_endpoints_is_loaded_and_changed", |_| large(1, 300)),
];

fn services(count: u32, each: u32) -> Vec<Frontend> {
    (0..count)
        .map(|service| {
            let address = |base: u32, n: u32| IpAddr::from((base + n).to_be_bytes());
            let backend = |n: u32| Backend {
                address: address(0x0a00_0200, 1 + service * each + n),
                port: 8080,
                node: None,
                pod: None,
            };
            Frontend {
                service: ServiceId { namespace: "default".into(), name: format!("s{service}") },
                port_name: String::new(),
                vip: address(0xac10_0000, 1 + service),
                port: 80,
                protocol: Protocol::Tcp,
                affinity: None,
                backends: (0..each).map(backend).collect(),
            }
        })
        .collect()
}

fn large(count: u32, each: u32) -> Result<(), LabError> {
    let mut world = World::silent()?;
    let mut frontends = services(count, each);
    let applied = world.apply(&wanted(Mode::Translate, frontends.clone()))?;
    println!("{count} Services with {} endpoints: loaded in {:?}", count * each, applied.took);
    ensure(applied.load == Load::Whole && applied.took < Duration::from_secs(60), format!("{applied:?}"))?;
    let middle = count as usize / 2;
    let last = frontends[middle].backends.pop().expect("an endpoint");
    for (what, back) in [("removed", false), ("added", true), ("removed", false), ("added", true)] {
        if back {
            frontends[middle].backends.push(last.clone());
        } else {
            frontends[middle].backends.retain(|backend| *backend != last);
        }
        let applied = world.apply(&wanted(Mode::Translate, frontends.clone()))?;
        println!("one endpoint {what}: {:?}, {} elements", applied.took, applied.elements);
        ensure(applied.load == Load::Difference, format!("{applied:?}"))?;
    }
    let asked = std::time::Instant::now();
    ensure(world.verify()?, "nobody did anything")?;
    println!("looked after, nobody did anything: {:?}", asked.elapsed());
    world.gate.nft("add table ip other")?;
    let asked = std::time::Instant::now();
    ensure(world.verify()?, "nobody did anything to it")?;
    println!("looked after, others did something: {:?}", asked.elapsed());
    Ok(())
}
