//! What the detector says: probes it wants, verdicts, and how each Service port fares.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cluster::model::{Protocol, ServiceId};

/// A port of a Service at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The Service; `None` if only its address is known.
    pub service: Option<ServiceId>,
    /// The cluster address.
    pub vip: IpAddr,
    /// The port there.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vip, port, protocol, .. } = self;
        let at = SocketAddr::new(*vip, *port);
        match &self.service {
            Some(service) => write!(f, "{service} ({at}/{protocol})"),
            None => write!(f, "{at}/{protocol}"),
        }
    }
}

/// What the detector wants done or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to this address and give the result to [`super::Detector::probed`].
    Probe(Probe),
    /// A Service fails, or fails otherwise than before.
    Event(Arc<Verdict>),
    /// A Service that failed works again; the verdict is the one that no longer holds.
    Recovered(Arc<Verdict>),
}

/// A TCP connect that the detector asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its number, which the result repeats.
    pub id: u64,
    /// Where to.
    pub to: SocketAddr,
}

/// How a probe went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeResult {
    /// The probe's number.
    pub id: u64,
    /// What came of it.
    pub outcome: ProbeOutcome,
}

/// What came of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It was answered after this time.
    Answered(Duration),
    /// It was refused: a reset, or an ICMP error about the port.
    Refused,
    /// There was no answer in time.
    TimedOut,
    /// There is no route, or a router or filter says so.
    Unreachable,
    /// It could not be tried: this machine is out of ports or descriptors. It says nothing about the cluster.
    NotTried,
}

/// What is wrong. The words are stable: they are what an operator searches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A Pod's answer reached the client from the Pod's own address.
    UntranslatedReply,
    /// An endpoint answers this endpoint, the Service does not, or not always.
    ServicePath,
    /// Neither the Service nor its endpoints answer this endpoint.
    EndpointUnreachable,
    /// The endpoints refuse: nothing listens at their port.
    EndpointRefuses,
    /// The Service has no ready endpoint.
    NoEndpoints,
    /// Connections are refused on the way, although the endpoints take them.
    Refused,
    /// Service and endpoints answer this endpoint, but not the peer's network.
    RepliesLost,
    /// Packets to the Service go round in circles.
    RoutingLoop,
    /// A router has no route to the Service.
    NoRoute,
    /// A filter forbids it and says so.
    Prohibited,
    /// The tunnel's traffic selectors do not admit it.
    OutsideSelectors,
    /// The endpoints answer, but this endpoint's own translation does not lead to them.
    NotTranslated,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::UntranslatedReply,
        Self::ServicePath,
        Self::EndpointUnreachable,
        Self::EndpointRefuses,
        Self::NoEndpoints,
        Self::Refused,
        Self::RepliesLost,
        Self::RoutingLoop,
        Self::NoRoute,
        Self::Prohibited,
        Self::OutsideSelectors,
        Self::NotTranslated,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UntranslatedReply => "untranslated-reply",
            Self::ServicePath => "service-path",
            Self::EndpointUnreachable => "endpoint-unreachable",
            Self::EndpointRefuses => "endpoint-refuses",
            Self::NoEndpoints => "no-endpoints",
            Self::Refused => "refused-on-the-way",
            Self::RepliesLost => "replies-lost",
            Self::RoutingLoop => "routing-loop",
            Self::NoRoute => "no-route",
            Self::Prohibited => "prohibited",
            Self::OutsideSelectors => "outside-selectors",
            Self::NotTranslated => "not-translated",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The most likely of several reasons.
    Probable,
    /// The evidence allows no other.
    Certain,
}

impl Certainty {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probable => "probable",
            Self::Certain => "certain",
        }
    }
}

/// What a verdict is founded on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// A client of the peer's network that was not served.
    pub client: Option<SocketAddr>,
    /// The endpoint that answered past the Service, or that does not answer.
    pub endpoint: Option<SocketAddr>,
    /// That endpoint's Pod.
    pub pod: Option<String>,
    /// That endpoint's node.
    pub node: Option<String>,
    /// The node that requests to the Service go to, where it can be told.
    pub routed_node: Option<String>,
    /// Who sent an ICMP error.
    pub reporter: Option<IpAddr>,
    /// Connects that were answered since the failure began.
    pub answered: u64,
    /// Connects that failed since then.
    pub failed: u64,
    /// Probes of the Service that were answered, and all of them.
    pub service_probes: (u32, u32),
    /// Probes of endpoints that were answered, and all of them.
    pub endpoint_probes: (u32, u32),
}

/// What is wrong with a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which Service port.
    pub subject: Subject,
    /// What is wrong.
    pub code: Code,
    /// How sure that is.
    pub certainty: Certainty,
    /// What it is founded on.
    pub evidence: Evidence,
    /// One sentence for the operator: what happens.
    pub summary: String,
    /// What to do: alternatives, the recommended one first.
    pub advice: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.summary)?;
        match &self.advice[..] {
            [] => Ok(()),
            [only] => write!(f, " {only}"),
            several => {
                f.write_str(" Choose one:")?;
                several
                    .iter()
                    .zip('a'..='z')
                    .try_for_each(|(advice, letter)| write!(f, " ({letter}) {advice}"))
            }
        }
    }
}

/// How a Service port fares, as its connections show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Nobody used it yet.
    #[default]
    Unknown,
    /// It answers.
    Ok,
    /// It fails, at least sometimes.
    Failing(Arc<Verdict>),
}

impl State {
    /// Its word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Failing(_) => "failing",
        }
    }
}

/// What is known of a Service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Which.
    pub subject: Subject,
    /// How it fares.
    pub state: State,
    /// When a connect was last answered, and how long that took: SYN to SYN-ACK, or first datagram to the first
    /// one back.
    pub last_connect: Option<(Instant, Duration)>,
    /// Connects that were answered.
    pub answered: u64,
    /// Connects that were given up without an answer, or were answered from another address.
    pub unanswered: u64,
    /// Connects that were refused.
    pub refused: u64,
    /// Half of the connects took no longer.
    pub p50: Option<Duration>,
    /// Of a hundred connects, 99 took no longer.
    pub p99: Option<Duration>,
}
