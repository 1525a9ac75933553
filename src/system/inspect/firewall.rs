//! Firewalls: would a packet of the tunnel pass the rules that are loaded?
//!
//! nftables and legacy iptables rules are read into one model and a few packets are walked through
//! it. What the model does not know makes a match uncertain, never certain.

mod iptables;
mod model;
mod nft;

use ipnet::IpNet;

use super::{Scene, program};
use crate::system::{Finding, Severity};

use model::{Hook, Outcome, Probe, Ruleset};

/// All findings about rules, and about rules that could not be read.
pub(super) async fn inspect(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rulesets = Vec::new();
    // Without the elements of named sets, which nothing here looks at and which may be hundreds of thousands.
    match program::output("nft", &["-j", "-s", "-t", "list", "ruleset"]).await {
        Ok(octets) => match nft::parse(&octets) {
            Ok(ruleset) => rulesets.push(ruleset),
            Err(reason) => findings.push(unread("nftables", &reason)),
        },
        Err(reason) => findings.push(unread("nftables", &reason)),
    }
    for (family, names, program_names) in [
        (model::Family::V4, "ip_tables_names", ["iptables-legacy-save", "iptables-save"]),
        (model::Family::V6, "ip6_tables_names", ["ip6tables-legacy-save", "ip6tables-save"]),
    ] {
        let tables = std::fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
        if !tables.lines().any(|table| table == "filter") {
            continue;
        }
        let mut listed = program::output(program_names[0], &["-t", "filter"]).await;
        if listed.is_err() {
            listed = program::output(program_names[1], &["-t", "filter"]).await;
        }
        match listed {
            Ok(octets) => rulesets.push(iptables::parse(&String::from_utf8_lossy(&octets), family)),
            Err(reason) => findings.push(unread("iptables (legacy)", &reason)),
        }
    }
    for ruleset in &rulesets {
        findings.extend(judge(ruleset, scene));
    }
    findings
}

fn unread(which: &str, reason: &str) -> Finding {
    Finding {
        code: "firewall-unread",
        severity: Severity::Info,
        what: format!("the rules of {which} were not looked at: {reason}"),
        where_: which.into(),
        remedy: "If packets get lost, look at the rules by hand.".into(),
    }
}

fn judge(ruleset: &Ruleset, scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut push = |finding: Finding| {
        if !findings.iter().any(|have| have.code == finding.code && have.where_ == finding.where_) {
            findings.push(finding);
        }
    };
    let tun = scene.desired.tun.as_str();
    for route in &scene.desired.routes {
        let local = route.local.iter().find(|net| net.prefix_len() > 0).copied();
        for other in &scene.inside {
            for (from, to, source, destination) in [
                (tun, other.as_str(), Some(route.prefix), local),
                (other.as_str(), tun, local, Some(route.prefix)),
            ] {
                let probe = Probe { from: Some(from), to: Some(to), source, destination, udp_port: None };
                for chain in ruleset.base_chains(Hook::Forward, family(route.prefix)) {
                    let outcome = ruleset.walk(chain, &probe);
                    if let Some((certain, rule)) = blocked(&outcome) {
                        push(forward_finding(tun, from, to, certain, &ruleset.place(chain), rule));
                    }
                }
            }
        }
    }
    for port in scene.ports {
        for (uplink, _) in &scene.uplinks {
            for (hook, code, direction) in
                [(Hook::Input, "input-drop", "to"), (Hook::Output, "output-drop", "from")]
            {
                let probe = Probe {
                    from: (hook == Hook::Input).then_some(uplink.as_str()),
                    to: (hook == Hook::Output).then_some(uplink.as_str()),
                    source: None,
                    destination: None,
                    udp_port: Some(port),
                };
                for chain in ruleset.base_chains(hook, model::Family::Inet) {
                    let outcome = ruleset.walk(chain, &probe);
                    let Some((certain, rule)) = blocked(&outcome) else { continue };
                    push(Finding {
                        code,
                        severity: if certain { Severity::Warning } else { Severity::Info },
                        what: format!(
                            "UDP {direction} port {port} on {uplink} {} by {rule}",
                            if certain { "is dropped" } else { "may be dropped" }
                        ),
                        where_: ruleset.place(chain),
                        remedy: format!(
                            "Allow UDP ports {} and {}. Without it a peer cannot start the tunnel from its side, \
                             and replies pass only as far as connection tracking lets them.",
                            scene.ports[0], scene.ports[1]
                        ),
                    });
                }
            }
        }
    }
    findings
}

fn family(prefix: IpNet) -> model::Family {
    if prefix.addr().is_ipv4() { model::Family::V4 } else { model::Family::V6 }
}

/// Whether the drop is certain, and by what.
fn blocked(outcome: &Outcome) -> Option<(bool, &str)> {
    match outcome {
        Outcome::Accept => None,
        Outcome::Drop(rule) => Some((true, rule)),
        Outcome::MaybeDrop(rule) => Some((false, rule)),
    }
}

fn forward_finding(tun: &str, from: &str, to: &str, certain: bool, place: &str, rule: &str) -> Finding {
    Finding {
        code: "forward-drop",
        severity: if certain { Severity::Error } else { Severity::Warning },
        what: format!(
            "packets from {from} to {to} {} by {rule}",
            if certain { "are dropped" } else { "may be dropped" }
        ),
        where_: place.into(),
        remedy: format!(
            "Accept what goes in and out of {tun} in that chain (Docker: `iptables -I DOCKER-USER -i {tun} -j \
             ACCEPT` and `-o {tun}`; ufw: `ufw route allow in on {tun}` and `out on {tun}`)."
        ),
    }
}

#[cfg(test)]
mod tests;
