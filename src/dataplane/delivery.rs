//! From opened packets to the TUN device: packets of one flow joined to super-packets, and what becomes of
//! those that the device does not take.

use std::sync::Arc;

use super::{
    batch::{Offload, Segmentation},
    coalesce::{Coalescer, Merged},
    core::add,
    device::{Offers, TUN_HEADROOM, TunDevice, TunError},
    segment::Segments,
};
use crate::esp::{DataCounters, Degraded, DropReason, InboundSa};

/// Flows that are joined at the same time.
const FLOWS: usize = 8;
/// No IP packet is longer.
const PACKET: usize = 65_535;

/// The way to the TUN device.
pub(super) struct Delivery {
    coalescer: Coalescer,
    writer: Writer,
}

/// The device and what is known of it.
struct Writer {
    tun: Option<Box<dyn TunDevice>>,
    offers: Offers,
    /// Whether `offers` is less than what the coalescer was made for.
    outdated: bool,
    counters: Arc<DataCounters>,
    /// The SAs of this turn, by the coalescer's tags.
    sas: Vec<Arc<InboundSa>>,
    /// One packet of a super-packet that was refused.
    piece: Box<[u8]>,
    degraded: Vec<Degraded>,
}

/// The tag of packets that came through no SA.
const NO_SA: u32 = u32::MAX;

impl Delivery {
    pub(super) fn new(tun: Option<Box<dyn TunDevice>>, counters: Arc<DataCounters>) -> Self {
        let offers = tun.as_ref().map(|tun| tun.offers()).unwrap_or_default();
        let writer = Writer {
            tun,
            offers,
            outdated: false,
            counters,
            sas: Vec::with_capacity(64),
            piece: vec![0; TUN_HEADROOM + PACKET].into_boxed_slice(),
            degraded: Vec::with_capacity(2),
        };
        Self { coalescer: Coalescer::new(FLOWS, offers), writer }
    }

    /// The device, if there is one.
    pub(super) fn tun(&mut self) -> Option<&mut (dyn TunDevice + 'static)> {
        self.writer.tun.as_deref_mut()
    }

    pub(super) fn set_tun(&mut self, tun: Option<Box<dyn TunDevice>>) {
        self.writer.offers = tun.as_ref().map(|tun| tun.offers()).unwrap_or_default();
        self.writer.tun = tun;
        self.coalescer = Coalescer::new(FLOWS, self.writer.offers);
    }

    /// Says that the packets to come are of this SA, and gives their tag.
    pub(super) fn tag(&mut self, sa: &Arc<InboundSa>) -> u32 {
        let sas = &mut self.writer.sas;
        if !sas.last().is_some_and(|last| Arc::ptr_eq(last, sa)) {
            sas.push(Arc::clone(sa));
        }
        u32::try_from(sas.len() - 1).unwrap_or(NO_SA)
    }

    /// Delivers a packet, [`TUN_HEADROOM`] octets before it, at the latest at the next [`Delivery::flush`].
    pub(super) fn push(&mut self, buffer: &mut [u8], tag: u32) {
        let Self { coalescer, writer } = self;
        coalescer.push(buffer, tag, &mut |merged| writer.write(merged));
    }

    /// Delivers a packet of this host now.
    pub(super) fn answer(&mut self, buffer: &mut [u8]) {
        self.writer.write(Merged { buffer, offload: Offload::default(), packets: 1, tag: NO_SA });
    }

    /// Delivers everything that is kept. Gives what turned out not to work.
    pub(super) fn flush(&mut self) -> std::vec::Drain<'_, Degraded> {
        let Self { coalescer, writer } = self;
        coalescer.flush(&mut |merged| writer.write(merged));
        writer.sas.clear();
        if std::mem::take(&mut writer.outdated) {
            *coalescer = Coalescer::new(FLOWS, writer.offers);
        }
        writer.degraded.drain(..)
    }
}

impl Writer {
    fn write(&mut self, merged: Merged<'_>) {
        let packets = u64::from(merged.packets);
        let result = match &mut self.tun {
            Some(tun) => tun.transmit(merged.buffer, merged.offload),
            None => Err(TunError::Gone),
        };
        match result {
            Ok(()) => {
                add(&self.counters.tun_sent, packets);
                add(&self.counters.tun_writes, 1);
            }
            Err(TunError::Other(_)) if merged.offload.segmentation != Segmentation::None => {
                self.write_singly(merged);
            }
            Err(error) => self.refused(&error, packets, merged.tag),
        }
    }

    /// The device does not take a super-packet although it had promised to.
    fn write_singly(&mut self, merged: Merged<'_>) {
        let octets = merged.buffer.get(TUN_HEADROOM..).unwrap_or_default();
        let Ok(segments) = Segments::parse(octets, merged.offload) else {
            self.refused(&TunError::Full, u64::from(merged.packets), merged.tag);
            return;
        };
        let mut piece = std::mem::take(&mut self.piece);
        let mut taken = true;
        for index in 0..segments.count() {
            let Some(buffer) = piece.get_mut(..TUN_HEADROOM + segments.packet_len(index)) else { continue };
            if let Some(packet) = buffer.get_mut(TUN_HEADROOM..) {
                segments.write(index, packet);
            }
            let result = match &mut self.tun {
                Some(tun) => tun.transmit(buffer, Offload::default()),
                None => Err(TunError::Gone),
            };
            match result {
                Ok(()) => {
                    add(&self.counters.tun_sent, 1);
                    add(&self.counters.tun_writes, 1);
                }
                Err(error) => {
                    taken = false;
                    self.refused(&error, 1, merged.tag);
                }
            }
        }
        self.piece = piece;
        if taken {
            self.distrust(merged.offload.segmentation);
        }
    }

    /// The packets of a super-packet went where it did not.
    fn distrust(&mut self, segmentation: Segmentation) {
        let (offer, degraded) = match segmentation {
            Segmentation::Udp => (&mut self.offers.udp, Degraded::UdpToTun),
            _ => (&mut self.offers.tcp, Degraded::TcpToTun),
        };
        if std::mem::take(offer) {
            self.outdated = true;
            self.degraded.push(degraded);
        }
    }

    fn refused(&mut self, error: &TunError, packets: u64, tag: u32) {
        let reason = match error {
            TunError::Gone | TunError::Down => DropReason::TunGone,
            TunError::Full => DropReason::TunQueueFull,
            TunError::Other(_) => DropReason::TunRefused,
        };
        self.counters.drops.add_many(reason, packets);
        if let Some(sa) = usize::try_from(tag).ok().and_then(|tag| self.sas.get(tag)) {
            sa.counters().drops.add_many(reason, packets);
        }
        if matches!(error, TunError::Gone) {
            self.tun = None;
        }
    }
}
