//! What an engine says besides datagrams and snapshots.

use std::net::SocketAddr;

use crate::crypto::{CryptoError, EspSuite};
use crate::esp::Degraded;
use crate::ike::{self, ChildInstall, ChildName, ChildSaId, DownReason, PeerName};
use crate::policy::SelectorSet;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// What the IKE endpoint says, but for Child SAs.
    Ike(ike::Event),
    /// A Child SA was installed.
    ChildUp(Box<ChildUp>),
    /// A Child SA was removed.
    ChildDown {
        /// The Child SA.
        id: ChildSaId,
        /// Its peer.
        peer: PeerName,
        /// Its name.
        child: ChildName,
        /// Why.
        reason: DownReason,
    },
    /// A negotiated Child SA could not be made usable.
    ChildUnusable {
        /// Its peer.
        peer: PeerName,
        /// Its name.
        child: ChildName,
        /// Why.
        reason: CryptoError,
    },
    /// The interface towards `remote` does not carry datagrams of this size.
    OuterTooBig {
        /// The peer's address.
        remote: SocketAddr,
        /// Octets of the outer packet that did not fit.
        outer_len: usize,
    },
    /// An offload turned out not to work and is done without.
    Degraded(Degraded),
    /// The TUN device is gone and must be made again.
    TunGone,
}

/// A Child SA that was installed, without its keys.
#[derive(Clone, Debug)]
pub struct ChildUp {
    /// The Child SA.
    pub id: ChildSaId,
    /// Its peer.
    pub peer: PeerName,
    /// Its name.
    pub child: ChildName,
    /// Algorithms.
    pub suite: EspSuite,
    /// Our SPI.
    pub inbound_spi: u32,
    /// The peer's SPI.
    pub outbound_spi: u32,
    /// Our side's selectors.
    pub local: SelectorSet,
    /// The peer's side's selectors.
    pub remote: SelectorSet,
    /// Where its packets go.
    pub peer_address: SocketAddr,
    /// Whether we initiated.
    pub initiator: bool,
    /// The Child SA that it replaces.
    pub replaces: Option<ChildSaId>,
}

impl ChildUp {
    pub(super) fn of(install: &ChildInstall) -> Self {
        Self {
            id: install.id,
            peer: install.peer.clone(),
            child: install.child.clone(),
            suite: install.suite,
            inbound_spi: install.inbound_spi,
            outbound_spi: install.outbound_spi,
            local: install.local_ts.clone(),
            remote: install.remote_ts.clone(),
            peer_address: install.remote,
            initiator: install.initiator,
            replaces: install.replaces,
        }
    }
}
