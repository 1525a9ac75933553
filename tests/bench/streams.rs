//! TCP streams that begin together and end at once.
//!
//! The lab's own transfer ends in order: it waits until everything sent has arrived, which may take minutes where many
//! streams starved each other. Here all are cut off, so that nothing of one load is left when the next begins.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use skybridge::lab::{LabError, Namespace, namespace::joined};
use socket2::SockRef;

const CHUNK: usize = 128 << 10;
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that nothing was sent over yet.
struct Connected<'a> {
    ends: [(&'a Namespace, TcpStream); 2],
}

/// Running streams. Dropping them cuts them off.
pub struct Streams {
    octets: Arc<AtomicU64>,
    sockets: Vec<TcpStream>,
    threads: Vec<JoinHandle<Result<(), LabError>>>,
}

impl Streams {
    /// Makes `count` connections for each way, from one namespace to an address in another, and then sends over all
    /// of them as fast as it goes.
    ///
    /// # Errors
    /// A connection cannot be made.
    pub fn start(ways: &[(&Namespace, &Namespace, IpAddr)], count: usize) -> Result<Self, LabError> {
        let mut connected = Vec::new();
        for (from, to, address) in ways {
            for _ in 0..count {
                connected.push(connect(from, to, *address)?);
            }
        }
        let octets = Arc::new(AtomicU64::new(0));
        let mut streams = Self { octets, sockets: Vec::new(), threads: Vec::new() };
        for Connected { ends: [(from, sending), (to, receiving)] } in connected {
            for socket in [&sending, &receiving] {
                // What is not sent when it is closed is thrown away.
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
                streams.sockets.push(socket.try_clone().map_err(LabError::io("share a socket"))?);
            }
            let count = Arc::clone(&streams.octets);
            streams.threads.push(to.thread(move || {
                receive(receiving, &count);
                Ok(())
            })?);
            streams.threads.push(from.thread(move || {
                send(sending);
                Ok(())
            })?);
        }
        Ok(streams)
    }

    /// Octets received up to now, over all of them.
    pub fn received(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for socket in self.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = joined(thread);
        }
    }
}

fn connect<'a>(from: &'a Namespace, to: &'a Namespace, address: IpAddr) -> Result<Connected<'a>, LabError> {
    let listener = to.run(|| {
        TcpListener::bind(SocketAddr::new(address, 0)).map_err(LabError::io("listen for a TCP connection"))
    })?;
    let target = listener.local_addr().map_err(LabError::io("ask for a port"))?;
    let sending = from.run(|| {
        TcpStream::connect_timeout(&target, CONNECT).map_err(LabError::io(format!("connect to {target}")))
    })?;
    let (receiving, _) = listener.accept().map_err(LabError::io("accept a connection"))?;
    Ok(Connected { ends: [(from, sending), (to, receiving)] })
}

fn send(mut connection: TcpStream) {
    let chunk = vec![0x5b_u8; CHUNK];
    while connection.write_all(&chunk).is_ok() {}
}

fn receive(mut connection: TcpStream, octets: &AtomicU64) {
    let mut chunk = vec![0_u8; CHUNK];
    while let Ok(length @ 1..) = connection.read(&mut chunk) {
        octets.fetch_add(length as u64, Ordering::Relaxed);
    }
}
