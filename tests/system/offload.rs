//! Super-packets cut and merged beside the kernel's own code for it.
//!
//! One TUN takes super-packets, another takes none: what is forwarded from the first to the second, the kernel
//! cuts in software. And two kernels talk TCP and UDP through a splitter and a coalescer.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use skybridge::dataplane::batch::{Offload, PartialChecksum, Segmentation};
use skybridge::dataplane::coalesce::{Coalescer, Merged};
use skybridge::dataplane::device::{Offers, TUN_HEADROOM};
use skybridge::dataplane::segment::{Segments, complete_checksum};
use skybridge::wire::ip::checksum::fill_ipv4_header;
use tun_rs::SyncDevice;

use crate::net::{Net, Test, set_sysctl};

#[allow(dead_code)]
#[path = "../../src/dataplane/segment/tests/sample.rs"]
mod sample;

use sample::{Sample, samples};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("super_packets_are_cut_as_the_kernel_cuts_them", |net| Box::pin(cut(net))),
    ("merged_packets_come_out_of_the_kernel_as_they_were", |net| Box::pin(merged(net))),
    ("tcp_between_two_kernels_passes_splitter_and_coalescer", |net| Box::pin(tcp(net))),
    ("udp_between_two_kernels_passes_splitter_and_coalescer", |net| Box::pin(udp(net))),
];

const VNET: usize = 10;
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Only an upper bound for a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);
const ALL: Offers = Offers { tcp: true, udp: true };

fn device(name: &str, offload: bool) -> SyncDevice {
    let builder = tun_rs::DeviceBuilder::new().name(name).inherit_enable_state().offload(offload);
    let device = builder.build_sync().unwrap();
    device.set_nonblocking(true).unwrap();
    device
}

fn encode(offload: &Offload) -> [u8; VNET] {
    let kind = match offload.segmentation {
        Segmentation::None => 0,
        Segmentation::TcpV4 => 1,
        Segmentation::TcpV6 => 4,
        Segmentation::Udp => 5,
        Segmentation::Unknown => panic!("it is not merged"),
    };
    let mut header = [0; VNET];
    header[1] = kind;
    header[2..4].copy_from_slice(&offload.header_len.to_ne_bytes());
    header[4..6].copy_from_slice(&offload.segment_size.to_ne_bytes());
    if let Some(partial) = offload.checksum {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&partial.start.to_ne_bytes());
        header[8..10].copy_from_slice(&partial.offset.to_ne_bytes());
    }
    header
}

fn decode(header: &[u8]) -> Offload {
    let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    assert_eq!(header[0] & !(NEEDS_CSUM | DATA_VALID), 0);
    let partial = PartialChecksum { start: field(6), offset: field(8) };
    Offload {
        segmentation: match header[1] {
            0 => Segmentation::None,
            1 => Segmentation::TcpV4,
            4 => Segmentation::TcpV6,
            5 => Segmentation::Udp,
            other => panic!("GSO type {other}"),
        },
        header_len: field(2),
        segment_size: field(4),
        checksum: (header[0] & NEEDS_CSUM != 0).then_some(partial),
    }
}

/// Sends what the coalescer emits.
fn send(device: &SyncDevice, merged: &Merged<'_>) {
    let packet = &merged.buffer[TUN_HEADROOM..];
    device.send(&[&encode(&merged.offload)[..], packet].concat()).unwrap();
}

fn wait(devices: &[&SyncDevice], timeout: Duration) -> bool {
    let mut fds: Vec<PollFd<'_>> =
        devices.iter().map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::try_from(timeout).unwrap()).unwrap() > 0
}

/// The next packet that is ours: the kernel sends some of its own, such as router solicitations.
fn next(device: &SyncDevice, buffer: &mut [u8]) -> Vec<u8> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match device.recv(buffer) {
            Ok(len) => {
                let protocol = if buffer[0] >> 4 == 4 { buffer[9] } else { buffer[6] };
                if matches!(protocol, 6 | 17 | 60) {
                    return buffer[..len].to_vec();
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait(&[device], Duration::from_secs(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no packet came");
}

/// `from` takes super-packets; they are forwarded to `to`, which takes none.
async fn forwarder(net: &Net) -> (SyncDevice, SyncDevice) {
    let (from, to) = (device("from", true), device("to", false));
    for (name, v4, v6) in
        [("from", "10.1.0.254/24", "2001:db8::fe/64"), ("to", "192.168.200.1/24", "fd02::1/16")]
    {
        net.set_mtu(name, 4000).await;
        net.address(name, v4).await;
        net.address(name, v6).await;
        net.up(name).await;
    }
    // The samples' destinations, without neighbours to be asked for.
    let to_index = net.index("to").await;
    net.add_route(Net::route("fd02:304::/32", 10, 4, Some(to_index), None)).await;
    set_sysctl("net/ipv4/conf/all/rp_filter", "0");
    set_sysctl("net/ipv4/conf/from/rp_filter", "0");
    set_sysctl("net/ipv4/ip_forward", "1");
    set_sysctl("net/ipv6/conf/all/forwarding", "1");
    (from, to)
}

/// Samples that a router forwards, the same every time.
fn forwardable(count: usize) -> impl Iterator<Item = Sample> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(move |_| {
        let sample = samples().new_tree(&mut runner).unwrap().current();
        let most = usize::from(sample.segment_size) * if sample.udp { 64 } else { 120 };
        let no_operation = |options: &[u8]| vec![1; options.len()];
        Sample {
            ip_options: if sample.v6 { sample.ip_options } else { no_operation(&sample.ip_options) },
            ttl: sample.ttl.max(2),
            payload: sample.payload[..sample.payload.len().min(most)].to_vec(),
            ..sample
        }
    })
}

fn forwarded(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        fill_ipv4_header(&mut packet);
    } else {
        packet[7] -= 1;
    }
    packet
}

async fn cut(net: Net) {
    let (from, to) = forwarder(&net).await;
    let mut buffer = vec![0; 65_536];
    let (mut tcp, mut udp, mut single) = (0, 0, 0);
    for sample in forwardable(400) {
        let (whole, offload) = (sample.whole(), sample.offload());
        let hinted = Offload { header_len: (whole.len() - sample.payload.len()) as u16, ..offload };
        from.send(&[&encode(&hinted)[..], &whole].concat()).unwrap();
        let mut expected = forwarded(whole);
        let segments = Segments::parse(&expected, offload).unwrap();
        if segments.count() == 1 {
            assert!(complete_checksum(&mut expected, offload.checksum.unwrap()));
            assert_eq!(next(&to, &mut buffer), expected, "{sample:?}");
            single += 1;
            continue;
        }
        for index in 0..segments.count() {
            let mut ours = vec![0; segments.packet_len(index)];
            segments.write(index, &mut ours);
            assert_eq!(next(&to, &mut buffer), ours, "packet {index} of {sample:?}");
        }
        if sample.udp { udp += 1 } else { tcp += 1 }
    }
    assert!(tcp > 100 && udp > 100 && single > 5, "{tcp} {udp} {single}");
}

async fn merged(net: Net) {
    let (from, to) = forwarder(&net).await;
    let mut buffer = vec![0; 65_536];
    let mut coalescer = Coalescer::new(4, ALL);
    let (mut packets, mut writes) = (0, 0);
    for (index, mut sample) in forwardable(300).enumerate() {
        // Without the flags that no run holds, and mostly without options, or there would be nothing to see.
        sample.flags = sample.flags & 0x49 | 0x10;
        if index % 8 != 0 {
            sample.ip_options.clear();
        }
        let given = sample.packets();
        let mut emit = |merged: Merged<'_>| {
            writes += 1;
            send(&from, &merged);
        };
        for packet in &given {
            coalescer.push(&mut [&[0; TUN_HEADROOM][..], packet].concat(), 0, &mut emit);
        }
        coalescer.flush(&mut emit);
        packets += given.len();
        for packet in given {
            assert_eq!(next(&to, &mut buffer), forwarded(packet), "{sample:?}");
        }
    }
    assert!(writes * 4 < packets, "{packets} packets in {writes} writes");
}

/// What a pump does to packets between two devices, in one direction.
struct Direction {
    coalescer: Coalescer,
    random: u64,
    /// One of so many packets is lost, and one held back; 0 for none.
    trouble: u64,
    held: VecDeque<Vec<u8>>,
    supers: usize,
    merged: usize,
}

impl Direction {
    fn new(trouble: u64) -> Self {
        let coalescer = Coalescer::new(4, ALL);
        Self {
            coalescer,
            random: 88_172_645_463_325_252,
            trouble,
            held: VecDeque::new(),
            supers: 0,
            merged: 0,
        }
    }

    /// Carries what is there. Returns whether anything was.
    fn carry(&mut self, from: &SyncDevice, to: &SyncDevice, buffer: &mut [u8]) -> bool {
        let mut any = false;
        for _ in 0..16 {
            let Ok(len) = from.recv(buffer) else { break };
            any = true;
            let offload = decode(&buffer[..VNET]);
            let octets = &mut buffer[VNET..len];
            if offload.segmentation == Segmentation::None {
                let done = offload.checksum.is_none_or(|partial| complete_checksum(octets, partial));
                assert!(done, "{offload:?}");
                let packet = octets.to_vec();
                self.pass(packet, to);
                continue;
            }
            self.supers += 1;
            let segments = Segments::parse(octets, offload).unwrap();
            for index in 0..segments.count() {
                let mut packet = vec![0; segments.packet_len(index)];
                segments.write(index, &mut packet);
                self.pass(packet, to);
            }
        }
        for packet in std::mem::take(&mut self.held) {
            self.push(packet, to);
        }
        let merged = &mut self.merged;
        self.coalescer.flush(&mut |packet| emitted(merged, to, &packet));
        any
    }

    fn pass(&mut self, packet: Vec<u8>, to: &SyncDevice) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        match self.random.checked_rem(self.trouble) {
            Some(0) => {}
            Some(1) => self.held.push_back(packet),
            Some(2) => {
                self.push(packet.clone(), to);
                self.push(packet, to);
            }
            _ => self.push(packet, to),
        }
    }

    fn push(&mut self, packet: Vec<u8>, to: &SyncDevice) {
        let mut buffer = [&[0; TUN_HEADROOM][..], &packet].concat();
        let merged = &mut self.merged;
        self.coalescer.push(&mut buffer, 0, &mut |packet| emitted(merged, to, &packet));
    }
}

fn emitted(merged: &mut usize, to: &SyncDevice, packet: &Merged<'_>) {
    *merged += usize::from(packet.packets > 1);
    send(to, packet);
}

/// A second namespace; `run` runs in it, with a device that is up.
fn elsewhere<T: Send + 'static>(
    addresses: &'static [&'static str],
    run: impl FnOnce(SyncDevice) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let device = runtime.block_on(async {
            let net = Net::open().await;
            ready(&net, addresses).await
        });
        run(device)
    })
}

async fn ready(net: &Net, addresses: &[&str]) -> SyncDevice {
    let device = device("pair0", true);
    net.set_mtu("pair0", 1438).await;
    for address in addresses {
        net.address("pair0", address).await;
    }
    net.up("pair0").await;
    device
}

/// Errors that this thread's namespace counted: of TCP, UDP, and of checksums on their own.
fn errors() -> Vec<(String, u64)> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap()
        + &std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, value] = words[..] {
            found.push((name.to_owned(), value.parse().unwrap_or(0)));
        } else if let Some(values) = lines.next() {
            for (name, value) in words[1..].iter().zip(values.split_whitespace().skip(1)) {
                found.push((format!("{}{name}", words[0]), value.parse().unwrap_or(0)));
            }
        }
    }
    let wanted = ["Tcp:InErrs", "Tcp:InCsumErrors", "Udp:InErrors", "Udp:InCsumErrors", "Ip:InHdrErrors"];
    let wanted6 = ["Udp6InErrors", "Udp6InCsumErrors", "Ip6InHdrErrors"];
    found.retain(|(name, _)| wanted.contains(&name.as_str()) || wanted6.contains(&name.as_str()));
    assert!(found.len() >= 5, "{text}");
    found
}

fn octet(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[1]
}

const HERE: &[&str] = &["10.9.0.1/24", "fd09::1/64"];
const THERE: &[&str] = &["10.9.0.2/24", "fd09::2/64"];

async fn tcp(net: Net) {
    let here = ready(&net, HERE).await;
    for (from, to, len, trouble) in [
        ("10.9.0.1", "10.9.0.2", 24 << 20, 0),
        ("fd09::1", "fd09::2", 24 << 20, 0),
        ("10.9.0.1", "10.9.0.2", 2 << 20, 300),
    ] {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let (give, take) = std::sync::mpsc::channel();
        let server = elsewhere(THERE, move |device| {
            let listener = TcpListener::bind((to, 7)).unwrap();
            give.send(device).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            let right = received.iter().enumerate().all(|(at, value)| *value == octet(at));
            stream.write_all(&received[received.len() / 2..]).unwrap();
            (received.len(), right, errors())
        });
        let there = take.recv().unwrap();
        // This namespace's sockets are made on this thread; the stream may be used on another.
        let socket =
            socket2::Socket::new(socket2::Domain::for_address((to, 7).into()), socket2::Type::STREAM, None)
                .unwrap();
        socket.bind(&std::net::SocketAddr::from((from, 0)).into()).unwrap();
        let client = std::thread::spawn(move || {
            socket.connect(&std::net::SocketAddr::from((to, 7)).into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let data: Vec<u8> = (0..len).map(octet).collect();
            stream.write_all(&data).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            back == data[len / 2..]
        });
        let (mut forth, mut back) = (Direction::new(trouble), Direction::new(trouble));
        pump(&here, &there, &mut forth, &mut back, || server.is_finished() && client.is_finished());
        let (received, right, errors_there) = server.join().unwrap();
        assert_eq!((received, right, client.join().unwrap()), (len, true, true));
        for (name, count) in errors_there.into_iter().chain(errors()) {
            assert_eq!(count, 0, "{name}");
        }
        for direction in [&forth, &back] {
            assert!(
                direction.supers > 5 && direction.merged > 5,
                "{} {}",
                direction.supers,
                direction.merged
            );
        }
    }
}

fn pump(
    here: &SyncDevice,
    there: &SyncDevice,
    forth: &mut Direction,
    back: &mut Direction,
    done: impl Fn() -> bool,
) {
    let mut buffer = vec![0; VNET + 65_536];
    let until = Instant::now() + PATIENCE;
    loop {
        let any = forth.carry(here, there, &mut buffer) | back.carry(there, here, &mut buffer);
        if !any {
            if done() {
                return;
            }
            assert!(Instant::now() < until, "the transfer did not end");
            wait(&[here, there], Duration::from_millis(20));
        }
    }
}

async fn udp(net: Net) {
    const SIZE: usize = 1200;
    const ROUNDS: usize = 60;
    let here = ready(&net, HERE).await;
    for (from, to) in [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")] {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let (give, take) = std::sync::mpsc::channel();
        let (say, stop) = std::sync::mpsc::channel::<()>();
        let receiver = elsewhere(THERE, move |device| {
            let socket = UdpSocket::bind((to, 7)).unwrap();
            socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
            give.send((device, socket)).unwrap();
            stop.recv().unwrap();
            errors()
        });
        let (there, receiving) = take.recv().unwrap();
        receiving.set_read_timeout(Some(PATIENCE)).unwrap();
        let sending = UdpSocket::bind((from, 0)).unwrap();
        sending.connect((to, 7)).unwrap();
        nix::sys::socket::setsockopt(&sending, nix::sys::socket::sockopt::UdpGsoSegment, &(SIZE as i32))
            .unwrap();
        let (mut forth, mut back) = (Direction::new(0), Direction::new(0));
        let mut buffer = vec![0; VNET + 65_536];
        let mut datagram = [0; 2048];
        for round in 0..ROUNDS {
            // Whole datagrams and a shorter last one, odd lengths among them.
            let len = (round % 40 + 1) * SIZE - round * 17 % SIZE;
            let data: Vec<u8> = (0..len).map(|at| octet(at + round)).collect();
            sending.send(&data).unwrap();
            let until = Instant::now() + PATIENCE;
            let mut carried = 0;
            while carried == 0 && Instant::now() < until {
                carried += usize::from(forth.carry(&here, &there, &mut buffer));
                back.carry(&there, &here, &mut buffer);
            }
            for expected in data.chunks(SIZE) {
                let got = receiving.recv(&mut datagram).unwrap();
                assert_eq!(&datagram[..got], expected, "round {round}");
            }
        }
        assert!(forth.supers > ROUNDS / 2 && forth.merged > ROUNDS / 2, "{} {}", forth.supers, forth.merged);
        say.send(()).unwrap();
        for (name, count) in receiver.join().unwrap() {
            assert_eq!(count, 0, "{name}");
        }
    }
}
