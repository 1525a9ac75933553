//! How much one TCP connection carries.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::marked;
use crate::lab::{
    LabError,
    namespace::{Namespace, joined},
};

const CHUNK: usize = 128 << 10;
const CONNECT: Duration = Duration::from_secs(10);

/// A transfer that goes on until it is stopped.
#[derive(Debug)]
pub struct Transfer {
    stop: Arc<AtomicBool>,
    octets: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<(), LabError>>>,
    receiver: Option<JoinHandle<Result<(), LabError>>>,
    begun: Instant,
}

impl Transfer {
    /// Connects from one namespace to `address` in another and sends as fast as it goes.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub fn start(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<Self, LabError> {
        let listener = to.run(|| {
            TcpListener::bind(SocketAddr::new(address, 0))
                .map_err(LabError::io("listen for a TCP connection"))
        })?;
        let target = listener.local_addr().map_err(LabError::io("ask for a port"))?;
        let connection = from.run(|| {
            TcpStream::connect_timeout(&target, CONNECT).map_err(LabError::io(format!("connect to {target}")))
        })?;
        let (incoming, _) = listener.accept().map_err(LabError::io("accept a connection"))?;
        let patience = Some(Duration::from_secs(60));
        connection.set_write_timeout(patience).map_err(LabError::io("set a timeout"))?;
        incoming.set_read_timeout(patience).map_err(LabError::io("set a timeout"))?;
        let (stop, octets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (halt, count) = (Arc::clone(&stop), Arc::clone(&octets));
        let receiver = to.thread(move || receive(incoming, &count))?;
        let sender = from.thread(move || send(connection, &halt))?;
        Ok(Self { stop, octets, sender: Some(sender), receiver: Some(receiver), begun: Instant::now() })
    }

    /// Octets received up to now.
    pub fn received(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Ends the transfer and returns its average speed in bits a second, as received.
    ///
    /// # Errors
    /// The connection broke or stood still for a minute.
    pub fn stop(mut self) -> Result<f64, LabError> {
        let (octets, lasted) = (self.received(), self.begun.elapsed());
        self.stop.store(true, Ordering::Release);
        let missing = || LabError::check("the transfer was stopped before");
        joined(self.sender.take().ok_or_else(missing)?)?;
        joined(self.receiver.take().ok_or_else(missing)?)?;
        Ok(octets as f64 * 8.0 / lasted.as_secs_f64().max(f64::EPSILON))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Sends for `duration` and returns the speed in bits a second, as received.
///
/// # Errors
/// As for [`Transfer`].
pub fn throughput(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    duration: Duration,
) -> Result<f64, LabError> {
    let transfer = Transfer::start(from, to, address)?;
    std::thread::sleep(duration);
    transfer.stop()
}

fn send(mut connection: TcpStream, stop: &AtomicBool) -> Result<(), LabError> {
    let chunk = marked(CHUNK);
    while !stop.load(Ordering::Acquire) {
        connection.write_all(&chunk).map_err(LabError::io("send over TCP"))?;
    }
    Ok(())
}

fn receive(mut connection: TcpStream, octets: &AtomicU64) -> Result<(), LabError> {
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        let read = match connection.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(LabError::io("receive over TCP"))?,
        };
        match read {
            0 => return Ok(()),
            count => octets.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed),
        };
    }
}
