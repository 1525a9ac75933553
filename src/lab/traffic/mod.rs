//! Traffic to send through a tunnel and to measure, without any other program: echo requests,
//! numbered datagrams at a low or a high rate, files over HTTP, TCP streams, visits to Services.

pub mod crowd;
pub mod datagram;
pub mod flood;
pub mod http;
pub mod ping;
pub mod series;
pub mod stream;
pub mod tcp;
pub mod visit;

/// A mark that every payload carries; whoever finds it on the wire has found clear text.
pub const MARK: &[u8; 16] = b"skybridge-clear!";

/// A payload of `length` octets that repeats [`MARK`], at least one whole mark where it fits.
pub(super) fn marked(length: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(length).collect()
}
