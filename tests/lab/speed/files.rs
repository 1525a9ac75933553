//! Files arrive as they were, whatever each end and the links between can do.

use skybridge::lab::{Entered, LabError, Outer, Plan};

use super::{FILE, files};
use crate::Test;
use crate::pair::Pair;

pub(crate) const TESTS: &[Test] = &[
    ("speed::files_arrive_whole_with_offload_at_both_ends", |inside| whole(inside, [true, true])),
    ("speed::files_arrive_whole_with_offload_at_the_cloud_alone", |inside| whole(inside, [false, true])),
    ("speed::files_arrive_whole_with_offload_at_the_office_alone", |inside| whole(inside, [true, false])),
    ("speed::files_arrive_whole_without_offload", |inside| whole(inside, [false, false])),
    ("speed::files_arrive_whole_over_links_that_cannot_segment", cannot_segment),
    ("speed::files_arrive_whole_by_two_workers_at_each_end", two_workers),
    ("speed::files_arrive_whole_over_ipv6_outside", over_ipv6),
    ("speed::files_arrive_whole_by_cbc_and_by_chacha20", other_suites),
];

/// Everything that lets a link carry more than one packet at once.
pub(crate) const SEGMENTATION: &[&str] = &["tso", "gso", "gro", "tx-udp-segmentation"];

fn offload(on: bool) -> String {
    format!("dataplane = {{ offload = {on} }}\n")
}

fn whole(inside: &Entered, [office, cloud]: [bool; 2]) -> Result<(), LabError> {
    let plan = Plan { office_endpoint: offload(office), cloud_endpoint: offload(cloud), ..Plan::default() };
    files(&Pair::up(inside, &plan)?, FILE)
}

fn cannot_segment(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let lab = &pair.lab;
    for (namespace, link) in [
        (&lab.client, "eth0"),
        (&lab.edge, "lan0"),
        (&lab.edge, "wan0"),
        (&lab.carrier, "cpe0"),
        (&lab.vpc, "cloud0"),
        (&lab.cloud, "eth0"),
        (&lab.node, "pod0"),
        (&lab.pod, "eth0"),
    ] {
        namespace.set_features(link, SEGMENTATION, false)?;
    }
    files(&pair, FILE)
}

fn two_workers(inside: &Entered) -> Result<(), LabError> {
    let two = || "dataplane = { workers = 2 }\n".to_owned();
    let plan = Plan { office_endpoint: two(), cloud_endpoint: two(), ..Plan::default() };
    files(&Pair::up(inside, &plan)?, FILE)
}

fn over_ipv6(inside: &Entered) -> Result<(), LabError> {
    files(&Pair::up(inside, &Plan { outer: Outer::V6, ..Plan::default() })?, FILE)
}

fn other_suites(inside: &Entered) -> Result<(), LabError> {
    for esp in ["aes256-sha256-x25519", "chacha20poly1305-x25519"] {
        files(&Pair::up(inside, &Plan { esp, ..Plan::default() })?, FILE / 4)?;
    }
    Ok(())
}
