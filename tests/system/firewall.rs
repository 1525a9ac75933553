//! What inspection finds in a namespace made to be wrong.

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use skybridge::system::{Desired, Finding, Severity, System, TrafficSample, TrafficWatch};

use crate::net::{Net, TUN, Test, desired, set_sysctl, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_machine_that_is_right_has_no_findings", |net| Box::pin(nothing(net))),
    ("a_forward_policy_of_drop_is_found_and_named", |net| Box::pin(forward_drop(net))),
    ("a_rule_that_drops_forwarded_packets_is_named_by_its_handle", |net| Box::pin(forward_rule(net))),
    ("a_forward_policy_of_drop_that_lets_the_tun_pass_is_no_finding", |net| Box::pin(forward_allowed(net))),
    ("an_input_policy_that_drops_the_ike_ports_is_found", |net| Box::pin(input_drop(net))),
    ("a_process_that_holds_a_port_is_named", |net| Box::pin(port_taken(net))),
    ("our_own_socket_on_the_port_is_no_finding", |net| Box::pin(own_port(net))),
    ("forwarding_that_somebody_switched_off_is_found", |net| Box::pin(forwarding_off(net))),
    ("packets_that_the_kernel_eats_are_noticed_at_run_time", |net| Box::pin(eaten(net))),
];

async fn machine(net: &Net) -> Desired {
    net.veth("lan", "192.168.10.1/24").await;
    net.veth("wan", "198.51.100.2/24").await;
    net.add_route(Net::route("0.0.0.0/0", 0, 4, None, Some("198.51.100.1"))).await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.forwarding = true;
    wanted.peers = vec!["203.0.113.9".parse().unwrap()];
    wanted.routes[0].local = vec!["192.168.10.0/24".parse().unwrap()];
    wanted
}

fn nft(rules: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.replace("} }", "}\n}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

async fn findings(system: &System) -> Vec<Finding> {
    system.inspect().await
}

async fn nothing(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    assert_eq!(findings(&system).await, []);
}

async fn forward_drop(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop;
         ct state established,related accept; iifname \"docker0\" accept; } }");
    let found = findings(&system).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].code, found[0].severity), ("forward-drop", Severity::Error));
    assert_eq!(found[0].where_, "nftables: table ip filter, chain FORWARD");
    assert!(found[0].what.contains("from sky0 to lan are dropped by its policy"), "{found:#?}");
}

async fn forward_rule(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    nft("table inet fw { chain stop { oifname != { \"lan\" } drop comment \"guests\"; }
         chain gate { type filter hook forward priority 10; policy accept; jump stop; } }");
    let found = findings(&system).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains("from lan to sky0 are dropped by the rule with handle"), "{found:#?}");
    assert!(found[0].what.contains("guests"), "{found:#?}");
}

async fn forward_allowed(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop;
         iifname \"sky0\" accept; oifname \"sky0\" ip daddr 10.0.0.0/8 accept; } }");
    assert_eq!(findings(&system).await, []);
}

async fn input_drop(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    nft("table inet fw { chain in { type filter hook input priority 0; policy drop;
         iifname \"lo\" accept; ct state established,related accept; tcp dport 22 accept; udp dport { 53, 500 } accept; } }");
    let found = findings(&system).await;
    let codes: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(codes, [("input-drop", Severity::Warning)], "{found:#?}");
    assert!(found[0].what.contains("port 4500 on wan"), "{found:#?}");
}

async fn port_taken(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    let socket = UdpSocket::bind("0.0.0.0:4500").unwrap();
    // The other process has the socket as its standard input, and this one closes its own.
    let handed: std::os::fd::OwnedFd = socket.into();
    let mut other = Command::new("sleep").arg("60").stdin(Stdio::from(handed)).spawn().unwrap();
    let found = findings(&system).await;
    let (pid, _) = (other.id(), other.kill());
    other.wait().unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].code, "port-taken");
    assert_eq!(found[0].what, format!("UDP port 4500 is held by sleep (process {pid})"));
}

async fn own_port(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    let _socket = UdpSocket::bind("0.0.0.0:500").unwrap();
    assert_eq!(findings(&system).await, []);
}

async fn forwarding_off(net: Net) {
    let wanted = machine(&net).await;
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    // News of the links' making may still come in and have it put right at once.
    let mut found = Vec::new();
    for _ in 0..100 {
        set_sysctl("net/ipv4/ip_forward", "0");
        found = findings(&system).await;
        if found.iter().any(|finding| finding.code == "forwarding-off") {
            return;
        }
    }
    panic!("{found:#?}");
}

/// A UDP packet from behind the tunnel to the office LAN.
fn inner_packet() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0, 10, 7, 0, 9, 192, 168, 10, 77, 0x10, 0, 0x10, 1, 0, 9, 0,
        0, 1,
    ];
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

async fn eaten(net: Net) {
    let wanted = machine(&net).await;
    let device = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    let mut watch = TrafficWatch::new();
    let mut sent = 0;
    let mut round = |watch: &mut TrafficWatch| {
        for _ in 0..100 {
            device.send(&inner_packet()).unwrap();
        }
        sent += 100;
        watch.observe(TrafficSample { to_kernel: sent, ..TrafficSample::default() })
    };
    assert_eq!(round(&mut watch), []);
    assert_eq!(round(&mut watch), []);
    nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }");
    let found = round(&mut watch);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].code, "eaten");
}
