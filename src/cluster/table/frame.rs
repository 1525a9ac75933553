//! The table's frame as `nft` reads it: maps, chains and rules, without the elements that are many.

use std::fmt::Write;

use ipnet::IpNet;

use super::{image::Frame, text::add};
use crate::cluster::slots::CLASSES;

/// The table's family and name.
pub(super) const TABLE: &str = "inet skybridge";
/// Where refused packets are sent, so that the answer's source is the cluster address they were sent to: connection
/// tracking translates it back. They never leave; they are refused in the next chain. The ranges are those for
/// documentation ([RFC 5737](https://www.rfc-editor.org/rfc/rfc5737)) and for discarding
/// ([RFC 6666](https://www.rfc-editor.org/rfc/rfc6666)).
const REFUSED: [&str; 2] = ["192.0.2.1", "100::1"];
/// The seed of the kernel's hash, the same everywhere so that two machines choose alike.
const SEED: &str = "0x736b7962";
/// What the table may hold of clients that stay with their endpoint.
const STICKY_CLIENTS: u32 = 262_144;

/// What differs between the two IP versions.
pub(super) struct Family {
    /// `ip` or `ip6`.
    ip: &'static str,
    /// Suffix of names.
    pub(super) v: char,
    address: &'static str,
    refused: &'static str,
    echo: &'static str,
    pub(super) nobody: &'static str,
    unreachable: &'static str,
    icmp: &'static str,
}

pub(super) const FAMILIES: [Family; 2] = [
    Family {
        ip: "ip",
        v: '4',
        address: "ipv4_addr",
        refused: REFUSED[0],
        echo: "icmp type echo-request",
        nobody: "0.0.0.0",
        unreachable: "icmp type host-unreachable",
        icmp: "icmp",
    },
    Family {
        ip: "ip6",
        v: '6',
        address: "ipv6_addr",
        refused: REFUSED[1],
        echo: "icmpv6 type echo-request",
        nobody: "::",
        unreachable: "icmpv6 type addr-unreachable",
        icmp: "icmpv6",
    },
];

/// Everything of a table that is not there, but for the ranges.
pub(super) fn whole(text: &mut String, frame: &Frame) {
    let _ = writeln!(
        text,
        "add table {TABLE} {{ comment \"Services of the cluster, translated for what comes out of the tunnel. Made by \
         skybridge, which undoes changes.\"; }}"
    );
    let _ = writeln!(
        text,
        "add set {TABLE} generation {{ type mark; comment \"Tells skybridge that the table is its own\"; }}"
    );
    for family in &FAMILIES {
        maps(text, family);
    }
    let mut chains: Vec<Chain> = vec![Chain::new("refuse"), Chain::new("single")];
    for slots in CLASSES.into_iter().skip(1) {
        chains.push(Chain::new(format!("of_{slots}")));
        chains.push(Chain::new(format!("sticky_of_{slots}")));
    }
    chains.extend(frame.sticky.iter().map(|seconds| remember(*seconds)));
    let from_tunnel = format!("iifname \"{}\"", frame.device);
    for family in &FAMILIES {
        let Family { ip, v, refused, .. } = family;
        chains[0].rule(format!("{from_tunnel} dnat {ip} to {refused}"));
        let key = format!("{ip} daddr . meta l4proto . th dport");
        chains[1].rule(format!("dnat {ip} to {key} map @single{v}"));
        for (place, slots) in CLASSES.into_iter().skip(1).enumerate() {
            let flow = format!("jhash {ip} saddr . th sport mod {slots} seed {SEED}");
            chains[2 + 2 * place].rule(format!("dnat {ip} to {key} . {flow} map @slots{v}"));
            let client = format!("jhash {ip} saddr mod {slots} seed {SEED}");
            if *v == '4' {
                chains[3 + 2 * place].rule(format!("dnat {ip} to {key} . {ip} saddr map @clients{v}"));
            }
            chains[3 + 2 * place].rule(format!("dnat {ip} to {key} . {client} map @slots{v}"));
        }
    }
    chains.extend(hooks(frame, &from_tunnel));
    write(text, &chains);
}

/// What a table with the frame `from` lacks of the frame `to`; nothing that is no longer needed is removed, but for
/// ranges.
pub(super) fn difference(text: &mut String, from: &Frame, to: &Frame) {
    nets(text, from, to);
    for chain in to.sticky.difference(&from.sticky).map(|seconds| remember(*seconds)) {
        declare(text, &chain);
        // It may be left from a Service of before.
        let _ = writeln!(text, "flush chain {TABLE} {}", chain.name);
        fill(text, &chain);
    }
}

fn write(text: &mut String, chains: &[Chain]) {
    chains.iter().for_each(|chain| declare(text, chain));
    chains.iter().for_each(|chain| fill(text, chain));
}

fn declare(text: &mut String, chain: &Chain) {
    let _ = writeln!(text, "add chain {TABLE} {} {{ {} }}", chain.name, chain.head);
}

fn fill(text: &mut String, chain: &Chain) {
    for rule in &chain.rules {
        let _ = writeln!(text, "add rule {TABLE} {} {rule}", chain.name);
    }
}

pub(super) fn nets(text: &mut String, from: &Frame, to: &Frame) {
    for (set, from, to) in [
        ("ranges", &from.ranges, &to.ranges),
        ("hidden_services", &from.hidden_services, &to.hidden_services),
        ("hidden", &from.hidden, &to.hidden),
    ] {
        for family in &FAMILIES {
            let own = |nets: &[IpNet]| -> Vec<String> {
                let nets = nets.iter().filter(|net| net.addr().is_ipv4() == (family.v == '4'));
                nets.map(ToString::to_string).collect()
            };
            let (from, to) = (own(from), own(to));
            if from == to {
                continue;
            }
            if !from.is_empty() {
                let _ = writeln!(text, "flush set {TABLE} {set}{}", family.v);
            }
            add(text, "add", &format!("{set}{}", family.v), &mut to.into_iter());
        }
    }
}

/// Remembers where a client of a Service with affinity went, for so long after its last connection.
fn remember(seconds: u32) -> Chain {
    let mut chain = Chain::new(format!("remember_{seconds}"));
    for protocol in ["tcp", "udp", "sctp"] {
        chain.rule(format!(
            "meta l4proto {protocol} update @clients4 {{ ct original ip daddr . meta l4proto . ct original proto-dst . ip \
             saddr timeout {seconds}s : ip daddr . th dport }}"
        ));
    }
    chain
}

struct Chain {
    name: String,
    head: String,
    rules: Vec<String>,
}

impl Chain {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), head: String::new(), rules: Vec::new() }
    }

    fn at(name: &str, head: &str, comment: &str) -> Self {
        Self { head: format!("{head}; policy accept; comment \"{comment}\";"), ..Self::new(name) }
    }

    fn rule(&mut self, rule: impl Into<String>) {
        self.rules.push(rule.into());
    }
}

fn maps(text: &mut String, family: &Family) {
    let Family { ip, v, address, .. } = family;
    let key = format!("{address} . inet_proto . inet_service");
    let target = format!("{address} . inet_service");
    let mut set = |kind: &str, name: &str, of: &str, comment: &str| {
        let _ = writeln!(text, "add {kind} {TABLE} {name}{v} {{ {of}; comment \"{comment}\"; }}");
    };
    set(
        "map",
        "services",
        &format!("type {key} : verdict"),
        "Cluster address and port: how an endpoint is chosen",
    );
    set("map", "single", &format!("type {key} : {target}"), "The endpoint of Services with one");
    // The last part is the slot, a number as `meta cpu` is one; the map has nothing to do with processors.
    set(
        "map",
        "slots",
        &format!("typeof {ip} daddr . meta l4proto . th dport . meta cpu : {ip} daddr . th dport"),
        "The endpoint of each slot (last part of the key)",
    );
    if *v == '4' {
        set(
            "map",
            "sticky",
            &format!("type {key} : verdict"),
            "Services whose clients stay with an endpoint",
        );
        set(
            "map",
            "clients",
            &format!("type {key} . {address} : {target}; size {STICKY_CLIENTS}; flags dynamic, timeout"),
            "Clients that stay, and their endpoint",
        );
    }
    set(
        "map",
        "answering",
        &format!("type {address} : {address}"),
        "Cluster addresses that answer echo requests, and the address of this machine that does",
    );
    set("set", "endpoints", &format!("type {address}"), "Addresses of endpoints");
    for (name, comment) in [
        ("ranges", "What is no Service here is refused"),
        ("hidden_services", "Connections to Services here are masqueraded"),
        ("hidden", "Direct connections to here are masqueraded"),
    ] {
        set("set", name, &format!("type {address}; flags interval"), comment);
    }
}

/// The chains that the kernel calls, and those they share.
fn hooks(frame: &Frame, from_tunnel: &str) -> [Chain; 9] {
    let to_tunnel = format!("oifname \"{}\"", frame.device);
    let not_to_tunnel = format!("oifname != \"{}\"", frame.device);
    let mut translate = Chain::new("translate");
    let mut remember = Chain::new("remember");
    let mut refusal = Chain::new("refusal");
    let mut prerouting =
        Chain::at("prerouting", "type nat hook prerouting priority dstnat", "Packets out of the tunnel");
    let mut output = Chain::at("output", "type nat hook output priority -100", "Packets of this machine");
    let mut received = Chain::at(
        "received",
        "type filter hook prerouting priority dstnat + 1",
        "What was not translated is refused",
    );
    let mut sent = Chain::at(
        "sent",
        "type filter hook output priority -99",
        "What was not translated is refused, of this machine",
    );
    let mut forward = Chain::at(
        "forward",
        "type filter hook forward priority filter",
        "Late packets of endpoints have no connection: they would reach the client with an address it does not know",
    );
    let mut postrouting = Chain::at(
        "postrouting",
        "type nat hook postrouting priority srcnat",
        "Also where the kernel changes a source port that two connections to one endpoint share",
    );
    prerouting.rule(format!("{from_tunnel} jump translate"));
    output.rule("jump translate");
    for family in &FAMILIES {
        let Family { ip, v, echo, refused, unreachable, icmp, .. } = family;
        translate.rule(format!("{ip} daddr . meta l4proto . th dport vmap @services{v}"));
        translate.rule(format!("{echo} dnat {ip} to {ip} daddr map @answering{v}"));
        translate.rule(format!("{ip} daddr @ranges{v} goto refuse"));
        received.rule(format!("{from_tunnel} {ip} daddr {refused} ct status dnat goto refusal"));
        // A packet that belongs to no connection, and would be routed on to an address that nobody has.
        received.rule(format!("{from_tunnel} {ip} daddr @ranges{v} drop"));
        sent.rule(format!("ct state new {ip} daddr @ranges{v} goto refusal"));
        for protocol in ["tcp", "udp", "sctp"].into_iter().filter(|_| *v == '4') {
            remember.rule(format!(
                "meta l4proto {protocol} ct original {ip} daddr . meta l4proto . ct original proto-dst vmap @sticky{v}"
            ));
        }
        refusal.rule(format!("{echo} reject with {unreachable}"));
        let ping = if *icmp == "icmp" { "icmp" } else { "ipv6-icmp" };
        refusal.rule(format!("meta l4proto {ping} drop"));
        forward.rule(format!(
            "{to_tunnel} ct state invalid {ip} saddr @endpoints{v} meta l4proto tcp tcp flags & syn == 0 drop"
        ));
        postrouting.rule(format!(
            "{from_tunnel} {not_to_tunnel} ct status dnat ct original {ip} daddr @hidden_services{v} masquerade fully-random"
        ));
        postrouting
            .rule(format!("{from_tunnel} {not_to_tunnel} {ip} daddr @hidden{v} masquerade fully-random"));
    }
    received.rule(format!("{from_tunnel} ct state new ct status dnat jump remember"));
    sent.rule("ct state new ct status dnat jump remember");
    refusal.rules.insert(0, "meta l4proto tcp reject with tcp reset".into());
    refusal.rule("reject with icmpx type port-unreachable");
    [translate, remember, refusal, prerouting, output, received, sent, forward, postrouting]
}
