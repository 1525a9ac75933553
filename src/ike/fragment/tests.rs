use super::*;

fn fragment(number: u16, total: u16, octets: &[u8]) -> Fragment {
    let first = if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
    Fragment { number, total, first, plaintext: octets.to_vec() }
}

fn now() -> Instant {
    Instant::now()
}

#[test]
fn fragments_in_any_order_make_the_message_with_the_type_of_the_first() {
    let at = now();
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let mut reassembly = Reassembly::default();
        let mut last = Outcome::Kept;
        for number in order {
            assert_eq!(last, Outcome::Kept);
            last = reassembly.insert(at, 7, fragment(number, 3, &[u8::try_from(number).unwrap()]));
        }
        assert_eq!(last, Outcome::Complete(PayloadType::NOTIFY, vec![1, 2, 3]));
        assert_eq!(reassembly.pending(), 0);
    }
}

#[test]
fn the_number_of_fragments_is_capped_exactly() {
    // CVE-2026-12413: an off-by-one on a count.
    let at = now();
    let mut reassembly = Reassembly::default();
    for number in 1..MAX_FRAGMENTS {
        assert_eq!(reassembly.insert(at, 0, fragment(number, MAX_FRAGMENTS, &[1])), Outcome::Kept);
    }
    let last = reassembly.insert(at, 0, fragment(MAX_FRAGMENTS, MAX_FRAGMENTS, &[1]));
    assert_eq!(last, Outcome::Complete(PayloadType::NOTIFY, vec![1; MAX_FRAGMENTS.into()]));
    for (number, total) in [
        (1, MAX_FRAGMENTS + 1),
        (MAX_FRAGMENTS + 1, MAX_FRAGMENTS + 1),
        (1, u16::MAX),
        (0, 3),
        (4, 3),
        (1, 0),
        (0, 0),
        (u16::MAX, MAX_FRAGMENTS),
    ] {
        assert_eq!(
            reassembly.insert(at, 0, fragment(number, total, &[1])),
            Outcome::Rejected,
            "{number}/{total}"
        );
        assert_eq!(reassembly.pending(), 0);
    }
}

#[test]
fn the_octets_of_a_message_are_capped_exactly() {
    let at = now();
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.insert(at, 0, fragment(1, 3, &vec![1; MAX_OCTETS])), Outcome::Kept);
    assert_eq!(reassembly.insert(at, 0, fragment(2, 3, &[])), Outcome::Kept);
    assert_eq!(reassembly.insert(at, 0, fragment(3, 3, &[1])), Outcome::Rejected);
    assert_eq!(reassembly.pending(), 0, "what is too large is forgotten whole");
    assert_eq!(reassembly.insert(at, 0, fragment(1, 1, &vec![1; MAX_OCTETS + 1])), Outcome::Rejected);
    assert!(matches!(reassembly.insert(at, 0, fragment(1, 1, &vec![1; MAX_OCTETS])), Outcome::Complete(..)));
}

#[test]
fn a_larger_total_starts_anew_and_a_smaller_one_is_ignored() {
    let at = now();
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.insert(at, 0, fragment(1, 2, b"old")), Outcome::Kept);
    assert_eq!(reassembly.insert(at, 0, fragment(2, 3, b"b")), Outcome::Kept);
    assert_eq!(reassembly.pending(), 1);
    assert_eq!(reassembly.insert(at, 0, fragment(2, 2, b"old")), Outcome::Ignored);
    assert_eq!(reassembly.insert(at, 0, fragment(2, 3, b"x")), Outcome::Ignored, "twice");
    assert_eq!(reassembly.insert(at, 0, fragment(3, 3, b"c")), Outcome::Kept);
    let whole = reassembly.insert(at, 0, fragment(1, 3, b"a"));
    assert_eq!(whole, Outcome::Complete(PayloadType::NOTIFY, b"abc".to_vec()));
}

#[test]
fn one_message_is_kept_at_a_time_and_not_for_ever() {
    let at = now();
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.insert(at, 0, fragment(1, 2, b"a")), Outcome::Kept);
    assert_eq!(reassembly.insert(at, 1, fragment(1, 2, b"b")), Outcome::Kept);
    assert_eq!(reassembly.pending(), 1);
    reassembly.expire(at + TIMEOUT);
    assert_eq!(reassembly.pending(), 0);
    assert_eq!(reassembly.insert(at, 1, fragment(1, 2, b"a")), Outcome::Kept);
    let late = reassembly.insert(at + TIMEOUT, 1, fragment(2, 2, b"b"));
    assert_eq!(late, Outcome::Kept, "what waited too long does not count");
}
