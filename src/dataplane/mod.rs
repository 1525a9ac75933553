//! Threads that move packets between the TUN device and the UDP sockets.

pub mod batch;
pub mod device;
pub mod tun;
