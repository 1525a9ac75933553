//! ICMP echo.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::marked;
use crate::lab::{LabError, namespace::Namespace, wait::until};

static IDENTIFIER: AtomicU16 = AtomicU16::new(0x5b00);

/// Sends one echo request with `length` octets of payload from a namespace and waits for the reply.
/// Returns the time it took, or in words why there was none.
///
/// # Errors
/// No socket can be opened.
pub fn once(
    namespace: &Namespace,
    to: IpAddr,
    length: usize,
    patience: Duration,
) -> Result<Result<Duration, String>, LabError> {
    namespace.run(|| {
        let identifier = identifier();
        let socket = open(to).map_err(LabError::io("open an ICMP socket"))?;
        Ok(echo(&socket, to, identifier, length, patience))
    })
}

/// Pings until a reply comes; the wait for each is short.
///
/// # Errors
/// No reply before the deadline.
pub fn until_answered(namespace: &Namespace, to: IpAddr, patience: Duration) -> Result<Duration, LabError> {
    let what = format!("{} reaches {to}", namespace.name());
    until(&what, patience, || once(namespace, to, 56, Duration::from_millis(250)))
}

/// An identifier that no other request of this process has.
pub(super) fn identifier() -> u16 {
    IDENTIFIER.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn open(to: IpAddr) -> io::Result<Socket> {
    match to {
        IpAddr::V4(_) => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        IpAddr::V6(_) => Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)),
    }
}

fn echo(
    socket: &Socket,
    to: IpAddr,
    identifier: u16,
    length: usize,
    patience: Duration,
) -> Result<Duration, String> {
    let kind: u8 = if to.is_ipv4() { 8 } else { 128 };
    let mut request = vec![kind, 0, 0, 0];
    request.extend_from_slice(&identifier.to_be_bytes());
    request.extend_from_slice(&1_u16.to_be_bytes());
    request.extend(marked(length));
    if to.is_ipv4() {
        // For ICMPv6 the kernel fills the checksum in.
        let sum = checksum(&request).to_be_bytes();
        request.splice(2..4, sum);
    }
    let begun = Instant::now();
    socket.send_to(&request, &SocketAddr::new(to, 0).into()).map_err(|error| error.to_string())?;
    let mut buffer = vec![0_u8; 65_536];
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err("no reply".to_owned());
        }
        socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .map_err(|error| error.to_string())?;
        let mut reader = socket;
        let count = match io::Read::read(&mut reader, &mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        let packet = buffer.get(..count).unwrap_or_default();
        match verdict(packet, to, &request) {
            Some(Ok(())) => return Ok(begun.elapsed()),
            Some(Err(said)) => return Err(said),
            None => {}
        }
    }
}

/// What a received packet means for our request: the reply, a refusal, or nothing.
fn verdict(packet: &[u8], to: IpAddr, request: &[u8]) -> Option<Result<(), String>> {
    let message = match to {
        IpAddr::V4(_) => packet.get(usize::from(packet.first()? & 0x0f) * 4..)?,
        IpAddr::V6(_) => packet,
    };
    let (reply, unreachable, too_big, exceeded) =
        if to.is_ipv4() { (0, 3, None, 11) } else { (129, 1, Some(2), 3) };
    let kind = *message.first()?;
    if kind == reply && message.get(4..) == request.get(4..) {
        return Some(Ok(()));
    }
    // An error quotes our packet: its ICMP header follows the quoted IP header.
    let quoted = message.get(8..)?;
    let inner = if to.is_ipv4() {
        quoted.get(usize::from(quoted.first()? & 0x0f) * 4..)?
    } else {
        quoted.get(40..)?
    };
    let ours = inner.get(4..8).is_some_and(|header| request.get(4..8) == Some(header));
    if !ours {
        return None;
    }
    let code = message.get(1)?;
    if kind == unreachable {
        return Some(Err(format!("destination unreachable (code {code})")));
    }
    if kind == exceeded {
        return Some(Err("time to live exceeded".to_owned()));
    }
    (Some(kind) == too_big).then(|| Err("packet too big".to_owned()))
}

pub(super) fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair.first().copied().unwrap_or(0),
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(u16::try_from(sum).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_all_ones_with_its_checksum() {
        let mut request = vec![8, 0, 0, 0, 1, 2, 0, 1, 9];
        let sum = checksum(&request).to_be_bytes();
        request.splice(2..4, sum);
        assert_eq!(checksum(&request), 0);
    }

    #[test]
    fn only_the_reply_to_our_own_request_counts() {
        let to: IpAddr = "10.0.0.1".parse().unwrap();
        let request = [8, 0, 0, 0, 1, 2, 0, 1, 9];
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 1, 2, 0, 1, 9]);
        assert_eq!(verdict(&packet, to, &request), Some(Ok(())));
        packet[25] = 3;
        assert_eq!(verdict(&packet, to, &request), None);
        assert_eq!(verdict(&[], to, &request), None);
    }

    #[test]
    fn a_refusal_that_quotes_our_request_is_told_in_words() {
        let to: IpAddr = "10.0.0.1".parse().unwrap();
        let request = [8, 0, 0, 0, 1, 2, 0, 1, 9];
        let mut packet = vec![0x45; 20];
        packet.extend([3, 13, 0, 0, 0, 0, 0, 0]);
        packet.extend([0x45; 20]);
        packet.extend(request);
        assert_eq!(verdict(&packet, to, &request), Some(Err("destination unreachable (code 13)".to_owned())));
    }
}
