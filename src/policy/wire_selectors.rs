//! Traffic selectors as they stand in a TS payload
//! ([RFC 7296 3.13](https://www.rfc-editor.org/rfc/rfc7296#section-3.13)), read and written.

use std::net::IpAddr;

use super::selector::{PortRange, TrafficSelector};
use super::selector_set::{MOST_SELECTORS, SelectorSet};
use crate::wire::ike::WireTs;

impl TrafficSelector {
    /// A selector of a TS payload; `None` for a type that is not understood and for bounds out of order.
    pub fn from_wire(wire: &WireTs) -> Option<Self> {
        let (protocol, start_port, end_port, start, end): (_, _, _, IpAddr, IpAddr) = match wire {
            WireTs::Ipv4 { protocol, start_port, end_port, start, end } => {
                (*protocol, *start_port, *end_port, (*start).into(), (*end).into())
            }
            WireTs::Ipv6 { protocol, start_port, end_port, start, end } => {
                (*protocol, *start_port, *end_port, (*start).into(), (*end).into())
            }
            WireTs::Unknown { .. } => return None,
        };
        let ports = PortRange { start: start_port, end: end_port };
        if start_port > end_port && !ports.is_opaque() {
            return None;
        }
        Self::new(protocol, ports, start, end).ok()
    }

    /// The selector for a TS payload.
    pub fn to_wire(&self) -> WireTs {
        let (protocol, PortRange { start: start_port, end: end_port }) = (self.protocol(), self.ports());
        match (self.start(), self.end()) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                WireTs::Ipv4 { protocol, start_port, end_port, start, end }
            }
            (start, end) => {
                let v6 = |address| match address {
                    IpAddr::V4(address) => std::net::Ipv4Addr::to_ipv6_mapped(&address),
                    IpAddr::V6(address) => address,
                };
                WireTs::Ipv6 { protocol, start_port, end_port, start: v6(start), end: v6(end) }
            }
        }
    }
}

impl SelectorSet {
    /// The selectors of a TS payload. Types that are not understood (a security label, say) and selectors whose
    /// bounds are out of order admit nothing and are left out.
    pub fn from_wire(selectors: &[WireTs]) -> Self {
        selectors.iter().filter_map(TrafficSelector::from_wire).take(MOST_SELECTORS).collect()
    }

    /// The selectors for a TS payload, at most 255.
    pub fn to_wire(&self) -> Vec<WireTs> {
        self.iter().take(MOST_SELECTORS).map(TrafficSelector::to_wire).collect()
    }
}
