//! UDP ([RFC 768](https://www.rfc-editor.org/rfc/rfc768)).

use super::{Fragment, InnerPacket, protocol};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

/// The payload of a UDP packet that is not a later fragment, as far as the packet holds it; `None` if
/// it is another protocol or its length field is wrong.
pub fn payload<'a>(packet: &'a [u8], view: &InnerPacket) -> Option<&'a [u8]> {
    if view.protocol != protocol::UDP || matches!(view.fragment, Fragment::Later(_)) {
        return None;
    }
    let datagram = packet.get(view.header_len..view.total_len)?;
    let [_, _, _, _, high, low, _, _, ..] = *datagram else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    match view.fragment {
        Fragment::First => datagram.get(HEADER_LEN..len.min(datagram.len())),
        _ => datagram.get(HEADER_LEN..len),
    }
}
