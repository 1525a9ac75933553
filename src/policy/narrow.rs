//! Narrowing of traffic selectors ([RFC 7296 2.9](https://www.rfc-editor.org/rfc/rfc7296#section-2.9)).
//!
//! A responder answers with what its policy and the request have in common, never more than either, and with
//! the initiator's first pair in it wherever policy admits that. An initiator accepts a narrower answer and
//! refuses a wider one.

use super::selector::TrafficSelector;
use super::selector_set::SelectorSet;

/// The selectors of both ends that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// This end's.
    pub local: SelectorSet,
    /// The peer's.
    pub remote: SelectorSet,
    /// Whether the first selectors of the request, which may come from a waiting packet, are included.
    pub covers_first: bool,
    /// Whether nothing of the request was taken away.
    pub whole: bool,
}

/// Why selectors do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NarrowError {
    /// Nothing in common.
    #[error(
        "no traffic selectors in common: ours are {our_local} ↔ {our_remote}, \
         the peer asks for {asked_local} ↔ {asked_remote} (ours ↔ the peer's)"
    )]
    Disjoint {
        /// Our policy for this end.
        our_local: SelectorSet,
        /// Our policy for the peer's end.
        our_remote: SelectorSet,
        /// What the peer asks for of this end.
        asked_local: SelectorSet,
        /// What the peer asks for of its end.
        asked_remote: SelectorSet,
    },
    /// An answer with more than was offered.
    #[error(
        "the peer answered with {answered}, which is not inside the {end} selectors we offered ({offered})"
    )]
    Wider {
        /// `local` or `remote`.
        end: &'static str,
        /// The offending answer.
        answered: TrafficSelector,
        /// What we offered.
        offered: SelectorSet,
    },
    /// An answer that leaves nothing usable.
    #[error("the peer's answer leaves no traffic: {local} ↔ {remote}")]
    Empty {
        /// The answer for this end.
        local: SelectorSet,
        /// The answer for the peer's end.
        remote: SelectorSet,
    },
}

/// Whether packets can run between two selectors: one family and a common protocol.
fn partners(one: &TrafficSelector, other: &TrafficSelector) -> bool {
    one.is_ipv4() == other.is_ipv4()
        && (one.protocol() == 0 || other.protocol() == 0 || one.protocol() == other.protocol())
}

/// Leaves out selectors that no selector of the other end can talk to.
fn keep_partners(one: &SelectorSet, other: &SelectorSet) -> SelectorSet {
    one.iter().filter(|selector| other.iter().any(|theirs| partners(selector, theirs))).copied().collect()
}

/// As responder: what our policy leaves of a request. `asked_remote` is the request's TSi (the peer's end),
/// `asked_local` its TSr (ours).
///
/// # Errors
/// [`NarrowError::Disjoint`]: answer TS_UNACCEPTABLE.
pub fn narrow(
    our_local: &SelectorSet,
    our_remote: &SelectorSet,
    asked_local: &SelectorSet,
    asked_remote: &SelectorSet,
) -> Result<Narrowed, NarrowError> {
    let local = asked_local.intersect(our_local);
    let remote = asked_remote.intersect(our_remote);
    let (local, remote) = (keep_partners(&local, &remote), keep_partners(&remote, &local));
    if local.is_empty() || remote.is_empty() {
        return Err(NarrowError::Disjoint {
            our_local: our_local.clone(),
            our_remote: our_remote.clone(),
            asked_local: asked_local.clone(),
            asked_remote: asked_remote.clone(),
        });
    }
    let first =
        |asked: &SelectorSet, left: &SelectorSet| asked.first().is_some_and(|first| left.includes(first));
    let covers_first = first(asked_local, &local) && first(asked_remote, &remote);
    let whole = asked_local.is_subset_of(&local) && asked_remote.is_subset_of(&remote);
    Ok(Narrowed { local, remote, covers_first, whole })
}

/// As responder: the policy, of several, that serves a request best, with its index: the first that admits all
/// of it, else the first that admits its first selectors, else the first with anything in common.
pub fn choose<'a>(
    policies: impl IntoIterator<Item = (&'a SelectorSet, &'a SelectorSet)>,
    asked_local: &SelectorSet,
    asked_remote: &SelectorSet,
) -> Option<(usize, Narrowed)> {
    let rank = |narrowed: &Narrowed| (narrowed.whole, narrowed.covers_first);
    let mut best: Option<(usize, Narrowed)> = None;
    for (index, (our_local, our_remote)) in policies.into_iter().enumerate() {
        if let Ok(found) = narrow(our_local, our_remote, asked_local, asked_remote)
            && best.as_ref().is_none_or(|(_, known)| rank(&found) > rank(known))
        {
            best = Some((index, found));
        }
    }
    best
}

/// As initiator: checks a responder's answer against what we offered.
///
/// # Errors
/// [`NarrowError::Wider`] if it has anything that we did not offer, [`NarrowError::Empty`] if it leaves nothing.
pub fn accept_answer(
    offered_local: &SelectorSet,
    offered_remote: &SelectorSet,
    answered_local: &SelectorSet,
    answered_remote: &SelectorSet,
) -> Result<Narrowed, NarrowError> {
    for (end, answered, offered) in
        [("local", answered_local, offered_local), ("remote", answered_remote, offered_remote)]
    {
        if let Some(wider) = answered.iter().find(|selector| !offered.includes(selector)) {
            return Err(NarrowError::Wider { end, answered: *wider, offered: offered.clone() });
        }
    }
    narrow(offered_local, offered_remote, answered_local, answered_remote)
        .map_err(|_| NarrowError::Empty { local: answered_local.clone(), remote: answered_remote.clone() })
        .map(|narrowed| Narrowed {
            covers_first: offered_local.first().is_some_and(|first| narrowed.local.includes(first))
                && offered_remote.first().is_some_and(|first| narrowed.remote.includes(first)),
            whole: offered_local.is_subset_of(&narrowed.local)
                && offered_remote.is_subset_of(&narrowed.remote),
            ..narrowed
        })
}

/// After SINGLE_PAIR_REQUIRED: the pair to offer instead. It is that of the packet which raised the Child SA
/// (`hint`: our end, the peer's), or else the first of each set, cut to the first address
/// ([RFC 7296 2.9](https://www.rfc-editor.org/rfc/rfc7296#section-2.9)).
pub fn single_pair(
    local: &SelectorSet,
    remote: &SelectorSet,
    hint: Option<(TrafficSelector, TrafficSelector)>,
) -> Option<(SelectorSet, SelectorSet)> {
    if let Some((ours, theirs)) = hint
        && local.includes(&ours)
        && remote.includes(&theirs)
    {
        return Some((SelectorSet::new([ours]), SelectorSet::new([theirs])));
    }
    let one_host = |selector: &TrafficSelector| {
        SelectorSet::new([TrafficSelector::of_host(selector.start(), selector.protocol(), selector.ports())])
    };
    local.iter().find_map(|ours| {
        let theirs = remote.iter().find(|theirs| partners(ours, theirs))?;
        Some((one_host(ours), one_host(theirs)))
    })
}

#[cfg(test)]
mod tests;
