//! The daemon's state as the control API shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::Daemon;
use super::expiry::expiring;
use super::service;
use crate::control::api::{ChildStatus, Finding, IkeStatus, PeerState, PeerStatus, Status, Traffic};
use crate::engine::PeerSettings;
use crate::ike::{self, IkeSaState, IkeSaStatus, StartPolicy};
use crate::policy::SelectorSet;
use crate::system::{self, Severity};

impl Daemon {
    /// The whole state.
    pub(super) fn status(&self) -> Status {
        let now = self.now();
        let counters = self.dataplane.counters();
        let by_peer: BTreeMap<_, _> =
            self.engine.endpoint().status(now).into_iter().map(|peer| (peer.peer.clone(), peer)).collect();
        let peers: Vec<_> = self
            .engine
            .peers()
            .map(|settings| self.peer_status(settings, by_peer.get(&settings.ike.name)))
            .collect();
        let mut traffic = Traffic::default();
        for child in peers.iter().flat_map(|peer| &peer.children) {
            traffic.packets_in += child.traffic.packets_in;
            traffic.bytes_in += child.traffic.bytes_in;
            traffic.packets_out += child.traffic.packets_out;
            traffic.bytes_out += child.traffic.bytes_out;
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.config.endpoint.name.clone(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            config: self.options.config.display().to_string(),
            device: self.config.endpoint.device.clone(),
            peers,
            findings: self.findings.iter().map(finding).collect(),
            drops: counters
                .drops
                .nonzero()
                .map(|(reason, count)| (reason.name().to_owned(), count))
                .collect(),
            refused: refused(&self.engine.endpoint().counters()),
            traffic,
        }
    }

    fn peer_status(&self, settings: &PeerSettings, status: Option<&ike::PeerStatus>) -> PeerStatus {
        let name = &settings.ike.name;
        let sa = status.and_then(current_sa);
        let established = sa.filter(|sa| is_up(sa));
        let state = match (established, sa, status) {
            (Some(_), ..) => PeerState::Up,
            (None, Some(_), _) => PeerState::Connecting,
            (None, None, Some(status)) if status.next_attempt.is_some() => PeerState::Connecting,
            _ => PeerState::Down,
        };
        let mtu = self.engine.mtu(name);
        let failure = self.failures.get(name);
        PeerStatus {
            name: name.to_string(),
            state,
            start: start_word(settings.ike.children.iter().map(|child| child.start)).to_owned(),
            remote: sa.map(|sa| sa.remote.to_string()),
            local: sa.and_then(|sa| sa.local).map(|local| local.to_string()),
            remote_id: established.and_then(|sa| sa.remote_id.clone()),
            ike: established.map(ike_status),
            children: settings
                .ike
                .children
                .iter()
                .map(|child| self.child_status(settings, &child.name, status))
                .collect(),
            path_mtu: mtu.map(|(outer, _)| outer),
            inner_mtu: mtu.map(|(_, inner)| inner),
            last_failure: failure.map(|failure| failure.show()),
            warnings: expiring(&settings.ike, status, self.now().unix)
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    fn child_status(
        &self,
        settings: &PeerSettings,
        name: &ike::ChildName,
        status: Option<&ike::PeerStatus>,
    ) -> ChildStatus {
        let peer = &settings.ike.name;
        let live = status
            .into_iter()
            .flat_map(|status| &status.ike_sas)
            .flat_map(|sa| &sa.children)
            .rfind(|child| child.child == *name && child.outbound_active);
        let configured = settings.ike.child(name);
        let traffic = self.engine.sad().traffic(peer, name);
        let last_in = self.engine.sad().last_inbound(peer, name);
        ChildStatus {
            name: name.to_string(),
            up: live.is_some(),
            local: words(live.map(|c| &c.local_ts).or(configured.map(|c| &c.local))),
            remote: words(live.map(|c| &c.remote_ts).or(configured.map(|c| &c.remote))),
            suite: live.map(|child| child.suite.clone()),
            spi_in: live.map(|child| format!("{:08x}", child.inbound_spi)),
            spi_out: live.map(|child| format!("{:08x}", child.outbound_spi)),
            age_seconds: live.map(|child| child.age.as_secs()),
            rekey_in_seconds: live.and_then(|child| child.rekey_in).map(|left| left.as_secs()),
            traffic: Traffic {
                packets_in: traffic.packets_in,
                bytes_in: traffic.octets_in,
                packets_out: traffic.packets_out,
                bytes_out: traffic.octets_out,
            },
            last_in_seconds: last_in
                .map(|millis| self.started.elapsed().saturating_sub(Duration::from_millis(millis)).as_secs()),
        }
    }

    /// The line for the service manager.
    pub(super) fn summary(&self) -> String {
        let peers = self.engine.endpoint().status(self.now());
        let is_up = |peer: &&ike::PeerStatus| current_sa(peer).is_some_and(is_up);
        let up = peers.iter().filter(is_up).count();
        let failures: Vec<_> = peers
            .iter()
            .filter(|peer| !is_up(peer))
            .filter_map(|peer| Some((peer.peer.as_str(), self.failures.get(&peer.peer)?.reason())))
            .collect();
        let findings = self.findings.iter().filter(|finding| finding.severity >= Severity::Warning).count();
        service::summary(up, peers.len(), &failures, findings)
    }
}

/// The IKE SA that counts: an established one, else whatever is under way.
fn current_sa(status: &ike::PeerStatus) -> Option<&IkeSaStatus> {
    let newest = |wanted: fn(&IkeSaStatus) -> bool| status.ike_sas.iter().rev().find(|sa| wanted(sa));
    newest(is_up).or_else(|| newest(|sa| sa.state == IkeSaState::Connecting))
}

fn is_up(sa: &IkeSaStatus) -> bool {
    matches!(sa.state, IkeSaState::Established | IkeSaState::Rekeying)
}

fn ike_status(sa: &IkeSaStatus) -> IkeStatus {
    IkeStatus {
        initiator_spi: hex(&sa.initiator_spi),
        responder_spi: hex(&sa.responder_spi),
        suite: sa.suite.clone().unwrap_or_default(),
        role: if sa.initiator { "initiator" } else { "responder" }.to_owned(),
        age_seconds: sa.age.map_or(0, |age| age.as_secs()),
        rekey_in_seconds: sa.rekey_in.map(|left| left.as_secs()),
        nat: match (sa.local_behind_nat, sa.remote_behind_nat) {
            (false, false) => "none",
            (true, false) => "here",
            (false, true) => "peer",
            (true, true) => "both",
        }
        .to_owned(),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// One word for a peer: the most eager policy of its children.
fn start_word(starts: impl Iterator<Item = StartPolicy>) -> &'static str {
    let mut word = "wait";
    for start in starts {
        match start {
            StartPolicy::Connect => return "connect",
            StartPolicy::Trap => word = "trap",
            StartPolicy::Wait => {}
        }
    }
    word
}

fn words(set: Option<&SelectorSet>) -> Vec<String> {
    set.map(|set| set.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn finding(finding: &system::Finding) -> Finding {
    Finding {
        code: finding.code.to_owned(),
        severity: match finding.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
        .to_owned(),
        what: format!("{} ({})", finding.what, finding.where_),
        action: finding.remedy.clone(),
    }
}

/// Counters of what IKE refused or dropped; what merely happened is left out.
fn refused(counters: &ike::IkeCounters) -> BTreeMap<String, u64> {
    const HARMLESS: [&str; 14] = [
        "datagrams",
        "retransmit_answered",
        "retransmits",
        "cookies_sent",
        "cookies_received",
        "invalid_ke_sent",
        "invalid_ke_received",
        "hint_probes",
        "dpd_sent",
        "keepalives_sent",
        "attempts",
        "ike_established",
        "ike_rekeyed",
        "child_installed",
    ];
    counters
        .entries()
        .into_iter()
        .filter(|(name, count)| *count > 0 && !HARMLESS.contains(name))
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
