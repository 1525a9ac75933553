//! Numbered datagrams at rates that one system call each could not reach.
//!
//! The sender gives the kernel many datagrams a call; each still crosses the sender's network alone, as those of
//! many programs would, unless it is asked for super-datagrams. Both ends sleep between bursts, so that they
//! leave the processors to what is measured.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt},
};

use super::{
    MARK, marked,
    stream::{Report, Tally},
};
use crate::lab::{
    LabError,
    namespace::{Namespace, joined},
};

/// Datagrams in one call.
const PER_CALL: usize = 64;
/// No UDP payload over IPv4 is longer.
const LONGEST: usize = 65_507;
/// Time between bursts, where a burst is not full.
const TICK: Duration = Duration::from_micros(200);
/// How long the receiver waits for stragglers after the last datagram was sent.
const QUIET: Duration = Duration::from_millis(250);
/// Wanted socket buffers, in octets; the kernel may grant less.
const BUFFER: usize = 8 << 20;

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Datagrams a second.
    pub rate: u32,
    /// Octets of payload of each, at least 24.
    pub length: usize,
    /// Whether the sender hands up to 64 datagrams to the kernel as one (`UDP_SEGMENT`), as QUIC does.
    pub merged: bool,
}

/// A running flood. Dropping it lets both ends stop by themselves.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Result<Sent, LabError>>>,
    receiver: Option<JoinHandle<Result<Report, LabError>>>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    count: u64,
    refused: u64,
    lasted: Duration,
}

impl Flood {
    /// Starts sending from one namespace to `address` in another.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn start(from: &Namespace, to: &Namespace, address: IpAddr, offer: Offer) -> Result<Self, LabError> {
        let length = offer.length.clamp(MARK.len() + 8, LONGEST);
        let offer = Offer { length, ..offer };
        let socket = to.run(|| {
            let socket =
                UdpSocket::bind(SocketAddr::new(address, 0)).map_err(LabError::io("open a UDP socket"))?;
            large_buffers(&socket);
            // Where the kernel has it; what arrives merged is told apart by the known length.
            let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
            socket.set_nonblocking(true).map_err(LabError::io("open a UDP socket"))?;
            Ok(socket)
        })?;
        let target = socket.local_addr().map_err(LabError::io("ask for a port"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let total = Arc::new(AtomicU64::new(u64::MAX));
        let end = Arc::clone(&total);
        let receiver = to.thread(move || receive(&socket, length, &end))?;
        let halt = Arc::clone(&stop);
        let sender = from.thread(move || {
            let sent = send(target, offer, &halt);
            total.store(sent.as_ref().map_or(0, |sent| sent.count), Ordering::Release);
            sent
        })?;
        Ok(Self { stop, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Stops sending, waits for stragglers and tells what became of all datagrams.
    ///
    /// # Errors
    /// A socket failed.
    pub fn stop(mut self) -> Result<Report, LabError> {
        self.stop.store(true, Ordering::Release);
        let missing = || LabError::check("the flood was stopped before");
        let sent = joined(self.sender.take().ok_or_else(missing)?)?;
        let report = joined(self.receiver.take().ok_or_else(missing)?)?;
        Ok(Report { sent: sent.count, refused: sent.refused, lasted: sent.lasted, ..report })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn large_buffers(socket: &UdpSocket) {
    // More than the system's limit needs privileges outside of a user namespace.
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &BUFFER);
    }
}

/// How many datagrams a burst holds: what is due in a [`TICK`], and never more than one call takes.
fn burst(offer: Offer) -> usize {
    let due = f64::from(offer.rate.max(1)) * TICK.as_secs_f64();
    let most = if offer.merged { PER_CALL.min(LONGEST / offer.length) } else { PER_CALL };
    (due.ceil() as usize).clamp(1, most)
}

fn send(target: SocketAddr, offer: Offer, stop: &AtomicBool) -> Result<Sent, LabError> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(target).map(|()| socket))
        .map_err(LabError::io("open a UDP socket"))?;
    large_buffers(&socket);
    if offer.merged {
        let segment = i32::try_from(offer.length).unwrap_or(i32::MAX);
        setsockopt(&socket, sockopt::UdpGsoSegment, &segment)
            .map_err(LabError::errno("ask for super-datagrams"))?;
    }
    let full = burst(offer);
    let mut octets: Vec<u8> = marked(offer.length).repeat(full);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(PER_CALL, None);
    let addresses = vec![None; PER_CALL];
    let interval = Duration::from_secs(1).div_f64(f64::from(offer.rate.max(1)));
    let begun = Instant::now();
    let mut sent = Sent { count: 0, refused: 0, lasted: Duration::ZERO };
    let mut earliest = begun;
    while !stop.load(Ordering::Acquire) {
        let now = Instant::now();
        let due = (now - begun).as_nanos() / interval.as_nanos().max(1);
        let waiting = usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(sent.count as usize);
        if waiting < full || now < earliest {
            let until = interval.saturating_mul(u32::try_from(full.saturating_sub(waiting)).unwrap_or(1));
            std::thread::sleep(until.max(earliest.saturating_duration_since(now)));
            continue;
        }
        for (number, datagram) in (sent.count..).zip(octets.chunks_exact_mut(offer.length)) {
            if let Some(place) = datagram.get_mut(MARK.len()..MARK.len() + 8) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        }
        let accepted = if offer.merged {
            socket.send(&octets).map_or(0, |length| length / offer.length)
        } else {
            let slices: Vec<[IoSlice<'_>; 1]> =
                octets.chunks_exact(offer.length).map(|datagram| [IoSlice::new(datagram)]).collect();
            let addresses = addresses.get(..slices.len()).unwrap_or_default();
            let result =
                sendmmsg(socket.as_raw_fd(), &mut headers, slices.iter(), addresses, [], MsgFlags::empty());
            result.map_or(0, Iterator::count)
        };
        sent.count += full as u64;
        sent.refused += full.saturating_sub(accepted) as u64;
        // After a stall the rest is spread out, at most at twice the rate, rather than sent as one burst.
        earliest = now + interval.saturating_mul(u32::try_from(full).unwrap_or(1)) / 2;
    }
    sent.lasted = begun.elapsed();
    Ok(sent)
}

fn receive(socket: &UdpSocket, length: usize, total: &AtomicU64) -> Result<Report, LabError> {
    let mut tally = Tally::default();
    let mut buffers = vec![vec![0_u8; 1 << 16]; 32];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(buffers.len(), None);
    let mut lengths = Vec::with_capacity(buffers.len());
    let mut last = Instant::now();
    loop {
        lengths.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
            Ok(messages) => lengths.extend(messages.map(|message| message.bytes)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(LabError::io("receive")(io::Error::from(errno))),
        }
        for (buffer, received) in buffers.iter().zip(&lengths) {
            for datagram in buffer.get(..*received).unwrap_or_default().chunks(length) {
                let number = datagram.strip_prefix(MARK).and_then(|rest| rest.get(..8)?.try_into().ok());
                if let Some(number) = number {
                    tally.note(u64::from_be_bytes(number));
                }
            }
        }
        if !lengths.is_empty() {
            last = Instant::now();
        }
        if lengths.len() < buffers.len() {
            let total = total.load(Ordering::Acquire);
            if total != u64::MAX && (tally.report.received >= total || last.elapsed() >= QUIET) {
                return Ok(tally.report);
            }
            std::thread::sleep(TICK * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_what_is_due_in_a_tick_and_fits_into_one_call() {
        let offer = |rate, length, merged| burst(Offer { rate, length, merged });
        assert_eq!(offer(100, 64, false), 1);
        assert_eq!(offer(150_000, 64, false), 30);
        assert_eq!(offer(5_000_000, 64, false), 64);
        assert_eq!(offer(5_000_000, 1300, true), 50);
    }
}
