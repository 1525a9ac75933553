use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// What a replay window means, without any cleverness.
struct Model {
    seen: HashSet<u64>,
    highest: u64,
    window: u64,
}

impl Model {
    fn commit(&mut self, sequence: u64) -> Result<Freshness, DropReason> {
        if sequence == 0 {
            return Err(DropReason::SequenceZero);
        }
        if sequence <= self.highest && self.highest - sequence >= self.window {
            return Err(DropReason::ReplayTooOld);
        }
        if !self.seen.insert(sequence) {
            return Err(DropReason::Replayed);
        }
        let fresh = sequence > self.highest;
        self.highest = self.highest.max(sequence);
        Ok(if fresh { Freshness::Highest } else { Freshness::Late })
    }
}

/// A walk whose steps are mostly small, sometimes of the window's size and seldom huge.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![8 => -80i64..80, 4 => -5_000i64..5_000, 1 => 0i64..100_000];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn the_window_does_what_the_model_does(packets in 1u32..5_000, start in 0u64..20_000, steps in steps()) {
        let mut window = ReplayWindow::new(packets);
        let mut model = Model { seen: HashSet::new(), highest: 0, window: window.size() };
        prop_assert!(window.size() >= u64::from(packets));
        let mut sequence = start;
        for step in steps {
            sequence = sequence.saturating_add_signed(step);
            let check = window.check(sequence);
            let expected = model.commit(sequence);
            prop_assert_eq!(check.err(), expected.err());
            prop_assert_eq!(window.commit(sequence), expected);
            prop_assert_eq!(window.highest(), model.highest);
        }
    }

    /// A sender counts on over several wraps of the low half; packets are lost, late and repeated, and
    /// forged ones with any low half come between. The receiver must find every high half, as long as no
    /// gap reaches 2³² less the window.
    #[test]
    fn extended_numbers_are_recovered_over_wraps_among_forgeries(
        start in prop_oneof![1u64..5_000, 0xffff_0000u64..0x1_0000_1000, 0x7_ffff_f000u64..0x8_0000_1000],
        moves in prop::collection::vec((0u64..0x7000_0000, 0u64..8_192, any::<u32>()), 1..100),
    ) {
        let mut window = ReplayWindow::new(4_096);
        window.highest = start - 1;
        let mut sender = start;
        for (gap, back, forged) in moves {
            sender += gap + 1;
            prop_assert_eq!(window.recover(sender as u32), Ok(sender));
            prop_assert_eq!(window.commit(sender), Ok(Freshness::Highest));

            let before = window.clone();
            if let Ok(guess) = window.recover(forged) {
                let _ = window.check(guess);
                prop_assert_eq!(guess as u32, forged);
            }
            prop_assert_eq!(&before.words, &window.words);
            prop_assert_eq!(before.highest, window.highest);

            let late = sender.saturating_sub(back);
            if late > 0 && back < window.size() {
                prop_assert_eq!(window.recover(late as u32), Ok(late));
                let _ = window.commit(late);
                prop_assert_eq!(window.check(late), Err(DropReason::Replayed));
            }
        }
    }
}

#[test]
fn the_first_packet_is_number_one_and_zero_is_refused() {
    let mut window = ReplayWindow::new(64);
    assert_eq!(window.check(0), Err(DropReason::SequenceZero));
    assert_eq!(window.commit(1), Ok(Freshness::Highest));
    assert_eq!(window.commit(1), Err(DropReason::Replayed));
}

#[test]
fn a_number_with_low_half_zero_is_accepted_after_a_wrap() {
    let mut window = ReplayWindow::new(64);
    window.highest = 0xffff_ffff;
    assert_eq!(window.recover(0), Ok(0x1_0000_0000));
    assert_eq!(window.commit(0x1_0000_0000), Ok(Freshness::Highest));
}

#[test]
fn nothing_lies_before_the_first_subspace() {
    let window = ReplayWindow::new(64);
    assert_eq!(window.recover(u32::MAX), Err(DropReason::ReplayTooOld));
}

#[test]
fn a_jump_over_the_whole_ring_forgets_everything_in_it() {
    let mut window = ReplayWindow::new(64);
    for sequence in 1..=200 {
        window.commit(sequence).unwrap();
    }
    window.commit(1_000_000).unwrap();
    for sequence in 1_000_000 - window.size() + 1..1_000_000 {
        assert_eq!(window.commit(sequence), Ok(Freshness::Late));
    }
    assert_eq!(window.check(1_000_000 - window.size()), Err(DropReason::ReplayTooOld));
}

#[test]
fn a_window_that_continues_takes_nothing_old_and_everything_new() {
    for highest in [1, 63, 64, 1_000, u64::MAX - 5] {
        let mut window = ReplayWindow::new(256);
        window.continue_after(highest);
        for old in highest.saturating_sub(500).max(1)..=highest {
            assert!(window.check(old).is_err(), "{old} after {highest}");
        }
        assert_eq!(window.commit(highest + 2), Ok(Freshness::Highest));
        assert_eq!(window.commit(highest + 1), Ok(Freshness::Late));
        assert_eq!(window.commit(highest + 5), Ok(Freshness::Highest));
    }
}
