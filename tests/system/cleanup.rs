//! What is left after stop, after a crash, and after cleanup.

use skybridge::system::{Desired, System, SystemError, WhenStopped, cleanup};

use crate::net::{Net, TUN, Test, desired, tun};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("stop_leaves_nothing_but_the_blocks", |net| Box::pin(stop_blocks(net))),
    ("stop_with_clear_leaves_nothing", |net| Box::pin(stop_clear(net))),
    ("cleanup_after_a_crash_leaves_nothing", |net| Box::pin(crash_cleanup(net))),
    ("what_a_killed_daemon_left_is_adopted_or_removed", |net| Box::pin(adopted(net))),
    ("a_second_daemon_and_a_cleanup_are_refused_while_one_runs", |net| Box::pin(busy(net))),
    ("a_broken_record_does_not_stop_the_daemon", |net| Box::pin(broken_record(net))),
];

async fn machine(net: &Net) -> Desired {
    net.veth("lan", "192.168.10.1/24").await;
    net.veth("wan", "198.51.100.2/24").await;
    net.add_route(Net::route("0.0.0.0/0", 0, 4, None, Some("198.51.100.1"))).await;
    let mut wanted = desired(&["10.7.0.0/16", "fd00:7::/32", "192.0.2.0/24"]);
    wanted.forwarding = true;
    wanted.peers = vec!["192.0.2.1".parse().unwrap()];
    wanted.tun_addresses = vec!["10.7.255.1/32".parse().unwrap()];
    wanted.routes[0].local = vec!["192.168.10.0/24".parse().unwrap()];
    wanted
}

async fn stop_blocks(net: Net) {
    let wanted = machine(&net).await;
    let before = net.dump().await;
    let device = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    system.stop(WhenStopped::Block).await.unwrap();
    drop(device);
    let left: Vec<String> = net.dump().await.symmetric_difference(&before).cloned().collect();
    assert_eq!(
        left,
        [
            "10.7.0.0/16 Unreachable proto 157 metric 60 dev ",
            "192.0.2.0/24 Unreachable proto 157 metric 60 dev ",
            "fd00:7::/32 Unreachable proto 157 metric 60 dev lo",
        ]
    );
    cleanup(net.options()).await.unwrap();
    assert_eq!(net.dump().await, before);
    assert!(!net.options().state_dir.exists());
}

async fn stop_clear(net: Net) {
    let wanted = machine(&net).await;
    let before = net.dump().await;
    let device = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    system.stop(WhenStopped::Clear).await.unwrap();
    drop(device);
    assert_eq!(net.dump().await, before);
    assert!(matches!(system.reconcile(desired(&[])).await, Err(SystemError::Stopped)));
}

/// Ends the task without a stop and waits until its lock is free.
async fn crash(system: System, mut events: tokio::sync::mpsc::Receiver<skybridge::system::Event>) {
    drop(system);
    while events.recv().await.is_some() {}
    tokio::task::yield_now().await;
}

async fn crash_cleanup(net: Net) {
    let wanted = machine(&net).await;
    let before = net.dump().await;
    // A device that outlives its process, as a persistent one would.
    let device = tun(TUN);
    device.persist().unwrap();
    let (system, events) = net.start().await;
    system.reconcile(wanted).await.unwrap();
    crash(system, events).await;
    drop(device);
    assert!(net.ours().await.len() >= 7);
    let report = cleanup(net.options()).await.unwrap();
    assert!(report.other.contains(&format!("{TUN}: removed")), "{report:?}");
    assert_eq!(net.dump().await, before);
    assert!(cleanup(net.options()).await.unwrap().is_unchanged());
}

async fn adopted(net: Net) {
    let device = tun(TUN);
    let (system, events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16", "10.8.0.0/16"])).await.unwrap();
    crash(system, events).await;
    drop(device);
    let _device = tun(TUN);
    let (system, _events) = net.start().await;
    let report = system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap();
    assert_eq!(report.added, ["10.7.0.0/16 dev sky0 metric 50"]);
    assert_eq!(report.removed, ["unreachable 10.8.0.0/16 metric 60"]);
}

async fn busy(net: Net) {
    let (_system, _events) = net.start().await;
    assert!(matches!(System::start(net.options()).await, Err(SystemError::Busy(_))));
    assert!(matches!(cleanup(net.options()).await, Err(SystemError::Busy(_))));
}

async fn broken_record(net: Net) {
    std::fs::create_dir_all(net.options().state_dir).unwrap();
    std::fs::write(net.options().state_dir.join("system.json"), "{\"version\": ").unwrap();
    let _tun = tun(TUN);
    let (system, _events) = net.start().await;
    system.reconcile(desired(&["10.7.0.0/16"])).await.unwrap();
}
