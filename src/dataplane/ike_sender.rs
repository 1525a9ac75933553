//! Sends IKE messages and keepalives through the NAT traversal sockets that the workers read.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    device::{Datagram, Destination, UdpError},
    socket::IpsecSockets,
    udp::send_group,
};
use crate::wire::udp_encap::{KEEPALIVE, NON_ESP_MARKER};

/// A handle for sending; clones share the sockets.
#[derive(Debug, Clone)]
pub struct IkeSender {
    sockets: Arc<IpsecSockets>,
}

impl IkeSender {
    /// A sender over these sockets.
    pub fn new(sockets: Arc<IpsecSockets>) -> Self {
        Self { sockets }
    }

    /// Sends an IKE message with the non-ESP marker before it
    /// ([RFC 3948 section 2.2](https://www.rfc-editor.org/rfc/rfc3948#section-2.2)) from `local` (`None`: the
    /// kernel chooses). Without `dont_fragment` the outer packet may be fragmented on the way.
    ///
    /// # Errors
    /// Those of the socket. `EMSGSIZE` (as [`io::Error::raw_os_error`]) if it is too long for the interface.
    pub fn send(
        &self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        message: &[u8],
        dont_fragment: bool,
    ) -> io::Result<()> {
        let mut octets = Vec::with_capacity(NON_ESP_MARKER.len() + message.len());
        octets.extend_from_slice(&NON_ESP_MARKER);
        octets.extend_from_slice(message);
        self.send_raw(local, remote, &octets, dont_fragment)
    }

    /// Sends octets as they are, as from a port where no marker is used.
    ///
    /// # Errors
    /// As [`IkeSender::send`].
    pub fn send_raw(
        &self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        octets: &[u8],
        dont_fragment: bool,
    ) -> io::Result<()> {
        let to = Destination { local, remote, tos: 0, dont_fragment, segment_size: None };
        let mut result = Ok(());
        send_group(&self.sockets, &[Datagram { octets, to }], &mut |_, error| result = Err(to_io(error)));
        result
    }

    /// Sends a NAT keepalive.
    ///
    /// # Errors
    /// As [`IkeSender::send`].
    pub fn send_keepalive(&self, local: Option<IpAddr>, remote: SocketAddr) -> io::Result<()> {
        self.send_raw(local, remote, &KEEPALIVE, true)
    }
}

fn to_io(error: UdpError) -> io::Error {
    let code = match error {
        UdpError::TooBig => libc::EMSGSIZE,
        UdpError::Unreachable => libc::ENETUNREACH,
        UdpError::Full => libc::ENOBUFS,
        UdpError::Forbidden => libc::EPERM,
        UdpError::NoSocket => libc::EAFNOSUPPORT,
        UdpError::Other(error) => return error,
    };
    io::Error::from_raw_os_error(code)
}
