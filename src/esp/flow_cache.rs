//! Which SPD entry the recent flows of one worker matched, so that the SPD is searched once a flow and
//! not once a packet.

use super::{DropReason, Snapshot, SpdEntry, summarize};
use crate::{
    policy::PacketSummary,
    wire::ip::{Fragment, InnerPacket},
};

const SLOTS: usize = 64;

/// A direct-mapped cache over [`Snapshot::outbound`], valid for one generation of the snapshot. Flows that
/// fall on one slot cost each other a search, nothing else.
#[derive(Debug, Clone)]
pub struct FlowCache {
    generation: Option<u64>,
    slots: Box<[Option<(PacketSummary, u64)>; SLOTS]>,
}

impl FlowCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self { generation: None, slots: Box::new([None; SLOTS]) }
    }

    /// What [`Snapshot::outbound`] gives for the packet.
    ///
    /// # Errors
    /// Those of [`Snapshot::outbound`].
    pub fn lookup<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        packet: &InnerPacket,
        octets: &[u8],
    ) -> Result<(u64, &'s SpdEntry), DropReason> {
        if packet.fragment != Fragment::Whole || packet.icmp.is_some() {
            return snapshot.outbound(packet, octets);
        }
        if self.generation != Some(snapshot.generation()) {
            self.slots.fill(None);
            self.generation = Some(snapshot.generation());
        }
        let summary = summarize(packet);
        let slot = slot_of(&summary);
        if let Some(Some((cached, index))) = self.slots.get(slot)
            && *cached == summary
            && let Some(entry) = snapshot.spd().get(*index)
        {
            return Ok((*index, entry));
        }
        let found = snapshot.outbound(packet, octets)?;
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Some((summary, found.0));
        }
        Ok(found)
    }
}

impl Default for FlowCache {
    fn default() -> Self {
        Self::new()
    }
}

fn slot_of(packet: &PacketSummary) -> usize {
    (flow_hash(packet) >> 58) as usize
}

/// Spreads flows over tables; its high bits are the better ones.
pub(crate) fn flow_hash(packet: &PacketSummary) -> u64 {
    let fold = |address| match address {
        std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
        std::net::IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(29)
        }
    };
    let ports = u64::from(packet.src_port.unwrap_or(0)) << 24
        | u64::from(packet.dst_port.unwrap_or(0)) << 8
        | u64::from(packet.protocol);
    (fold(packet.src).rotate_left(32) ^ fold(packet.dst))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(ports)
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::esp::{
        SpdAction,
        fixture::{DONT_FRAGMENT, fragment_field, selectors, udp},
    };
    use crate::wire::ip::icmp;

    fn snapshot(generation: u64, order: &[usize]) -> Snapshot {
        let all = [
            selectors(&["10.1.0.0/16"], &["10.2.0.0/24[udp/53]"]),
            selectors(&["10.1.0.0/24"], &["10.2.0.0/16"]),
            selectors(&["10.1.0.0/16", "fd01::/16"], &["10.0.0.0/8", "fd02::/16"]),
        ];
        let entries = order.iter().map(|at| SpdEntry {
            peer: "office".into(),
            child: Arc::from(at.to_string()),
            selectors: all[*at].clone(),
            action: SpdAction::Discard,
        });
        Snapshot::new(generation, [], entries.collect())
    }

    fn found(result: Result<(u64, &SpdEntry), DropReason>) -> Result<(u64, &str), DropReason> {
        result.map(|(index, entry)| (index, &*entry.child))
    }

    proptest! {
        #[test]
        fn the_cache_answers_as_the_snapshot_does(
            packets in prop::collection::vec((0usize..7, 0u8..3, 0u8..3, 0u8..3, 50u16..56), 1..200),
            swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let orders: [&[usize]; 4] = [&[0, 1, 2], &[2, 1, 0], &[1], &[]];
            let swaps: Vec<usize> = swaps.iter().map(|swap| swap.index(packets.len())).collect();
            let mut cache = FlowCache::new();
            let mut now = snapshot(0, orders[0]);
            for (at, (kind, a, b, c, port)) in packets.into_iter().enumerate() {
                if swaps.contains(&at) {
                    let generation = now.generation() + 1;
                    now = snapshot(generation, orders[generation as usize % 4]);
                }
                let (source, destination) = (format!("10.1.{a}.1"), format!("10.{}.{b}.{c}", 2 + a / 2));
                let plain = udp(&source, &destination, (9, port), 8);
                let octets = match kind {
                    0 | 1 => plain,
                    2 => fragment_field(plain, 0x2000),
                    3 => fragment_field(plain, 1),
                    4 => fragment_field(plain, DONT_FRAGMENT),
                    5 => {
                        let theirs = udp(&destination, &source, (port, 9), 600);
                        icmp::fragmentation_needed(&theirs, "192.168.1.1".parse().unwrap(), 1_300).unwrap()
                    }
                    _ => udp(&format!("fd01::{a}"), &format!("fd0{}::{b}", 1 + c), (9, port), 8),
                };
                let view = InnerPacket::parse(&octets).unwrap();
                prop_assert_eq!(
                    found(cache.lookup(&now, &view, &octets)),
                    found(now.outbound(&view, &octets))
                );
            }
        }
    }

    #[test]
    fn a_flow_is_searched_once_and_a_new_generation_starts_anew() {
        let octets = udp("10.1.9.1", "10.2.0.1", (1, 53), 8);
        let view = InnerPacket::parse(&octets).unwrap();
        let mut cache = FlowCache::new();
        let first = snapshot(4, &[0, 2]);
        assert_eq!(found(cache.lookup(&first, &view, &octets)), Ok((0, "0")));
        // The same generation with another content never exists; here it shows that nothing was searched.
        let other = snapshot(4, &[2, 0]);
        assert_eq!(found(cache.lookup(&other, &view, &octets)), Ok((0, "2")));
        let next = snapshot(5, &[1, 2]);
        assert_eq!(found(cache.lookup(&next, &view, &octets)), Ok((1, "2")));
        let empty = snapshot(6, &[]);
        assert_eq!(found(cache.lookup(&empty, &view, &octets)), Err(DropReason::NoPolicy));
    }
}
