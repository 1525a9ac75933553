//! Finds out from copied headers which Services do not answer, and why.
//!
//! Pure: time comes in with each call, probes and events go out as values. Memory is bounded: connections under way
//! by number, oldest going first; Services by the clusters' own lists, never by what clients send. One event is given
//! for each Service port, and another only when the verdict changes or after it had recovered.
//!
//! What it can tell, and from what:
//!
//! | Evidence | Verdict |
//! |---|---|
//! | SYN-ACK from a Pod that acknowledges a SYN to the Service, or a Pod's datagram that the client refuses | `untranslated-reply` |
//! | SYNs unanswered, probes of the Service unanswered, probes of its endpoints answered | `service-path`, `not-translated` |
//! | SYNs unanswered, and probes of the endpoints too | `endpoint-unreachable` |
//! | SYNs unanswered, all probes answered | `replies-lost` |
//! | RST or port unreachable | `no-endpoints`, `endpoint-refuses`, `refused-on-the-way` |
//! | time exceeded, host unreachable, prohibited | `routing-loop`, `no-route`, `prohibited` |
//! | our own policy refuses | `outside-selectors` |
//!
//! Pings are not looked at: that a Service's address answers them says nothing about the Service. A UDP Service cannot be
//! probed by connecting, so one that stays silent gets no verdict.

mod verdict;

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;

pub use self::verdict::{
    Action, Certainty, Code, Evidence, Health, Probe, ProbeOutcome, ProbeResult, State, Subject, Verdict,
};
use super::plan::Plan;
use crate::{config::ServiceMode, wire::ip::Sighting};

/// What the detector must know of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How its Services are reached.
    pub mode: ServiceMode,
    /// Its Services and their endpoints, also where they are not translated here; service ranges alone if nobody
    /// says more.
    pub plan: Arc<Plan>,
    /// Ranges of its Pods' addresses, as far as they are known.
    pub pod_cidrs: Vec<IpNet>,
    /// Names and addresses of its nodes, as far as they are known.
    pub nodes: Vec<(String, IpAddr)>,
}

/// The detector.
#[derive(Debug, Default)]
pub struct Detector {}

impl Detector {
    /// One that knows no cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clusters anew. What is known of Service ports that stay is kept, unless the way they are reached
    /// changes.
    pub fn set_plan(&mut self, _now: Instant, _clusters: Vec<Watched>) {}

    /// Takes a sighting. They must come in the order of their times.
    pub fn sighted(&mut self, _sighting: &Sighting) {}

    /// Says that sightings were lost: connections under way may have been answered unseen, and are forgotten.
    pub fn sightings_lost(&mut self) {}

    /// Takes the result of a probe that [`Detector::poll`] asked for.
    pub fn probed(&mut self, _now: Instant, _result: &ProbeResult) {}

    /// What is to be done next; call it until it gives nothing, after every call of another method and at
    /// [`Detector::poll_timeout`].
    pub fn poll(&mut self, _now: Instant) -> Option<Action> {
        None
    }

    /// When to poll again without being told anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// How each Service port fares, in the order of the clusters and their plans.
    #[must_use]
    pub fn services(&self) -> Vec<Health> {
        Vec::new()
    }
}
