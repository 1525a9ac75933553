//! What is remembered of one Service port.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{
    latency::Latency,
    verdict::{Certainty, Code, Evidence, Health, ProbeOutcome, State, Subject},
};
use crate::wire::ip::sighting::ErrorKind;

/// Outcomes that are remembered.
const OUTCOMES: usize = 32;
/// Failures older than this belong to another story.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// A verdict's evidence is not brought up to date more often.
const RENEWAL: Duration = Duration::from_secs(1);
/// An answer that takes longer than this is late.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Connects that must succeed in a row before something that failed only sometimes counts as repaired.
const SUCCESSES_AFTER_MIXED: u32 = 10;
const SUCCESSES_AFTER_OUTAGE: u32 = 2;

/// A Service port and its connects.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) subject: Subject,
    pub(super) state: State,
    pub(super) last_connect: Option<(Instant, Duration)>,
    pub(super) answered: u64,
    pub(super) unanswered: u64,
    pub(super) refused: u64,
    latency: Latency,
    /// The time of the SYN and whether it was answered.
    outcomes: VecDeque<(Instant, bool)>,
    last_failure: Option<Instant>,
    successes_since: u32,
    /// SYNs of connections that nobody answered, and how many of these connections sent more than one.
    pub(super) silent_syns: u32,
    pub(super) silent_retried: u32,
    /// Connections that nobody answered and that may still be answered late.
    pub(super) silent: u32,
    /// Refusals since the last answered connect.
    pub(super) refusals: u32,
    /// The last ICMP error, its sender, and how many of its kind came since the last answered connect.
    pub(super) error: Option<(ErrorKind, IpAddr, u32)>,
    /// Datagrams answered from another address.
    pub(super) stray_answers: u32,
    pub(super) last_client: Option<SocketAddr>,
    pub(super) round: Option<Round>,
    pub(super) next_round: Option<Instant>,
    pub(super) rounds: usize,
    /// When a round first found nothing wrong although clients failed.
    well_at: Option<Instant>,
    settled_at: Option<Instant>,
    /// The last SYN of a connection that counts as failed.
    pub(super) last_silent_syn: Option<Instant>,
    /// The SYN that was last refused.
    pub(super) last_refused_syn: Option<Instant>,
}

impl Tracked {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            state: State::Unknown,
            last_connect: None,
            answered: 0,
            unanswered: 0,
            refused: 0,
            latency: Latency::default(),
            outcomes: VecDeque::new(),
            last_failure: None,
            successes_since: 0,
            silent_syns: 0,
            silent_retried: 0,
            silent: 0,
            refusals: 0,
            error: None,
            stray_answers: 0,
            last_client: None,
            round: None,
            next_round: None,
            rounds: 0,
            well_at: None,
            settled_at: None,
            last_silent_syn: None,
            last_refused_syn: None,
        }
    }

    /// A connect begun at `began` was answered. `took` is none where it cannot be told.
    pub(super) fn answer(&mut self, at: Instant, began: Instant, took: Option<Duration>) {
        self.answered += 1;
        if let Some(took) = took {
            self.last_connect = Some((at, took));
            self.latency.add(took);
        }
        self.note(began, true);
        self.successes_since = self.successes_since.saturating_add(1);
        self.refusals = 0;
        self.error = None;
        self.well_at = None;
        if self.state == State::Unknown {
            self.state = State::Ok;
        }
    }

    /// A connect begun at `began` failed.
    pub(super) fn fail(&mut self, at: Instant, began: Instant, client: SocketAddr) {
        self.forget_old(at);
        self.note(began, false);
        self.last_failure = Some(at);
        self.successes_since = 0;
        self.last_client = Some(client);
    }

    /// Nobody answered so many SYNs of one connection.
    pub(super) fn fall_silent(&mut self, at: Instant, began: Instant, syns: u32, client: SocketAddr) {
        self.fail(at, began, client);
        self.unanswered += 1;
        self.silent += 1;
        self.silent_syns = self.silent_syns.saturating_add(syns);
        self.silent_retried = self.silent_retried.saturating_add(u32::from(syns > 1));
    }

    /// What was taken for unanswered is answered after all: slow, not silent.
    pub(super) fn answer_late(&mut self, began: Instant, syns: u32) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.silent = self.silent.saturating_sub(1);
        self.silent_syns = self.silent_syns.saturating_sub(syns);
        self.silent_retried = self.silent_retried.saturating_sub(u32::from(syns > 1));
        if let Some(at) = self.outcomes.iter().position(|outcome| *outcome == (began, false)) {
            self.outcomes.remove(at);
        }
    }

    fn note(&mut self, began: Instant, answered: bool) {
        if self.outcomes.len() >= OUTCOMES {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((began, answered));
    }

    /// Failures of long ago do not add up with later ones.
    pub(super) fn forget_old(&mut self, now: Instant) {
        if self.last_failure.is_some_and(|last| now.saturating_duration_since(last) > WINDOW) {
            (self.silent, self.silent_syns, self.silent_retried) = (0, 0, 0);
            (self.stray_answers, self.refusals, self.error) = (0, 0, None);
        }
        self.outcomes.retain(|(began, _)| now.saturating_duration_since(*began) <= WINDOW);
    }

    /// Enough SYNs went unanswered to look into it: three, of which some were repeated, so that no single lost packet
    /// looks like it; or many that were not.
    pub(super) fn is_suspect(&self) -> bool {
        self.silent > 0 && self.silent_syns >= 3 && (self.silent_retried > 0 || self.silent_syns >= 6)
    }

    /// Whether this verdict was given a moment ago; otherwise it is from now on.
    pub(super) fn is_settled(&mut self, now: Instant, code: Code, certainty: Certainty) -> bool {
        let same = self
            .state
            .verdict()
            .is_some_and(|verdict| verdict.code == code && verdict.certainty >= certainty);
        let fresh = |at: Instant| now.saturating_duration_since(at) < RENEWAL;
        if same && self.settled_at.is_some_and(fresh) {
            return true;
        }
        self.settled_at = Some(now);
        false
    }

    /// Whether clients are still refused after a round found nothing wrong. The first such round is noted.
    pub(super) fn refused_after_well(&mut self, now: Instant) -> bool {
        let well_at = *self.well_at.get_or_insert(now);
        self.last_refused_syn.is_some_and(|syn| syn > well_at)
    }

    /// Whether clients still get no answer a while after a round found nothing wrong. The first such round is noted.
    pub(super) fn failed_after_well(&mut self, now: Instant) -> bool {
        let Some(well_at) = self.well_at else {
            self.well_at = Some(now);
            return false;
        };
        self.last_silent_syn
            .is_some_and(|syn| syn > well_at && now.saturating_duration_since(syn) >= ANSWER_PATIENCE)
    }

    /// Answered and failed connects from the first failed one of late on.
    pub(super) fn ratio(&self) -> (u64, u64) {
        let from = self.outcomes.iter().filter(|(_, answered)| !answered).map(|(began, _)| *began).min();
        let Some(from) = from else { return (0, 0) };
        let count = |wanted| {
            let outcomes = self.outcomes.iter();
            outcomes.filter(|(began, answered)| *answered == wanted && *began >= from).count() as u64
        };
        (count(true), count(false))
    }

    /// Whether it answered everything for a while.
    pub(super) fn has_recovered(&self, now: Instant, mixed: bool) -> bool {
        let needed = if mixed { SUCCESSES_AFTER_MIXED } else { SUCCESSES_AFTER_OUTAGE };
        self.successes_since >= needed && self.quiet_for(now).is_none_or(|quiet| quiet >= WINDOW)
    }

    /// How long ago the last failure was.
    pub(super) fn quiet_for(&self, now: Instant) -> Option<Duration> {
        self.last_failure.map(|last| now.saturating_duration_since(last))
    }

    /// The failure is over.
    pub(super) fn clear_failure(&mut self, state: State) {
        self.state = state;
        self.outcomes.clear();
        self.last_failure = None;
        (self.silent, self.silent_syns, self.silent_retried) = (0, 0, 0);
        (self.refusals, self.error, self.stray_answers) = (0, None, 0);
        (self.round, self.next_round) = (None, None);
    }

    /// What the counts say.
    pub(super) fn evidence(&self) -> Evidence {
        let (answered, failed) = self.ratio();
        Evidence { client: self.last_client, answered, failed, ..Evidence::default() }
    }

    pub(super) fn health(&self) -> Health {
        Health {
            subject: self.subject.clone(),
            state: self.state.clone(),
            last_connect: self.last_connect,
            answered: self.answered,
            unanswered: self.unanswered,
            refused: self.refused,
            p50: self.latency.quantile(50),
            p99: self.latency.quantile(99),
        }
    }
}

/// Probes of a Service and of some of its endpoints that belong together.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) began: Instant,
    /// Results not yet in.
    pub(super) open: usize,
    pub(super) service: Vec<ProbeOutcome>,
    pub(super) endpoints: Vec<(SocketAddr, ProbeOutcome)>,
}

/// Probes of one kind by what came of them; those not tried do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) answered: u32,
    pub(super) refused: u32,
    pub(super) silent: u32,
}

impl Tally {
    pub(super) fn of(outcomes: impl IntoIterator<Item = ProbeOutcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome {
                ProbeOutcome::Answered(_) => tally.answered += 1,
                ProbeOutcome::Refused => tally.refused += 1,
                ProbeOutcome::TimedOut | ProbeOutcome::Unreachable => tally.silent += 1,
                ProbeOutcome::NotTried => {}
            }
        }
        tally
    }

    pub(super) fn total(self) -> u32 {
        self.answered + self.refused + self.silent
    }

    pub(super) fn all_answered(self) -> bool {
        self.total() > 0 && self.answered == self.total()
    }
}
