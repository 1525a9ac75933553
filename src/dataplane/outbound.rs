//! From the TUN device to the peers: policy, MTU, fragmentation, MSS, seal.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use super::{
    batch::{Offload, Segmentation},
    core::{Core, add},
    device::{Destination, UdpDevice},
    fragment::fragment,
    held::HeldPacket,
    segment::{Segments, complete_checksum},
};
use crate::{
    esp::{DropReason, OutboundSa, PathState, Report, Snapshot, SpdAction, SpdEntry, summarize},
    wire::{
        esp::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6},
        ip::{
            InnerPacket, IpVersion,
            icmp::{IcmpError, Unreachable},
            protocol,
            sighting::Way,
            tcp,
        },
    },
};

/// Every IPv6 link carries this much ([RFC 8200 section 5](https://www.rfc-editor.org/rfc/rfc8200#section-5)).
const IPV6_MIN_MTU: u16 = 1_280;
/// How a turn sees the world.
pub(super) struct Turn<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) udp: &'a mut dyn UdpDevice,
    pub(super) now: u64,
}

/// Why a packet is not carried, and what its sender is told.
struct Refusal {
    reason: DropReason,
    answer: Option<IcmpError>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, answer: None }
    }
}

impl Refusal {
    fn unreachable(reason: DropReason, why: Unreachable) -> Self {
        Self { reason, answer: Some(IcmpError::Unreachable(why)) }
    }
}

impl Core {
    /// Carries one packet or super-packet from the TUN device, or drops it under one reason. Gives the
    /// number of packets.
    pub(super) fn take_packet(&mut self, turn: &mut Turn<'_>, packet: &mut [u8], offload: Offload) -> usize {
        if offload.segmentation != Segmentation::None {
            return self.take_super(turn, packet, offload);
        }
        if offload.checksum.is_some_and(|partial| !complete_checksum(packet, partial)) {
            self.counters.drops.add(DropReason::UnsupportedOffload);
        } else {
            self.outbound(turn, packet, None);
        }
        1
    }

    fn take_super(&mut self, turn: &mut Turn<'_>, octets: &[u8], offload: Offload) -> usize {
        let (Ok(segments), Ok(view)) = (Segments::parse(octets, offload), InnerPacket::parse(octets)) else {
            self.counters.drops.add(DropReason::UnsupportedOffload);
            return 1;
        };
        match self.way_for_all(turn.snapshot, &segments, octets, &view) {
            Some((sa, path)) => {
                if view.protocol == protocol::UDP {
                    self.sight(octets, &view, false, turn.now);
                }
                self.seal_super(turn, (sa, path), &segments, &view);
            }
            None => {
                // One by one: each is answered, held, cut or dropped as if it had come alone.
                let mut piece = std::mem::take(&mut self.piece);
                for index in 0..segments.count() {
                    if let Some(packet) = piece.get_mut(..segments.packet_len(index)) {
                        segments.write(index, packet);
                        self.outbound(turn, packet, None);
                    }
                }
                self.piece = piece;
            }
        }
        segments.count()
    }

    /// The SA and the path by which every packet of a super-packet goes as it is; `None` if they need a
    /// closer look.
    fn way_for_all<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        segments: &Segments<'_>,
        octets: &[u8],
        view: &InnerPacket,
    ) -> Option<(&'s Arc<OutboundSa>, PathState)> {
        if !is_carried_unicast(view) {
            return None;
        }
        let (_, entry) = self.flows.lookup(snapshot, view, octets).ok()?;
        let SpdAction::Protect { outbound: Some(sa), .. } = &entry.action else { return None };
        let path = sa.path().get();
        let fits = segments.max_packet_len() <= usize::from(sa.inner_mtu_over(&path));
        (fits && !tcp::is_syn(octets, view) && !is_loop(path.remote, view)).then_some((sa, path))
    }

    fn seal_super(
        &mut self,
        turn: &mut Turn<'_>,
        (sa, path): (&Arc<OutboundSa>, PathState),
        segments: &Segments<'_>,
        view: &InnerPacket,
    ) {
        let (count, octets) = (
            segments.count() as u64,
            (0..segments.count()).map(|index| segments.packet_len(index) as u64).sum(),
        );
        let reservation = match self.reserve(sa, count, octets) {
            Ok(reservation) => reservation,
            Err(reason) => {
                self.counters.drops.add_many(reason, count);
                sa.counters().drops.add_many(reason, count);
                return;
            }
        };
        let to = destination(sa, &path, view, true);
        for (index, sequence) in reservation.enumerate() {
            let len = segments.packet_len(index);
            let put =
                self.put(turn, sa, to, (sequence, view.version, len), |inner| segments.write(index, inner));
            if let Err(reason) = put {
                self.counters.drops.add(reason);
                sa.counters().drops.add(reason);
            }
        }
        sa.count_sealed(count, octets, turn.now);
    }

    /// Tries the packets that wait again if the snapshot is new, and gives up those that waited too long.
    pub(super) fn retry_held(&mut self, turn: &mut Turn<'_>) {
        if self.generation != turn.snapshot.generation() {
            self.generation = turn.snapshot.generation();
            self.acquires.clear();
            for mut packet in self.held.take() {
                self.outbound(turn, &mut packet.octets, Some(packet.since));
            }
        }
        while let Some(packet) =
            turn.now.checked_sub(self.hold_millis).and_then(|since| self.held.take_expired(since))
        {
            self.counters.drops.add(DropReason::AcquireTimeout);
            if let Ok(view) = InnerPacket::parse(&packet.octets) {
                self.answer(&packet.octets, &view, IcmpError::Unreachable(Unreachable::Host), turn.now);
            }
        }
    }

    /// `held_since` is set for a packet that waited.
    fn outbound(&mut self, turn: &mut Turn<'_>, packet: &mut [u8], held_since: Option<u64>) {
        let Ok(view) = InnerPacket::parse(packet) else {
            self.counters.drops.add(DropReason::OutboundMalformed);
            return;
        };
        let Some(packet) = packet.get_mut(..view.total_len) else { return };
        let carried = self.carry(turn, packet, &view, held_since);
        if held_since.is_none() {
            let refused = matches!(
                &carried,
                Err(Refusal { reason: DropReason::NoPolicy | DropReason::PolicyDiscard, .. })
            );
            self.sight(packet, &view, refused, turn.now);
        }
        match carried {
            Ok(Carried::Sealed) if held_since.is_some() => add(&self.counters.acquired, 1),
            Ok(Carried::Sealed | Carried::Held) => {}
            Err(refusal) => {
                self.counters.drops.add(refusal.reason);
                if let Some(error) = refusal.answer {
                    self.answer(packet, &view, error, turn.now);
                }
            }
        }
    }

    /// Copies headers if that is wanted. The cheap tests come first.
    #[inline]
    fn sight(&mut self, packet: &[u8], view: &InnerPacket, refused: bool, now: u64) {
        if self.sights.on() && tcp::flags(packet, view).is_none_or(|flags| flags & tcp::BEGINS_OR_RESETS != 0)
        {
            self.sights.look(Way::IntoTunnel, refused, packet, view, now, &self.counters);
        }
    }

    fn carry(
        &mut self,
        turn: &mut Turn<'_>,
        packet: &mut [u8],
        view: &InnerPacket,
        held_since: Option<u64>,
    ) -> Result<Carried, Refusal> {
        if !is_carried_unicast(view) {
            return Err(DropReason::NotUnicast.into());
        }
        let (index, entry) = self
            .flows
            .lookup(turn.snapshot, view, packet)
            .map_err(|reason| Refusal::unreachable(reason, Unreachable::AdministrativelyProhibited))?;
        match &entry.action {
            SpdAction::Discard => {
                Err(Refusal::unreachable(DropReason::PolicyDiscard, Unreachable::AdministrativelyProhibited))
            }
            SpdAction::Bypass => Err(DropReason::PolicyBypass.into()),
            SpdAction::Protect { outbound: Some(sa), .. } => {
                self.protect(turn, sa, packet, view).inspect_err(|refusal| {
                    sa.counters().drops.add(refusal.reason);
                })?;
                Ok(Carried::Sealed)
            }
            SpdAction::Protect { outbound: None, trap } => {
                self.acquire(turn, index, entry, packet, view, (*trap, held_since))
            }
        }
    }

    /// The tunnel is not up: asks the engine for it, and keeps the packet for a while if it may raise it.
    fn acquire(
        &mut self,
        turn: &Turn<'_>,
        index: u64,
        entry: &SpdEntry,
        packet: &[u8],
        view: &InnerPacket,
        (trap, held_since): (bool, Option<u64>),
    ) -> Result<Carried, Refusal> {
        if self.may_acquire(index, turn.now) {
            let generation = turn.snapshot.generation();
            let taken = self.report(Report::Acquire { entry: index, generation, packet: summarize(view) });
            if !taken {
                self.acquires.remove(&index);
            }
        }
        if !trap || self.hold_millis == 0 {
            return Err(Refusal::unreachable(DropReason::NoSa, Unreachable::Host));
        }
        let held = HeldPacket {
            octets: packet.to_vec(),
            since: held_since.unwrap_or(turn.now),
            waits_for: (Arc::clone(&entry.peer), Arc::clone(&entry.child)),
        };
        if self.held.hold(held) { Ok(Carried::Held) } else { Err(DropReason::AcquireQueueFull.into()) }
    }

    /// Brings the packet to a size that fits and seals it, or the fragments it is cut into.
    fn protect(
        &mut self,
        turn: &mut Turn<'_>,
        sa: &Arc<OutboundSa>,
        packet: &mut [u8],
        view: &InnerPacket,
    ) -> Result<(), Refusal> {
        let path = sa.path().get();
        if is_loop(path.remote, view) {
            return Err(DropReason::TunnelLoop.into());
        }
        let mtu = sa.inner_mtu_over(&path);
        if clamp(packet, view, || sa.treatment().mss(view.version, mtu)) {
            add(&self.counters.mss_clamped, 1);
        }
        if packet.len() <= usize::from(mtu) {
            return Ok(self.seal(turn, (sa, &path), packet, view, true)?);
        }
        match view.version {
            IpVersion::V6 if packet.len() <= usize::from(IPV6_MIN_MTU) => {
                // Nobody may be told of an MTU below 1280, so the outer packet is fragmented instead.
                Ok(self.seal(turn, (sa, &path), packet, view, false)?)
            }
            IpVersion::V6 => Err(Refusal {
                reason: DropReason::TooBigIpv6,
                answer: Some(IcmpError::TooBig(mtu.max(IPV6_MIN_MTU))),
            }),
            IpVersion::V4 if view.dont_fragment => {
                Err(Refusal { reason: DropReason::TooBigIpv4, answer: Some(IcmpError::TooBig(mtu)) })
            }
            IpVersion::V4 => self.fragment(turn, (sa, &path), packet, view, usize::from(mtu)),
        }
    }

    fn fragment(
        &mut self,
        turn: &mut Turn<'_>,
        (sa, path): (&Arc<OutboundSa>, &PathState),
        packet: &[u8],
        view: &InnerPacket,
        mtu: usize,
    ) -> Result<(), Refusal> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut result = Ok(());
        let cut = fragment(packet, view, mtu, &mut scratch, |piece| {
            if result.is_ok() {
                result = self.seal(turn, (sa, path), piece, view, true);
            }
        });
        self.scratch = scratch;
        if !cut {
            return Err(DropReason::CannotFragment.into());
        }
        add(&self.counters.fragmented, 1);
        Ok(result?)
    }

    fn seal(
        &mut self,
        turn: &mut Turn<'_>,
        (sa, path): (&Arc<OutboundSa>, &PathState),
        packet: &[u8],
        view: &InnerPacket,
        dont_fragment: bool,
    ) -> Result<(), DropReason> {
        let octets = packet.len() as u64;
        let sequence = self.reserve(sa, 1, octets)?.start;
        let to = destination(sa, path, view, dont_fragment);
        self.put(turn, sa, to, (sequence, view.version, packet.len()), |inner| {
            inner.copy_from_slice(packet);
        })?;
        sa.count_sealed(1, octets, turn.now);
        Ok(())
    }

    /// Reserves sequence numbers and tells the engine of limits.
    fn reserve(&self, sa: &OutboundSa, packets: u64, octets: u64) -> Result<Range<u64>, DropReason> {
        let reservation = sa.reserve(packets, octets).inspect_err(|_| {
            if sa.first_hard_limit() && !self.report(Report::HardLimit { child: sa.child(), spi: sa.spi() }) {
                sa.report_again();
            }
        })?;
        if reservation.soft_limit && !self.report(Report::SoftLimit { child: sa.child(), spi: sa.spi() }) {
            sa.report_again();
        }
        Ok(reservation.sequences)
    }

    /// Seals one packet of `len` octets, which `write` puts into its place, behind those not yet sent.
    fn put(
        &mut self,
        turn: &mut Turn<'_>,
        sa: &Arc<OutboundSa>,
        to: Destination,
        (sequence, version, len): (u64, IpVersion, usize),
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        let next_header = match version {
            IpVersion::V4 => NEXT_HEADER_IPV4,
            IpVersion::V6 => NEXT_HEADER_IPV6,
        };
        let random = if sa.needs_random_iv() { self.ivs.take(&mut *self.random) } else { [0; 16] };
        let sealed_len = sa.sealed_len(len);
        if !self.outbox.has_room(sealed_len) {
            self.flush(turn.udp, turn.now);
        }
        self.outbox
            .push(to, sa, sealed_len, |slot| {
                sa.seal_with(sequence, next_header, len, &random, slot, write).map(|_| ())
            })?
            .ok_or(DropReason::SealFailed)?;
        if self.outbox.is_full() {
            self.flush(turn.udp, turn.now);
        }
        Ok(())
    }
}

enum Carried {
    Sealed,
    Held,
}

/// Lowers the MSS of a SYN or SYN-ACK to `mss`.
pub(super) fn clamp(packet: &mut [u8], view: &InnerPacket, mss: impl FnOnce() -> Option<u16>) -> bool {
    tcp::is_syn(packet, view) && mss().is_some_and(|mss| tcp::clamp_mss(packet, mss))
}

/// Whether a packet is one of the tunnel's own.
fn is_loop(peer: SocketAddr, view: &InnerPacket) -> bool {
    view.protocol == protocol::UDP
        && view.dst == peer.ip()
        && view.ports.is_some_and(|(_, port)| port == peer.port())
}

fn destination(sa: &OutboundSa, path: &PathState, view: &InnerPacket, dont_fragment: bool) -> Destination {
    Destination {
        local: path.local,
        remote: path.remote,
        tos: sa.treatment().outer_tos(view.dscp, view.ecn),
        dont_fragment,
        segment_size: None,
    }
}

/// Whether both ends are single hosts beyond this link.
fn is_carried_unicast(view: &InnerPacket) -> bool {
    [view.src, view.dst].into_iter().all(|address| match address {
        IpAddr::V4(address) => {
            !(address.is_multicast()
                || address.is_broadcast()
                || address.is_unspecified()
                || address.is_loopback())
        }
        IpAddr::V6(address) => {
            !(address.is_multicast()
                || address.is_unspecified()
                || address.is_loopback()
                || address.is_unicast_link_local())
        }
    })
}
