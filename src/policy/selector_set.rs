//! The selectors of one end of a Child SA: what any of its traffic selectors admits.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::packet::{PacketSummary, has_one_selector};
use super::selector::{PortRange, TrafficSelector, to_bits};

/// Traffic selectors of one end. Their order is kept: the first may be a hint. Copies share the selectors, since
/// every layer keeps one for each SA.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SelectorSet(Arc<[TrafficSelector]>);

/// A TS payload counts its selectors in one octet.
pub(super) const MOST_SELECTORS: usize = 255;
/// Where an exact subset question is given up (and answered "no") because of its pieces.
const MOST_PIECES: usize = 4096;

/// A selector as a box of closed intervals.
#[derive(Clone, Copy)]
struct Piece {
    ipv4: bool,
    protocols: (u32, u32),
    ports: (u32, u32),
    addresses: (u128, u128),
}

impl Piece {
    fn of(selector: &TrafficSelector) -> Self {
        let protocol = u32::from(selector.protocol());
        Self {
            ipv4: selector.is_ipv4(),
            protocols: if protocol == 0 { (0, 255) } else { (protocol, protocol) },
            ports: selector.ports().span(),
            addresses: (to_bits(selector.start()), to_bits(selector.end())),
        }
    }

    /// Adds to `out` what is in `self` and not in `other`.
    fn minus(mut self, other: &Self, out: &mut Vec<Self>) {
        let apart = |a: (u32, u32), b: (u32, u32)| a.1 < b.0 || b.1 < a.0;
        if self.ipv4 != other.ipv4
            || apart(self.protocols, other.protocols)
            || apart(self.ports, other.ports)
            || self.addresses.1 < other.addresses.0
            || other.addresses.1 < self.addresses.0
        {
            out.push(self);
            return;
        }
        if self.addresses.0 < other.addresses.0 {
            out.push(Self { addresses: (self.addresses.0, other.addresses.0 - 1), ..self });
            self.addresses.0 = other.addresses.0;
        }
        if self.addresses.1 > other.addresses.1 {
            out.push(Self { addresses: (other.addresses.1 + 1, self.addresses.1), ..self });
            self.addresses.1 = other.addresses.1;
        }
        if self.protocols.0 < other.protocols.0 {
            out.push(Self { protocols: (self.protocols.0, other.protocols.0 - 1), ..self });
            self.protocols.0 = other.protocols.0;
        }
        if self.protocols.1 > other.protocols.1 {
            out.push(Self { protocols: (other.protocols.1 + 1, self.protocols.1), ..self });
            self.protocols.1 = other.protocols.1;
        }
        if self.ports.0 < other.ports.0 {
            out.push(Self { ports: (self.ports.0, other.ports.0 - 1), ..self });
            self.ports.0 = other.ports.0;
        }
        if self.ports.1 > other.ports.1 {
            out.push(Self { ports: (other.ports.1 + 1, self.ports.1), ..self });
        }
    }
}

impl SelectorSet {
    /// A set of selectors, in this order.
    pub fn new(selectors: impl IntoIterator<Item = TrafficSelector>) -> Self {
        Self(selectors.into_iter().collect())
    }

    /// A set that covers prefixes, every protocol and port.
    pub fn of_prefixes(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        Self::new(prefixes.into_iter().map(TrafficSelector::from_prefix))
    }

    /// This set, with the selectors of `other` where those are the same, so that one copy is kept.
    #[must_use]
    pub fn shared_with(self, other: &Self) -> Self {
        if self == *other { other.clone() } else { self }
    }

    /// The selectors in order.
    pub fn iter(&self) -> std::slice::Iter<'_, TrafficSelector> {
        self.0.iter()
    }

    /// The selectors as a slice.
    pub fn as_slice(&self) -> &[TrafficSelector] {
        &self.0
    }

    /// The first selector, which may be a hint.
    pub fn first(&self) -> Option<&TrafficSelector> {
        self.0.first()
    }

    /// How many selectors it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it admits nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one end of a packet is inside.
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.0.iter().any(|selector| selector.contains(address, protocol, port))
    }

    /// Whether an address is inside, whatever the protocol.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|selector| selector.contains_address(address))
    }

    /// Whether a packet's source is inside. The set is that of the sender.
    pub fn covers_source(&self, packet: &PacketSummary) -> bool {
        self.contains(packet.src, packet.protocol, packet.src_port)
    }

    /// Whether a packet's destination is inside. The set is that of the receiver. Of ICMP and mobility headers,
    /// which have one selector only, the ports of this side are not compared
    /// ([RFC 4301 4.4.1.1](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1)).
    pub fn covers_destination(&self, packet: &PacketSummary) -> bool {
        let any_port = has_one_selector(packet.protocol);
        self.0.iter().any(|selector| {
            selector.contains_address(packet.dst)
                && (selector.protocol() == 0 || selector.protocol() == packet.protocol)
                && (any_port || selector.ports().contains(packet.dst_port))
        })
    }

    /// Whether a packet that leaves may use a Child SA with these local selectors and the given remote ones.
    pub fn covers(&self, remote: &Self, packet: &PacketSummary) -> bool {
        self.covers_source(packet) && remote.covers_destination(packet)
    }

    /// What both sets admit, in the order of `self`, without selectors that another one includes.
    /// At most 255 selectors, the first kept: a longer result would not fit a TS payload.
    pub fn intersect(&self, other: &Self) -> Self {
        let mut found: Vec<TrafficSelector> = Vec::new();
        for selector in self.0.iter() {
            for theirs in other.0.iter() {
                if let Some(both) = selector.intersect(theirs)
                    && !found.iter().any(|known| both.is_subset_of(known))
                {
                    found.retain(|known| !known.is_subset_of(&both));
                    found.push(both);
                }
            }
        }
        found.truncate(MOST_SELECTORS);
        Self(found.into())
    }

    /// Whether any packet end is in both sets.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|selector| other.0.iter().any(|theirs| selector.intersect(theirs).is_some()))
    }

    /// Whether everything in this set is in the other, also where it takes several selectors of the other to
    /// cover one of this. A question that breaks into thousands of pieces is answered "no".
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|selector| other.includes(selector))
    }

    /// Whether everything a selector admits is in this set.
    pub fn includes(&self, selector: &TrafficSelector) -> bool {
        let mut left = vec![Piece::of(selector)];
        for known in self.0.iter().map(Piece::of) {
            let mut next = Vec::with_capacity(left.len());
            for piece in left {
                piece.minus(&known, &mut next);
            }
            left = next;
            if left.is_empty() || left.len() > MOST_PIECES {
                break;
            }
        }
        left.is_empty()
    }

    /// Whether both sets admit the same.
    pub fn is_equivalent_to(&self, other: &Self) -> bool {
        self.is_subset_of(other) && other.is_subset_of(self)
    }

    /// Whether it admits every address of a family that it has.
    pub fn has_every_address(&self) -> bool {
        self.0.iter().any(TrafficSelector::is_every_address)
    }

    /// The fewest prefixes that cover exactly the addresses of the set, whatever the protocol, sorted.
    pub fn to_prefixes(&self) -> Vec<IpNet> {
        let mut ranges: Vec<(IpAddr, IpAddr)> = self.0.iter().map(|s| (s.start(), s.end())).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (start, end) in ranges {
            match merged.last_mut() {
                Some((first, last))
                    if first.is_ipv4() == start.is_ipv4()
                        && to_bits(start) <= to_bits(*last).saturating_add(1) =>
                {
                    *last = (*last).max(end);
                }
                _ => merged.push((start, end)),
            }
        }
        merged
            .into_iter()
            .filter_map(|(start, end)| TrafficSelector::new(0, PortRange::ANY, start, end).ok())
            .flat_map(|selector| selector.to_prefixes())
            .collect()
    }
}

impl FromIterator<TrafficSelector> for SelectorSet {
    fn from_iter<I: IntoIterator<Item = TrafficSelector>>(selectors: I) -> Self {
        Self::new(selectors)
    }
}

impl<'a> IntoIterator for &'a SelectorSet {
    type Item = &'a TrafficSelector;
    type IntoIter = std::slice::Iter<'a, TrafficSelector>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The selectors, separated by commas.
impl fmt::Display for SelectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selector) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{selector}")?;
        }
        if self.0.is_empty() {
            f.write_str("nothing")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
