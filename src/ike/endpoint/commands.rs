//! Commands of the operator and reports of the data plane.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::ike::config::{ChildName, PeerConfig, PeerName, RemoteAddress};
use crate::ike::event::{ChildSaId, Command, CommandError, DownReason, IkeSaId};
use crate::ike::sa::{ChildPhase, IkeSa, State, Task};
use crate::ike::time::Now;

use super::Endpoint;
use super::peers::Peer;

impl Endpoint {
    /// Obeys a command or takes note of a report.
    ///
    /// # Errors
    /// [`CommandError`] where it makes no sense now; nothing has happened then.
    pub fn handle_command(&mut self, now: Now, command: Command) -> Result<(), CommandError> {
        if self.shutting_down && !matches!(command, Command::Traffic { .. } | Command::FirstInbound { .. }) {
            return Err(CommandError::ShuttingDown);
        }
        let result = match command {
            Command::Up { peer, child } => self.up(&peer, child.as_ref()),
            Command::Down { peer, child } => self.down(now, &peer, child.as_ref()),
            Command::RekeyIke { peer } => self.rekey_ike(now, &peer),
            Command::RekeyChild { peer, child } => self.rekey_child(now, &peer, &child),
            Command::Acquire { peer, child, packet } => self.acquire(&peer, &child, packet),
            Command::PeerAddresses { peer, addresses } => {
                self.peer(&peer)?;
                self.resolved(now, &peer, addresses);
                Ok(())
            }
            Command::LocalAddressesChanged { addresses } => {
                self.local_addresses_changed(now, &addresses);
                Ok(())
            }
            Command::Reconfigure { settings, peers } => {
                if let Some(settings) = settings {
                    self.settings = settings;
                }
                self.reconfigure(now, peers);
                Ok(())
            }
            Command::Shutdown => {
                self.shutting_down = true;
                for id in self.sas.ids() {
                    self.close(now, id, DownReason::Requested);
                }
                Ok(())
            }
            Command::Traffic { child, last_inbound, last_outbound } => {
                let (id, _) = self.owner(child)?;
                self.sas.edit(id, |sa| {
                    if let State::Established(established) = &mut sa.state {
                        established.last_heard =
                            established.last_heard.max(last_inbound.unwrap_or(established.last_heard));
                        established.last_sent =
                            established.last_sent.max(last_outbound.unwrap_or(established.last_sent));
                    }
                });
                Ok(())
            }
            Command::SoftLimit { child } => self.soft_limit(now, child),
            Command::HardLimit { child } => {
                let (id, _) = self.owner(child)?;
                self.on_established(now, id, |established, _, ctx| established.expire_child(ctx, child));
                Ok(())
            }
            Command::FirstInbound { child } => {
                let (id, _) = self.owner(child)?;
                self.on_established(now, id, |established, _, ctx| established.first_inbound(ctx, child));
                Ok(())
            }
            Command::PeerMoved { child, local, remote } => self.peer_moved(now, child, local, remote),
            Command::UnknownSpi { spi, local, remote } => {
                self.notify_unknown_spi(now, spi, local, remote);
                Ok(())
            }
        };
        self.settle(now);
        result
    }

    fn peer(&mut self, name: &PeerName) -> Result<&mut Peer, CommandError> {
        self.peers.get_mut(name).ok_or_else(|| CommandError::UnknownPeer(name.clone()))
    }

    fn child<'a>(config: &'a PeerConfig, name: &ChildName) -> Result<&'a ChildName, CommandError> {
        config
            .child(name)
            .map(|child| &child.name)
            .ok_or_else(|| CommandError::UnknownChild(config.name.clone(), name.clone()))
    }

    /// The IKE SA that has a Child SA.
    fn owner(&self, child: ChildSaId) -> Result<(IkeSaId, ChildPhase), CommandError> {
        self.sas
            .owner(child)
            .and_then(|sa| Some((sa.core.id, sa.established()?.children.get(&child)?.phase)))
            .ok_or(CommandError::UnknownChildSa(child))
    }

    pub(super) fn on_established(
        &mut self,
        now: Now,
        id: IkeSaId,
        handler: impl FnOnce(
            &mut crate::ike::sa::Established,
            &mut crate::ike::sa::Core,
            &mut crate::ike::context::Context<'_>,
        ),
    ) {
        self.with_sa(now, id, |sa, ctx| {
            if let State::Established(established) = &mut sa.state {
                handler(established, &mut sa.core, ctx);
                established.pump(&mut sa.core, ctx);
            }
        });
        let name = self.sas.get(id).and_then(|sa| sa.core.peer.as_ref()).map(|peer| peer.name.clone());
        if let Some(peer) = name.and_then(|name| self.peers.get_mut(&name)) {
            peer.touched = true;
        }
    }

    fn up(&mut self, name: &PeerName, child: Option<&ChildName>) -> Result<(), CommandError> {
        let working = self.working_sa(name).is_some();
        let peer = self.peer(name)?;
        if peer.config.remote == RemoteAddress::Any && !working {
            return Err(CommandError::NoAddress(name.clone()));
        }
        let children: Vec<ChildName> = match child {
            Some(child) => vec![Self::child(&peer.config, child)?.clone()],
            None => peer.config.children.iter().map(|child| child.name.clone()).collect(),
        };
        peer.held = false;
        for child in children {
            peer.held_children.remove(&child);
            peer.child_retries.remove(&child);
            peer.raised.insert(child);
        }
        peer.attempts = 0;
        peer.next_attempt = None;
        peer.touched = true;
        Ok(())
    }

    fn down(&mut self, now: Now, name: &PeerName, child: Option<&ChildName>) -> Result<(), CommandError> {
        let peer = self.peer(name)?;
        match child {
            None => {
                peer.held = true;
                peer.raised.clear();
                for id in self.sas_of(name) {
                    self.close(now, id, DownReason::Requested);
                }
            }
            Some(child) => {
                let child = Self::child(&peer.config, child)?.clone();
                peer.raised.remove(&child);
                peer.held_children.insert(child.clone());
                for id in self.sas_of(name) {
                    self.on_established(now, id, |established, _, _| {
                        established.close_children(|other| *other == child, &DownReason::Requested)
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn sas_of(&self, name: &PeerName) -> Vec<IkeSaId> {
        self.sas.of_peer(name).map(|sa| sa.core.id).collect()
    }

    /// Closes an IKE SA in whatever state.
    pub(super) fn close(&mut self, now: Now, id: IkeSaId, reason: DownReason) {
        self.with_sa(now, id, |sa, ctx| match &mut sa.state {
            State::Established(established) => {
                established.want(Task::DeleteIke(reason));
                established.pump(&mut sa.core, ctx);
            }
            State::Authenticating(state) => {
                state.abandon(ctx);
                sa.state = State::Gone;
            }
            State::Starting(_) | State::HalfOpen(_) => sa.state = State::Gone,
            State::Closed(_) | State::Gone => {}
        });
    }

    fn rekey_ike(&mut self, now: Now, name: &PeerName) -> Result<(), CommandError> {
        self.peer(name)?;
        let id = self.working_sa(name).ok_or_else(|| CommandError::NotEstablished(name.clone()))?;
        self.on_established(now, id, |established, _, _| established.want(Task::RekeyIke));
        Ok(())
    }

    fn rekey_child(&mut self, now: Now, name: &PeerName, child: &ChildName) -> Result<(), CommandError> {
        let peer = self.peer(name)?;
        Self::child(&peer.config, child)?;
        let id = self.working_sa(name).ok_or_else(|| CommandError::NotEstablished(name.clone()))?;
        let established = self.sas.get(id).and_then(IkeSa::established);
        let target = established.and_then(|established| {
            established
                .children
                .values()
                .rev()
                .find(|other| other.name == *child && other.is_live())
                .map(|other| other.id)
        });
        let target = target.ok_or_else(|| CommandError::ChildNotEstablished(name.clone(), child.clone()))?;
        self.on_established(now, id, |established, _, _| established.want(Task::RekeyChild(target)));
        Ok(())
    }

    fn soft_limit(&mut self, now: Now, child: ChildSaId) -> Result<(), CommandError> {
        let (id, phase) = self.owner(child)?;
        if phase == ChildPhase::Live {
            self.on_established(now, id, |established, _, _| established.want(Task::RekeyChild(child)));
        }
        Ok(())
    }

    fn acquire(
        &mut self,
        name: &PeerName,
        child: &ChildName,
        packet: crate::policy::PacketSummary,
    ) -> Result<(), CommandError> {
        let working = self.working_sa(name).is_some();
        let peer = self.peer(name)?;
        let child = Self::child(&peer.config, child)?.clone();
        if peer.config.remote == RemoteAddress::Any && !working {
            return Err(CommandError::NoAddress(name.clone()));
        }
        if peer.held || peer.held_children.contains(&child) {
            return Ok(());
        }
        peer.packets.insert(child.clone(), packet);
        peer.raised.insert(child);
        peer.touched = true;
        Ok(())
    }

    fn peer_moved(
        &mut self,
        now: Now,
        child: ChildSaId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), CommandError> {
        let (id, _) = self.owner(child)?;
        self.on_established(now, id, |established, core, ctx| {
            established.last_heard = ctx.now.mono;
            let moved = core.path.nat.remote && core.path.remote != remote;
            let local = Some(local.ip()).filter(|local| !local.is_unspecified());
            let other_local = core.path.local.is_some()
                && local.is_some()
                && core.path.local != local
                && established.peer.local_address.is_none();
            if moved {
                core.path.remote = remote;
                ctx.counters.peer_moved += 1;
            }
            if other_local {
                core.path.local = local;
            }
            if moved || other_local {
                established.path_changed(core, ctx);
            }
        });
        Ok(())
    }

    /// Everything that went out from an address that is gone, and everything else that may have to go another
    /// way now, is tried at once; a peer that follows us sees the new address in the probe.
    fn local_addresses_changed(&mut self, now: Now, addresses: &[IpAddr]) {
        for id in self.sas.ids() {
            self.with_sa(now, id, |sa, ctx| {
                if sa.core.path.local.is_some_and(|local| !addresses.contains(&local)) {
                    sa.core.path.local = None;
                    if let State::Established(established) = &mut sa.state {
                        established.path_changed(&sa.core, ctx);
                    }
                }
                if let State::Established(established) = &mut sa.state
                    && established.phase == crate::ike::sa::Phase::Live
                {
                    established.probe_urgently(&mut sa.core, ctx);
                }
            });
        }
        for name in self.peers.names() {
            let Some(peer) = self.peers.get_mut(&name) else { continue };
            if peer.next_attempt.is_some() {
                peer.next_attempt = Some(now.mono);
            }
            peer.attempts = peer.attempts.min(1);
            peer.touched = true;
        }
    }

    fn reconfigure(&mut self, now: Now, peers: Vec<PeerConfig>) {
        let new: std::collections::BTreeMap<PeerName, Arc<PeerConfig>> =
            peers.into_iter().map(|config| (config.name.clone(), Arc::new(config))).collect();
        for name in self.peers.names() {
            let Some(peer) = self.peers.redefine(&name) else { continue };
            match new.get(&name) {
                Some(config) if peer.config.keeps_ike_sa(config) => {
                    let before = std::mem::replace(&mut peer.config, Arc::clone(config));
                    peer.touched = true;
                    peer.child_retries.clear();
                    let gone = |child: &ChildName| config.child(child).is_none();
                    let changed = |child: &ChildName| before.child(child) != config.child(child);
                    for id in self.sas_of(&name) {
                        self.sas.edit(id, |sa| sa.core.peer = Some(Arc::clone(config)));
                        self.on_established(now, id, |established, _, ctx| {
                            established.peer = Arc::clone(config);
                            established.close_children(gone, &DownReason::Reconfigured);
                            established.renew_children(ctx, |child| !gone(child) && changed(child));
                        });
                    }
                }
                other => {
                    let fresh = other.map(|config| Peer::new(Arc::clone(config)));
                    for id in self.sas_of(&name) {
                        self.close(now, id, DownReason::Reconfigured);
                    }
                    match fresh {
                        Some(fresh) => self.peers.insert(fresh),
                        None => self.peers.remove(&name),
                    }
                }
            }
        }
        for (name, config) in new {
            if !self.peers.contains(&name) {
                self.peers.insert(Peer::new(config));
            }
        }
    }
}
