//! Lifetimes by time, octets and packets, soft and hard, with jitter; and new configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use skybridge::engine::Event;
use skybridge::ike::{ChildLifetime, DownReason, IkeLifetime, StartPolicy};

use crate::net::{Action, Select};
use crate::pair::{A, B, Pair, Plan, child_name, inner, no_limits, selectors};
use skybridge::wire::ike::registry::ExchangeType;

fn with_lifetime(plan: Plan, host: usize, lifetime: ChildLifetime) -> Plan {
    plan.with(host, |end| end.peer.children.iter_mut().for_each(|child| child.lifetime = lifetime))
}

/// When the host's children were installed.
fn installed(pair: &Pair, host: usize) -> Vec<Duration> {
    let events = pair.hosts[host].events.iter();
    events.filter(|(_, event)| matches!(event, Event::ChildUp(_))).map(|(at, _)| *at).collect()
}

#[test]
fn a_child_is_rekeyed_at_its_time_without_loss() {
    for host in [A, B] {
        let lifetime = ChildLifetime {
            rekey_time: Some(Duration::from_secs(100)),
            hard_time: Some(Duration::from_secs(130)),
            ..no_limits()
        };
        let mut pair = with_lifetime(Plan::new(1), host, lifetime).up();
        let numbers = pair.run_with_traffic(Duration::from_secs(350), Duration::from_millis(200));
        pair.assert_none_lost(&numbers);
        let at = installed(&pair, host);
        assert_eq!(at.len(), 4, "{at:?}");
        assert!(at.windows(2).all(|two| (99..=101).contains(&(two[1] - two[0]).as_secs())), "{at:?}");
        pair.assert_healthy();
    }
}

#[test]
fn jitter_spreads_the_rekeys_of_both_ends() {
    let lifetime = ChildLifetime {
        rekey_time: Some(Duration::from_secs(1000)),
        hard_time: Some(Duration::from_secs(1200)),
        jitter: 0.2,
        ..no_limits()
    };
    let mut ages = BTreeSet::new();
    for seed in 0..10 {
        let mut pair = with_lifetime(Plan::new(1).seed(seed), A, lifetime).up();
        pair.seconds(1100);
        let at = installed(&pair, A);
        let age = (at[1] - at[0]).as_secs();
        assert!((799..=1001).contains(&age), "{age}");
        ages.insert(age);
    }
    assert!(ages.len() > 5, "{ages:?}");
}

#[test]
fn both_ends_with_the_same_lifetime_collide_often_and_lose_nothing() {
    // A little jitter on a slow link: without any, whoever answered the last rekey is always first.
    let lifetime = ChildLifetime {
        rekey_time: Some(Duration::from_secs(20)),
        hard_time: Some(Duration::from_secs(40)),
        jitter: 0.01,
        ..no_limits()
    };
    let mut plan = Plan::new(1).both(|end| {
        end.peer.ike_lifetime =
            IkeLifetime { rekey: Duration::from_secs(70), hard: Duration::from_secs(200), jitter: 0.0 };
    });
    plan = with_lifetime(with_lifetime(plan, A, lifetime), B, lifetime);
    let mut pair = plan.build();
    pair.renewing = true;
    pair.net.links.iter_mut().for_each(|link| link.latency = Duration::from_millis(150));
    pair.start();
    pair.seconds(2);
    let numbers = pair.run_with_traffic(Duration::from_secs(400), Duration::from_millis(100));
    pair.assert_none_lost(&numbers);
    let stats = pair.hosts[A].collisions();
    assert!(stats.child_rekey_won + stats.child_rekey_lost > 5, "{stats:?}");
    pair.assert_healthy();
}

#[test]
fn a_child_is_rekeyed_by_packets_and_by_octets_of_either_direction() {
    for by_packets in [true, false] {
        for sender in [A, B] {
            let lifetime = ChildLifetime {
                rekey_packets: by_packets.then_some(100),
                hard_packets: by_packets.then_some(1000),
                rekey_bytes: (!by_packets).then_some(3_600),
                hard_bytes: (!by_packets).then_some(36_000),
                ..no_limits()
            };
            let mut pair = with_lifetime(Plan::new(1), A, lifetime).up();
            let before = installed(&pair, A).len();
            let mut numbers = Vec::new();
            for _ in 0..350 {
                numbers.push(pair.send_inner(sender, inner(sender, 0), inner(1 - sender, 0)));
                pair.millis(20);
            }
            pair.seconds(2);
            pair.assert_none_lost(&numbers);
            assert_eq!(installed(&pair, A).len() - before, 3, "packets {by_packets} sender {sender}");
            pair.assert_healthy();
        }
    }
}

#[test]
fn a_hard_limit_stops_the_sa_and_connect_makes_a_new_one() {
    let lifetime = ChildLifetime { hard_packets: Some(50), ..no_limits() };
    let mut pair = with_lifetime(Plan::new(1), A, lifetime).up();
    let numbers: Vec<u64> = (0..80).map(|_| pair.send_inner(A, inner(A, 0), inner(B, 0))).collect();
    pair.seconds(1);
    assert!((30..=50).contains(&(80 - pair.lost_of(&numbers).len())), "no more than the limit passes");
    assert!(pair.hosts[A].child_down.contains(&DownReason::Expired));
    pair.assert_healthy();
    assert_eq!(pair.hosts[B].child_down.len(), 1, "{:?}", pair.hosts[B].child_down);
}

#[test]
fn a_hard_time_closes_a_child_that_could_not_be_rekeyed() {
    let lifetime =
        ChildLifetime { rekey_time: None, hard_time: Some(Duration::from_secs(50)), ..no_limits() };
    let mut pair = with_lifetime(Plan::new(1).start_policy(A, StartPolicy::Trap), A, lifetime).build();
    pair.start();
    pair.raise(A, Some(0));
    pair.seconds(5);
    pair.assert_healthy();
    pair.seconds(48);
    assert_eq!(pair.hosts[A].child_down, [DownReason::Expired]);
    assert_eq!(pair.hosts[B].child_down, [DownReason::DeletedByPeer]);
    pair.assert_healthy();
}

#[test]
fn an_ike_sa_is_rekeyed_at_its_time_and_closed_at_its_hard_limit() {
    let life = IkeLifetime { rekey: Duration::from_secs(100), hard: Duration::from_secs(140), jitter: 0.0 };
    let mut pair = Plan::new(1).with(B, |end| end.peer.ike_lifetime = life).up();
    let before = pair.ike_spis(A);
    pair.seconds(105);
    assert_ne!(pair.ike_spis(A), before);
    assert_eq!(pair.hosts[B].counters().ike_rekeyed, 1);
    // A refuses to answer rekeys: the SA is closed at its limit, and A connects anew.
    pair.rule(B, Select::Request(ExchangeType::CREATE_CHILD_SA), Action::Drop, usize::MAX);
    pair.seconds(300);
    pair.net.rules.clear();
    pair.seconds(60);
    pair.renewing = true;
    pair.assert_healthy();
}

#[test]
fn no_sequence_number_is_used_twice_over_many_rekeys() {
    let mut pair = Plan::new(1).up();
    pair.net.log = Some(Vec::new());
    for turn in 0..10 {
        for _ in 0..5 {
            pair.exchange(0);
        }
        pair.rekey_child(turn % 2, 0);
        pair.millis(30);
    }
    let mut seen = BTreeSet::new();
    for (_, packet) in pair.net.log.take().unwrap() {
        if matches!(packet.kind(), crate::net::Kind::Esp(_)) {
            assert!(
                seen.insert(packet.octets[..8].to_vec()),
                "SPI and sequence number {:x?}",
                &packet.octets[..8]
            );
        }
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn a_reload_without_changes_touches_nothing() {
    let mut pair = Plan::new(2).up();
    let before = (pair.ike_spis(A), pair.child_spis(A));
    let mut numbers = pair.exchange(0).to_vec();
    for host in [A, B] {
        pair.reload(host, |_| ());
    }
    numbers.extend(pair.exchange(1));
    pair.seconds(30);
    pair.assert_none_lost(&numbers);
    assert_eq!(before, (pair.ike_spis(A), pair.child_spis(A)));
    pair.assert_healthy();
}

#[test]
fn a_reload_that_adds_a_child_leaves_the_others() {
    let mut pair = Plan::new(2).up();
    let before = (pair.ike_spis(A), pair.child_spis(A));
    let bigger = Plan::new(3);
    for host in [B, A] {
        let setup = bigger.setup(host);
        pair.reload(host, |old| old.peers = setup.peers);
    }
    pair.children = 3;
    pair.assert_healthy();
    assert_eq!(before.0, pair.ike_spis(A));
    assert_eq!(before.1, pair.child_spis(A)[..2]);
}

#[test]
fn a_reload_that_removes_or_changes_a_child_touches_only_that_one() {
    let mut pair = Plan::new(3).up();
    let before = (pair.ike_spis(A), pair.child_spis(A));
    for host in [A, B] {
        pair.reload(host, |setup| drop(setup.peers[0].ike.children.pop()));
    }
    pair.children = 2;
    pair.seconds(10);
    pair.assert_healthy();
    assert_eq!((before.0, &before.1[..2]), (pair.ike_spis(A), &pair.child_spis(A)[..]));
    for host in [A, B] {
        pair.reload(host, |setup| {
            let child = &mut setup.peers[0].ike.children[1];
            let side = if host == A { &mut child.local } else { &mut child.remote };
            *side = selectors("10.1.1.0/25");
        });
    }
    pair.seconds(30);
    let children = pair.ike_sa(A).children;
    let changed = children.iter().find(|child| child.child == child_name(1)).unwrap();
    assert!(changed.local_ts.is_equivalent_to(&selectors("10.1.1.0/25")));
    assert_eq!(pair.child_spis(A)[0], before.1[0]);
    assert_eq!(pair.ike_spis(A), before.0);
}

#[test]
fn a_reload_that_removes_a_peer_closes_its_tunnel_and_tells_it() {
    let mut pair = Plan::new(1).up();
    let now = pair.clock();
    pair.hosts[A].engine.reconfigure(now, None, Vec::new()).unwrap();
    pair.pump(A);
    pair.seconds(1);
    assert_eq!(pair.hosts[A].ike_down, [DownReason::Reconfigured]);
    assert_eq!(pair.hosts[B].ike_down, [DownReason::DeletedByPeer]);
    assert!(pair.hosts[A].engine.sad().is_empty() && pair.hosts[B].engine.sad().is_empty());
}

#[test]
fn a_reload_with_another_proposal_makes_a_new_ike_sa() {
    let mut pair = Plan::new(1).up();
    let before = pair.ike_spis(A);
    for host in [B, A] {
        pair.reload(host, |setup| setup.peers[0].ike.ike = crate::pair::ike("aes256gcm16-prfsha384-x25519"));
    }
    pair.seconds(60);
    pair.assert_healthy();
    assert_ne!(before, pair.ike_spis(A));
}
