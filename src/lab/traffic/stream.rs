//! Numbered datagrams at a steady rate, and what became of each.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::{MARK, marked};
use crate::lab::{
    LabError,
    namespace::{Namespace, joined},
};

/// How long the receiver waits for stragglers after the last datagram was sent.
const QUIET: Duration = Duration::from_millis(1500);

/// Wanted socket buffers, in octets; the kernel may grant less.
const BUFFER: usize = 8 << 20;

/// What became of the datagrams of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Datagrams handed to the kernel, refused ones included.
    pub sent: u64,
    /// Datagrams that the sender's kernel refused, for want of a route for example.
    pub refused: u64,
    /// Different datagrams that arrived.
    pub received: u64,
    /// Datagrams that arrived more than once.
    pub duplicated: u64,
    /// Datagrams that arrived after a later one.
    pub reordered: u64,
    /// The longest time between two arrivals.
    pub longest_gap: Duration,
    /// How long the sender ran.
    pub lasted: Duration,
}

impl Report {
    /// Datagrams that never arrived.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Datagrams sent in a second, on average.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.lasted.as_secs_f64().max(f64::EPSILON)
    }
}

/// A running stream. Dropping it lets both ends stop by themselves.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<Sent, LabError>>>,
    receiver: Option<JoinHandle<Result<Report, LabError>>>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    count: u64,
    refused: u64,
    lasted: Duration,
}

impl Stream {
    /// Starts a stream of `rate` datagrams a second with `length` octets of payload (at least 24) from
    /// one namespace to `address` in another.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        address: IpAddr,
        rate: u32,
        length: usize,
    ) -> Result<Self, LabError> {
        let socket = to.run(|| {
            let socket =
                UdpSocket::bind(SocketAddr::new(address, 0)).map_err(LabError::io("open a UDP socket"))?;
            // More than the system's limit needs privileges outside of a user namespace.
            if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
                let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER);
            }
            Ok(socket)
        })?;
        let target = socket.local_addr().map_err(LabError::io("ask for a port"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let total = Arc::new(AtomicU64::new(u64::MAX));
        let received = Arc::new(AtomicU64::new(0));
        let (end, count) = (Arc::clone(&total), Arc::clone(&received));
        let receiver = to.thread(move || receive(&socket, &end, &count))?;
        let halt = Arc::clone(&stop);
        let sender = from.thread(move || {
            let sent = send(target, rate, length.max(24), &halt);
            total.store(sent.as_ref().map_or(0, |sent| sent.count), Ordering::Release);
            sent
        })?;
        Ok(Self { stop, received, sender: Some(sender), receiver: Some(receiver) })
    }

    /// How many different datagrams have arrived up to now.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for stragglers and tells what became of all datagrams.
    ///
    /// # Errors
    /// A socket failed.
    pub fn stop(mut self) -> Result<Report, LabError> {
        self.stop.store(true, Ordering::Release);
        let missing = || LabError::check("the stream was stopped before");
        let sent = joined(self.sender.take().ok_or_else(missing)?)?;
        let report = joined(self.receiver.take().ok_or_else(missing)?)?;
        Ok(Report { sent: sent.count, refused: sent.refused, lasted: sent.lasted, ..report })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn send(target: SocketAddr, rate: u32, length: usize, stop: &AtomicBool) -> Result<Sent, LabError> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).map_err(LabError::io("open a UDP socket"))?;
    let mut payload = marked(length);
    let interval = Duration::from_secs(1) / rate.max(1);
    let tick = interval.max(Duration::from_millis(1));
    let begun = Instant::now();
    let mut sent = Sent { count: 0, refused: 0, lasted: Duration::ZERO };
    while !stop.load(Ordering::Acquire) {
        let due = u64::try_from(begun.elapsed().as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        // After a stall the rest of the second is spread out rather than sent as one burst.
        let burst = due.saturating_sub(sent.count).min(64);
        for _ in 0..burst {
            payload.splice(MARK.len()..MARK.len() + 8, sent.count.to_be_bytes());
            sent.count += 1;
            if socket.send_to(&payload, target).is_err() {
                sent.refused += 1;
            }
        }
        std::thread::sleep(if burst == 64 { Duration::from_micros(200) } else { tick });
    }
    sent.lasted = begun.elapsed();
    Ok(sent)
}

fn receive(socket: &UdpSocket, total: &AtomicU64, count: &AtomicU64) -> Result<Report, LabError> {
    socket.set_read_timeout(Some(Duration::from_millis(50))).map_err(LabError::io("set a timeout"))?;
    let mut tally = Tally::default();
    let mut buffer = vec![0_u8; 65_536];
    let mut last = Instant::now();
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let now = Instant::now();
                let number = buffer
                    .get(..length)
                    .and_then(|datagram| datagram.strip_prefix(MARK))
                    .and_then(|rest| rest.get(..8)?.try_into().ok())
                    .map(u64::from_be_bytes);
                let Some(number) = number else { continue };
                if tally.report.received > 0 {
                    tally.report.longest_gap = tally.report.longest_gap.max(now - last);
                }
                last = now;
                tally.note(number);
                count.store(tally.report.received, Ordering::Relaxed);
            }
            // A read with a timeout is interrupted whenever the process is stopped and goes on.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(LabError::io("receive")(error)),
        }
        let total = total.load(Ordering::Acquire);
        if total != u64::MAX && (tally.report.received >= total || last.elapsed() >= QUIET) {
            return Ok(tally.report);
        }
    }
}

/// Which numbers were seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seen: Vec<u64>,
    highest: Option<u64>,
    pub(super) report: Report,
}

impl Tally {
    /// Numbers above this are not ours: a bound on memory.
    const LIMIT: u64 = 1 << 32;

    pub(super) fn note(&mut self, number: u64) {
        if number >= Self::LIMIT {
            return;
        }
        let Ok(word) = usize::try_from(number / 64) else { return };
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let Some(bits) = self.seen.get_mut(word) else { return };
        let bit = 1 << (number % 64);
        if *bits & bit != 0 {
            self.report.duplicated += 1;
            return;
        }
        *bits |= bit;
        self.report.received += 1;
        if self.highest.is_some_and(|highest| number < highest) {
            self.report.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_counted_once_and_late_and_repeated_ones_apart() {
        let mut tally = Tally::default();
        for number in [0, 1, 3, 2, 2, 700] {
            tally.note(number);
        }
        tally.note(u64::MAX);
        let report = Report { sent: 701, ..tally.report };
        assert_eq!((report.received, report.duplicated, report.reordered, report.lost()), (5, 1, 1, 696));
    }
}
