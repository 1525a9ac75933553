//! From the peers to the TUN device: sort, open, check, report.

use std::{ops::Range, sync::Arc};

use super::{
    core::{Core, add},
    device::Received,
    outbound::clamp,
};
use crate::{
    esp::{DropReason, InboundSa, Opened, Report, Snapshot},
    wire::{
        esp::EspHeader,
        ip::{Ecn, InnerPacket},
        udp_encap::{Encapsulated, EncapsulationError, demux},
    },
};

/// A decrypted packet in the receive batch.
#[derive(Debug)]
pub(super) struct Ready {
    /// Which datagram of the batch it came in.
    pub(super) index: usize,
    /// Where it lies in that datagram.
    pub(super) range: Range<usize>,
    /// The SA it came through.
    pub(super) sa: Arc<InboundSa>,
}

/// Where an inner packet lies in its datagram, and the SA it came through.
type Delivery<'s> = (Range<usize>, &'s Arc<InboundSa>);

impl Core {
    /// Takes one entry of the receive batch, which may be several datagrams of equal size in one, and gives
    /// what comes out of it to `ready`.
    pub(super) fn take_datagrams(
        &mut self,
        snapshot: &Snapshot,
        octets: &mut [u8],
        meta: &Received,
        now: u64,
        mut ready: impl FnMut(Range<usize>, &Arc<InboundSa>),
    ) {
        if meta.truncated {
            self.counters.drops.add(DropReason::DatagramTruncated);
            return;
        }
        let segment = meta.segment_size.map_or(usize::MAX, |size| usize::from(size).max(1));
        if octets.is_empty() {
            self.counters.drops.add(DropReason::Runt);
        }
        let mut start = 0;
        for datagram in octets.chunks_mut(segment) {
            let len = datagram.len();
            match self.datagram(snapshot, datagram, meta, now) {
                Ok(Some((range, sa))) => ready(start + range.start..start + range.end, sa),
                Ok(None) => {}
                Err(reason) => self.counters.drops.add(reason),
            }
            start += len;
        }
    }

    fn datagram<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        datagram: &mut [u8],
        meta: &Received,
        now: u64,
    ) -> Result<Option<Delivery<'s>>, DropReason> {
        let spi = match demux(datagram) {
            Ok(Encapsulated::Keepalive) => {
                add(&self.counters.keepalives, 1);
                return Ok(None);
            }
            Ok(Encapsulated::Ike(message)) => {
                let report = Report::Ike { local: meta.local, remote: meta.remote, octets: message.to_vec() };
                self.hand_over_ike(report);
                return Ok(None);
            }
            Ok(Encapsulated::Esp(packet)) => EspHeader::split(packet).map_err(|_| DropReason::Runt)?.0.spi,
            Err(EncapsulationError::Runt(_)) => return Err(DropReason::Runt),
            Err(EncapsulationError::ReservedSpi(_)) => return Err(DropReason::ReservedSpi),
        };
        let Some(sa) = snapshot.inbound(spi) else {
            if self.may_report_unknown_spi(now) {
                self.report(Report::UnknownSpi { spi, local: meta.local, remote: meta.remote });
            }
            return Err(DropReason::UnknownSpi);
        };
        let opened = match sa.open(datagram, sa.treatment().outer_ecn(Ecn::from_bits(meta.tos)), now) {
            Ok(opened) => opened,
            Err(refused) => {
                let hard = refused.reason == DropReason::InboundHardLimit;
                if hard && sa.first_hard_limit() && !self.report(Report::HardLimit { child: sa.child(), spi })
                {
                    sa.report_again();
                }
                return Err(refused.reason);
            }
        };
        self.tell(sa, &opened, meta, now);
        let Some(range) = opened.inner else {
            add(&self.counters.dummies, 1);
            return Ok(None);
        };
        let inner = datagram.get_mut(range.clone()).ok_or(DropReason::InnerMalformed)?;
        if let Ok(view) = InnerPacket::parse(inner)
            && clamp(inner, &view, sa.treatment().mss(view.version, sa.inner_mtu()))
        {
            add(&self.counters.mss_clamped, 1);
        }
        Ok(Some((range, sa)))
    }

    /// Reports what an authenticated packet showed.
    fn tell(&self, sa: &InboundSa, opened: &Opened, meta: &Received, now: u64) {
        let (child, spi) = (sa.child(), sa.spi());
        let mut lost = false;
        if opened.first {
            lost |= !self.report(Report::FirstInbound { child, spi });
        }
        if opened.soft_limit {
            lost |= !self.report(Report::SoftLimit { child, spi });
        }
        if lost {
            sa.report_again();
        }
        let path = sa.path().get();
        let moved = meta.remote != path.remote || path.local.is_some_and(|local| local != meta.local.ip());
        if moved && opened.highest && sa.path().may_report_moved(now) {
            self.report(Report::PeerMoved { child, spi, local: meta.local, remote: meta.remote });
        }
    }
}
