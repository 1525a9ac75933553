//! From the peers to the TUN device: sort, open, check, report.

use super::{
    core::{Core, add},
    delivery::Delivery,
    device::{Received, TUN_HEADROOM},
    outbound::clamp,
};
use crate::{
    esp::{DropReason, InboundSa, Opened, OpenedTrain, Refused, Report, Snapshot},
    wire::{
        esp::EspHeader,
        ip::{Ecn, InnerPacket, sighting::Way},
        udp_encap::{Encapsulated, EncapsulationError, demux},
    },
};

impl Core {
    /// Takes one entry of the receive batch, which may be several datagrams of equal size in one, and gives
    /// what comes out of it to `delivery`.
    pub(super) fn take_datagrams(
        &mut self,
        snapshot: &Snapshot,
        octets: &mut [u8],
        meta: &Received,
        now: u64,
        delivery: &mut Delivery,
    ) {
        if meta.truncated {
            self.counters.drops.add(DropReason::DatagramTruncated);
            return;
        }
        if octets.is_empty() {
            self.counters.drops.add(DropReason::Runt);
        }
        let segment = meta.segment_size.map_or(octets.len(), usize::from).max(1);
        let mut rest = octets;
        while !rest.is_empty() {
            let (train, behind) = rest.split_at_mut(train_len(rest, segment));
            if let Err(reason) = self.train(snapshot, train, segment, meta, now, delivery) {
                self.counters.drops.add(reason);
            }
            rest = behind;
        }
    }

    /// Takes datagrams of one SA, or a single one that is something else.
    fn train(
        &mut self,
        snapshot: &Snapshot,
        octets: &mut [u8],
        segment: usize,
        meta: &Received,
        now: u64,
        delivery: &mut Delivery,
    ) -> Result<(), DropReason> {
        let first = octets.get(..segment.min(octets.len())).unwrap_or_default();
        let spi = match demux(first) {
            Ok(Encapsulated::Keepalive) => {
                add(&self.counters.keepalives, 1);
                return Ok(());
            }
            Ok(Encapsulated::Ike(message)) => {
                let report = Report::Ike { local: meta.local, remote: meta.remote, octets: message.to_vec() };
                self.hand_over_ike(report);
                return Ok(());
            }
            Ok(Encapsulated::Esp(packet)) => EspHeader::split(packet).map_err(|_| DropReason::Runt)?.0.spi,
            Err(EncapsulationError::Runt(_)) => return Err(DropReason::Runt),
            Err(EncapsulationError::ReservedSpi(_)) => return Err(DropReason::ReservedSpi),
        };
        let Some(sa) = snapshot.inbound(spi) else {
            if self.may_report_unknown_spi(now) {
                self.report(Report::UnknownSpi { spi, local: meta.local, remote: meta.remote });
            }
            self.counters.drops.add_many(DropReason::UnknownSpi, octets.len().div_ceil(segment) as u64);
            return Ok(());
        };
        let ecn = sa.treatment().outer_ecn(Ecn::from_bits(meta.tos));
        let mut opened = std::mem::take(&mut self.opened);
        sa.open_train(octets, segment, ecn, now, &mut opened);
        let tag = delivery.tag(sa);
        let sights = self.sights.on();
        for (index, result) in opened.iter().enumerate() {
            match result {
                Ok(Opened { inner: Some(inner), facts, .. }) => {
                    // The ESP header and the IV leave more room than that before the packet.
                    let start = inner.start.saturating_sub(TUN_HEADROOM);
                    let Some(buffer) = octets.get_mut(start..inner.end) else { continue };
                    if sights && facts.is_some_and(|facts| facts.is_noteworthy()) {
                        self.sight_inner(buffer, now);
                    }
                    if facts.is_some_and(|facts| facts.may_clamp) {
                        self.clamp_inner(sa, buffer);
                    }
                    delivery.push(buffer, tag);
                }
                Ok(Opened { inner: None, .. }) => add(&self.counters.dummies, 1),
                Err(refused) => {
                    self.counters.drops.add(refused.reason);
                    if sights {
                        let datagram = octets.get(index * segment..).unwrap_or_default();
                        self.sight_refused(sa, *refused, datagram.get(..segment).unwrap_or(datagram), now);
                    }
                }
            }
        }
        self.tell(sa, &opened, meta, now);
        self.opened = opened;
        Ok(())
    }

    fn clamp_inner(&self, sa: &InboundSa, buffer: &mut [u8]) {
        let Some(inner) = buffer.get_mut(TUN_HEADROOM..) else { return };
        if let Ok(view) = InnerPacket::parse(inner)
            && clamp(inner, &view, || sa.treatment().mss(view.version, sa.inner_mtu()))
        {
            add(&self.counters.mss_clamped, 1);
        }
    }

    /// Before the packet is delivered, so that it is seen before its answer.
    fn sight_inner(&mut self, buffer: &[u8], now: u64) {
        let inner = buffer.get(TUN_HEADROOM..).unwrap_or_default();
        if let Ok(view) = InnerPacket::parse(inner) {
            self.sights.look(Way::FromTunnel, false, inner, &view, now, &self.counters);
        }
    }

    /// A packet that was opened but lies outside the selectors.
    fn sight_refused(&mut self, sa: &InboundSa, refused: Refused, datagram: &[u8], now: u64) {
        let by_policy = matches!(
            refused.reason,
            DropReason::InnerSelectorMismatch | DropReason::InnerFragmentWithoutPorts
        );
        let inner = datagram.get(sa.inner_start()..).unwrap_or_default();
        if by_policy && let Ok(view) = InnerPacket::parse(inner) {
            self.sights.look(Way::FromTunnel, true, inner, &view, now, &self.counters);
        }
    }

    /// Reports what the packets of a train showed.
    fn tell(&self, sa: &InboundSa, opened: &OpenedTrain, meta: &Received, now: u64) {
        let (child, spi) = (sa.child(), sa.spi());
        let mut lost = false;
        let mut highest = false;
        for result in opened {
            match result {
                Ok(opened) => {
                    highest |= opened.highest;
                    if opened.first {
                        lost |= !self.report(Report::FirstInbound { child, spi });
                    }
                    if opened.soft_limit {
                        lost |= !self.report(Report::SoftLimit { child, spi });
                    }
                }
                Err(Refused { reason: DropReason::InboundHardLimit, .. }) if sa.first_hard_limit() => {
                    lost |= !self.report(Report::HardLimit { child, spi });
                }
                Err(_) => {}
            }
        }
        if lost {
            sa.report_again();
        }
        if !highest {
            return;
        }
        let path = sa.path().get();
        let moved = meta.remote != path.remote || path.local.is_some_and(|local| local != meta.local.ip());
        if moved && sa.path().may_report_moved(now) {
            self.report(Report::PeerMoved { child, spi, local: meta.local, remote: meta.remote });
        }
    }
}

/// Octets of the datagrams at the start that have one SPI; of the first one alone if it has none.
fn train_len(octets: &[u8], segment: usize) -> usize {
    let mut datagrams = octets.chunks(segment);
    let Some(first) = datagrams.next() else { return 0 };
    let Some(spi) = first.first_chunk::<4>().filter(|spi| **spi != [0; 4]) else { return first.len() };
    let alike = datagrams.take_while(|datagram| {
        datagram.len() >= crate::wire::esp::HEADER_LEN && datagram.first_chunk::<4>() == Some(spi)
    });
    first.len() + alike.map(<[u8]>::len).sum::<usize>()
}
