//! `skybridge status`: peers, tunnels, traffic and what is wrong.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};

use super::ControlArgs;
use super::output::{answer, block_on, duration, failed, octets};
use crate::control::api::{PeerState, PeerStatus, Status};
use crate::control::client::Client;

/// Arguments of `skybridge status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Only this peer, in detail
    peer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

pub(super) fn status(args: StatusArgs) -> ExitCode {
    let client = Client::new(&args.control.control);
    let mut status = match block_on(client.status()) {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return failed(error),
        Err(error) => return failed(error),
    };
    if let Some(name) = &args.peer {
        status.peers.retain(|peer| &peer.name == name);
        if status.peers.is_empty() {
            return failed(format!("no peer {name} is configured: `skybridge status` lists them"));
        }
    }
    if args.json {
        return match serde_json::to_string_pretty(&status) {
            Ok(text) => answer(&text),
            Err(error) => failed(error),
        };
    }
    answer(&if args.peer.is_some() { detail(&status) } else { overview(&status) })
}

/// A table with one row a child, then what needs attention.
fn overview(status: &Status) -> String {
    let mut out = format!(
        "{}: skybridge {}, up for {}, device {}\n",
        status.name,
        status.version,
        duration(status.uptime_seconds),
        status.device
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PEER", "CHILD", "STATE", "REMOTE", "LOCAL NET", "REMOTE NET", "IN", "OUT", "LAST IN"]);
    for peer in &status.peers {
        if peer.children.is_empty() {
            table.add_row([
                &peer.name,
                "-",
                peer.state.as_str(),
                dash(peer.remote.as_deref()),
                "-",
                "-",
                "-",
                "-",
                "-",
            ]);
        }
        for child in &peer.children {
            let state = match (peer.state, child.up) {
                (PeerState::Up, false) => "down",
                (state, _) => state.as_str(),
            };
            table.add_row([
                peer.name.clone(),
                child.name.clone(),
                state.to_owned(),
                dash(peer.remote.as_deref()).to_owned(),
                child.local.join(" "),
                child.remote.join(" "),
                octets(child.traffic.bytes_in),
                octets(child.traffic.bytes_out),
                child.last_in_seconds.map_or_else(|| "-".to_owned(), |s| format!("{} ago", duration(s))),
            ]);
        }
    }
    let _ = writeln!(out, "{table}");
    attention(status, &mut out);
    out
}

fn dash(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

/// Failures, warnings and findings, each with what to do.
fn attention(status: &Status, out: &mut String) {
    for peer in &status.peers {
        if let Some(failure) = &peer.last_failure {
            let _ = writeln!(
                out,
                "\n{}: {} ({} ago, {} in a row)",
                peer.name,
                failure.reason,
                duration(failure.seconds_ago),
                failure.count
            );
        }
        for warning in &peer.warnings {
            let _ = writeln!(out, "\n{}: warning: {warning}", peer.name);
        }
    }
    for finding in &status.findings {
        let _ = writeln!(out, "\n{}: {}\n  {}", finding.severity, finding.what, finding.action);
    }
}

fn detail(status: &Status) -> String {
    let mut out = String::new();
    for peer in &status.peers {
        peer_detail(peer, &mut out);
    }
    attention(status, &mut out);
    if !status.drops.is_empty() {
        let _ = writeln!(out, "\npackets dropped on this machine since the start:");
        for (reason, count) in &status.drops {
            let _ = writeln!(out, "  {reason:<32} {count}");
        }
    }
    out
}

fn peer_detail(peer: &PeerStatus, out: &mut String) {
    let _ = writeln!(out, "{}: {} (start = {})", peer.name, peer.state.as_str(), peer.start);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(out, "  {name:<12} {value}");
        }
    };
    line("remote", peer.remote.clone());
    line("local", peer.local.clone());
    line("identity", peer.remote_id.clone());
    if let Some(ike) = &peer.ike {
        line("IKE SA", Some(format!("{}_i {}_r, {}", ike.initiator_spi, ike.responder_spi, ike.role)));
        line("suite", Some(ike.suite.clone()));
        line("age", Some(age(Some(ike.age_seconds), ike.rekey_in_seconds)));
        line("NAT", Some(ike.nat.clone()));
    }
    line("path MTU", peer.path_mtu.map(|mtu| mtu.to_string()));
    line("inner MTU", peer.inner_mtu.map(|mtu| mtu.to_string()));
    for child in &peer.children {
        let _ = writeln!(out, "  child {}: {}", child.name, if child.up { "up" } else { "down" });
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(out, "    {name:<10} {value}");
            }
        };
        line("local", Some(child.local.join(" ")));
        line("remote", Some(child.remote.join(" ")));
        line("suite", child.suite.clone());
        line(
            "SPI in/out",
            child.spi_in.clone().zip(child.spi_out.clone()).map(|(i, o)| format!("{i} / {o}")),
        );
        if child.up {
            let t = child.traffic;
            line("in", Some(format!("{} packets, {}", t.packets_in, octets(t.bytes_in))));
            line("out", Some(format!("{} packets, {}", t.packets_out, octets(t.bytes_out))));
            line("age", Some(age(child.age_seconds, child.rekey_in_seconds)));
        }
        line("last in", child.last_in_seconds.map(|s| format!("{} ago", duration(s))));
    }
}

fn age(age: Option<u64>, rekey_in: Option<u64>) -> String {
    let age = age.map_or_else(|| "-".to_owned(), duration);
    rekey_in.map_or_else(|| age.clone(), |left| format!("{age}, rekey in {}", duration(left)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{ChildStatus, Failure, Finding};

    fn sample() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            name: "office".to_owned(),
            device: "skybridge0".to_owned(),
            uptime_seconds: 3_700,
            peers: vec![PeerStatus {
                name: "cloud".to_owned(),
                state: PeerState::Up,
                remote: Some("203.0.113.10:4500".to_owned()),
                children: vec![
                    ChildStatus { name: "pods".to_owned(), up: true, ..ChildStatus::default() },
                    ChildStatus { name: "services".to_owned(), up: false, ..ChildStatus::default() },
                ],
                last_failure: Some(Failure { seconds_ago: 4, count: 2, reason: "wrong PSK".to_owned() }),
                ..PeerStatus::default()
            }],
            findings: vec![Finding {
                code: "forward-drop".to_owned(),
                severity: "error".to_owned(),
                what: "FORWARD drops".to_owned(),
                action: "allow it".to_owned(),
            }],
            ..Status::default()
        }
    }

    #[test]
    fn a_child_that_is_down_under_a_peer_that_is_up_shows_as_down() {
        let text = overview(&sample());
        let row = |name| text.lines().find(|l| l.contains(name)).unwrap().to_owned();
        assert!(row("pods").contains(" up "), "{text}");
        assert!(row("services").contains(" down "), "{text}");
    }

    #[test]
    fn failures_and_findings_stand_below_the_table_with_what_to_do() {
        let text = overview(&sample());
        assert!(text.contains("cloud: wrong PSK (4s ago, 2 in a row)"), "{text}");
        assert!(text.contains("error: FORWARD drops\n  allow it"), "{text}");
    }
}
