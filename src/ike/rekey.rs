//! Decisions about exchanges that cross, as pure functions of what is known
//! ([RFC 7296 sections 2.8.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1),
//! [2.8.2](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.2),
//! [2.25.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.25.1) and
//! [2.25.2](https://www.rfc-editor.org/rfc/rfc7296#section-2.25.2)).

/// Who keeps what it made when both ends made the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ours stays, the peer closes its own.
    Won,
    /// Ours is closed by us, the peer's stays.
    Lost,
}

/// The lower of an exchange's two nonces; octet by octet, a prefix is lower.
pub(crate) fn lower(ni: &[u8], nr: &[u8]) -> Vec<u8> {
    ni.min(nr).to_vec()
}

/// The SA made with the lowest of the four nonces is closed by the end that made it. Each argument is
/// the lower nonce of one exchange.
pub(crate) fn verdict(ours: &[u8], theirs: &[u8]) -> Verdict {
    if ours < theirs { Verdict::Lost } else { Verdict::Won }
}

/// The exchange that we have under way on an IKE SA, as far as collisions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// None, or one that collides with nothing.
    No,
    /// Creating, rekeying or deleting a Child SA.
    Child,
    /// Rekeying the IKE SA.
    RekeyIke,
    /// Closing the IKE SA.
    CloseIke,
}

/// How a request of the peer that may collide is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As usual.
    AsUsual,
    /// TEMPORARY_FAILURE.
    TemporaryFailure,
    /// CHILD_SA_NOT_FOUND.
    ChildNotFound,
}

/// The Child SA that the peer wants to rekey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It wants a new one.
    New,
    /// We have it.
    Live,
    /// We have it, but are deleting it, or have deleted it and still listen.
    Closing,
    /// We never had it or it is gone.
    Unknown,
}

/// A request to create or rekey a Child SA.
pub(crate) fn answer_child(busy: Busy, target: Target) -> Answer {
    match (busy, target) {
        (Busy::RekeyIke | Busy::CloseIke, _) => Answer::TemporaryFailure,
        (Busy::No | Busy::Child, Target::Closing) => Answer::TemporaryFailure,
        (Busy::No | Busy::Child, Target::Unknown) => Answer::ChildNotFound,
        (Busy::No | Busy::Child, Target::New | Target::Live) => Answer::AsUsual,
    }
}

/// A request to rekey the IKE SA.
pub(crate) fn answer_ike_rekey(busy: Busy) -> Answer {
    match busy {
        Busy::Child | Busy::CloseIke => Answer::TemporaryFailure,
        Busy::No | Busy::RekeyIke => Answer::AsUsual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_with_the_lowest_nonce_loses() {
        assert_eq!(verdict(&lower(&[1, 2], &[9]), &lower(&[2], &[3])), Verdict::Lost);
        assert_eq!(verdict(&lower(&[5], &[4]), &lower(&[3, 9], &[7])), Verdict::Won);
    }

    #[test]
    fn a_nonce_that_is_a_prefix_of_another_is_lower() {
        assert_eq!(verdict(&[1, 2], &[1, 2, 0]), Verdict::Lost);
    }

    #[test]
    fn both_ends_agree_on_the_loser() {
        for (a, b) in [([1, 7], [2, 2]), ([9, 9], [3, 4]), ([0, 0], [255, 0])] {
            assert_ne!(verdict(&a, &b), verdict(&b, &a));
        }
    }

    #[test]
    fn every_crossing_has_the_answer_of_section_2_25() {
        use Answer::*;
        let child = [
            (Busy::No, Target::New, AsUsual),
            (Busy::No, Target::Live, AsUsual),
            (Busy::No, Target::Closing, TemporaryFailure),
            (Busy::No, Target::Unknown, ChildNotFound),
            (Busy::Child, Target::Live, AsUsual),
            (Busy::Child, Target::Closing, TemporaryFailure),
            (Busy::RekeyIke, Target::New, TemporaryFailure),
            (Busy::RekeyIke, Target::Live, TemporaryFailure),
            (Busy::CloseIke, Target::New, TemporaryFailure),
        ];
        for (busy, target, answer) in child {
            assert_eq!(answer_child(busy, target), answer, "{busy:?} {target:?}");
        }
        assert_eq!(answer_ike_rekey(Busy::No), AsUsual);
        assert_eq!(answer_ike_rekey(Busy::RekeyIke), AsUsual);
        assert_eq!(answer_ike_rekey(Busy::Child), TemporaryFailure);
        assert_eq!(answer_ike_rekey(Busy::CloseIke), TemporaryFailure);
    }
}
