//! What each sighting changes.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{
    Certainty, Code, Detector, End, Evidence, UNPLANNED,
    connections::{Connection, Flow},
    subject_of,
    tracked::Tracked,
    verdict::{State, Subject},
};
use crate::{
    cluster::model::Protocol,
    wire::ip::{
        Sighting, protocol,
        sighting::{ErrorKind, ErrorSighting, Segment, Sighted, TcpSighting, Way},
    },
};

/// No answer within this time of the last SYN, and the connection counts as failed.
const SILENCE: Duration = Duration::from_secs(3);
/// So many SYNs, and it counts as failed once the last had the time for an answer.
const SYNS: u32 = 3;
const SYN_PATIENCE: Duration = Duration::from_millis(500);
/// Connections are forgotten this long after their last packet. Longer than workers take to see a flow again.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Hosts begin at 64 or more: a packet with fewer hops left was sent by somebody who traces the route.
const LEAST_TTL: u8 = 32;

/// A packet to a Service's address at a port that it does not have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stray {
    from: SocketAddr,
    to: SocketAddr,
    protocol: Protocol,
}

impl Detector {
    /// Takes a sighting. They must come in the order of their times.
    pub fn sighted(&mut self, sighting: &Sighting) {
        let at = sighting.at;
        match (sighting.way, sighting.what, sighting.ends()) {
            (Way::FromTunnel, Sighted::Tcp(seen), Some((client, to))) => {
                let flow = Flow { client, protocol: Protocol::Tcp, to };
                match seen.kind {
                    Segment::Syn if sighting.refused => {
                        self.refused_by_policy(at, (to, Protocol::Tcp), client)
                    }
                    Segment::Syn => self.syn(flow, sighting, &seen),
                    // The client gave up.
                    Segment::Reset => {
                        self.connections.remove(&flow);
                    }
                    Segment::SynAck => {}
                }
            }
            (Way::IntoTunnel, Sighted::Tcp(seen), Some((from, client))) if seen.kind != Segment::Syn => {
                self.tcp_answer(sighting, &seen, from, client);
            }
            (Way::FromTunnel, Sighted::Udp { .. }, Some((client, to))) if sighting.refused => {
                self.refused_by_policy(at, (to, Protocol::Udp), client);
            }
            (Way::FromTunnel, Sighted::Udp { .. }, Some((client, to))) => self.datagram(sighting, client, to),
            (Way::IntoTunnel, Sighted::Udp { .. }, Some((from, client))) => {
                self.datagram_answer(sighting, from, client);
            }
            (Way::IntoTunnel, Sighted::Error(error), _) => self.error(at, sighting.src, &error),
            (Way::FromTunnel, Sighted::Error(error), _) => self.client_refuses(at, &error),
            _ => {}
        }
    }

    fn syn(&mut self, flow: Flow, sighting: &Sighting, seen: &TcpSighting) {
        let at = sighting.at;
        if !self.is_watched(&flow, sighting.ttl) {
            return;
        }
        self.wind(at);
        let timestamp = seen.timestamps.map(|(value, _)| value);
        match self.connections.get(&flow) {
            Some(known) if known.isn == seen.sequence => {
                known.syns = known.syns.saturating_add(1);
                known.last_at = at;
                known.timestamps[1] = timestamp;
                let failed = known.failed;
                if failed && let Some(tracked) = self.tracked.get_mut(&(flow.to, flow.protocol)) {
                    tracked.last_silent_syn = Some(at);
                }
            }
            _ => {
                let connection = Connection::new(at, sighting.ttl, seen.sequence, timestamp);
                self.connections.insert(flow, connection);
            }
        }
    }

    /// Whether packets to this end are followed. Those to other ports of a Service's address are noted.
    fn is_watched(&mut self, flow: &Flow, ttl: u8) -> bool {
        let end = (flow.to, flow.protocol);
        if let Some((cluster, frontend)) = self.frontend(&end) {
            let subject = subject_of(cluster, frontend);
            self.tracked.entry(end).or_insert_with(|| Tracked::new(subject));
            return true;
        }
        if let Some(stray) = self.addresses.get_mut(&flow.to.ip()) {
            if ttl >= LEAST_TTL {
                *stray = Some(Stray { from: flow.client, to: flow.to, protocol: flow.protocol });
            }
            return false;
        }
        self.unplanned_cluster(flow.to.ip()).is_some()
    }

    /// The cluster of whose Services nobody tells and that this address is of.
    fn unplanned_cluster(&self, address: IpAddr) -> Option<usize> {
        self.clusters.iter().position(|cluster| {
            cluster.is_unplanned() && cluster.plan.service_cidrs.iter().any(|range| range.contains(&address))
        })
    }

    /// Tracks a Service port that no plan names, if there is room.
    fn track_unplanned(&mut self, end: End) -> bool {
        if self.tracked.contains_key(&end) {
            return true;
        }
        let known = self.clusters.iter().find_map(|cluster| {
            let frontend = cluster.plan.frontends.iter().find(|frontend| frontend.vip == end.0.ip())?;
            Some(subject_of(cluster, frontend))
        });
        let unnamed = || {
            let cluster = self.clusters.get(self.unplanned_cluster(end.0.ip())?)?;
            let (cluster, (vip, port)) = (cluster.name.clone(), (end.0.ip(), end.0.port()));
            Some(Subject { cluster, service: None, vip, port, protocol: end.1 })
        };
        let Some(subject) = known.or_else(unnamed) else { return false };
        if self.unplanned >= UNPLANNED {
            return false;
        }
        self.unplanned += 1;
        let subject = Subject { port: end.0.port(), protocol: end.1, ..subject };
        self.tracked.insert(end, Tracked::new(subject));
        true
    }

    /// A SYN-ACK or RST to a client.
    fn tcp_answer(&mut self, sighting: &Sighting, seen: &TcpSighting, from: SocketAddr, client: SocketAddr) {
        let flow = Flow { client, protocol: Protocol::Tcp, to: from };
        let answers = |connection: &Connection| {
            seen.acknowledgment == connection.isn.wrapping_add(1) && seen.acknowledgment != 0
        };
        if let Some(known) = self.connections.get(&flow) {
            if !answers(known) {
                return;
            }
            if sighting.refused {
                self.connections.remove(&flow);
                self.refused_by_policy(sighting.at, (from, Protocol::Tcp), client);
            } else if seen.kind == Segment::SynAck {
                self.answered(sighting.at, &flow);
            } else {
                self.refused(sighting.at, &flow, None);
            }
            return;
        }
        let echoes = |connection: &Connection| match seen.timestamps {
            // A RST carries no echo, and not every host stamps.
            Some((_, echo)) if echo != 0 => {
                connection.timestamps.contains(&Some(echo)) || connection.syns > 2
            }
            _ => true,
        };
        let orphan = self
            .connections
            .of_client(client, Protocol::Tcp)
            .find(|(_, connection)| answers(connection) && echoes(connection))
            .map(|(flow, _)| *flow);
        if let Some(flow) = orphan {
            self.answered_from_elsewhere(sighting.at, &flow, from);
        }
    }

    fn answered(&mut self, at: Instant, flow: &Flow) {
        let Some(connection) = self.connections.remove(flow) else { return };
        let Some(tracked) = self.tracked.get_mut(&(flow.to, flow.protocol)) else { return };
        if connection.failed && connection.stray_answer.is_none() {
            tracked.answer_late(connection.first_at, connection.syns);
        }
        let took = at.saturating_duration_since(connection.first_at);
        tracked.answer(at, connection.first_at, Some(took));
    }

    /// A Pod answered past the Service: certain, since only who got the SYN knows its number.
    fn answered_from_elsewhere(&mut self, at: Instant, flow: &Flow, from: SocketAddr) {
        let end = (flow.to, flow.protocol);
        if !self.track_unplanned(end) {
            return;
        }
        let Some(connection) = self.connections.get(flow) else { return };
        // Kept, since the client goes on trying: one connection fails once.
        let is_first = connection.stray_answer.replace(from).is_none();
        let was_silent = std::mem::replace(&mut connection.failed, true);
        let Connection { first_at, syns, .. } = *connection;
        if is_first && let Some(tracked) = self.tracked.get_mut(&end) {
            if was_silent {
                tracked.answer_late(first_at, syns);
            }
            tracked.fail(at, first_at, flow.client);
            tracked.unanswered += 1;
        }
        self.untranslated(at, &end, from, Certainty::Certain);
    }

    fn untranslated(&mut self, at: Instant, end: &End, from: SocketAddr, certainty: Certainty) {
        let Some(tracked) = self.tracked.get(end) else { return };
        let evidence = Evidence { endpoint: Some(from), ..tracked.evidence() };
        self.settle_with(at, end, Code::UntranslatedReply, certainty, evidence);
    }

    /// A RST or port unreachable from where the Service is.
    fn refused(&mut self, at: Instant, flow: &Flow, reporter: Option<IpAddr>) {
        let end = (flow.to, flow.protocol);
        let Some(connection) = self.connections.remove(flow) else { return };
        let has_endpoints = self.frontend(&end).map(|(_, frontend)| !frontend.backends.is_empty());
        let Some(tracked) = self.tracked.get_mut(&end) else { return };
        if connection.failed && connection.stray_answer.is_none() {
            tracked.answer_late(connection.first_at, connection.syns);
        }
        tracked.fail(at, connection.first_at, flow.client);
        tracked.refused += 1;
        tracked.refusals = tracked.refusals.saturating_add(1);
        tracked.last_refused_syn = Some(connection.last_at);
        let evidence = Evidence { reporter, ..tracked.evidence() };
        let several = tracked.refusals >= 2;
        self.wind(at);
        match has_endpoints {
            Some(false) => self.settle_with(at, &end, Code::NoEndpoints, Certainty::Certain, evidence),
            // Nothing can be probed: the endpoint's own word is all there is.
            Some(true) if flow.protocol == Protocol::Udp && several => {
                self.settle_with(at, &end, Code::EndpointRefuses, Certainty::Probable, evidence);
            }
            _ => {}
        }
    }

    fn refused_by_policy(&mut self, at: Instant, end: End, client: SocketAddr) {
        let Some((cluster, frontend)) = self.frontend(&end) else { return };
        let subject = subject_of(cluster, frontend);
        let tracked = self.tracked.entry(end).or_insert_with(|| Tracked::new(subject));
        tracked.fail(at, at, client);
        tracked.refused += 1;
        let evidence = tracked.evidence();
        self.settle_with(at, &end, Code::OutsideSelectors, Certainty::Certain, evidence);
    }

    fn datagram(&mut self, sighting: &Sighting, client: SocketAddr, to: SocketAddr) {
        let flow = Flow { client, protocol: Protocol::Udp, to };
        // What a client sends to a Pod itself explains an answer from there.
        if !self.is_watched(&flow, sighting.ttl) && !self.datagram_endpoints.contains_key(&to) {
            return;
        }
        self.wind(sighting.at);
        match self.connections.get(&flow) {
            Some(known) => known.last_at = sighting.at,
            None => self.connections.insert(flow, Connection::new(sighting.at, sighting.ttl, 0, None)),
        }
    }

    fn datagram_answer(&mut self, sighting: &Sighting, from: SocketAddr, client: SocketAddr) {
        let flow = Flow { client, protocol: Protocol::Udp, to: from };
        let at = sighting.at;
        if let Some(known) = self.connections.get(&flow) {
            let is_first = !std::mem::replace(&mut known.answered, true);
            let (first_at, last_at) = (known.first_at, known.last_at);
            if sighting.refused {
                self.refused_by_policy(at, (from, Protocol::Udp), client);
            } else if is_first && let Some(tracked) = self.tracked.get_mut(&(from, Protocol::Udp)) {
                // Later datagrams of a long flow may be seen out of step, and say nothing about time.
                let took = (first_at == last_at).then(|| at.saturating_duration_since(first_at));
                tracked.answer(at, first_at, took);
            }
            return;
        }
        let asked = self
            .connections
            .of_client(client, Protocol::Udp)
            .find(|(flow, connection)| {
                let planned = self.frontend(&(flow.to, Protocol::Udp));
                let from_it = match planned {
                    Some((_, frontend)) => {
                        frontend.backends.iter().any(|backend| super::address_of(backend) == from)
                    }
                    None => self.unplanned_cluster(flow.to.ip()).is_some(),
                };
                from_it && !connection.answered && connection.stray_answer.is_none()
            })
            .map(|(flow, connection)| (*flow, connection.first_at));
        let Some((flow, first_at)) = asked else { return };
        if let Some(known) = self.connections.get(&flow) {
            known.stray_answer = Some(from);
        }
        let end = (flow.to, Protocol::Udp);
        let planned = self.index.contains_key(&end);
        let Some(tracked) = self.tracked.get_mut(&end) else { return };
        tracked.fail(at, first_at, client);
        tracked.unanswered += 1;
        tracked.stray_answers = tracked.stray_answers.saturating_add(1);
        if planned && tracked.stray_answers >= 2 {
            self.untranslated(at, &end, from, Certainty::Probable);
        }
    }

    /// The client tells a Pod that it expects nothing from it.
    fn client_refuses(&mut self, at: Instant, error: &ErrorSighting) {
        let quoted = error.quoted;
        let (ErrorKind::PortUnreachable, protocol::UDP, Some((from, client))) =
            (error.kind, quoted.protocol, quoted.ends())
        else {
            return;
        };
        let asked = self
            .connections
            .of_client(client, Protocol::Udp)
            .find(|(_, connection)| connection.stray_answer == Some(from))
            .map(|(flow, _)| (flow.to, Protocol::Udp));
        if let Some(end) = asked
            && self.track_unplanned(end)
        {
            self.untranslated(at, &end, from, Certainty::Certain);
        }
    }

    /// An ICMP error about a client's packet.
    fn error(&mut self, at: Instant, reporter: IpAddr, error: &ErrorSighting) {
        let protocol = match error.quoted.protocol {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            _ => return,
        };
        let Some((client, to)) = error.quoted.ends() else { return };
        let flow = Flow { client, protocol, to };
        let Some(connection) = self.connections.get(&flow).copied() else {
            self.stray_error(at, reporter, error.kind, &flow);
            return;
        };
        let is_of_syn = error.quoted.sequence.is_none_or(|sequence| sequence == connection.isn);
        if !is_of_syn || connection.answered {
            return;
        }
        let code = match error.kind {
            ErrorKind::PortUnreachable => return self.refused(at, &flow, Some(reporter)),
            ErrorKind::TimeExceeded if connection.ttl < LEAST_TTL => return,
            ErrorKind::TimeExceeded => Code::RoutingLoop,
            ErrorKind::HostUnreachable => Code::NoRoute,
            ErrorKind::Prohibited => Code::Prohibited,
        };
        let end = (to, protocol);
        let Some(tracked) = self.tracked.get_mut(&end) else { return };
        tracked.fail(at, connection.first_at, client);
        let count = match tracked.error {
            Some((kind, _, count)) if kind == error.kind => count.saturating_add(1),
            _ => 1,
        };
        tracked.error = Some((error.kind, reporter, count));
        let evidence = Evidence { reporter: Some(reporter), ..tracked.evidence() };
        // One alone may be about a host that has just gone.
        if count >= 2 {
            self.settle_with(at, &end, code, Certainty::Certain, evidence);
        }
    }

    /// An error about a packet to a Service's address at a port it does not have.
    fn stray_error(&mut self, at: Instant, reporter: IpAddr, kind: ErrorKind, flow: &Flow) {
        let stray = self.addresses.get(&flow.to.ip()).copied().flatten();
        let is_it = stray.is_some_and(|stray| {
            (stray.from, stray.to, stray.protocol) == (flow.client, flow.to, flow.protocol)
        });
        if kind != ErrorKind::TimeExceeded || !is_it || !self.track_unplanned((flow.to, flow.protocol)) {
            return;
        }
        let end = (flow.to, flow.protocol);
        let Some(tracked) = self.tracked.get_mut(&end) else { return };
        tracked.fail(at, at, flow.client);
        let evidence = Evidence { reporter: Some(reporter), ..tracked.evidence() };
        self.settle_with(at, &end, Code::RoutingLoop, Certainty::Certain, evidence);
    }

    /// Finds connections that nobody answers, and forgets old ones.
    pub(super) fn find_silent(&mut self, now: Instant) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let silent: Vec<Flow> = self
            .connections
            .iter()
            .filter(|(flow, connection)| {
                let quiet = since(connection.last_at);
                let out_of_patience = quiet >= SILENCE || connection.syns >= SYNS && quiet >= SYN_PATIENCE;
                flow.protocol == Protocol::Tcp && !connection.failed && out_of_patience
            })
            .map(|(flow, _)| *flow)
            .collect();
        for flow in silent {
            let Some(connection) = self.connections.get(&flow) else { continue };
            connection.failed = true;
            let Connection { first_at, last_at, syns, .. } = *connection;
            if let Some(tracked) = self.tracked.get_mut(&(flow.to, flow.protocol)) {
                tracked.fall_silent(now, first_at, syns, flow.client);
                tracked.last_silent_syn = tracked.last_silent_syn.max(Some(last_at));
            }
        }
        self.connections.retain(|_, connection| since(connection.last_at) < FORGOTTEN);
    }
}

impl State {
    /// The verdict, if it fails.
    #[must_use]
    pub fn verdict(&self) -> Option<&super::Verdict> {
        match self {
            Self::Failing(verdict) => Some(verdict),
            Self::Unknown | Self::Ok => None,
        }
    }
}
