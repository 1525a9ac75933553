//! Devices in memory, and a worker between them.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
};

use arc_swap::ArcSwap;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    crypto::SystemRandom,
    dataplane::{
        DataPlaneConfig, TunDevice, UdpDevice, Worker,
        batch::{Offload, Segmentation},
        device::{
            Datagram, Destination, Offers, Received, TUN_HEADROOM, TunError, TunReceived, UdpBatch, UdpError,
        },
    },
    esp::{
        DataCounters, DropReason, InboundSa, OutboundSa, Report, SaSelectors, Snapshot, SpdAction, SpdEntry,
        fixture,
    },
    wire::ip::Ecn,
};

type Queue<T> = Arc<Mutex<VecDeque<T>>>;
type Fault<E> = Arc<Mutex<Option<fn() -> E>>>;

/// The device's other end, as the test holds it.
#[derive(Clone)]
pub(super) struct TunEnd {
    pub(super) to_worker: Queue<(Vec<u8>, Offload)>,
    /// Readable when something was queued by [`TunEnd::send`].
    event: Arc<EventFd>,
    pub(super) from_worker: Queue<Vec<u8>>,
    /// What was left to do of each packet written.
    pub(super) written: Queue<Offload>,
    pub(super) offers: Arc<Mutex<Offers>>,
    pub(super) refuses_supers: Arc<Mutex<bool>>,
    pub(super) receive_fault: Fault<TunError>,
    pub(super) transmit_fault: Fault<TunError>,
}

#[derive(Clone, Default)]
pub(super) struct UdpEnd {
    pub(super) to_worker: Queue<(Vec<u8>, Received)>,
    pub(super) from_worker: Queue<(Vec<u8>, Destination)>,
    /// Packets in each train that was sent.
    pub(super) trains: Queue<usize>,
    pub(super) transmit_fault: Fault<UdpError>,
}

struct TunDouble(TunEnd);
struct UdpDouble(UdpEnd, EventFd);

impl Default for TunEnd {
    fn default() -> Self {
        Self {
            to_worker: Queue::default(),
            event: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()),
            from_worker: Queue::default(),
            written: Queue::default(),
            offers: Arc::default(),
            refuses_supers: Arc::default(),
            receive_fault: Fault::default(),
            transmit_fault: Fault::default(),
        }
    }
}

impl TunEnd {
    /// Queues a packet and wakes a worker that waits for it.
    pub(super) fn send(&self, packet: Vec<u8>) {
        self.to_worker.lock().unwrap().push_back((packet, Offload::default()));
        self.event.write(1).unwrap();
    }

    pub(super) fn device(&self) -> Box<dyn TunDevice> {
        Box::new(TunDouble(self.clone()))
    }
}

impl TunDevice for TunDouble {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<TunReceived>, TunError> {
        let _ = self.0.event.read();
        if let Some(fault) = *self.0.receive_fault.lock().unwrap() {
            return Err(fault());
        }
        let Some((octets, offload)) = self.0.to_worker.lock().unwrap().pop_front() else { return Ok(None) };
        buffer[..octets.len()].copy_from_slice(&octets);
        Ok(Some(TunReceived { range: 0..octets.len(), offload }))
    }

    fn transmit(&mut self, buffer: &mut [u8], offload: Offload) -> Result<(), TunError> {
        if let Some(fault) = *self.0.transmit_fault.lock().unwrap() {
            return Err(fault());
        }
        if offload.segmentation != Segmentation::None && *self.0.refuses_supers.lock().unwrap() {
            return Err(TunError::Other(std::io::Error::from_raw_os_error(libc::EINVAL)));
        }
        let packet = buffer[TUN_HEADROOM..].to_vec();
        self.0.written.lock().unwrap().push_back(offload);
        self.0.from_worker.lock().unwrap().push_back(packet);
        Ok(())
    }

    fn offers(&self) -> Offers {
        *self.0.offers.lock().unwrap()
    }

    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl UdpDevice for UdpDouble {
    fn receive(&mut self, batch: &mut UdpBatch) {
        let mut queue = self.0.to_worker.lock().unwrap();
        while !batch.is_full() {
            let Some((octets, meta)) = queue.pop_front() else { break };
            batch
                .push::<()>(|slot| {
                    slot[..octets.len()].copy_from_slice(&octets);
                    Ok((octets.len(), meta))
                })
                .unwrap();
        }
    }

    fn transmit(
        &mut self,
        datagrams: &mut dyn Iterator<Item = Datagram<'_>>,
        refused: &mut dyn FnMut(usize, usize, UdpError),
    ) {
        let fault = *self.0.transmit_fault.lock().unwrap();
        for (index, datagram) in datagrams.enumerate() {
            match fault {
                Some(fault) => refused(index, datagram.packets(), fault()),
                None => {
                    self.0.trains.lock().unwrap().push_back(datagram.packets());
                    for piece in datagram.pieces() {
                        let to = datagram.to.without_segments();
                        self.0.from_worker.lock().unwrap().push_back((piece.to_vec(), to));
                    }
                }
            }
        }
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.1.as_fd()]
    }
}

/// A worker with its world: 10.1.0.0/16 and fd01::/16 here, 10.2.0.0/16 and fd02::/16 at the peer.
pub(super) struct Bench {
    pub(super) worker: Worker,
    pub(super) tun: TunEnd,
    pub(super) udp: UdpEnd,
    pub(super) reports: Receiver<Report>,
    pub(super) counters: Arc<DataCounters>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) now: u64,
}

impl Bench {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self::with_room(snapshot, 64)
    }

    pub(super) fn with_room(snapshot: Snapshot, reports_room: usize) -> Self {
        Self::with_config(snapshot, reports_room, DataPlaneConfig::default())
    }

    pub(super) fn with_config(snapshot: Snapshot, reports_room: usize, config: DataPlaneConfig) -> Self {
        let (tun, udp) = (TunEnd::default(), UdpEnd::default());
        let (sink, reports) = sync_channel(reports_room);
        let counters = Arc::new(DataCounters::default());
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let worker = Worker::new(
            config,
            Some(tun.device()),
            Box::new(UdpDouble(udp.clone(), EventFd::new().unwrap())),
            Arc::clone(&snapshot),
            Box::new(sink),
            Arc::clone(&counters),
            Box::new(SystemRandom::new().unwrap()),
        );
        Self { worker, tun, udp, reports, counters, snapshot, now: 10_000 }
    }

    pub(super) fn turn(&mut self) {
        self.worker.turn(self.now);
    }

    /// A packet of this side's network.
    pub(super) fn inside(&mut self, packet: Vec<u8>) {
        self.tun.to_worker.lock().unwrap().push_back((packet, Offload::default()));
        self.turn();
    }

    /// A datagram from the peer.
    pub(super) fn outside(&mut self, datagram: Vec<u8>) {
        self.outside_as(datagram, received());
    }

    pub(super) fn outside_as(&mut self, datagram: Vec<u8>, meta: Received) {
        self.udp.to_worker.lock().unwrap().push_back((datagram, meta));
        self.turn();
    }

    /// What went to the peer.
    pub(super) fn sent(&self) -> Vec<(Vec<u8>, Destination)> {
        self.udp.from_worker.lock().unwrap().drain(..).collect()
    }

    /// What came out of the tunnel, ICMP errors included.
    pub(super) fn delivered(&self) -> Vec<Vec<u8>> {
        self.tun.from_worker.lock().unwrap().drain(..).collect()
    }

    pub(super) fn reported(&self) -> Vec<Report> {
        self.reports.try_iter().collect()
    }

    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.counters.drops.nonzero().collect()
    }
}

pub(super) fn received() -> Received {
    Received {
        local: "192.0.2.10:4500".parse().unwrap(),
        remote: "198.51.100.7:4500".parse().unwrap(),
        tos: 0,
        segment_size: None,
        truncated: false,
    }
}

pub(super) fn protect(selectors: SaSelectors, outbound: Option<Arc<OutboundSa>>, trap: bool) -> SpdEntry {
    entry(selectors, SpdAction::Protect { outbound, trap })
}

pub(super) fn entry(selectors: SaSelectors, action: SpdAction) -> SpdEntry {
    SpdEntry { peer: "office".into(), child: "lan".into(), selectors, action }
}

/// A snapshot with one pair of SAs between the two networks.
pub(super) fn up(inbound: InboundSa, outbound: OutboundSa) -> Snapshot {
    Snapshot::new(1, [Arc::new(inbound)], vec![protect(fixture::nets(), Some(Arc::new(outbound)), false)])
}

/// The pair of SAs, as our side has it.
pub(super) fn pair() -> Snapshot {
    up(
        fixture::inbound_with(fixture::GCM, fixture::nets(), crate::esp::Limits::default()),
        fixture::outbound(fixture::GCM),
    )
}

/// Opens what was sent to the peer, as the peer does.
pub(super) fn open(datagrams: Vec<(Vec<u8>, Destination)>) -> Vec<Vec<u8>> {
    let sa = fixture::inbound(fixture::GCM);
    datagrams
        .into_iter()
        .map(|(mut octets, _)| {
            let range = sa.open(&mut octets, Ecn::NotEct, 1).unwrap().inner.unwrap();
            octets[range].to_vec()
        })
        .collect()
}
