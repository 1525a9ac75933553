//! Whether an inner packet fits an SA's traffic selectors
//! ([RFC 4301 section 4.4.1](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1)).
//!
//! Ports and ICMP types are looked at where the selectors name them. A later fragment has none and fits
//! only selectors that name none ([RFC 4301 section 7.1](https://www.rfc-editor.org/rfc/rfc4301#section-7.1)).
//! An ICMP error also fits where the packet it complains about fits in the other direction, whoever sent
//! the error ([RFC 4301 section 6.2](https://www.rfc-editor.org/rfc/rfc4301#section-6.2)): otherwise a
//! router on the way could not tell that a packet is too big.

use super::{
    DropReason,
    summary::{answered_by_error, is_later_fragment, summarize},
};
use crate::{
    policy::{PacketSummary, SelectorSet},
    wire::ip::InnerPacket,
};

/// The traffic selectors of a Child SA, seen from this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaSelectors {
    /// This side's addresses, protocols and ports.
    pub local: SelectorSet,
    /// The peer's side.
    pub remote: SelectorSet,
}

impl SaSelectors {
    /// Whether a packet of this side may leave through the SA.
    pub fn covers_outbound(&self, packet: &PacketSummary) -> bool {
        self.local.covers(&self.remote, packet)
    }

    fn covers_inbound(&self, packet: &PacketSummary) -> bool {
        self.remote.covers(&self.local, packet)
    }

    /// Whether a decrypted packet may come out of the SA. `octets` is the whole inner packet.
    ///
    /// # Errors
    /// [`DropReason::InnerSelectorMismatch`] or [`DropReason::InnerFragmentWithoutPorts`].
    pub fn check_inbound(&self, packet: &InnerPacket, octets: &[u8]) -> Result<(), DropReason> {
        let summary = summarize(packet);
        if self.covers_inbound(&summary)
            || answered_by_error(packet, octets).is_some_and(|answered| self.covers_inbound(&answered))
        {
            return Ok(());
        }
        let only_ports_differ = covers_but_for_ports(&self.remote, &self.local, &summary);
        Err(if is_later_fragment(packet) && only_ports_differ {
            DropReason::InnerFragmentWithoutPorts
        } else {
            DropReason::InnerSelectorMismatch
        })
    }
}

fn covers_but_for_ports(sender: &SelectorSet, receiver: &SelectorSet, packet: &PacketSummary) -> bool {
    let one_end = |set: &SelectorSet, address| {
        set.iter().any(|selector| {
            selector.contains_address(address)
                && (selector.protocol() == 0 || selector.protocol() == packet.protocol)
        })
    };
    one_end(sender, packet.src) && one_end(receiver, packet.dst)
}
