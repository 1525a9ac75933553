//! Sealed packets on their way to the sockets: trains of equal length, each sent by one system call.
//!
//! All lie one behind the other in one buffer. A packet joins the train before it if that goes to the same
//! destination through the same SA and has packets of the same length; a shorter one may be the last.

use std::sync::Arc;

use super::device::{Datagram, Destination};
use crate::esp::OutboundSa;

/// UDP payload of one train at most: what fits an IPv4 packet.
const MAX_TRAIN: usize = 65_507;
/// Datagrams in one train at most; older kernels take no more.
const MAX_SEGMENTS: usize = 64;
/// Octets that are sent together: two full trains keep within a core's cache.
const CAPACITY: usize = 2 * 65_536;
/// Trains that are sent together at most.
const MAX_TRAINS: usize = 128;

/// Packets of one SA that go out in one call.
#[derive(Debug)]
pub(super) struct Train {
    start: usize,
    len: usize,
    /// Octets of every packet but the last.
    segment: usize,
    packets: usize,
    /// Whether a shorter packet ended it.
    ended: bool,
    to: Destination,
    pub(super) sa: Arc<OutboundSa>,
}

impl Train {
    /// Packets in it.
    pub(super) fn packets(&self) -> usize {
        self.packets
    }
}

/// Sealed packets not yet sent.
#[derive(Debug)]
pub(super) struct Outbox {
    storage: Vec<u8>,
    used: usize,
    trains: Vec<Train>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { storage: vec![0; CAPACITY], used: 0, trains: Vec::with_capacity(MAX_TRAINS) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    /// Whether a packet of `len` octets has a place.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.used + len <= CAPACITY && self.trains.len() < MAX_TRAINS
    }

    /// Whether the last train cannot grow: better sent while its octets are in the cache.
    pub(super) fn is_full(&self) -> bool {
        self.trains
            .last()
            .is_some_and(|train| train.packets >= MAX_SEGMENTS || train.len + train.segment > MAX_TRAIN)
    }

    /// Adds a packet of exactly `len` octets that `write` puts into its place.
    ///
    /// # Errors
    /// Those of `write`; nothing is added then. `None` if there is no room.
    pub(super) fn push<E>(
        &mut self,
        to: Destination,
        sa: &Arc<OutboundSa>,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<()>, E> {
        if !self.has_room(len) {
            return Ok(None);
        }
        let Some(slot) = self.storage.get_mut(self.used..self.used + len) else { return Ok(None) };
        write(slot)?;
        match self.trains.last_mut().filter(|train| train.takes(&to, sa, len)) {
            Some(train) => {
                train.ended = len < train.segment;
                train.len += len;
                train.packets += 1;
            }
            None => self.trains.push(Train {
                start: self.used,
                len,
                segment: len,
                packets: 1,
                // A packet that may be fragmented outside goes alone.
                ended: !to.dont_fragment,
                to,
                sa: Arc::clone(sa),
            }),
        }
        self.used += len;
        Ok(Some(()))
    }

    /// Everything there is, in order.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.trains.iter().filter_map(|train| {
            let octets = self.storage.get(train.start..train.start + train.len)?;
            let segment_size = u16::try_from(train.segment).ok().filter(|_| train.packets > 1);
            Some(Datagram { octets, to: Destination { segment_size, ..train.to } })
        })
    }

    pub(super) fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.trains.clear();
    }
}

impl Train {
    fn takes(&self, to: &Destination, sa: &Arc<OutboundSa>, len: usize) -> bool {
        !self.ended
            && len <= self.segment
            && self.packets < MAX_SEGMENTS
            && self.len + len <= MAX_TRAIN
            && self.to == *to
            && Arc::ptr_eq(&self.sa, sa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::fixture;

    fn to(tos: u8) -> Destination {
        Destination {
            local: None,
            remote: "192.0.2.1:4500".parse().unwrap(),
            tos,
            dont_fragment: true,
            segment_size: None,
        }
    }

    fn fill(outbox: &mut Outbox, to: Destination, sa: &Arc<OutboundSa>, len: usize, value: u8) -> bool {
        outbox
            .push::<()>(to, sa, len, |slot| {
                slot.fill(value);
                Ok(())
            })
            .unwrap()
            .is_some()
    }

    fn shape(outbox: &Outbox) -> Vec<(usize, Option<u16>)> {
        outbox.datagrams().map(|datagram| (datagram.octets.len(), datagram.to.segment_size)).collect()
    }

    #[test]
    fn equal_packets_form_a_train_that_a_shorter_one_ends() {
        let (mut outbox, sa) = (Outbox::new(), Arc::new(fixture::outbound(fixture::GCM)));
        for (len, value) in [(100, 1), (100, 2), (60, 3), (60, 4), (100, 5)] {
            assert!(fill(&mut outbox, to(0), &sa, len, value));
        }
        assert_eq!(shape(&outbox), [(260, Some(100)), (60, None), (100, None)]);
        let first = outbox.datagrams().next().unwrap();
        assert_eq!([first.octets[0], first.octets[100], first.octets[200]], [1, 2, 3]);
        let packets: Vec<_> = outbox.trains().iter().map(Train::packets).collect();
        assert_eq!(packets, [3, 1, 1]);
    }

    #[test]
    fn another_sa_or_other_marks_start_another_train() {
        let (mut outbox, sa) = (Outbox::new(), Arc::new(fixture::outbound(fixture::GCM)));
        let other = Arc::new(fixture::outbound(fixture::GCM));
        fill(&mut outbox, to(0), &sa, 100, 1);
        fill(&mut outbox, to(2), &sa, 100, 1);
        fill(&mut outbox, to(2), &other, 100, 1);
        assert_eq!(shape(&outbox), [(100, None), (100, None), (100, None)]);
    }

    #[test]
    fn a_train_is_no_longer_than_the_kernel_takes() {
        let (mut outbox, sa) = (Outbox::new(), Arc::new(fixture::outbound(fixture::GCM)));
        (0..45).for_each(|_| assert!(fill(&mut outbox, to(0), &sa, 1_472, 1)));
        assert_eq!(shape(&outbox), [(44 * 1_472, Some(1_472)), (1_472, None)]);
        outbox.clear();
        (0..65).for_each(|_| assert!(fill(&mut outbox, to(0), &sa, 100, 1)));
        assert_eq!(shape(&outbox), [(6_400, Some(100)), (100, None)]);
    }

    #[test]
    fn a_packet_that_may_be_fragmented_goes_alone() {
        let (mut outbox, sa) = (Outbox::new(), Arc::new(fixture::outbound(fixture::GCM)));
        let free = Destination { dont_fragment: false, ..to(0) };
        fill(&mut outbox, free, &sa, 100, 1);
        fill(&mut outbox, free, &sa, 100, 1);
        assert_eq!(shape(&outbox), [(100, None), (100, None)]);
    }

    #[test]
    fn a_full_outbox_takes_nothing_and_a_failed_write_leaves_nothing() {
        let (mut outbox, sa) = (Outbox::new(), Arc::new(fixture::outbound(fixture::GCM)));
        assert!(fill(&mut outbox, to(0), &sa, CAPACITY / 2, 1));
        assert!(fill(&mut outbox, to(0), &sa, CAPACITY / 2, 1));
        assert!(!fill(&mut outbox, to(0), &sa, 1, 1));
        outbox.clear();
        assert_eq!(outbox.push(to(0), &sa, 10, |_| Err("no")), Err("no"));
        assert!(outbox.is_empty());
    }
}
