//! A file of made-up content over HTTP/1.1, and its SHA-256 at both ends.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::header::CONTENT_LENGTH,
    response::IntoResponse,
    routing::get,
};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use ring::digest::{Context, SHA256};
use tokio::{net::TcpListener, sync::oneshot};

use super::MARK;
use crate::lab::{
    LabError,
    namespace::{Namespace, joined},
};

/// The size of the pieces in which content is made, in octets.
const PIECE: u64 = 64 << 10;

/// A web server in a namespace: `/file/LENGTH` is a file of that many octets. It stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Server {
    /// Serves on `address` in a namespace; `seed` decides the content of its files. Port 0 lets the kernel
    /// choose.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(namespace: &Namespace, address: SocketAddr, seed: u64) -> Result<Self, LabError> {
        let listener = namespace.run(|| {
            let listener = std::net::TcpListener::bind(address).map_err(LabError::io("listen for HTTP"))?;
            listener.set_nonblocking(true).map_err(LabError::io("listen for HTTP"))?;
            Ok(listener)
        })?;
        let address = listener.local_addr().map_err(LabError::io("ask for a port"))?;
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.thread(move || {
            runtime()?.block_on(async {
                let listener = TcpListener::from_std(listener).map_err(LabError::io("listen for HTTP"))?;
                let files = Router::new().route("/file/{length}", get(file)).with_state(seed);
                tokio::select! {
                    served = axum::serve(listener, files) => served.map_err(LabError::io("serve HTTP")),
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

async fn file(State(seed): State<u64>, Path(length): Path<u64>) -> impl IntoResponse {
    let pieces = content(seed, length).map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    ([(CONTENT_LENGTH, length.to_string())], Body::from_stream(futures_util::stream::iter(pieces)))
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Octets received.
    pub length: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
    /// From the request to the last octet.
    pub took: Duration,
}

/// Fetches `/file/LENGTH` from a [`Server`] and digests what arrives.
///
/// # Errors
/// The connection fails, or nothing at all arrives for `patience`.
pub fn fetch(
    namespace: &Namespace,
    from: SocketAddr,
    length: u64,
    patience: Duration,
) -> Result<Fetched, LabError> {
    namespace.run(|| {
        runtime()?.block_on(async {
            let begun = Instant::now();
            let slow = || LabError::Deadline {
                what: format!("{from} goes on sending"),
                seconds: patience.as_secs(),
            };
            let failed = |error: hyper::Error| LabError::check(format!("HTTP from {from}: {error}"));
            let connected = tokio::time::timeout(patience, tokio::net::TcpStream::connect(from));
            let stream =
                connected.await.map_err(|_| slow())?.map_err(LabError::io(format!("connect to {from}")))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            let connection = tokio::spawn(connection);
            let request = Request::get(format!("/file/{length}"))
                .header("host", from.to_string())
                .body(Empty::<Bytes>::new())
                .map_err(|error| LabError::check(format!("HTTP request: {error}")))?;
            let response =
                tokio::time::timeout(patience, sender.send_request(request)).await.map_err(|_| slow())?;
            let mut body = response.map_err(failed)?.into_body();
            let (mut digest, mut received) = (Context::new(&SHA256), 0);
            while let Some(frame) = tokio::time::timeout(patience, body.frame()).await.map_err(|_| slow())? {
                if let Ok(data) = frame.map_err(failed)?.into_data() {
                    received += u64::try_from(data.len()).unwrap_or(0);
                    digest.update(&data);
                }
            }
            connection.abort();
            Ok(Fetched { length: received, sha256: hexadecimal(digest), took: begun.elapsed() })
        })
    })
}

/// SHA-256 of the file that a [`Server`] with this seed serves, in hexadecimal.
pub fn sha256(seed: u64, length: u64) -> String {
    let mut digest = Context::new(&SHA256);
    for piece in content(seed, length) {
        digest.update(&piece);
    }
    hexadecimal(digest)
}

fn hexadecimal(digest: Context) -> String {
    digest.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Content that no compression or repetition could make right by accident, with the mark in each segment.
fn content(seed: u64, length: u64) -> impl Iterator<Item = Vec<u8>> + Send {
    (0..length.div_ceil(PIECE)).map(move |piece| {
        let wanted = usize::try_from(PIECE.min(length - piece * PIECE)).unwrap_or(0);
        let mut state = (seed ^ piece.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        let mut octets = Vec::with_capacity(wanted + 512);
        while octets.len() < wanted {
            octets.extend_from_slice(MARK);
            for _ in 0..62 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                octets.extend_from_slice(&state.to_le_bytes());
            }
        }
        octets.truncate(wanted);
        octets
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, LabError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LabError::io("start a runtime"))
}

/// The address of a server at the kernel's choice of port.
pub fn any_port(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_the_wanted_length_and_differs_by_seed_and_place() {
        let octets: Vec<u8> = content(1, 200_000).flatten().collect();
        assert_eq!(octets.len(), 200_000);
        assert_ne!(sha256(1, 200_000), sha256(2, 200_000));
        assert_ne!(octets[..65_536], octets[65_536..131_072]);
        assert!(octets.windows(16).take(1_000).any(|window| window == MARK));
    }
}
