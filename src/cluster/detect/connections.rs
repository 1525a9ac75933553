//! Connections under way: SYNs and datagrams to Services that were not answered yet. Bounded by number; the oldest
//! makes room for the newest.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use crate::cluster::model::Protocol;

/// Client, protocol and where it connects to. The client comes first, so that all of its connections lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) client: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) to: SocketAddr,
}

/// What is known of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    /// TCP's initial sequence number.
    pub(super) isn: u32,
    /// TSval of the first and of the last SYN.
    pub(super) timestamps: [Option<u32>; 2],
    pub(super) first_at: Instant,
    pub(super) last_at: Instant,
    /// SYNs seen.
    pub(super) syns: u32,
    /// Time to live of the first packet.
    pub(super) ttl: u8,
    /// Whether it counts as failed; an answer may still come.
    pub(super) failed: bool,
    /// Whether a datagram was answered.
    pub(super) answered: bool,
    /// The address from which a datagram was answered instead.
    pub(super) stray_answer: Option<SocketAddr>,
    order: u64,
}

impl Connection {
    pub(super) fn new(at: Instant, ttl: u8, isn: u32, timestamp: Option<u32>) -> Self {
        Self {
            isn,
            timestamps: [timestamp; 2],
            first_at: at,
            last_at: at,
            syns: 1,
            ttl,
            failed: false,
            answered: false,
            stray_answer: None,
            order: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connections {
    flows: BTreeMap<Flow, Connection>,
    oldest: BTreeMap<u64, Flow>,
    next: u64,
    room: usize,
}

impl Connections {
    pub(super) fn new(room: usize) -> Self {
        Self { flows: BTreeMap::new(), oldest: BTreeMap::new(), next: 0, room: room.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.oldest.clear();
    }

    /// Puts a new one in the place of an old one of the same flow.
    pub(super) fn insert(&mut self, flow: Flow, connection: Connection) {
        self.remove(&flow);
        while self.flows.len() >= self.room {
            let Some((_, oldest)) = self.oldest.pop_first() else { break };
            self.flows.remove(&oldest);
        }
        self.next += 1;
        self.oldest.insert(self.next, flow);
        self.flows.insert(flow, Connection { order: self.next, ..connection });
    }

    pub(super) fn get(&mut self, flow: &Flow) -> Option<&mut Connection> {
        self.flows.get_mut(flow)
    }

    pub(super) fn remove(&mut self, flow: &Flow) -> Option<Connection> {
        let connection = self.flows.remove(flow)?;
        self.oldest.remove(&connection.order);
        Some(connection)
    }

    /// Those of one client's port.
    pub(super) fn of_client(
        &self,
        client: SocketAddr,
        protocol: Protocol,
    ) -> impl Iterator<Item = (&Flow, &Connection)> {
        let least = Flow { client, protocol, to: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) };
        self.flows
            .range(least..)
            .take_while(move |(flow, _)| flow.client == client && flow.protocol == protocol)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Flow, &Connection)> {
        self.flows.iter()
    }

    /// Keeps those for which this holds.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Flow, &Connection) -> bool) {
        let oldest = &mut self.oldest;
        self.flows.retain(|flow, connection| {
            let kept = keep(flow, connection);
            if !kept {
                oldest.remove(&connection.order);
            }
            kept
        });
    }
}
