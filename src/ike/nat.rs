//! NAT detection ([RFC 7296 section 2.23](https://www.rfc-editor.org/rfc/rfc7296#section-2.23)) and the
//! addresses of an IKE SA.
//!
//! ESP only ever travels in UDP here, so our source hash is deliberately that of another address: the
//! peer then always sees a NAT before us, encapsulates, and follows us when we move.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::crypto::hash::nat_detection;
use crate::wire::ike::registry::NotifyType;
use crate::wire::ike::{IkeSpi, Notify, Payload};

use super::contents::Contents;
use super::event::{Transmit, TransmitKind};

/// What the hashes say about the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NatView {
    /// The peer sees us at another address than ours.
    pub(crate) local: bool,
    /// We see the peer at another address than its own, or it says so.
    pub(crate) remote: bool,
}

/// The two notifications of one message.
pub(crate) fn detection_payloads(initiator: IkeSpi, responder: IkeSpi, remote: SocketAddr) -> [Payload; 2] {
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    [(NotifyType::NAT_DETECTION_SOURCE_IP, nowhere), (NotifyType::NAT_DETECTION_DESTINATION_IP, remote)].map(
        |(kind, address)| {
            Payload::Notify(Notify::new(kind, nat_detection(initiator, responder, address).to_vec()))
        },
    )
}

/// Compares the peer's hashes with the addresses that its message had; `None` if it sent none, so that
/// it cannot do ESP in UDP.
pub(crate) fn detect(
    contents: &Contents,
    initiator: IkeSpi,
    responder: IkeSpi,
    local: SocketAddr,
    remote: SocketAddr,
) -> Option<NatView> {
    let matches = |kind: NotifyType, address: SocketAddr| {
        let expected = nat_detection(initiator, responder, address);
        let mut seen = false;
        let mut matched = false;
        for notify in contents.notifies.iter().filter(|notify| notify.kind == kind) {
            seen = true;
            matched |= notify.data == expected;
        }
        seen.then_some(matched)
    };
    let source = matches(NotifyType::NAT_DETECTION_SOURCE_IP, remote)?;
    let destination = matches(NotifyType::NAT_DETECTION_DESTINATION_IP, local)?;
    Some(NatView { local: !destination, remote: !source })
}

/// Where an IKE SA's datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Our address; `None` leaves it to the routing table.
    pub(crate) local: Option<IpAddr>,
    pub(crate) remote: SocketAddr,
    /// On the NAT-T socket, with marker.
    pub(crate) encapsulated: bool,
    pub(crate) nat: NatView,
}

impl Path {
    pub(crate) fn transmit(&self, octets: Vec<u8>, dont_fragment: bool) -> Transmit {
        Transmit {
            local: self.local,
            remote: self.remote,
            encapsulated: self.encapsulated,
            kind: TransmitKind::Ike,
            octets,
            dont_fragment,
        }
    }

    pub(crate) fn keepalive(&self) -> Transmit {
        Transmit { kind: TransmitKind::Keepalive, ..self.transmit(vec![0xff], false) }
    }
}
