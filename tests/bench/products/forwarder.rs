//! A bare forwarder between a TUN device and a UDP socket: no cryptography, no offload, one packet a system call.
//!
//! It stands for what any tunnel in userspace costs before it does anything. It runs as a process of its own, which is
//! this benchmark's executable started with [`FLAG`].

use std::{
    io,
    net::UdpSocket,
    os::fd::AsFd,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use skybridge::lab::{
    Child, LabError, Namespace,
    path::{FAR, FAR_NET, INNER_MTU, NEAR, NEAR_NET, Path},
    wait::until,
};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{Life, PATIENCE, Running, Tools};

/// Makes the benchmark's executable a forwarder; then its device, own and other address, microseconds of polling.
pub const FLAG: &str = "--as-forwarder";

const DEVICE: &str = "bare0";
const PORT: u16 = 4500;
/// How long it asks again before it sleeps, while packets come in quick succession: as Skybridge does by default.
const BUSY_POLL: Duration = Duration::from_micros(50);
/// A pause this many times as long still counts as quick succession.
const DENSE: u32 = 4;
/// Packets taken from one side before the other has its turn.
const TURN: usize = 64;

struct Forwarders(#[allow(dead_code)] [Child; 2]);

impl Life for Forwarders {
    fn words(&self) -> String {
        String::new()
    }
}

pub fn start(path: &Path, _tools: &Tools) -> Result<Running, LabError> {
    path.forward()?;
    let near = one(&path.near, [NEAR, FAR], FAR_NET)?;
    let far = one(&path.far, [FAR, NEAR], NEAR_NET)?;
    let daemons = vec![near.id(), far.id()];
    Ok(Running::new(Forwarders([near, far]), daemons).with_devices(path, DEVICE, DEVICE))
}

fn one(namespace: &Namespace, [own, other]: [&str; 2], net: &str) -> Result<Child, LabError> {
    let mut command = Command::new("/proc/self/exe");
    command.args([FLAG, DEVICE, own, other, &BUSY_POLL.as_micros().to_string()]);
    let child = namespace.spawn(command)?;
    until("the forwarder's device is there", PATIENCE, || {
        Ok(namespace.set_up(DEVICE).map_err(|error| error.to_string()))
    })?;
    namespace.set_mtu(DEVICE, INNER_MTU)?;
    namespace.route_by_link(net, DEVICE)?;
    Ok(child)
}

/// The forwarder's own `main`.
pub fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forwarder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    let [device, own, other, spin] = arguments else {
        return Err(io::Error::other("a device, two addresses and a time are needed"));
    };
    let spin = Duration::from_micros(spin.parse().map_err(io::Error::other)?);
    let socket = UdpSocket::bind((own.as_str(), PORT))?;
    socket.connect((other.as_str(), PORT))?;
    socket.set_nonblocking(true)?;
    let tun = DeviceBuilder::new()
        .name(device)
        .layer(Layer::L3)
        .offload(false)
        .inherit_enable_state()
        .build_sync()?;
    tun.set_nonblocking(true)?;
    let mut buffer = vec![0_u8; 1 << 16];
    let (mut idle_since, mut dense) = (None::<Instant>, false);
    loop {
        if carry(&tun, &socket, &mut buffer) {
            if let Some(since) = idle_since.take() {
                dense = since.elapsed() < spin * DENSE;
            }
            continue;
        }
        let since = *idle_since.get_or_insert_with(Instant::now);
        if dense && since.elapsed() < spin {
            std::thread::yield_now();
            continue;
        }
        let mut fds =
            [PollFd::new(tun.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Carries what is there, at most a turn from each side, and tells whether there was anything. A full queue loses a
/// packet, as on any link, and whatever else goes wrong here passes, such as a device that is not up yet.
fn carry(tun: &SyncDevice, socket: &UdpSocket, buffer: &mut [u8]) -> bool {
    let mut moved = false;
    for _ in 0..TURN {
        let Ok(length) = tun.recv(buffer) else { break };
        moved = true;
        let _ = socket.send(buffer.get(..length).unwrap_or_default());
    }
    for _ in 0..TURN {
        let Ok(length) = socket.recv(buffer) else { break };
        moved = true;
        let _ = tun.send(buffer.get(..length).unwrap_or_default());
    }
    moved
}
