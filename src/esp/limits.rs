//! How much an SA may carry.

/// Limits of one SA in one direction. A soft limit is reported once and asks for a rekey; at a hard limit
/// the SA carries nothing more. `None` is no limit of its own; the sequence number space always limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Packets after which a rekey is asked for.
    pub soft_packets: Option<u64>,
    /// Inner octets after which a rekey is asked for.
    pub soft_octets: Option<u64>,
    /// Packets the SA carries at most.
    pub hard_packets: Option<u64>,
    /// Inner octets the SA carries at most.
    pub hard_octets: Option<u64>,
}

/// Without extended sequence numbers the counter must not cycle
/// ([RFC 4303 section 3.3.3](https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3)).
pub(crate) const LAST_SEQUENCE: u64 = u32::MAX as u64;

/// With extended sequence numbers: far below the end of the space, and below what any suite's key is good for.
pub(crate) const LAST_EXTENDED_SEQUENCE: u64 = 1 << 48;

impl Limits {
    /// The last sequence number an SA may send, whatever is configured.
    pub(crate) fn last_sequence(&self, esn: bool) -> u64 {
        let space = if esn { LAST_EXTENDED_SEQUENCE } else { LAST_SEQUENCE };
        self.hard_packets.map_or(space, |packets| packets.min(space))
    }

    /// Packets after which a rekey is asked for: the configured number, but always well before the
    /// sequence numbers end.
    pub(crate) fn soft_packets(&self, esn: bool) -> u64 {
        let last = self.last_sequence(esn);
        let latest = last - last / 16;
        self.soft_packets.map_or(latest, |packets| packets.min(latest))
    }

    pub(crate) fn soft_reached(&self, esn: bool, packets: u64, octets: u64) -> bool {
        packets >= self.soft_packets(esn) || self.soft_octets.is_some_and(|limit| octets >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_space_limits_even_without_configuration() {
        let none = Limits::default();
        assert_eq!(none.last_sequence(false), 0xffff_ffff);
        assert!(none.soft_packets(false) < none.last_sequence(false));
        let wide = Limits { soft_packets: Some(u64::MAX), hard_packets: Some(u64::MAX), ..Limits::default() };
        assert_eq!(wide.last_sequence(false), 0xffff_ffff);
        assert!(wide.soft_packets(false) < 0xffff_ffff);
    }
}
