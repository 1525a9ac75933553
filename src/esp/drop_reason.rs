//! A name for every reason for which a packet is not carried. Names are stable: they are metric
//! labels and what an operator searches for.

use std::fmt;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $variant:ident => $name:literal, $direction:ident;)+) => {
        /// Why a packet was not carried. Each drop counts under exactly one reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of [`DropReason::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name: lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The way the packet was going.
            pub const fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)+ }
            }
        }
    };
}

/// The way a packet goes through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer (UDP) to this side's network (TUN).
    Inbound,
    /// From this side's network (TUN) to the peer (UDP).
    Outbound,
}

impl Direction {
    /// `inbound` or `outbound`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

drop_reasons! {
    /// An empty datagram, or one too short for an ESP or IKE header.
    Runt => "runt", Inbound;
    /// The datagram was longer than the receive buffer.
    DatagramTruncated => "datagram_truncated", Inbound;
    /// An SPI of 1 to 255, which is reserved.
    ReservedSpi => "reserved_spi", Inbound;
    /// No inbound SA has this SPI.
    UnknownSpi => "unknown_spi", Inbound;
    /// The queue of IKE datagrams towards the engine was full.
    IkeQueueFull => "ike_queue_full", Inbound;
    /// Sequence number zero without extended sequence numbers, which no sender uses.
    SequenceZero => "sequence_zero", Inbound;
    /// A sequence number that was received before.
    Replayed => "replayed", Inbound;
    /// A sequence number older than the replay window.
    ReplayTooOld => "replay_too_old", Inbound;
    /// A ciphertext that is too short or no whole number of blocks.
    CiphertextLength => "ciphertext_length", Inbound;
    /// The integrity check value does not match.
    AuthenticationFailed => "authentication_failed", Inbound;
    /// The padding is not 1, 2, 3, … or longer than the packet.
    BadPadding => "bad_padding", Inbound;
    /// The next header is neither IPv4, IPv6 nor the dummy protocol.
    UnknownNextHeader => "unknown_next_header", Inbound;
    /// The decrypted packet is no valid IP packet, or not of the version the next header says.
    InnerMalformed => "inner_malformed", Inbound;
    /// The decrypted packet's addresses, protocol or ports are outside the SA's selectors.
    InnerSelectorMismatch => "inner_selector_mismatch", Inbound;
    /// A later fragment, which has no ports, on an SA whose selectors name ports.
    InnerFragmentWithoutPorts => "inner_fragment_without_ports", Inbound;
    /// Congestion was marked outside on a packet that is not ECN-capable inside (RFC 6040).
    EcnIllegal => "ecn_illegal", Inbound;
    /// The inbound SA's hard limit of packets or octets was reached.
    InboundHardLimit => "inbound_hard_limit", Inbound;
    /// The TUN device did not take the packet: its queue was full.
    TunQueueFull => "tun_queue_full", Inbound;
    /// The TUN device is gone or down.
    TunGone => "tun_gone", Inbound;
    /// The TUN device refused the packet for another reason.
    TunRefused => "tun_refused", Inbound;

    /// A packet from the TUN device that is no valid IP packet.
    OutboundMalformed => "outbound_malformed", Outbound;
    /// The TUN device asked for an offload that this implementation does not do.
    UnsupportedOffload => "unsupported_offload", Outbound;
    /// Multicast, broadcast, link-local or unspecified destination, which no tunnel carries here.
    NotUnicast => "not_unicast", Outbound;
    /// The packet matches no policy entry.
    NoPolicy => "no_policy", Outbound;
    /// The policy says discard.
    PolicyDiscard => "policy_discard", Outbound;
    /// The policy says bypass, so the packet should not have been routed into the tunnel device.
    PolicyBypass => "policy_bypass", Outbound;
    /// A datagram of the tunnel itself was routed into the tunnel.
    TunnelLoop => "tunnel_loop", Outbound;
    /// The policy protects the packet, but no SA is established.
    NoSa => "no_sa", Outbound;
    /// The packet waited for a tunnel that did not come up in time.
    AcquireTimeout => "acquire_timeout", Outbound;
    /// Too many packets waited for a tunnel already.
    AcquireQueueFull => "acquire_queue_full", Outbound;
    /// An IPv4 packet with DF longer than the inner MTU; answered with fragmentation needed.
    TooBigIpv4 => "too_big_ipv4", Outbound;
    /// An IPv6 packet longer than the inner MTU; answered with packet too big.
    TooBigIpv6 => "too_big_ipv6", Outbound;
    /// An IPv4 packet that needed fragmentation but cannot be cut.
    CannotFragment => "cannot_fragment", Outbound;
    /// The outbound SA's hard limit of packets or octets, or its last sequence number, was reached.
    OutboundHardLimit => "outbound_hard_limit", Outbound;
    /// The cipher refused, which a valid SA never does.
    SealFailed => "seal_failed", Outbound;
    /// No socket of the peer's address family.
    NoSocket => "no_socket", Outbound;
    /// The interface's MTU is smaller than the sealed packet.
    UdpTooBig => "udp_too_big", Outbound;
    /// No route to the peer.
    PeerUnreachable => "peer_unreachable", Outbound;
    /// The socket's buffer or the interface's queue was full.
    UdpQueueFull => "udp_queue_full", Outbound;
    /// A firewall of this host forbids sending.
    UdpForbidden => "udp_forbidden", Outbound;
    /// The socket refused the datagram for another reason.
    UdpRefused => "udp_refused", Outbound;
}

impl DropReason {
    /// How many reasons there are: the length of a counter array.
    pub const COUNT: usize = Self::ALL.len();

    /// The place in a counter array, below [`DropReason::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_follow_the_list_and_names_are_distinct() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|octet| octet.is_ascii_lowercase() || octet == b'_' || octet.is_ascii_digit())
            );
        }
    }
}
