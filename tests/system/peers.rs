//! The peer's own address never goes into the tunnel.

use skybridge::system::{Event, Underlay};

use crate::net::{Net, TUN, Test, desired, event, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_peer_inside_a_tunnel_prefix_keeps_its_way_outside", |net| Box::pin(exception(net))),
    ("the_way_to_the_peer_follows_the_default_route", |net| Box::pin(follows(net))),
    ("without_an_underlay_the_peer_is_unreachable_and_never_looped", |net| Box::pin(no_underlay(net))),
    ("a_peer_outside_of_all_prefixes_needs_no_route", |net| Box::pin(not_covered(net))),
    ("the_outer_mtu_is_that_of_the_path", |net| Box::pin(outer_mtu(net))),
];

const PEER: &str = "203.0.113.9";

async fn two_uplinks(net: &Net) {
    net.veth("wan", "198.51.100.2/24").await;
    net.veth("lte", "192.0.2.2/24").await;
    net.add_route(Net::route("0.0.0.0/0", 100, 4, None, Some("198.51.100.1"))).await;
}

fn moved(event: &Event) -> Option<Option<Underlay>> {
    match event {
        Event::UnderlayChanged { peer, underlay } if peer.to_string() == PEER => Some(underlay.clone()),
        _ => None,
    }
}

async fn exception(net: Net) {
    let _tun = tun(TUN);
    two_uplinks(&net).await;
    net.address("wan", "2001:db8::2/64").await;
    net.add_route(Net::route("::/0", 1024, 4, None, Some("2001:db8::1"))).await;
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["0.0.0.0/0", "203.0.113.0/24", "::/0"]);
    wanted.peers = vec![PEER.parse().unwrap(), "2001:db8:9::9".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    let ours = net.ours().await;
    assert!(
        ours.contains("203.0.113.9/32 Unicast proto 157 metric 40 dev wan via 198.51.100.1"),
        "{ours:#?}"
    );
    assert!(
        ours.contains("2001:db8:9::9/128 Unicast proto 157 metric 40 dev wan via 2001:db8::1"),
        "{ours:#?}"
    );
    let path = system.underlay(PEER.parse().unwrap()).await.unwrap();
    assert_eq!(path.interface, "wan");
    assert_eq!(path.gateway, Some("198.51.100.1".parse().unwrap()));
    assert_eq!(path.source, Some("198.51.100.2".parse().unwrap()));
    assert_eq!(system.underlay("203.0.113.10".parse().unwrap()).await.unwrap().interface, TUN);
}

async fn follows(net: Net) {
    let _tun = tun(TUN);
    two_uplinks(&net).await;
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["203.0.113.0/24"]);
    wanted.peers = vec![PEER.parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    net.add_route(Net::route("0.0.0.0/0", 50, 4, None, Some("192.0.2.1"))).await;
    let path = event(&mut events, moved).await.unwrap();
    assert_eq!((path.interface.as_str(), path.gateway), ("lte", Some("192.0.2.1".parse().unwrap())));
    // The link goes, and with it its routes, which the kernel does not tell of one by one.
    net.down("lte").await;
    let path = event(&mut events, moved).await.unwrap();
    assert_eq!((path.interface.as_str(), path.gateway), ("wan", Some("198.51.100.1".parse().unwrap())));
}

async fn no_underlay(net: Net) {
    let _tun = tun(TUN);
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["203.0.113.0/24"]);
    wanted.peers = vec![PEER.parse().unwrap()];
    let report = system.reconcile(wanted).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.code == "no-underlay"), "{report:?}");
    assert!(net.ours().await.contains("203.0.113.9/32 Unreachable proto 157 metric 40 dev "));
    assert!(system.underlay(PEER.parse().unwrap()).await.is_err());
    two_uplinks(&net).await;
    let path = event(&mut events, moved).await.unwrap();
    assert_eq!(path.interface, "wan");
}

async fn not_covered(net: Net) {
    let _tun = tun(TUN);
    two_uplinks(&net).await;
    let (system, _events) = net.start().await;
    // One peer outside of the prefix; one inside, whose own more specific route wins anyway.
    let mut wanted = desired(&["10.7.0.0/16", "192.0.0.0/16"]);
    wanted.peers = vec![PEER.parse().unwrap(), "192.0.2.77".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    assert!(!net.ours().await.iter().any(|line| line.contains("metric 40")));
    assert_eq!(system.underlay("192.0.2.77".parse().unwrap()).await.unwrap().interface, "lte");
}

async fn outer_mtu(net: Net) {
    let _tun = tun(TUN);
    two_uplinks(&net).await;
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.peers = vec![PEER.parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    assert_eq!(system.underlay(PEER.parse().unwrap()).await.unwrap().mtu, 1500);
    net.set_mtu("wan", 1492).await;
    assert_eq!(event(&mut events, moved).await.unwrap().mtu, 1492);
}
