//! The network between the hosts: one virtual clock, links that lose, delay, duplicate and reorder by seed,
//! NATs that can be rebound, and rules that pick out single datagrams.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use skybridge::wire::ike::Header;
use skybridge::wire::ike::registry::ExchangeType;
use skybridge::wire::udp_encap::{Encapsulated, demux};

use crate::random::Dice;

/// A UDP datagram on its way. `octets` is the whole UDP payload, non-ESP marker included.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The host that sent it.
    pub sender: usize,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub octets: Vec<u8>,
    /// Sent through the NAT traversal socket.
    pub encapsulated: bool,
}

/// What a datagram is, as far as it shows on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ike { exchange: u8, response: bool, id: u32 },
    Esp(u32),
    Keepalive,
    Junk,
}

impl Packet {
    /// The IKE message, marker removed.
    pub fn ike(&self) -> Option<&[u8]> {
        if !self.encapsulated {
            return Some(&self.octets);
        }
        match demux(&self.octets) {
            Ok(Encapsulated::Ike(message)) => Some(message),
            _ => None,
        }
    }

    pub fn kind(&self) -> Kind {
        if let Some(header) = self.ike().and_then(|octets| Header::peek(octets).ok()) {
            let response = header.flags.response;
            return Kind::Ike { exchange: header.exchange.0, response, id: header.message_id };
        }
        match demux(&self.octets) {
            Ok(Encapsulated::Keepalive) => Kind::Keepalive,
            Ok(Encapsulated::Esp(esp)) => {
                Kind::Esp(u32::from_be_bytes(esp.first_chunk::<4>().copied().unwrap_or_default()))
            }
            _ => Kind::Junk,
        }
    }
}

/// One direction of a link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub latency: Duration,
    /// Added at random; more than the distance between two datagrams reorders them.
    pub jitter: Duration,
    pub loss: f64,
    pub duplicate: f64,
    pub up: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            up: true,
        }
    }
}

/// Which datagrams a rule is about.
#[derive(Clone, Copy, Debug)]
pub enum Select {
    Any,
    Ike,
    Request(ExchangeType),
    Response(ExchangeType),
    /// Datagrams that are sent through the socket for IKE without marker.
    Plain,
}

impl Select {
    fn fits(self, packet: &Packet) -> bool {
        let is = |wanted: ExchangeType, wanted_response: bool| matches!(packet.kind(), Kind::Ike { exchange, response, .. } if exchange == wanted.0 && response == wanted_response);
        match self {
            Self::Any => true,
            Self::Ike => matches!(packet.kind(), Kind::Ike { .. }),
            Self::Request(exchange) => is(exchange, false),
            Self::Response(exchange) => is(exchange, true),
            Self::Plain => !packet.encapsulated,
        }
    }
}

/// What happens to a datagram that a rule picks.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Drop,
    /// Kept aside until it is released.
    Hold,
    Delay(Duration),
    /// A second copy, that much later.
    Duplicate(Duration),
}

/// Picks out datagrams of one sender.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub from: usize,
    pub select: Select,
    pub action: Action,
    /// Fitting datagrams that pass before the rule takes effect.
    pub skip: usize,
    /// Datagrams that it takes; `usize::MAX` for all.
    pub count: usize,
}

impl Rule {
    fn take(&mut self, packet: &Packet) -> Option<Action> {
        if self.from != packet.sender || self.count == 0 || !self.select.fits(packet) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.count = self.count.saturating_sub(usize::from(self.count != usize::MAX));
        Some(self.action)
    }
}

/// A NAT in front of one or more hosts.
#[derive(Clone, Debug)]
pub struct Nat {
    pub inside: Vec<IpAddr>,
    pub public: IpAddr,
    /// Ports stay, and anybody outside may begin (a cloud's 1:1 NAT).
    pub one_to_one: bool,
    map: BTreeMap<SocketAddr, u16>,
    next_port: u16,
}

impl Nat {
    pub fn new(inside: Vec<IpAddr>, public: IpAddr, one_to_one: bool) -> Self {
        Self { inside, public, one_to_one, map: BTreeMap::new(), next_port: 20_001 }
    }

    /// Forgets all mappings; the next ones have other ports, and the address may be another too.
    pub fn rebind(&mut self, public: Option<IpAddr>) {
        self.map.clear();
        self.public = public.unwrap_or(self.public);
    }

    fn outward(&mut self, inside: SocketAddr) -> SocketAddr {
        if self.one_to_one {
            return SocketAddr::new(self.public, inside.port());
        }
        let next_port = &mut self.next_port;
        let port = *self.map.entry(inside).or_insert_with(|| {
            *next_port += 1;
            *next_port
        });
        SocketAddr::new(self.public, port)
    }

    fn inward(&self, outside: SocketAddr) -> Option<SocketAddr> {
        if self.one_to_one {
            return self.inside.first().map(|inside| SocketAddr::new(*inside, outside.port()));
        }
        self.map.iter().find(|(_, port)| **port == outside.port()).map(|(inside, _)| *inside)
    }
}

/// See the module.
pub struct Net {
    dice: Dice,
    pub links: Vec<Link>,
    pub nats: Vec<Nat>,
    pub rules: Vec<Rule>,
    pub held: Vec<Packet>,
    flights: BTreeMap<(Duration, u64), Packet>,
    flight_number: u64,
    /// Everything that was sent, with the time, if asked for.
    pub log: Option<Vec<(Duration, Packet)>>,
    /// How many datagrams of each kind were lost, duplicated and overtaken.
    pub lost: BTreeMap<&'static str, u64>,
    pub duplicated: BTreeMap<&'static str, u64>,
}

/// A kind's name, for statistics and traces.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ike { exchange, response, .. } => match (ExchangeType(exchange), response) {
            (ExchangeType::IKE_SA_INIT, false) => "IKE_SA_INIT request",
            (ExchangeType::IKE_SA_INIT, true) => "IKE_SA_INIT response",
            (ExchangeType::IKE_AUTH, false) => "IKE_AUTH request",
            (ExchangeType::IKE_AUTH, true) => "IKE_AUTH response",
            (ExchangeType::CREATE_CHILD_SA, false) => "CREATE_CHILD_SA request",
            (ExchangeType::CREATE_CHILD_SA, true) => "CREATE_CHILD_SA response",
            (ExchangeType::INFORMATIONAL, false) => "INFORMATIONAL request",
            (ExchangeType::INFORMATIONAL, true) => "INFORMATIONAL response",
            _ => "other exchange",
        },
        Kind::Esp(_) => "ESP",
        Kind::Keepalive => "keepalive",
        Kind::Junk => "junk",
    }
}

impl Net {
    pub fn new(seed: u64, hosts: usize) -> Self {
        Self {
            dice: Dice::new(seed),
            links: vec![Link::default(); hosts],
            nats: Vec::new(),
            rules: Vec::new(),
            held: Vec::new(),
            flights: BTreeMap::new(),
            flight_number: 0,
            log: None,
            lost: BTreeMap::new(),
            duplicated: BTreeMap::new(),
        }
    }

    /// Takes a datagram from a host. What became of it is told for the trace.
    pub fn send(&mut self, now: Duration, mut packet: Packet) -> &'static str {
        if let Some(nat) = self.nats.iter_mut().find(|nat| nat.inside.contains(&packet.src.ip())) {
            packet.src = nat.outward(packet.src);
        }
        if let Some(log) = &mut self.log {
            log.push((now, packet.clone()));
        }
        let action = self.rules.iter_mut().find_map(|rule| rule.take(&packet));
        let link = self.links[packet.sender];
        let kind = kind_name(packet.kind());
        let mut delay = link.latency;
        match action {
            Some(Action::Drop) => return "dropped",
            Some(Action::Hold) => {
                self.held.push(packet);
                return "held";
            }
            Some(Action::Delay(more)) => delay += more,
            Some(Action::Duplicate(later)) => self.fly(now + delay + later, packet.clone()),
            None => {}
        }
        if !link.up || self.dice.chance(link.loss) {
            *self.lost.entry(kind).or_default() += 1;
            return "lost";
        }
        let jitter = |dice: &mut Dice| {
            Duration::from_micros(dice.below(u64::try_from(link.jitter.as_micros()).unwrap_or(0) + 1))
        };
        if self.dice.chance(link.duplicate) {
            *self.duplicated.entry(kind).or_default() += 1;
            let at = now + delay + jitter(&mut self.dice) + jitter(&mut self.dice);
            self.fly(at, packet.clone());
        }
        let at = now + delay + jitter(&mut self.dice);
        self.fly(at, packet);
        "sent"
    }

    fn fly(&mut self, at: Duration, packet: Packet) {
        self.flight_number += 1;
        self.flights.insert((at, self.flight_number), packet);
    }

    /// Puts a datagram on the way as it is, whoever made it.
    pub fn inject(&mut self, at: Duration, packet: Packet) {
        self.fly(at, packet);
    }

    /// Lets everything that is held go.
    pub fn release(&mut self, now: Duration) {
        for packet in std::mem::take(&mut self.held) {
            let at = now + self.links[packet.sender].latency;
            self.fly(at, packet);
        }
    }

    pub fn next_arrival(&self) -> Option<Duration> {
        self.flights.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that is due, with its destination as the receiver sees it.
    pub fn arrived(&mut self, now: Duration) -> Option<Packet> {
        loop {
            let entry = self.flights.first_entry().filter(|entry| entry.key().0 <= now)?;
            let mut packet = entry.remove();
            match self.nats.iter().find(|nat| nat.public == packet.dst.ip()) {
                None => return Some(packet),
                Some(nat) => {
                    if let Some(inside) = nat.inward(packet.dst) {
                        packet.dst = inside;
                        return Some(packet);
                    }
                }
            }
        }
    }
}
