//! Control messages of a datagram to be sent, laid out in a fixed buffer: the kernel's `struct cmsghdr`
//! (length, level, type), data, and padding to the machine's word
//! ([cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html)).

use std::net::IpAddr;

const WORD: usize = size_of::<usize>();
const HEADER_LEN: usize = WORD + 8;
/// Source address (32 octets at most), traffic class and segment size (8 each), a header before each.
const CAPACITY: usize = 3 * HEADER_LEN + 32 + 8 + 8;

/// The control messages of one datagram.
#[derive(Debug)]
pub(super) struct ControlBuffer {
    octets: [u8; CAPACITY],
    len: usize,
}

impl Default for ControlBuffer {
    fn default() -> Self {
        Self { octets: [0; CAPACITY], len: 0 }
    }
}

impl ControlBuffer {
    /// All messages.
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// The source address; `None` leaves it to the kernel.
    pub(super) fn source(&mut self, address: Option<IpAddr>) {
        match address {
            Some(IpAddr::V4(address)) => {
                // struct in_pktinfo: interface index, source, (destination of a received packet).
                let [a, b, c, d] = address.octets();
                self.add(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]);
            }
            Some(IpAddr::V6(address)) => {
                // struct in6_pktinfo: address, interface index.
                let mut data = [0; 20];
                for (to, from) in data.iter_mut().zip(address.octets()) {
                    *to = from;
                }
                self.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            }
            None => {}
        }
    }

    /// TOS or traffic class octet; 0 is the socket's own.
    pub(super) fn tos(&mut self, tos: u8, ipv4: bool) {
        match (tos, ipv4) {
            (0, _) => {}
            (tos, true) => self.add(libc::IPPROTO_IP, libc::IP_TOS, &[tos]),
            (tos, false) => {
                self.add(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &i32::from(tos).to_ne_bytes());
            }
        }
    }

    /// Octets of each datagram in a train.
    pub(super) fn segment(&mut self, size: Option<u16>) {
        if let Some(size) = size {
            self.add(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
    }

    fn add(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER_LEN + data.len();
        let Some(room) = self.octets.get_mut(self.len..self.len + length) else { return };
        let (words, kinds) = (length.to_ne_bytes(), [level.to_ne_bytes(), kind.to_ne_bytes()]);
        let message = words.iter().chain(kinds.iter().flatten()).chain(data);
        for (to, from) in room.iter_mut().zip(message) {
            *to = *from;
        }
        self.len = (self.len + length).next_multiple_of(WORD).min(CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use nix::cmsg_space;

    use super::*;

    #[test]
    fn messages_take_the_space_that_the_system_reckons() {
        let mut control = ControlBuffer::default();
        assert!(control.octets().is_empty());
        control.source(Some("2001:db8::1".parse().unwrap()));
        assert_eq!(control.octets().len(), cmsg_space!(libc::in6_pktinfo).len());
        control.tos(0xb8, false);
        assert_eq!(control.octets().len(), cmsg_space!(libc::in6_pktinfo, i32).len());
        control.segment(Some(1_472));
        assert_eq!(control.octets().len(), cmsg_space!(libc::in6_pktinfo, i32, u16).len());
        assert!(control.octets().len() <= CAPACITY);
    }

    #[test]
    fn what_is_not_asked_for_is_not_there() {
        let mut control = ControlBuffer::default();
        control.source(None);
        control.tos(0, true);
        control.segment(None);
        assert!(control.octets().is_empty());
    }
}
