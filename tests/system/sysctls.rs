//! Sysctls are set where needed and put back, at stop and after a crash.

use skybridge::system::{WhenStopped, cleanup};

use crate::net::{Net, TUN, Test, desired, set_sysctl, sysctl, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("forwarding_is_set_for_the_families_in_use_and_put_back", |net| Box::pin(forwarding(net))),
    ("what_forwarding_changes_along_is_put_back_too", |net| Box::pin(along(net))),
    ("a_crash_does_not_lose_the_values_to_put_back", |net| Box::pin(crash(net))),
    ("a_value_somebody_else_changed_since_is_left_alone", |net| Box::pin(changed_since(net))),
    ("values_that_are_right_already_are_not_touched", |net| Box::pin(right_already(net))),
    ("strict_reverse_path_checks_become_loose_on_the_tun_only", |net| Box::pin(rp_filter(net))),
    ("forwarding_that_is_no_longer_wanted_is_put_back_at_once", |net| Box::pin(no_longer(net))),
];

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";

async fn forwarding(net: Net) {
    set_sysctl(V4, "0");
    set_sysctl(V6, "0");
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.forwarding = true;
    system.reconcile(wanted.clone()).await.unwrap();
    assert_eq!((sysctl(V4), sysctl(V6)), ("1".into(), "0".into()));
    wanted.routes.extend(desired(&["fd00:7::/32"]).routes);
    system.reconcile(wanted).await.unwrap();
    assert_eq!((sysctl(V4), sysctl(V6)), ("1".into(), "1".into()));
    system.stop(WhenStopped::Block).await.unwrap();
    assert_eq!((sysctl(V4), sysctl(V6)), ("0".into(), "0".into()));
}

async fn along(net: Net) {
    net.veth("lan", "192.168.10.1/24").await;
    set_sysctl(V4, "0");
    set_sysctl("net/ipv4/conf/all/accept_redirects", "0");
    set_sysctl("net/ipv4/conf/lan/forwarding", "1");
    set_sysctl("net/ipv6/conf/lan/forwarding", "1");
    let before = net.dump().await;
    let device = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16", "fd00:7::/32"]);
    wanted.forwarding = true;
    system.reconcile(wanted).await.unwrap();
    assert_eq!(sysctl("net/ipv4/conf/lanp/forwarding"), "1");
    system.stop(WhenStopped::Clear).await.unwrap();
    drop(device);
    assert_eq!(net.dump().await, before);
}

async fn crash(net: Net) {
    set_sysctl(V4, "0");
    for _ in 0..2 {
        let _tun = tun(TUN);
        let (system, mut events) = net.start().await;
        let mut wanted = desired(&["10.7.0.0/16"]);
        wanted.forwarding = true;
        system.reconcile(wanted).await.unwrap();
        drop(system);
        while events.recv().await.is_some() {}
        tokio::task::yield_now().await;
        assert_eq!(sysctl(V4), "1");
    }
    cleanup(net.options()).await.unwrap();
    assert_eq!(sysctl(V4), "0");
}

async fn changed_since(net: Net) {
    set_sysctl("net/ipv4/conf/all/rp_filter", "0");
    set_sysctl(V6, "0");
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["fd00:7::/32"]);
    wanted.forwarding = true;
    system.reconcile(wanted).await.unwrap();
    set_sysctl(V6, "2");
    system.stop(WhenStopped::Block).await.unwrap();
    assert_eq!(sysctl(V6), "2");
}

async fn right_already(net: Net) {
    set_sysctl(V4, "1");
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.forwarding = true;
    let report = system.reconcile(wanted).await.unwrap();
    assert!(!report.sysctls.iter().any(|line| line.contains("forward")), "{report:?}");
    system.stop(WhenStopped::Block).await.unwrap();
    assert_eq!(sysctl(V4), "1");
}

async fn rp_filter(net: Net) {
    set_sysctl("net/ipv4/conf/all/rp_filter", "1");
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap();
    assert_eq!(sysctl("net/ipv4/conf/sky0/rp_filter"), "2");
    assert_eq!(sysctl("net/ipv4/conf/all/rp_filter"), "1");
}

async fn no_longer(net: Net) {
    set_sysctl(V4, "0");
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    let mut wanted = desired(&["10.7.0.0/16"]);
    wanted.forwarding = true;
    system.reconcile(wanted.clone()).await.unwrap();
    wanted.forwarding = false;
    system.reconcile(wanted).await.unwrap();
    assert_eq!(sysctl(V4), "0");
}
