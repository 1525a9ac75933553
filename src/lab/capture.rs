//! Listens on the wire, to prove that nothing passes in clear.
//!
//! A packet socket sees every packet of a namespace, in and out. Each packet is told apart by its
//! outer header alone, and searched for the mark that all lab traffic carries in its payload.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use ipnet::IpNet;
use nix::{
    libc,
    sys::socket::{LinkAddr, recvfrom, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::{
    LabError,
    link::link_index,
    namespace::{Namespace, joined},
    traffic::MARK,
};

const ALL_PROTOCOLS: u16 = 0x0003;
const SAMPLES: usize = 8;

/// Which packets a tap is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything, at the price of a copy each.
    Everything,
    /// Only what is neither IKE nor ESP in UDP by its ports, so that the tap costs a busy tunnel nothing.
    ExceptTunnel,
}

/// What counts as clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// Any packet from or to a protected network, and any that carries lab payload: for links outside.
    Anything,
    /// What the namespace itself sends to a protected network: for links where the other networks' traffic is
    /// rightly in clear, as on the cloud endpoint's only link.
    SentTo,
}

/// What a tap has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// ESP in UDP packets.
    pub esp: u64,
    /// IKE messages, on either port.
    pub ike: u64,
    /// NAT keepalives.
    pub keepalives: u64,
    /// ICMP, neighbour discovery and other housekeeping of the outer network, without protected content.
    pub housekeeping: u64,
    /// Packets from or to protected addresses, or with lab payload, in clear.
    pub clear: u64,
    /// Anything else.
    pub other: u64,
    /// The first few of `clear` and `other`, in words.
    pub samples: Vec<String>,
}

/// A running tap.
#[derive(Debug)]
pub struct Tap {
    name: String,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Tap {
    /// Listens on one link of a namespace. `protected` are the inner networks that must not be seen in clear.
    ///
    /// # Errors
    /// There is no such link, or no packet socket.
    pub fn start(
        namespace: &Namespace,
        link: &str,
        scope: Scope,
        clear: Clear,
        protected: &[&str],
    ) -> Result<Self, LabError> {
        let protected = protected
            .iter()
            .map(|net| net.parse().map_err(|_| LabError::check(format!("not a network: {net}"))))
            .collect::<Result<Vec<IpNet>, _>>()?;
        let index = namespace.netlink(async |handle| link_index(&handle, link).await)?;
        let step = || format!("listen on {link} in {}", namespace.name());
        let socket = namespace.run(|| {
            let protocol = Protocol::from(i32::from(ALL_PROTOCOLS.to_be()));
            let socket =
                Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).map_err(LabError::io(step()))?;
            socket.attach_filter(&filter(index, scope)).map_err(LabError::io(step()))?;
            if setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).is_err() {
                let _ = setsockopt(&socket, sockopt::RcvBuf, &(32 << 20));
            }
            socket.set_read_timeout(Some(Duration::from_millis(50))).map_err(LabError::io(step()))?;
            Ok(socket)
        })?;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (halt, tally) = (Arc::clone(&stop), Arc::clone(&seen));
        let ifindex = usize::try_from(index).unwrap_or(usize::MAX);
        let thread = namespace.thread(move || {
            listen(&socket, ifindex, clear, &protected, &halt, &tally);
            Ok(())
        })?;
        Ok(Self { name: format!("{} {link}", namespace.name()), stop, seen, thread: Some(thread) })
    }

    /// Where it listens, in words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has seen up to now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops and returns what it has seen.
    pub fn stop(mut self) -> Seen {
        self.end();
        self.seen()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(
    socket: &Socket,
    ifindex: usize,
    clear: Clear,
    protected: &[IpNet],
    stop: &AtomicBool,
    seen: &Mutex<Seen>,
) {
    let mut buffer = vec![0_u8; 65_536];
    loop {
        // What is queued when the tap is stopped still counts.
        let stopping = stop.load(Ordering::Acquire);
        let Ok((length, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) else {
            if stopping {
                return;
            }
            continue;
        };
        let sent = from.pkttype() == libc::PACKET_OUTGOING;
        if from.ifindex() != ifindex {
            continue;
        }
        let packet = buffer.get(..length).unwrap_or_default();
        let kind = match clear {
            Clear::Anything => classify(packet, protected),
            Clear::SentTo if sent => sent_to(packet, protected),
            Clear::SentTo => continue,
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Kind::Esp => seen.esp += 1,
            Kind::Ike => seen.ike += 1,
            Kind::Keepalive => seen.keepalives += 1,
            Kind::Housekeeping => seen.housekeeping += 1,
            Kind::Clear(_) => seen.clear += 1,
            Kind::Other(_) => seen.other += 1,
        }
        if let Kind::Clear(words) | Kind::Other(words) = kind
            && seen.samples.len() < SAMPLES
        {
            seen.samples.push(words);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Esp,
    Ike,
    Keepalive,
    Housekeeping,
    Clear(String),
    Other(String),
}

struct Outer<'a> {
    source: IpAddr,
    target: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

fn outer(packet: &[u8]) -> Option<Outer<'_>> {
    match packet.first()? >> 4 {
        4 => Some(Outer {
            source: IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?)),
            target: IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?)),
            protocol: *packet.get(9)?,
            payload: packet.get(usize::from(packet.first()? & 0x0f) * 4..)?,
        }),
        6 => Some(Outer {
            source: IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?)),
            target: IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?)),
            protocol: *packet.get(6)?,
            payload: packet.get(40..)?,
        }),
        _ => None,
    }
}

fn classify(packet: &[u8], protected: &[IpNet]) -> Kind {
    let Some(outer) = outer(packet) else {
        // ARP, for one: this socket strips the link header.
        return Kind::Housekeeping;
    };
    let words = || {
        format!("{} > {}, protocol {}, {} octets", outer.source, outer.target, outer.protocol, packet.len())
    };
    let inside = |address: &IpAddr| protected.iter().any(|net| net.contains(address));
    if inside(&outer.source) || inside(&outer.target) {
        return Kind::Clear(words());
    }
    if packet.windows(MARK.len()).any(|window| window == MARK) {
        return Kind::Clear(format!("{} with lab payload", words()));
    }
    // ICMP, IGMP, ICMPv6 and hop-by-hop options (multicast reports).
    if matches!(outer.protocol, 0 | 1 | 2 | 58) {
        return Kind::Housekeeping;
    }
    tunnel(&outer).unwrap_or_else(|| Kind::Other(words()))
}

/// As [`classify`], where everything but what goes to a protected network may be in clear.
fn sent_to(packet: &[u8], protected: &[IpNet]) -> Kind {
    match outer(packet) {
        Some(outer) if protected.iter().any(|net| net.contains(&outer.target)) => classify(packet, protected),
        Some(outer) => tunnel(&outer).unwrap_or(Kind::Housekeeping),
        None => Kind::Housekeeping,
    }
}

fn tunnel(outer: &Outer<'_>) -> Option<Kind> {
    if outer.protocol != 17 {
        return None;
    }
    let port = |at: usize| Some(u16::from_be_bytes(outer.payload.get(at..at + 2)?.try_into().ok()?));
    let ports = [port(0)?, port(2)?];
    let data = outer.payload.get(8..)?;
    if ports.contains(&500) {
        return Some(Kind::Ike);
    }
    if !ports.contains(&4500) {
        return None;
    }
    match data {
        [0xff] => Some(Kind::Keepalive),
        [0, 0, 0, 0, ..] => Some(Kind::Ike),
        // SPI and sequence number, 8 octets of IV, at least one block and the ICV.
        esp if esp.len() >= 8 + 8 + 4 + 8 => Some(Kind::Esp),
        _ => None,
    }
}

/// Classic BPF, on a packet without link header: takes packets of one link, without the tunnel's own where asked.
fn filter(index: u32, scope: Scope) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let ancillary = |field: i32| (libc::SKF_AD_OFF + field).cast_unsigned();
    let step = |code, k| SockFilter::new(code, 0, 0, k);
    let jump = |code, k, yes, no| SockFilter::new(code, yes, no, k);
    let (accept, reject) = (|| step(RETURN, 0x4_0000), || step(RETURN, 0));
    let mut program =
        vec![step(LOAD_WORD, ancillary(libc::SKF_AD_IFINDEX)), jump(JUMP_EQUAL, index, 1, 0), reject()];
    if scope == Scope::ExceptTunnel {
        program.extend([
            step(LOAD_WORD, ancillary(libc::SKF_AD_PROTOCOL)), // 0
            jump(JUMP_EQUAL, 0x0806, 19, 0),                   // 1: ARP -> reject
            jump(JUMP_EQUAL, 0x86dd, 10, 0),                   // 2: IPv6 -> 13
            jump(JUMP_EQUAL, 0x0800, 0, 16),                   // 3: neither -> accept
            step(LOAD_BYTE, 9),                                // 4
            jump(JUMP_EQUAL, 17, 0, 14),                       // 5: not UDP -> accept
            step(LOAD_HALF, 6),                                // 6
            jump(JUMP_BITS, 0x1fff, 12, 0),                    // 7: later fragment -> accept
            step(LOAD_HEADER_LENGTH, 0),                       // 8
            step(LOAD_HALF_INDEXED, 0),                        // 9
            jump(JUMP_EQUAL, 4500, 10, 0),                     // 10 -> reject
            step(LOAD_HALF_INDEXED, 2),                        // 11
            jump(JUMP_EQUAL, 4500, 8, 7),                      // 12 -> reject or accept
            step(LOAD_BYTE, 6),                                // 13
            jump(JUMP_EQUAL, 17, 0, 5),                        // 14: not UDP -> accept
            step(LOAD_HALF, 40),                               // 15
            jump(JUMP_EQUAL, 4500, 4, 0),                      // 16 -> reject
            step(LOAD_HALF, 42),                               // 17
            jump(JUMP_EQUAL, 4500, 2, 1),                      // 18 -> reject or accept
            accept(),                                          // 19
            accept(),                                          // 20
            reject(),                                          // 21
        ]);
    } else {
        program.push(accept());
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(source: [u8; 4], target: [u8; 4], ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(source);
        packet.extend(target);
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(data);
        packet
    }

    fn kind(packet: &[u8]) -> Kind {
        classify(packet, &["10.0.2.0/24".parse().unwrap(), "fd00:c:2::/64".parse().unwrap()])
    }

    const OUTER: ([u8; 4], [u8; 4]) = ([198, 51, 100, 2], [203, 0, 113, 10]);

    #[test]
    fn the_tunnels_own_packets_are_told_apart() {
        assert_eq!(kind(&udp(OUTER.0, OUTER.1, (33_000, 4500), &[7; 60])), Kind::Esp);
        assert_eq!(kind(&udp(OUTER.0, OUTER.1, (4500, 33_000), &[0; 60])), Kind::Ike);
        assert_eq!(kind(&udp(OUTER.0, OUTER.1, (500, 500), &[1; 60])), Kind::Ike);
        assert_eq!(kind(&udp(OUTER.0, OUTER.1, (33_000, 4500), &[0xff])), Kind::Keepalive);
    }

    #[test]
    fn a_protected_address_or_lab_payload_outside_of_the_tunnel_is_clear() {
        assert!(matches!(kind(&udp(OUTER.0, [10, 0, 2, 21], (1, 2), &[7; 60])), Kind::Clear(_)));
        let mut leak = vec![7; 20];
        leak.extend(MARK);
        assert!(matches!(kind(&udp(OUTER.0, OUTER.1, (33_000, 4500), &leak)), Kind::Clear(_)));
    }

    #[test]
    fn where_clear_traffic_is_rightful_only_what_goes_to_the_protected_network_counts() {
        let office = ["192.168.10.0/24".parse().unwrap()];
        let (client, pod) = ([192, 168, 10, 10], [10, 0, 2, 21]);
        assert!(matches!(sent_to(&udp(pod, client, (1, 2), MARK), &office), Kind::Clear(_)));
        assert_eq!(sent_to(&udp(client, pod, (1, 2), MARK), &office), Kind::Housekeeping);
        assert_eq!(sent_to(&udp(OUTER.1, OUTER.0, (4500, 33_000), &[7; 60]), &office), Kind::Esp);
    }

    #[test]
    fn whatever_is_unknown_is_reported() {
        assert!(matches!(kind(&udp(OUTER.0, OUTER.1, (53, 53), &[7; 60])), Kind::Other(_)));
        assert!(matches!(kind(&udp(OUTER.0, OUTER.1, (4500, 4500), &[7; 9])), Kind::Other(_)));
    }
}
