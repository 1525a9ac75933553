use proptest::prelude::*;

use super::*;
use crate::esp::fixture::selectors;

fn entry(child: &str, remote: &str) -> SpdEntry {
    let selectors = selectors(&["10.1.0.0/16"], &[remote]);
    SpdEntry { peer: "office".into(), child: child.into(), selectors, action: SpdAction::Discard }
}

fn packet(last: [u8; 2]) -> PacketSummary {
    PacketSummary {
        src: IpAddr::from([10, 1, 0, 1]),
        dst: IpAddr::from([10, 2, last[0], last[1]]),
        protocol: 17,
        src_port: Some(9),
        dst_port: Some(53),
    }
}

fn group(number: usize, narrow: u8) -> Vec<SpdEntry> {
    let remote = format!("10.2.{number}.0/24");
    let mut entries: Vec<_> =
        (0..narrow).map(|at| entry(&format!("{number}.{at}"), &format!("10.2.{number}.{at}/32"))).collect();
    entries.push(entry(&number.to_string(), &remote));
    entries
}

proptest! {
    #[test]
    fn an_spd_that_was_changed_answers_as_one_that_is_made_anew(
        changes in prop::collection::vec((0usize..150, 0u8..4), 0..60),
        packets in prop::collection::vec((0u8..160, 0u8..6), 1..60),
    ) {
        let mut narrow = [0; 150];
        let mut changed = Spd::new((0..150).map(|number| group(number, 0)));
        let before = changed.clone();
        for (number, count) in changes {
            narrow[number] = count;
            changed.replace(number, group(number, count));
        }
        let anew = Spd::new((0..150).map(|number| group(number, narrow[number])));
        for (network, host) in packets {
            let packet = packet([network, host]);
            let found = |spd: &Spd| spd.first(&packet).map(|(number, entry)| (number, entry.child.to_string()));
            prop_assert_eq!(found(&changed), found(&anew));
            let (number, name) = found(&changed).unzip();
            prop_assert_eq!(number.and_then(|number| changed.get(number)).map(|e| e.child.to_string()), name);
            prop_assert_eq!(found(&before).map(|(number, _)| number), (network < 150).then_some(network.into()));
        }
    }
}

#[test]
fn a_replacement_leaves_all_other_parts_and_the_index_shared() {
    let first = Spd::new((0..200).map(|number| group(number, 0)));
    let mut second = first.clone();
    second.replace(70, group(70, 2));
    let shared = first.parts.iter().zip(&second.parts).map(|(a, b)| Arc::ptr_eq(a, b));
    assert_eq!(shared.collect::<Vec<_>>(), [true, false, true, true]);
    assert!(Arc::ptr_eq(&first.index, &second.index));
    assert_eq!((first.iter().count(), second.iter().count(), second.len()), (200, 202, 200));
    second.replace(1000, Vec::new());
    assert_eq!(second.len(), 200);
}

#[test]
fn an_entry_outside_of_what_its_group_selected_is_found_nevertheless() {
    let mut spd = Spd::new([group(1, 0)]);
    spd.replace(0, vec![entry("elsewhere", "10.2.7.0/24"), entry("1", "10.2.1.0/24")]);
    assert_eq!(
        spd.first(&packet([7, 1])).map(|(number, entry)| (number, &*entry.child)),
        Some((0, "elsewhere"))
    );
    assert_eq!(spd.first(&packet([1, 1])).map(|(number, _)| number), Some(1 << 32));
    spd.replace(0, vec![entry("wider", "10.2.0.0/16")]);
    assert_eq!(spd.first(&packet([9, 9])).map(|(_, entry)| &*entry.child), Some("wider"));
    spd.replace(0, Vec::new());
    assert!(spd.first(&packet([9, 9])).is_none());
}
