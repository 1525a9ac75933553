//! What a reload changes.

use super::types::Config;
use crate::ike::config::PeerName;

/// The difference between a running configuration and a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Peers that are new.
    pub added: Vec<PeerName>,
    /// Peers that are gone.
    pub removed: Vec<PeerName>,
    /// Peers of which anything changed: settings, or the content of a key or certificate file.
    pub changed: Vec<PeerName>,
    /// Peers that stay as they are.
    pub unchanged: Vec<PeerName>,
    /// Keys of `[endpoint]` that changed and take a restart.
    pub restart: Vec<&'static str>,
    /// Keys of `[endpoint]` that changed and are applied at once.
    pub applied: Vec<&'static str>,
    /// Clusters that are new, gone or changed: all of it is applied at once.
    pub clusters: Vec<String>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.restart.is_empty()
            && self.applied.is_empty()
            && self.clusters.is_empty()
    }
}

impl Config {
    /// What changes from `self` to `new`.
    pub fn diff(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        for peer in &self.peers {
            let list = match new.peer(&peer.ike.name) {
                None => &mut changes.removed,
                // Beside what is written, what a cluster told may have changed.
                Some(next)
                    if next.fingerprint == peer.fingerprint && next.ike.children == peer.ike.children =>
                {
                    &mut changes.unchanged
                }
                Some(_) => &mut changes.changed,
            };
            list.push(peer.ike.name.clone());
        }
        let added = new.peers.iter().filter(|peer| self.peer(&peer.ike.name).is_none());
        changes.added = added.map(|peer| peer.ike.name.clone()).collect();

        let before = self.clusters.iter().filter(|one| new.cluster(&one.name) != Some(one));
        let after = new.clusters.iter().filter(|one| self.cluster(&one.name).is_none());
        changes.clusters = before.chain(after).map(|one| one.name.clone()).collect();
        changes.clusters.sort_unstable();

        let (old, new) = (&self.endpoint, &new.endpoint);
        let mut restart = |key, differs: bool| {
            if differs {
                changes.restart.push(key);
            }
        };
        restart("listen", old.listen != new.listen);
        restart("ike_port", old.ike.ike_port != new.ike.ike_port);
        restart("natt_port", old.ike.natt_port != new.ike.natt_port);
        restart("device", old.device != new.device);
        restart("user", old.user != new.user);
        restart("state_dir", old.state_dir != new.state_dir);
        restart("control_socket", old.control_socket != new.control_socket);
        restart("control_group", old.control_group != new.control_group);
        restart("replay_window", old.replay_window != new.replay_window);
        restart("manage_sysctls", old.manage_sysctls != new.manage_sysctls);
        restart("dataplane.workers", old.dataplane.workers != new.dataplane.workers);
        restart("dataplane.offload", old.dataplane.offload != new.dataplane.offload);
        restart("log.format", old.logging.format != new.logging.format);
        restart("log.keylog", old.logging.keylog != new.logging.keylog);
        let ports = |settings: &crate::ike::config::EndpointSettings| crate::ike::config::EndpointSettings {
            ike_port: 0,
            natt_port: 0,
            key_log: false,
            ..settings.clone()
        };
        restart("half-open thresholds", ports(&old.ike) != ports(&new.ike));
        let mut applied = |key, differs: bool| {
            if differs {
                changes.applied.push(key);
            }
        };
        applied("name", old.name != new.name);
        applied("mtu", old.mtu != new.mtu);
        applied("when_stopped", old.when_stopped != new.when_stopped);
        applied("dataplane.polling", old.dataplane.polling != new.dataplane.polling);
        applied("log.level", old.logging.level != new.logging.level);
        changes
    }
}
