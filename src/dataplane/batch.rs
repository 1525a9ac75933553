//! Packets in batches: a fixed number of fixed slots, allocated once, each with its metadata.

/// What the network stack left for its peer to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// How a super-packet is to be cut into segments.
    pub segmentation: Segmentation,
    /// Payload octets in each segment but the last; 0 without segmentation.
    pub segment_size: u16,
    /// Octets of IP and transport header of a super-packet.
    pub header_len: u16,
    /// A transport checksum that is still to be completed.
    pub checksum: Option<PartialChecksum>,
}

/// How a super-packet is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Segmentation {
    /// Not at all: it is one packet.
    #[default]
    None,
    /// Into TCP segments over IPv4.
    TcpV4,
    /// Into TCP segments over IPv6.
    TcpV6,
    /// Into UDP datagrams.
    Udp,
    /// In a way that nobody asked for and that is not known.
    Unknown,
}

/// Where a checksum has to be completed: the sum of everything from `start` goes to `start + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the summed octets start.
    pub start: u16,
    /// Where the checksum field lies behind that.
    pub offset: u16,
}

/// Packets of at most a slot's length, with metadata of type `M`. Nothing is allocated after creation.
#[derive(Debug)]
pub struct Batch<M> {
    storage: Vec<u8>,
    slot_len: usize,
    capacity: usize,
    packets: Vec<(usize, M)>,
}

impl<M> Batch<M> {
    /// An empty batch of `capacity` slots of `slot_len` octets.
    pub fn new(capacity: usize, slot_len: usize) -> Self {
        let (capacity, slot_len) = (capacity.max(1), slot_len.max(1));
        Self {
            storage: vec![0; capacity * slot_len],
            slot_len,
            capacity,
            packets: Vec::with_capacity(capacity),
        }
    }

    /// Forgets the packets.
    pub fn clear(&mut self) {
        self.packets.clear();
    }

    /// Packets in the batch.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether no slot is free.
    pub fn is_full(&self) -> bool {
        self.packets.len() >= self.capacity
    }

    /// Adds a packet if `write` fills the free slot it is given and returns the packet's length and
    /// metadata. Gives what `write` returned as an error; `Ok(false)` if the batch is full.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn push<E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<(usize, M), E>) -> Result<bool, E> {
        if self.is_full() {
            return Ok(false);
        }
        let start = self.packets.len() * self.slot_len;
        let Some(slot) = self.storage.get_mut(start..start + self.slot_len) else { return Ok(false) };
        let (len, meta) = write(slot)?;
        self.packets.push((len.min(self.slot_len), meta));
        Ok(true)
    }

    /// The free slots, for a receive that fills several at once; see [`Batch::fill`].
    pub fn free_slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.storage.chunks_exact_mut(self.slot_len).skip(self.packets.len())
    }

    /// Says that the next free slots hold packets of these lengths.
    pub fn fill(&mut self, packets: impl IntoIterator<Item = (usize, M)>) {
        for (len, meta) in packets.into_iter().take(self.capacity - self.packets.len()) {
            self.packets.push((len.min(self.slot_len), meta));
        }
    }

    /// One packet's octets.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (len, _) = self.packets.get(index)?;
        let start = index * self.slot_len;
        self.storage.get(start..start + len)
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &M)> {
        self.storage
            .chunks_exact(self.slot_len)
            .zip(&self.packets)
            .filter_map(|(slot, (len, meta))| Some((slot.get(..*len)?, meta)))
    }

    /// The packets in order, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut [u8], &mut M)> {
        self.storage
            .chunks_exact_mut(self.slot_len)
            .zip(&mut self.packets)
            .filter_map(|(slot, (len, meta))| Some((slot.get_mut(..*len)?, meta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_packets_in_order_and_refuses_more_than_it_holds() {
        let mut batch = Batch::new(2, 4);
        for value in [1u8, 2] {
            let added = batch.push::<()>(|slot| {
                slot.fill(value);
                Ok((usize::from(value), value))
            });
            assert_eq!(added, Ok(true));
        }
        assert_eq!(batch.push::<()>(|_| Ok((1, 9))), Ok(false));
        let seen: Vec<_> = batch.iter().map(|(octets, meta)| (octets.to_vec(), *meta)).collect();
        assert_eq!(seen, [(vec![1], 1), (vec![2, 2], 2)]);
    }

    #[test]
    fn a_failed_write_leaves_no_packet() {
        let mut batch: Batch<()> = Batch::new(2, 4);
        assert_eq!(batch.push(|_| Err("no")), Err("no"));
        assert!(batch.is_empty());
    }

    #[test]
    fn slots_filled_at_once_come_after_those_there() {
        let mut batch = Batch::new(3, 2);
        batch
            .push::<()>(|slot| {
                slot.fill(7);
                Ok((2, 'a'))
            })
            .unwrap();
        for slot in batch.free_slots() {
            slot.fill(8);
        }
        batch.fill([(1, 'b'), (2, 'c'), (2, 'd')]);
        let seen: Vec<_> = batch.iter().map(|(octets, meta)| (octets.to_vec(), *meta)).collect();
        assert_eq!(seen, [(vec![7, 7], 'a'), (vec![8], 'b'), (vec![8, 8], 'c')]);
    }
}
