use super::*;
use proptest::prelude::*;

fn set(texts: &[&str]) -> SelectorSet {
    texts.iter().map(|text| TrafficSelector::parse(text).unwrap()).collect()
}

#[test]
fn a_request_within_policy_is_answered_whole() {
    let found = narrow(
        &set(&["10.0.0.0/8"]),
        &set(&["192.168.0.0/16"]),
        &set(&["10.1.0.0/16"]),
        &set(&["192.168.1.0/24"]),
    );
    let found = found.unwrap();
    assert_eq!((found.local, found.remote), (set(&["10.1.0.0/16"]), set(&["192.168.1.0/24"])));
    assert!(found.whole && found.covers_first);
}

#[test]
fn a_wider_request_is_cut_to_policy_on_both_sides() {
    let found =
        narrow(&set(&["10.1.0.0/16"]), &set(&["192.168.1.0/24"]), &set(&["0.0.0.0/0"]), &set(&["0.0.0.0/0"]))
            .unwrap();
    assert_eq!((found.local, found.remote), (set(&["10.1.0.0/16"]), set(&["192.168.1.0/24"])));
    assert!(!found.whole);
}

#[test]
fn the_first_pair_of_a_request_is_included_when_policy_admits_it() {
    let asked_remote = set(&["192.168.1.7[tcp/50000]", "192.168.0.0/16"]);
    let asked_local = set(&["10.1.2.3[tcp/443]", "10.0.0.0/8"]);
    let found =
        narrow(&set(&["10.1.0.0/16"]), &set(&["192.168.1.0/24"]), &asked_local, &asked_remote).unwrap();
    assert!(found.covers_first);
    assert_eq!((found.local, found.remote), (set(&["10.1.0.0/16"]), set(&["192.168.1.0/24"])));
    let elsewhere =
        narrow(&set(&["10.2.0.0/16"]), &set(&["192.168.1.0/24"]), &asked_local, &asked_remote).unwrap();
    assert!(!elsewhere.covers_first);
}

#[test]
fn several_selectors_of_both_families_narrow_each() {
    let found = narrow(
        &set(&["10.0.0.0/16", "fd00:1::/32"]),
        &set(&["192.168.0.0/16[tcp]", "fd00:2::/32"]),
        &set(&["fd00:1:1::/48", "10.0.0.0/8"]),
        &set(&["fd00:2::/32", "192.168.0.0/24[tcp/1-9]"]),
    )
    .unwrap();
    assert_eq!(found.local, set(&["fd00:1:1::/48", "10.0.0.0/16"]));
    assert_eq!(found.remote, set(&["fd00:2::/32", "192.168.0.0/24[tcp/1-9]"]));
}

#[test]
fn ends_that_cannot_talk_to_each_other_are_disjoint() {
    let error =
        narrow(&set(&["10.0.0.0/8"]), &set(&["fd00::/8"]), &set(&["10.0.0.0/8"]), &set(&["fd00::/8"]))
            .unwrap_err();
    assert!(matches!(error, NarrowError::Disjoint { .. }));
    let error = narrow(
        &set(&["10.0.0.0/8[tcp]"]),
        &set(&["0.0.0.0/0"]),
        &set(&["0.0.0.0/0"]),
        &set(&["0.0.0.0/0[udp]"]),
    );
    assert!(error.is_err());
}

#[test]
fn nothing_in_common_names_both_sides() {
    let error = narrow(
        &set(&["10.0.0.0/8"]),
        &set(&["192.168.0.0/16"]),
        &set(&["172.16.0.0/12"]),
        &set(&["192.168.0.0/16"]),
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("10.0.0.0/8 ↔ 192.168.0.0/16") && text.contains("172.16.0.0/12 ↔"), "{text}");
}

#[test]
fn of_several_policies_the_one_that_serves_best_is_chosen() {
    let policies = [
        (set(&["10.0.0.0/8[udp]"]), set(&["192.168.0.0/16"])),
        (set(&["10.1.0.0/16"]), set(&["192.168.0.0/16"])),
        (set(&["10.0.0.0/8"]), set(&["192.168.0.0/16"])),
    ];
    let pick = |local: &[&str], remote: &[&str]| {
        choose(policies.iter().map(|(l, r)| (l, r)), &set(local), &set(remote)).map(|(index, _)| index)
    };
    assert_eq!(pick(&["10.0.0.0/8"], &["192.168.1.0/24"]), Some(2));
    assert_eq!(pick(&["10.1.9.0/24"], &["192.168.1.0/24"]), Some(1));
    assert_eq!(pick(&["10.1.0.1", "0.0.0.0/0"], &["192.168.1.0/24"]), Some(1));
    assert_eq!(pick(&["172.16.0.0/12"], &["192.168.1.0/24"]), None);
}

#[test]
fn an_initiator_accepts_narrower_and_refuses_wider() {
    let (local, remote) = (set(&["10.0.0.0/8"]), set(&["192.168.0.0/16"]));
    let narrower = accept_answer(&local, &remote, &set(&["10.0.1.0/24"]), &remote).unwrap();
    assert!(!narrower.whole && !narrower.covers_first);
    assert!(accept_answer(&local, &remote, &local, &remote).unwrap().whole);
    let wider = accept_answer(&local, &remote, &set(&["0.0.0.0/0"]), &remote).unwrap_err();
    assert!(matches!(wider, NarrowError::Wider { end: "local", .. }), "{wider}");
    let wider = accept_answer(&local, &remote, &local, &set(&["192.168.0.0/16", "8.8.8.8"])).unwrap_err();
    assert!(wider.to_string().contains("8.8.8.8/32"), "{wider}");
    assert!(matches!(accept_answer(&local, &remote, &set(&[]), &remote), Err(NarrowError::Empty { .. })));
}

#[test]
fn an_answer_may_be_covered_by_several_offers() {
    let local = set(&["10.0.0.0/25", "10.0.0.128/25"]);
    assert!(
        accept_answer(&local, &set(&["0.0.0.0/0"]), &set(&["10.0.0.0/24"]), &set(&["0.0.0.0/0"])).is_ok()
    );
}

#[test]
fn a_single_pair_is_the_waiting_packet_or_the_first_hosts() {
    let (local, remote) = (set(&["10.0.0.0/8", "fd00::/64"]), set(&["fd01::/64"]));
    let (ours, theirs) = single_pair(&local, &remote, None).unwrap();
    assert_eq!((ours, theirs), (set(&["fd00::"]), set(&["fd01::"])));
    let hint = (TrafficSelector::parse("fd00::7").unwrap(), TrafficSelector::parse("fd01::9").unwrap());
    assert_eq!(single_pair(&local, &remote, Some(hint)).unwrap().0, set(&["fd00::7"]));
    let outside = (TrafficSelector::parse("fe00::7").unwrap(), hint.1);
    assert_eq!(single_pair(&local, &remote, Some(outside)).unwrap().0, set(&["fd00::"]));
    assert_eq!(single_pair(&set(&["10.0.0.0/8"]), &remote, None), None);
}

fn any_set() -> impl Strategy<Value = SelectorSet> {
    let selector =
        (prop_oneof![Just(0u8), Just(6), Just(17)], 0u32..40, 0u32..40).prop_map(|(protocol, a, b)| {
            let at = |n| std::net::IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            TrafficSelector::new(protocol, crate::policy::PortRange::ANY, at(a.min(b)), at(a.max(b))).unwrap()
        });
    prop::collection::vec(selector, 1..5).prop_map(SelectorSet::new)
}

proptest! {
    #[test]
    fn narrowing_never_widens_either_side(a in any_set(), b in any_set(), c in any_set(), d in any_set()) {
        if let Ok(found) = narrow(&a, &b, &c, &d) {
            prop_assert!(found.local.is_subset_of(&a) && found.local.is_subset_of(&c));
            prop_assert!(found.remote.is_subset_of(&b) && found.remote.is_subset_of(&d));
            prop_assert!(!found.local.is_empty() && !found.remote.is_empty());
        }
    }

    #[test]
    fn what_a_responder_answers_its_initiator_accepts(a in any_set(), b in any_set(), c in any_set(), d in any_set()) {
        if let Ok(found) = narrow(&a, &b, &c, &d) {
            let accepted = accept_answer(&d, &c, &found.remote, &found.local).unwrap();
            prop_assert!(accepted.local.is_equivalent_to(&found.remote));
            prop_assert!(accepted.remote.is_equivalent_to(&found.local));
        }
    }

    #[test]
    fn a_first_pair_that_policy_admits_is_in_the_answer(a in any_set(), b in any_set(), c in any_set(), d in any_set()) {
        let first_admitted = a.includes(c.first().unwrap()) && b.includes(d.first().unwrap());
        if let Ok(found) = narrow(&a, &b, &c, &d) && first_admitted && c.first().unwrap().protocol() == d.first().unwrap().protocol() {
            prop_assert!(found.covers_first);
        }
    }
}
