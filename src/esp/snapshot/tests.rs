use proptest::prelude::*;

use super::*;
use crate::esp::fixture::{GCM, inbound, nets, selectors, udp};
use crate::esp::{SaSelectors, SpdAction};
use crate::wire::ip::icmp;

fn entry(child: &str, selectors: SaSelectors) -> SpdEntry {
    SpdEntry { peer: "office".into(), child: child.into(), selectors, action: SpdAction::Discard }
}

fn found<'s>(snapshot: &'s Snapshot, packet: &[u8]) -> Result<&'s str, DropReason> {
    let view = InnerPacket::parse(packet).unwrap();
    snapshot.outbound(&view, packet).map(|(_, entry)| &*entry.child)
}

#[test]
fn the_first_matching_entry_wins_whatever_its_prefix_length() {
    let snapshot = Snapshot::new(
        1,
        [],
        vec![
            entry("host", selectors(&["10.1.0.0/16"], &["10.2.0.7/32[udp/53]"])),
            entry("all", selectors(&["10.1.0.0/16"], &["0.0.0.0/0"])),
            entry("shadowed", selectors(&["10.1.0.0/16"], &["10.2.0.0/24"])),
        ],
    );
    assert_eq!(found(&snapshot, &udp("10.1.0.1", "10.2.0.7", (9, 53), 1)), Ok("host"));
    assert_eq!(found(&snapshot, &udp("10.1.0.1", "10.2.0.7", (9, 54), 1)), Ok("all"));
    assert_eq!(found(&snapshot, &udp("10.1.0.1", "10.2.0.8", (9, 53), 1)), Ok("all"));
    assert_eq!(found(&snapshot, &udp("10.9.0.1", "10.2.0.8", (9, 53), 1)), Err(DropReason::NoPolicy));
    assert_eq!(found(&snapshot, &udp("fd01::1", "fd02::1", (9, 53), 1)), Err(DropReason::NoPolicy));
}

#[test]
fn an_icmp_error_of_a_router_takes_the_way_of_the_packet_it_answers() {
    let snapshot = Snapshot::new(1, [], vec![entry("lan", nets())]);
    let theirs = udp("10.2.0.5", "10.1.0.9", (4_000, 53), 1_400);
    let error = icmp::fragmentation_needed(&theirs, "192.168.1.1".parse().unwrap(), 1_300).unwrap();
    assert_eq!(found(&snapshot, &error), Ok("lan"));
}

#[test]
fn an_sa_is_found_by_its_spi_alone() {
    let sa = Arc::new(inbound(GCM));
    let snapshot = Snapshot::new(3, [Arc::clone(&sa)], vec![]);
    assert!(Arc::ptr_eq(snapshot.inbound(sa.spi()).unwrap(), &sa));
    assert!(snapshot.inbound(sa.spi() + 1).is_none());
    assert_eq!(snapshot.generation(), 3);
    assert_eq!(snapshot.inbound_sas().count(), 1);
}

proptest! {
    #[test]
    fn the_index_finds_what_a_search_through_all_finds(
        ranges in prop::collection::vec((0u32..64, 0u32..64, 0u32..64, 0u32..64), 0..12),
        packets in prop::collection::vec((0u32..64, 0u32..64), 1..20),
    ) {
        let address = |low: u32| format!("10.0.0.{low}");
        let range = |a: u32, b: u32| format!("{}-{}", address(a.min(b)), address(a.max(b)));
        let spd: Vec<_> = ranges
            .iter()
            .map(|(a, b, c, d)| entry("x", selectors(&[&range(*a, *b)], &[&range(*c, *d)])))
            .collect();
        let snapshot = Snapshot::new(1, [], spd.clone());
        for (source, destination) in packets {
            let packet = udp(&address(source), &address(destination), (1, 2), 0);
            let view = InnerPacket::parse(&packet).unwrap();
            let summary = summarize(&view);
            let expected = (0..).zip(&spd).find(|(_, entry)| entry.selectors.covers_outbound(&summary));
            prop_assert_eq!(snapshot.outbound(&view, &packet).ok().map(|(index, _)| index), expected.map(|(index, _)| index));
        }
    }
}
