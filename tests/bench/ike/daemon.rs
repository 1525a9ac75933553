//! The same with the real daemon: one process in a namespace of its own, and initiators that come over real UDP
//! sockets on loopback. Its resident memory with all tunnels up is the figure that counts.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use skybridge::control::api::PeerState;
use skybridge::engine::Engine;
use skybridge::ike::{Datagram, Now, TransmitKind};
use skybridge::lab::topology::POD;
use skybridge::lab::traffic::ping;
use skybridge::lab::{Daemon, Entered, Lab, LabError, Namespace, Plan};

use crate::measure::{resident, round};
use crate::world::{self, Auth, Credentials, PSK, UNIX};

/// Initiators that are under way at once; below the threshold for cookies.
const AT_ONCE: usize = 24;
const HUB: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// For everything that takes longer than a few round trips.
const PATIENCE: Duration = Duration::from_secs(120);

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_skybridge").into()
}

/// What was measured.
pub struct Figures {
    tunnels: usize,
    started: Duration,
    resident_before: u64,
    resident: u64,
    peak: u64,
    wall: Duration,
    cpu: Duration,
    first: Duration,
    last: Duration,
    idle: Duration,
    first_packet: Duration,
}

/// One initiator with its socket.
struct Site {
    engine: Engine,
    socket: UdpSocket,
    address: SocketAddr,
}

impl Site {
    fn begin(credentials: &Credentials, index: usize) -> Self {
        let number = u32::try_from(index).unwrap();
        // 127.1.0.0 and up, so that each comes from an address of its own.
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number);
        let socket = UdpSocket::bind((address, 0)).expect("a socket");
        socket.set_nonblocking(true).expect("a socket that does not block");
        let address = socket.local_addr().expect("an address");
        let now = Now::new(Instant::now(), UNIX);
        let mut engine = world::initiator_to(credentials, index, HUB, now);
        engine.handle_timeout(now);
        let mut site = Self { engine, socket, address };
        site.send();
        site
    }

    fn send(&mut self) {
        for transmit in world::drain(&mut self.engine) {
            if transmit.kind == TransmitKind::Ike {
                let message = [&[0; 4], transmit.octets.as_slice()].concat();
                // A full buffer is a lost datagram, which is sent again.
                let _ = self.socket.send_to(&message, transmit.remote);
            }
        }
    }

    /// Takes what has come; tells whether the tunnel is up.
    fn turn(&mut self) -> bool {
        let now = Now::new(Instant::now(), UNIX);
        let mut buffer = [0; 4096];
        while let Ok((length, remote)) = self.socket.recv_from(&mut buffer) {
            if let Some(octets) = buffer[..length].strip_prefix(&[0; 4]) {
                let datagram = Datagram { local: self.address, remote, octets, encapsulated: true };
                self.engine.handle_datagram(now, datagram);
            }
        }
        if self.engine.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.engine.handle_timeout(now);
        }
        self.send();
        self.engine.sad().len() == 1
    }
}

/// Brings up the tunnels of `range`; gives how long it took.
fn connect(credentials: &Credentials, range: std::ops::Range<usize>) -> Duration {
    let start = Instant::now();
    let mut waiting: VecDeque<usize> = range.collect();
    let mut active: Vec<Site> = Vec::new();
    let mut last_success = Instant::now();
    while !waiting.is_empty() || !active.is_empty() {
        while active.len() < AT_ONCE
            && let Some(index) = waiting.pop_front()
        {
            active.push(Site::begin(credentials, index));
        }
        let mut fds: Vec<PollFd> =
            active.iter().map(|site| PollFd::new(site.socket.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::from(100_u8)).expect("poll");
        let before = active.len();
        active.retain_mut(|site| !site.turn());
        if active.len() < before {
            last_success = Instant::now();
        }
        assert!(last_success.elapsed() < PATIENCE, "no tunnel comes up any more");
    }
    start.elapsed()
}

/// CPU time of a process over all its threads.
fn cpu_of(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<u64> = text
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    // utime and stime, counted in hundredths of a second.
    Duration::from_millis((fields[11] + fields[12]) * 10)
}

fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM is there");
    line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number") * 1024
}

fn files(folder: &str, peers: usize) -> Vec<skybridge::lab::site::File> {
    let mut text = format!(
        "[endpoint]\nname = \"hub\"\nlisten = [\"{HUB}\"]\ncontrol_socket = \"{folder}/control.sock\"\n\
         state_dir = \"{folder}/state\"\nmanage_sysctls = false\n"
    );
    for index in 0..peers {
        let network = world::network(index);
        let _ = write!(
            text,
            "\n[peers.site{index}]\nremote = \"any\"\nlocal_id = \"b.example.com\"\n\
             remote_id = \"site{index}.example.com\"\nauth = {{ psk_file = \"{folder}/psk\" }}\n\
             ike = [\"aes256gcm16-prfsha384-x25519\"]\nesp = [\"aes256gcm16-x25519\"]\nstart = \"wait\"\n\
             dpd = {{ delay = \"1h\" }}\n\
             [peers.site{index}.children.lan]\nlocal = [\"172.16.0.0/16\"]\nremote = [\"{network}/24\"]\n"
        );
    }
    vec![("skybridge.toml", text), ("psk", PSK.to_owned())]
}

/// From the start of the second daemon to the first answer through the tunnel.
fn first_packet(inside: &Entered) -> Result<Duration, LabError> {
    let plan = Plan::default();
    let lab = Lab::build(inside)?;
    lab.make_vpc_stateful()?;
    let mut office = Daemon::prepare(&lab.edge, &program(), |folder| plan.office(folder))?;
    let mut cloud = Daemon::prepare(&lab.cloud, &program(), |folder| plan.cloud(folder))?;
    cloud.start_and_wait()?;
    let start = Instant::now();
    office.start()?;
    ping::until_answered(&lab.client, POD.parse::<IpAddr>().expect("an address"), PATIENCE)?;
    Ok(start.elapsed())
}

/// Brings up so many tunnels on one daemon.
pub fn measure(inside: &Entered, tunnels: usize) -> Result<Figures, LabError> {
    let mut first_packets: Vec<Duration> = (0..3).map(|_| first_packet(inside)).collect::<Result<_, _>>()?;
    let credentials = Credentials::new(Auth::Psk);
    let namespace = Namespace::create("hub")?;
    let mut daemon = Daemon::prepare(&namespace, &program(), |folder| files(folder, tunnels))?;
    let start = Instant::now();
    daemon.start()?;
    while daemon.status().is_err() {
        daemon.alive()?;
        assert!(start.elapsed() < PATIENCE, "the daemon does not answer:\n{}", daemon.last_words(20));
        std::thread::yield_now();
    }
    let started = start.elapsed();
    let pid = daemon.pid().expect("it runs");
    let process = pid.to_string();
    let resident_before = resident(&process);
    let share = (tunnels / 10).max(1);
    let run = |range: std::ops::Range<usize>| {
        let before = cpu_of(pid);
        let wall = namespace.run(|| Ok(connect(&credentials, range.clone())))?;
        Ok::<_, LabError>((wall, cpu_of(pid).saturating_sub(before)))
    };
    let (first_wall, first) = run(0..share)?;
    let (middle_wall, middle) = run(share..tunnels - share)?;
    let (last_wall, last) = run(tunnels - share..tunnels)?;
    let up = daemon.status()?.peers.iter().filter(|peer| peer.state == PeerState::Up).count();
    assert_eq!(up, tunnels, "tunnels are missing:\n{}", daemon.last_words(20));
    // What came up is still being entered into routes and settings.
    let mut busy = Duration::MAX;
    for _ in 0..20 {
        let before = cpu_of(pid);
        std::thread::sleep(Duration::from_secs(1));
        busy = cpu_of(pid).saturating_sub(before);
        if busy < Duration::from_millis(30) {
            break;
        }
    }
    let figures = Figures {
        tunnels,
        started,
        resident_before,
        resident: resident(&process),
        peak: peak(pid),
        wall: first_wall + middle_wall + last_wall,
        cpu: (first + middle + last) / u32::try_from(tunnels).unwrap(),
        first: first / u32::try_from(share).unwrap(),
        last: last / u32::try_from(share).unwrap(),
        idle: busy,
        first_packet: crate::measure::median(&mut first_packets),
    };
    daemon.kill()?;
    Ok(figures)
}

impl Figures {
    pub fn json(&self) -> Value {
        let ms = |time: Duration| round(time.as_secs_f64() * 1e3, 2);
        json!({
            "tunnels": self.tunnels,
            "start_ms": ms(self.started),
            "resident_before_octets": self.resident_before,
            "resident_octets": self.resident,
            "peak_octets": self.peak,
            "handshakes_per_second": round(self.tunnels as f64 / self.wall.as_secs_f64(), 0),
            "handshake_cpu_ms": ms(self.cpu),
            "handshake_cpu_ms_first": ms(self.first),
            "handshake_cpu_ms_last": ms(self.last),
            "handshakes_per_second_and_core": round(1.0 / self.cpu.as_secs_f64(), 0),
            "idle_cpu_ms_per_second": ms(self.idle),
            "start_to_first_packet_ms": ms(self.first_packet),
        })
    }
}

/// For people.
pub fn print(figures: &Figures) {
    println!("The daemon as responder over UDP\n{:#}\n", figures.json());
}
