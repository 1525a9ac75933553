//! What a reconcile makes, and that a second one changes nothing.

use std::net::UdpSocket;

use skybridge::system::SystemError;

use crate::net::{Net, TUN, Test, desired, event, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_second_reconcile_changes_nothing", |net| Box::pin(idempotent(net))),
    ("every_route_bears_the_mark_and_a_block_behind_it", |net| Box::pin(tagged(net))),
    ("a_default_route_goes_in_as_two_halves", |net| Box::pin(halves(net))),
    ("a_rival_route_to_the_same_prefix_does_not_win", |net| Box::pin(rival(net))),
    ("an_own_address_inside_the_local_selectors_is_the_source", |net| Box::pin(source(net))),
    ("a_changed_route_is_replaced_in_place", |net| Box::pin(replaced(net))),
    ("blocks_take_over_when_the_tun_goes_away", |net| Box::pin(block(net))),
    ("blocks_are_made_even_without_a_tun", |net| Box::pin(no_tun(net))),
    ("a_name_that_is_no_device_name_is_refused", |net| Box::pin(bad_name(net))),
];

async fn idempotent(net: Net) {
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16", "fd00:7::/32", "0.0.0.0/0"]);
    wanted.tun_addresses = vec!["169.254.9.1/32".parse().unwrap()];
    wanted.forwarding = true;
    let first = system.reconcile(wanted.clone()).await.unwrap();
    assert!(!first.is_unchanged());
    assert_eq!(first.findings, []);
    let second = system.reconcile(wanted).await.unwrap();
    assert!(second.is_unchanged(), "{second:?}");
}

async fn tagged(net: Net) {
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let before = net.routes().await;
    system.reconcile(desired(&["10.7.0.0/16", "fd00:7::/32"])).await.unwrap();
    let made: Vec<String> = net
        .routes()
        .await
        .difference(&before)
        // The kernel's own, for the device that is up now.
        .filter(|line| !line.contains("proto 2 "))
        .cloned()
        .collect();
    assert_eq!(
        made,
        [
            "10.7.0.0/16 Unicast proto 157 metric 50 dev sky0",
            "10.7.0.0/16 Unreachable proto 157 metric 60 dev ",
            "fd00:7::/32 Unicast proto 157 metric 50 dev sky0",
            "fd00:7::/32 Unreachable proto 157 metric 60 dev lo",
        ]
    );
}

async fn halves(net: Net) {
    let _tun = tun(TUN);
    net.veth("wan", "198.51.100.2/24").await;
    net.add_route(Net::route("0.0.0.0/0", 0, 4, None, Some("198.51.100.1"))).await;
    let (system, _events) = net.start().await;
    system.reconcile(desired(&["0.0.0.0/0", "::/0"])).await.unwrap();
    let ours = net.ours().await;
    for half in ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] {
        assert!(ours.contains(&format!("{half} Unicast proto 157 metric 50 dev sky0")), "{ours:#?}");
    }
    assert_eq!(system.underlay("192.0.2.9".parse().unwrap()).await.unwrap().interface, TUN);
    assert_eq!(system.underlay("198.51.100.7".parse().unwrap()).await.unwrap().interface, "wan");
}

async fn rival(net: Net) {
    let _tun = tun(TUN);
    net.veth("wan", "198.51.100.2/24").await;
    let (system, mut events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.peers = vec!["192.0.2.1".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    let inside = "10.7.3.4".parse().unwrap();
    net.add_route(Net::route("10.7.0.0/16", 0, 4, None, Some("198.51.100.1"))).await;
    // The default route is added after the rival, and its effect is told of after both were seen.
    net.add_route(Net::route("0.0.0.0/0", 0, 4, None, Some("198.51.100.1"))).await;
    event(&mut events, |event| {
        matches!(event, skybridge::system::Event::UnderlayChanged { .. }).then_some(())
    })
    .await;
    assert_eq!(system.underlay(inside).await.unwrap().interface, TUN);
}

async fn source(net: Net) {
    let _tun = tun(TUN);
    net.veth("lan", "192.168.10.1/24").await;
    net.veth("wan", "198.51.100.2/24").await;
    net.address("lan", "fd00:10::1/64").await;
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16", "fd00:7::/32", "10.8.0.0/16"]);
    wanted.routes[0].local = vec!["192.168.0.0/16".parse().unwrap()];
    wanted.routes[1].local = vec!["fd00:10::/64".parse().unwrap()];
    wanted.routes[2].local = vec!["172.16.0.0/12".parse().unwrap()];
    system.reconcile(wanted).await.unwrap();
    let ours = net.ours().await;
    assert!(ours.contains("10.7.0.0/16 Unicast proto 157 metric 50 dev sky0 src 192.168.10.1"), "{ours:#?}");
    assert!(ours.contains("fd00:7::/32 Unicast proto 157 metric 50 dev sky0 src fd00:10::1"), "{ours:#?}");
    assert!(ours.contains("10.8.0.0/16 Unicast proto 157 metric 50 dev sky0"), "{ours:#?}");
}

async fn replaced(net: Net) {
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16", "fd00:7::/32"]);
    system.reconcile(wanted.clone()).await.unwrap();
    for route in &mut wanted.routes {
        route.mtu = Some(1300);
        route.advmss = Some(1200);
    }
    let report = system.reconcile(wanted.clone()).await.unwrap();
    assert_eq!((report.added.len(), report.removed.len()), (2, 0), "{report:?}");
    assert_eq!(system.underlay("10.7.0.1".parse().unwrap()).await.unwrap().mtu, 1300);
    assert_eq!(system.underlay("fd00:7::1".parse().unwrap()).await.unwrap().mtu, 1300);
    assert!(system.reconcile(wanted).await.unwrap().is_unchanged());
}

fn send(to: &str) -> std::io::Result<usize> {
    let socket = UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.send_to(b"x", to)
}

async fn block(net: Net) {
    let device = tun(TUN);
    net.veth("wan", "198.51.100.2/24").await;
    net.address("wan", "2001:db8::2/64").await;
    net.add_route(Net::route("0.0.0.0/0", 0, 4, None, Some("198.51.100.1"))).await;
    net.add_route(Net::route("::/0", 1024, 4, None, Some("2001:db8::1"))).await;
    let (system, mut events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16", "fd00:7::/32"])).await.unwrap();
    send("10.7.0.1:9").unwrap();
    send("[fd00:7::1]:9").unwrap();
    drop(device);
    event(&mut events, |event| {
        matches!(event, skybridge::system::Event::TunMissing { name } if name == TUN).then_some(())
    })
    .await;
    for to in ["10.7.0.1:9", "[fd00:7::1]:9"] {
        let error = send(to).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{to}: {error}");
    }
    // Made again, it has its routes back without being asked for.
    let _device = tun(TUN);
    let report = system.reconcile(desired(&["10.7.0.0/16", "fd00:7::/32"])).await.unwrap();
    assert!(report.removed.is_empty());
    send("10.7.0.1:9").unwrap();
}

async fn no_tun(net: Net) {
    let (system, _events) = net.start().await;
    let error = system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap_err();
    assert!(matches!(&error, SystemError::NoTun(name) if name == TUN), "{error}");
    let ours: Vec<String> = net.ours().await.into_iter().collect();
    assert_eq!(ours, ["10.7.0.0/16 Unreachable proto 157 metric 60 dev "]);
}

async fn bad_name(net: Net) {
    let (system, _events) = net.start().await;
    for name in ["", "../../etc", "a/b", "sixteen-letters0", "a b", ".."] {
        let mut wanted = desired(&[]);
        wanted.tun = name.into();
        assert!(matches!(system.reconcile(wanted).await, Err(SystemError::BadName(_))), "{name:?}");
    }
}
