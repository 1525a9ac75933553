//! From the TUN device to the peers: policy, MTU, fragmentation, MSS, seal.

use std::{net::IpAddr, sync::Arc};

use super::{
    batch::Offload,
    core::{Core, Sealed, add},
    device::{Destination, UdpDevice},
    fragment::fragment,
    held::HeldPacket,
};
use crate::{
    esp::{DropReason, OutboundSa, Report, Snapshot, SpdAction, SpdEntry, summarize},
    wire::{
        esp::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6},
        ip::{
            InnerPacket, IpVersion,
            icmp::{IcmpError, Unreachable},
            protocol, tcp,
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
    /// Carries one packet from the TUN device, or drops it under one reason.
    pub(super) fn take_packet(&mut self, turn: &mut Turn<'_>, packet: &mut [u8], offload: Offload) {
        if offload != Offload::default() {
            self.counters.drops.add(DropReason::UnsupportedOffload);
            return;
        }
        self.outbound(turn, packet, None);
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
        match self.carry(turn, packet, &view, held_since) {
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
        let (index, entry) = turn
            .snapshot
            .outbound(view, packet)
            .map_err(|reason| Refusal::unreachable(reason, Unreachable::AdministrativelyProhibited))?;
        match &entry.action {
            SpdAction::Discard => {
                Err(Refusal::unreachable(DropReason::PolicyDiscard, Unreachable::AdministrativelyProhibited))
            }
            SpdAction::Bypass => Err(DropReason::PolicyBypass.into()),
            SpdAction::Protect { outbound: Some(sa), .. } => {
                let sa = Arc::clone(sa);
                self.protect(turn, &sa, packet, view).inspect_err(|refusal| {
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
        index: usize,
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
        let loops = view.protocol == protocol::UDP
            && view.dst == path.remote.ip()
            && view.ports.is_some_and(|(_, port)| port == path.remote.port());
        if loops {
            return Err(DropReason::TunnelLoop.into());
        }
        let mtu = sa.inner_mtu();
        if clamp(packet, view, sa.treatment().mss(view.version, mtu)) {
            add(&self.counters.mss_clamped, 1);
        }
        if packet.len() <= usize::from(mtu) {
            return Ok(self.seal(turn, sa, packet, view, true)?);
        }
        match view.version {
            IpVersion::V6 if packet.len() <= usize::from(IPV6_MIN_MTU) => {
                // Nobody may be told of an MTU below 1280, so the outer packet is fragmented instead.
                Ok(self.seal(turn, sa, packet, view, false)?)
            }
            IpVersion::V6 => Err(Refusal {
                reason: DropReason::TooBigIpv6,
                answer: Some(IcmpError::TooBig(mtu.max(IPV6_MIN_MTU))),
            }),
            IpVersion::V4 if view.dont_fragment => {
                Err(Refusal { reason: DropReason::TooBigIpv4, answer: Some(IcmpError::TooBig(mtu)) })
            }
            IpVersion::V4 => self.fragment(turn, sa, packet, view, usize::from(mtu)),
        }
    }

    fn fragment(
        &mut self,
        turn: &mut Turn<'_>,
        sa: &Arc<OutboundSa>,
        packet: &[u8],
        view: &InnerPacket,
        mtu: usize,
    ) -> Result<(), Refusal> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut result = Ok(());
        let cut = fragment(packet, view, mtu, &mut scratch, |piece| {
            if result.is_ok() {
                result = self.seal(turn, sa, piece, view, true);
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
        sa: &Arc<OutboundSa>,
        packet: &[u8],
        view: &InnerPacket,
        dont_fragment: bool,
    ) -> Result<(), DropReason> {
        let reservation = sa.reserve(1, packet.len() as u64).inspect_err(|_| {
            if sa.first_hard_limit() && !self.report(Report::HardLimit { child: sa.child(), spi: sa.spi() }) {
                sa.report_again();
            }
        })?;
        if reservation.soft_limit && !self.report(Report::SoftLimit { child: sa.child(), spi: sa.spi() }) {
            sa.report_again();
        }
        let next_header = match view.version {
            IpVersion::V4 => NEXT_HEADER_IPV4,
            IpVersion::V6 => NEXT_HEADER_IPV6,
        };
        let mut random = [0; 16];
        if sa.needs_random_iv() {
            self.random.fill(&mut random);
        }
        let path = sa.path().get();
        let to = Destination {
            local: path.local,
            remote: path.remote,
            tos: sa.treatment().outer_tos(view.dscp, view.ecn),
            dont_fragment,
            segment_size: None,
        };
        if self.sealed.is_full() {
            self.flush(turn.udp, turn.now);
        }
        let sequence = reservation.sequences.start;
        self.sealed.push(|slot| {
            let len = sa.seal(sequence, next_header, packet, &random, turn.now, slot)?;
            Ok::<_, DropReason>((len, Sealed { to, sa: Arc::clone(sa) }))
        })?;
        Ok(())
    }
}

enum Carried {
    Sealed,
    Held,
}

/// Lowers the MSS of a SYN or SYN-ACK to `mss`.
pub(super) fn clamp(packet: &mut [u8], view: &InnerPacket, mss: Option<u16>) -> bool {
    view.protocol == protocol::TCP && mss.is_some_and(|mss| tcp::clamp_mss(packet, mss))
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
