//! What each configured peer is to have, and the attempts to get there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crypto::Random;
use crate::ike::config::{ChildName, PeerConfig, PeerName, RemoteAddress, StartPolicy};
use crate::ike::context::jitter;
use crate::ike::event::{DownReason, Event, IkeSaId};
use crate::ike::exchange::auth::Intention;
use crate::ike::exchange::init::Starting;
use crate::ike::nat::{NatView, Path};
use crate::ike::sa::{Core, IkeSa, State, Task};
use crate::ike::time::Now;
use crate::ike::timer::WakeReason;
use crate::policy::PacketSummary;
use crate::wire::ike::IkeSpi;

use super::Endpoint;

/// How long a name's resolution may take before the last known addresses are used.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A configured peer at run time.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: Arc<PeerConfig>,
    /// Where a name pointed last, or the configured addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// A command took it down.
    pub(super) held: bool,
    /// Children taken down one by one.
    pub(super) held_children: BTreeSet<ChildName>,
    /// Children raised by command or packet.
    pub(super) raised: BTreeSet<ChildName>,
    pub(super) packets: BTreeMap<ChildName, PacketSummary>,
    /// Failed attempts since it was last up.
    pub(super) attempts: u32,
    pub(super) next_attempt: Option<Instant>,
    /// A name is being resolved until then.
    pub(super) resolving: Option<Instant>,
    resolved: bool,
    /// Children that could not be made: failures so far, and until when they are left alone.
    pub(super) child_retries: BTreeMap<ChildName, (u32, Option<Instant>)>,
    pub(super) refusals: usize,
    pub(super) last_error: Option<String>,
    /// Something happened that may call for action.
    pub(super) touched: bool,
}

impl Peer {
    pub(super) fn new(config: Arc<PeerConfig>) -> Self {
        let addresses = match &config.remote {
            RemoteAddress::Addresses(addresses) => addresses.clone(),
            RemoteAddress::Any | RemoteAddress::Name(_) => Vec::new(),
        };
        Self {
            config,
            addresses,
            held: false,
            held_children: BTreeSet::new(),
            raised: BTreeSet::new(),
            packets: BTreeMap::new(),
            attempts: 0,
            next_attempt: None,
            resolving: None,
            resolved: false,
            child_retries: BTreeMap::new(),
            refusals: 0,
            last_error: None,
            touched: true,
        }
    }

    /// The children that are to be up by our initiative.
    pub(super) fn wanted(&self) -> Vec<ChildName> {
        if self.held {
            return Vec::new();
        }
        let wanted = |name: &ChildName, start: StartPolicy| {
            !self.held_children.contains(name)
                && (start == StartPolicy::Connect || self.raised.contains(name))
        };
        self.config
            .children
            .iter()
            .filter(|child| wanted(&child.name, child.start))
            .map(|child| child.name.clone())
            .collect()
    }

    pub(super) fn deadline(&self) -> Option<(Instant, WakeReason)> {
        if self.held {
            return None;
        }
        let retries = self.child_retries.values().filter_map(|(_, at)| *at).min();
        let next = [self.next_attempt, self.resolving, retries].into_iter().flatten().min();
        next.map(|at| (at, WakeReason::Connect))
    }

    pub(super) fn child_failed(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        child: ChildName,
        reason: String,
    ) {
        let tries = self.child_retries.get(&child).map_or(0, |(tries, _)| *tries);
        let at = now.mono + backoff(&self.config, random, tries.saturating_add(2));
        self.last_error = Some(format!("child {child}: {reason}"));
        // A trap is armed again by the next packet; what was asked for stays wanted.
        self.child_retries.insert(child, (tries.saturating_add(1), Some(at)));
    }
}

/// The wait after so many failures: doubling, capped, with jitter so that two ends part.
fn backoff(config: &PeerConfig, random: &mut dyn Random, failures: u32) -> Duration {
    let timing = &config.timing;
    let span = timing
        .retry_base
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(1))
        .min(timing.retry_cap);
    span.mul_f64(0.75) + jitter(random, span.mul_f64(0.5))
}

impl Endpoint {
    /// Does the next step towards what the peer is to have.
    pub(super) fn reconcile(&mut self, now: Now, name: &PeerName) {
        if self.shutting_down {
            return;
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        for (_, at) in peer.child_retries.values_mut() {
            *at = at.filter(|at| *at > now.mono);
        }
        let wanted = peer.wanted();
        if wanted.is_empty() {
            return self.rest(now, name);
        }
        if let Some(id) = self.working_sa(name) {
            self.rest(now, name);
            return self.complete(now, name, id, &wanted);
        }
        let connecting = self.sas.of_peer(name).any(IkeSa::is_connecting);
        match connecting {
            true => self.rest(now, name),
            false => self.attempt(now, name, &wanted),
        }
    }

    /// No attempt is due: one is under way, or none is needed.
    fn rest(&mut self, now: Now, name: &PeerName) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.next_attempt = None;
            peer.resolving = peer.resolving.filter(|until| *until > now.mono);
        }
    }

    /// The IKE SA on which children are made: the youngest live one that is not about to be closed.
    pub(super) fn working_sa(&self, name: &PeerName) -> Option<IkeSaId> {
        let lasting = |sa: &&IkeSa| {
            sa.established()
                .is_some_and(|established| established.timers.get(WakeReason::Duplicate).is_none())
        };
        let live = || self.sas.of_peer(name).rev().filter(|sa| sa.is_live());
        live().find(lasting).or_else(|| live().next()).map(|sa| sa.core.id)
    }

    fn complete(&mut self, now: Now, name: &PeerName, id: IkeSaId, wanted: &[ChildName]) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let mut tasks = Vec::new();
        let Some(established) = self.sas.get(id).and_then(IkeSa::established) else { return };
        for child in wanted {
            let alive = established.children.values().any(|other| other.name == *child && other.is_live());
            if alive {
                peer.child_retries.remove(child);
            }
            let waiting = peer.child_retries.get(child).is_some_and(|(_, at)| at.is_some());
            if !waiting && !established.has_or_wants(child) {
                tasks.push(Task::CreateChild { name: child.clone(), packet: peer.packets.remove(child) });
            }
        }
        if tasks.is_empty() {
            return;
        }
        self.with_sa(now, id, |sa, ctx| {
            if let State::Established(established) = &mut sa.state {
                for task in tasks {
                    established.want(task);
                }
                established.pump(&mut sa.core, ctx);
            }
        });
    }

    /// Starts an attempt if its time has come.
    fn attempt(&mut self, now: Now, name: &PeerName, wanted: &[ChildName]) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        if let Some(at) = peer.next_attempt
            && at > now.mono
        {
            return;
        }
        peer.next_attempt = None;
        match &peer.config.remote {
            RemoteAddress::Any => return,
            RemoteAddress::Name(host) if !peer.resolved => {
                match peer.resolving {
                    None => {
                        peer.resolving = Some(now.mono + RESOLVE_TIMEOUT);
                        self.out.events.push_back(Event::Resolve { peer: name.clone(), name: host.clone() });
                        return;
                    }
                    Some(until) if until > now.mono => return,
                    Some(_) => peer.resolving = None,
                }
                if peer.addresses.is_empty() {
                    peer.last_error = Some(format!("{host} does not resolve"));
                    peer.attempts = peer.attempts.saturating_add(1);
                    peer.next_attempt =
                        Some(now.mono + backoff(&peer.config, &mut *self.random, peer.attempts));
                    return;
                }
            }
            RemoteAddress::Name(_) | RemoteAddress::Addresses(_) => {}
        }
        peer.resolved = false;
        let index = usize::try_from(peer.attempts).unwrap_or(0).checked_rem(peer.addresses.len());
        let Some(address) = index.and_then(|index| peer.addresses.get(index)).copied() else { return };
        self.begin(now, name, address, wanted.first().cloned());
    }

    fn begin(&mut self, now: Now, name: &PeerName, address: IpAddr, child: Option<ChildName>) {
        let others = self.sas.of_peer(name).any(IkeSa::is_live);
        let Some(peer) = self.peers.get_mut(name) else { return };
        let config = Arc::clone(&peer.config);
        peer.attempts = peer.attempts.saturating_add(1);
        peer.next_attempt = None;
        let encapsulated = config.start_encapsulated;
        let port = if encapsulated { config.remote_natt_port } else { config.remote_ike_port };
        let remote = SocketAddr::new(address, port);
        let intention = Intention {
            packet: child.as_ref().and_then(|child| peer.packets.remove(child)),
            child: child.and_then(|child| config.child(&child).cloned()),
            initial_contact: !others,
            refusals: peer.refusals,
        };
        let attempt = peer.attempts;
        self.counters.attempts += 1;
        self.out.events.push_back(Event::Connecting { peer: name.clone(), remote, attempt });
        let id = self.registry.ike_id();
        let local_spi = self.registry.ike_spi(&mut *self.random, id);
        let core = Core {
            id,
            local_spi,
            remote_spi: IkeSpi::ZERO,
            initiator: true,
            path: Path { local: config.local_address, remote, encapsulated, nat: NatView::default() },
            peer: Some(Arc::clone(&config)),
            started: now.mono,
            announced: false,
            ended: None,
            auth_refused: false,
        };
        self.sas.put(IkeSa { core, state: State::Gone });
        self.with_sa(now, id, |sa, ctx| match Starting::begin(&sa.core, ctx, config, intention) {
            Ok(starting) => sa.state = State::Starting(Box::new(starting)),
            Err(reason) => sa.core.ended = Some(DownReason::Failed(reason)),
        });
    }

    /// An IKE SA is over, or an attempt has failed: when is the next one?
    pub(super) fn ended(&mut self, now: Now, sa: &IkeSa, reason: &DownReason) {
        let Some(config) = &sa.core.peer else { return };
        let Some(peer) = self.peers.get_mut(&config.name) else { return };
        peer.touched = true;
        peer.refusals = peer.refusals.wrapping_add(usize::from(sa.core.auth_refused));
        if !matches!(reason, DownReason::Replaced | DownReason::Redundant | DownReason::Requested) {
            peer.last_error = Some(reason.to_string());
        }
        let at = match reason {
            DownReason::Failed(_) => {
                now.mono + backoff(&peer.config, &mut *self.random, peer.attempts.max(1))
            }
            DownReason::DeletedByPeer => now.mono + backoff(&peer.config, &mut *self.random, 1),
            _ => now.mono,
        };
        peer.next_attempt = Some(peer.next_attempt.map_or(at, |before| before.max(at)));
    }

    /// The answer to [`Event::Resolve`].
    pub(super) fn resolved(&mut self, now: Now, name: &PeerName, addresses: Vec<IpAddr>) {
        let Some(peer) = self.peers.redefine(name) else { return };
        if !addresses.is_empty() {
            peer.addresses = addresses;
        }
        if peer.resolving.take().is_some() {
            peer.resolved = !peer.addresses.is_empty();
            if !peer.resolved {
                peer.last_error = Some("the peer's name does not resolve".to_owned());
                peer.attempts = peer.attempts.saturating_add(1);
                peer.next_attempt = Some(now.mono + backoff(&peer.config, &mut *self.random, peer.attempts));
            }
        }
        peer.touched = true;
    }
}
