//! Who is there, and where: dead peers, NAT, moving addresses, and everything that may not be believed.

use std::net::SocketAddr;
use std::time::Duration;

use skybridge::ike::{Command, DownReason, StartPolicy};
use skybridge::wire::ike::registry::{ExchangeType, NotifyType};
use skybridge::wire::ike::{Flags, Header, IkeSpi, Message, Notify, Payload};

use crate::net::{Action, Kind, Nat, Packet, Select};
use crate::pair::{A, ADDRESS_A, B, Pair, Plan, inner};

const PUBLIC: &str = "198.51.100.1";
const INSIDE: &str = "10.9.9.9";

/// A behind a port-translating NAT, B on the internet.
fn behind_nat(children: usize) -> Pair {
    let mut plan = Plan::new(children);
    plan.addresses[A] = INSIDE.parse().unwrap();
    let mut pair = plan.build();
    pair.net.nats.push(Nat::new(vec![plan.addresses[A]], PUBLIC.parse().unwrap(), false));
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
    pair
}

fn keepalives(pair: &Pair) -> [u64; 2] {
    [A, B].map(|host| pair.hosts[host].counters().keepalives_sent)
}

#[test]
fn a_silent_peer_is_probed_and_a_dead_one_found_out() {
    let mut pair = Plan::new(1).up();
    pair.seconds(25);
    let probes = pair.hosts[A].counters().dpd_sent + pair.hosts[B].counters().dpd_sent;
    assert!(probes > 0);
    // Both ends' probes fail.
    pair.net.links.iter_mut().for_each(|link| link.up = false);
    pair.seconds(90);
    assert!(pair.hosts[A].ike_down.contains(&DownReason::PeerDead));
    assert!(pair.hosts[B].ike_down.contains(&DownReason::PeerDead));
    assert!(pair.hosts[B].engine.sad().is_empty());
    pair.net.links.iter_mut().for_each(|link| link.up = true);
    pair.seconds(90);
    pair.assert_healthy();
}

#[test]
fn a_peer_that_sends_esp_is_not_probed() {
    let mut pair = Plan::new(1).up();
    pair.exchange(0);
    let before = [A, B].map(|host| pair.hosts[host].counters().dpd_sent);
    for _ in 0..120 {
        pair.exchange(0);
        pair.seconds(1);
    }
    assert_eq!(before, [A, B].map(|host| pair.hosts[host].counters().dpd_sent));
}

#[test]
fn keepalives_go_out_only_from_behind_nat_and_only_when_idle() {
    let mut pair = Plan::new(1).up();
    pair.seconds(300);
    assert_eq!(keepalives(&pair), [0, 0]);
    let mut pair = behind_nat(1);
    // With DPD every 20 s the mapping is kept alive anyway; without it by keepalives.
    pair.net.log = Some(Vec::new());
    pair.seconds(300);
    let idle = keepalives(&pair);
    assert_eq!(idle[B], 0);
    let gaps: Vec<Duration> = pair
        .net
        .log
        .take()
        .unwrap()
        .iter()
        .filter(|(_, packet)| packet.sender == A)
        .map(|(at, _)| *at)
        .collect();
    assert!(gaps.windows(2).all(|two| two[1] - two[0] <= Duration::from_secs(21)), "{gaps:?}");
    let before = keepalives(&pair)[A];
    for _ in 0..100 {
        pair.exchange(0);
        pair.seconds(1);
    }
    assert_eq!(keepalives(&pair)[A], before);
}

#[test]
fn keepalives_keep_a_mapping_without_dead_peer_detection() {
    let mut plan = Plan::new(1).both(|end| end.peer.timing.dpd_delay = None);
    plan.addresses[A] = INSIDE.parse().unwrap();
    let mut pair = plan.build();
    pair.net.nats.push(Nat::new(vec![plan.addresses[A]], PUBLIC.parse().unwrap(), false));
    pair.start();
    pair.seconds(305);
    assert!((13..=15).contains(&keepalives(&pair)[A]), "{:?}", keepalives(&pair));
    assert_eq!(pair.hosts[B].keepalives, keepalives(&pair)[A]);
    assert_eq!(keepalives(&pair)[B], 0);
    pair.assert_healthy();
}

#[test]
fn a_rebound_nat_is_followed_by_the_first_packet_each_way() {
    let mut pair = behind_nat(1);
    let before = pair.ike_spis(A);
    for turn in 0..3 {
        pair.net.nats[0].rebind((turn == 2).then(|| "198.51.100.2".parse().unwrap()));
        let first = pair.send_inner(A, inner(A, 0), inner(B, 0));
        pair.millis(100);
        let back = pair.send_inner(B, inner(B, 0), inner(A, 0));
        pair.seconds(2);
        assert!(pair.delivered(first) && pair.delivered(back), "{turn}");
    }
    assert_eq!(pair.ike_spis(A), before);
    assert!(pair.hosts[B].counters().peer_moved >= 3);
    pair.assert_healthy();
}

#[test]
fn a_rebound_nat_is_followed_by_ike_alone() {
    let mut pair = behind_nat(1);
    pair.net.nats[0].rebind(None);
    pair.rekey_child(A, 0);
    pair.seconds(1);
    assert!(pair.probe_traffic().is_none());
    pair.assert_healthy();
}

#[test]
fn a_replayed_packet_from_elsewhere_does_not_move_the_peer() {
    let mut pair = behind_nat(1);
    pair.net.log = Some(Vec::new());
    pair.exchange(0);
    pair.rekey_child(A, 0);
    pair.seconds(10);
    let thief: SocketAddr = "198.51.100.66:4500".parse().unwrap();
    let log = pair.net.log.take().unwrap();
    for (_, mut packet) in log.into_iter().filter(|(_, packet)| packet.sender == A) {
        packet.src = thief;
        let at = pair.now;
        pair.net.inject(at, packet);
    }
    pair.millis(100);
    assert_ne!(pair.ike_sa(B).remote, thief);
    assert_eq!(pair.hosts[B].counters().peer_moved, 0);
    assert!(pair.probe_traffic().is_none());
    pair.assert_healthy();
}

#[test]
fn a_keepalive_or_junk_from_elsewhere_does_not_move_the_peer() {
    let mut pair = behind_nat(1);
    let esp = pair.child_spis(B)[0].0.to_be_bytes().to_vec();
    for octets in [vec![0xff], [esp, vec![0xee; 60]].concat(), vec![0; 40]] {
        let packet = Packet {
            sender: A,
            src: "198.51.100.66:4500".parse().unwrap(),
            dst: "203.0.113.1:4500".parse().unwrap(),
            octets,
            encapsulated: true,
        };
        let at = pair.now;
        pair.net.inject(at, packet);
    }
    pair.millis(100);
    assert_eq!(pair.hosts[B].counters().peer_moved, 0);
    pair.assert_healthy();
}

#[test]
fn two_peers_behind_one_nat_do_not_disturb_each_other() {
    // C is a second office of the same kind, behind the same NAT.
    let mut plan = Plan::new(1);
    plan.addresses[A] = INSIDE.parse().unwrap();
    let mut third = plan.setup(A);
    third.seed = 77;
    third.peers[0].ike.local_id = skybridge::pki::Identity::parse("c.test").unwrap();
    third.peers[0].ike.children[0].local = crate::pair::selectors("10.3.0.0/24");
    let mut second = plan.setup(B);
    let mut peer = second.peers[0].clone();
    peer.ike.name = skybridge::ike::PeerName::from("c");
    peer.ike.remote_id = skybridge::pki::IdentityPattern::parse("c.test").unwrap();
    peer.ike.children[0].remote = crate::pair::selectors("10.3.0.0/24");
    second.peers.push(peer);
    let c = "10.9.9.10".parse().unwrap();
    let hosts =
        vec![("A", plan.addresses[A], plan.setup(A)), ("B", plan.addresses[B], second), ("C", c, third)];
    let mut sim = crate::sim::Sim::new(1, hosts);
    sim.net.nats.push(Nat::new(vec![plan.addresses[A], c], PUBLIC.parse().unwrap(), false));
    sim.start();
    sim.seconds(5);
    let check = |sim: &mut crate::sim::Sim| {
        let ours = ["10.1.0.1", "10.3.0.1"].map(|address| address.parse().unwrap());
        let there = "10.2.0.1".parse().unwrap();
        let numbers = [
            sim.send_inner(0, ours[0], there),
            sim.send_inner(2, ours[1], there),
            sim.send_inner(1, there, ours[0]),
            sim.send_inner(1, there, ours[1]),
        ];
        sim.seconds(1);
        assert!(sim.hosts[1].delivered.is_superset(&numbers[..2].iter().copied().collect()));
        assert!(sim.hosts[0].delivered.contains(&numbers[2]));
        assert!(sim.hosts[2].delivered.contains(&numbers[3]));
    };
    check(&mut sim);
    sim.net.nats[0].rebind(None);
    sim.seconds(60);
    check(&mut sim);
}

#[test]
fn a_responder_behind_a_one_to_one_nat_is_reached() {
    let mut plan = Plan::new(2);
    plan.addresses = [INSIDE.parse().unwrap(), "172.31.0.5".parse().unwrap()];
    let mut pair = plan.build();
    pair.net.nats.push(Nat::new(vec![plan.addresses[A]], PUBLIC.parse().unwrap(), false));
    pair.net.nats.push(Nat::new(vec![plan.addresses[B]], "203.0.113.1".parse().unwrap(), true));
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
    pair.rekey_ike(B);
    pair.rekey_child(B, 1);
    pair.seconds(5);
    pair.assert_healthy();
}

#[test]
fn our_own_address_changing_needs_no_person_and_no_new_ike_sa() {
    let mut pair = Plan::new(1).up();
    let before = pair.ike_spis(A);
    pair.hosts[A].address = "192.0.2.99".parse().unwrap();
    pair.command(A, Command::LocalAddressesChanged { addresses: vec!["192.0.2.99".parse().unwrap()] })
        .unwrap();
    pair.seconds(3);
    assert!(pair.probe_traffic().is_none(), "back within seconds");
    assert_eq!(pair.ike_spis(A), before);
    pair.assert_healthy();
}

#[test]
fn the_responders_own_address_changing_is_survived_too() {
    // A knows both addresses; B's NAT mapping cannot help, so A has to find it again.
    let mut pair = Plan::new(1)
        .with(A, |end| {
            let addresses = ["203.0.113.1", "203.0.113.2"].map(|address| address.parse().unwrap()).to_vec();
            end.peer.remote = skybridge::ike::RemoteAddress::Addresses(addresses);
        })
        .up();
    pair.hosts[B].address = "203.0.113.2".parse().unwrap();
    pair.command(B, Command::LocalAddressesChanged { addresses: vec!["203.0.113.2".parse().unwrap()] })
        .unwrap();
    pair.seconds(150);
    pair.assert_healthy();
}

/// An unprotected message that claims to be about the pair's IKE SA.
fn forged(
    pair: &Pair,
    to: usize,
    kind: NotifyType,
    response: bool,
    exchange: ExchangeType,
    id: u32,
) -> Packet {
    let (initiator, responder) = pair.ike_spis(A);
    let initiator_sends = pair.ike_sa(1 - to).initiator;
    let flags = Flags { initiator: initiator_sends, version: false, response };
    let header = Header::new(IkeSpi(initiator), IkeSpi(responder), exchange, flags, id);
    let octets = Message { header, payloads: vec![Payload::Notify(Notify::new(kind, Vec::new()))] }.encode();
    let octets = [&[0; 4][..], &octets].concat();
    let (src, dst) = (pair.ike_sa(to).remote, SocketAddr::new(pair.hosts[to].address, 4500));
    Packet { sender: 1 - to, src, dst, octets, encapsulated: true }
}

#[test]
fn unauthenticated_notifies_kill_nothing_and_cause_few_probes() {
    let mut pair = Plan::new(1).up();
    let before = (pair.ike_spis(A), pair.child_spis(A));
    let kinds = [
        NotifyType::INVALID_IKE_SPI,
        NotifyType::INVALID_SPI,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::INVALID_SYNTAX,
    ];
    for _ in 0..50 {
        for kind in kinds {
            for to in [A, B] {
                for response in [false, true] {
                    for exchange in
                        [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA, ExchangeType::IKE_AUTH]
                    {
                        let packet = forged(&pair, to, kind, response, exchange, 2);
                        let at = pair.now;
                        pair.net.inject(at, packet);
                    }
                }
            }
        }
        pair.millis(100);
    }
    let probes = pair.hosts[A].counters().hint_probes + pair.hosts[B].counters().hint_probes;
    assert!(probes <= 4, "{probes} probes in five seconds");
    assert!(pair.hosts[A].counters().hints_limited > 0);
    assert_eq!(before, (pair.ike_spis(A), pair.child_spis(A)));
    pair.assert_healthy();
}

#[test]
fn forged_answers_do_not_stop_a_start() {
    let mut pair = Plan::new(1).build();
    pair.hold(B, Select::Response(ExchangeType::IKE_SA_INIT));
    pair.net.log = Some(Vec::new());
    pair.start();
    pair.millis(30);
    let request = pair.net.log.as_ref().unwrap()[0].1.clone();
    let spi = Header::peek(&request.octets).unwrap().initiator_spi;
    for kind in [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX, NotifyType::INVALID_IKE_SPI] {
        let flags = Flags { initiator: false, version: false, response: true };
        let header = Header::new(spi, IkeSpi([0; 8]), ExchangeType::IKE_SA_INIT, flags, 0);
        let octets =
            Message { header, payloads: vec![Payload::Notify(Notify::new(kind, Vec::new()))] }.encode();
        let packet = Packet { sender: B, src: request.dst, dst: request.src, octets, encapsulated: false };
        let at = pair.now;
        pair.net.inject(at, packet);
    }
    pair.millis(10);
    pair.release();
    pair.seconds(3);
    assert!(pair.probe_traffic().is_none());
}

#[test]
fn altered_messages_are_counted_and_change_nothing() {
    let mut pair = Plan::new(1).up();
    pair.net.log = Some(Vec::new());
    let before = pair.ike_spis(A);
    pair.hold(A, Select::Any);
    pair.rekey_child(A, 0);
    let (_, packet) = pair.net.log.take().unwrap().remove(0);
    for at in 4..packet.octets.len() {
        let mut altered = packet.clone();
        altered.octets[at] ^= 0x80;
        let now = pair.now;
        pair.net.inject(now, altered);
        let mut short = packet.clone();
        short.octets.truncate(at);
        pair.net.inject(now, short);
    }
    pair.millis(100);
    let counters = pair.hosts[B].counters();
    assert!(counters.bad_integrity > 50 && counters.malformed > 50, "{counters:?}");
    pair.release();
    pair.seconds(10);
    assert_eq!(pair.ike_spis(A), before);
    pair.assert_healthy();
}

#[test]
fn a_crash_of_either_end_in_either_role_is_recovered_from_by_whoever_connects() {
    for crashed in [A, B] {
        for connecting in [A, B] {
            let other = 1 - connecting;
            let mut pair = Plan::new(2)
                .start_policy(other, StartPolicy::Wait)
                .start_policy(connecting, StartPolicy::Connect)
                .up();
            // Each end in each role: a rekey by the other end turns them round.
            pair.rekey_ike(other);
            pair.seconds(40);
            pair.crash(crashed);
            pair.seconds(75);
            assert!(pair.probe_traffic().is_none(), "crashed {crashed} connecting {connecting}");
            pair.assert_healthy();
        }
    }
}

#[test]
fn a_crash_in_the_middle_of_every_exchange_is_recovered_from() {
    for crashed in [A, B] {
        for wait in [0, 10, 25, 30, 45, 65, 85] {
            let mut pair = Plan::new(2).build();
            pair.start();
            pair.millis(wait);
            pair.crash(crashed);
            pair.seconds(60);
            pair.assert_healthy();
            pair.rekey_ike(A);
            pair.rekey_child(B, 0);
            pair.millis(wait);
            pair.crash(crashed);
            pair.seconds(90);
            pair.assert_healthy();
        }
    }
}

#[test]
fn esp_of_an_unknown_spi_reveals_a_restarted_peer_sooner_than_dpd() {
    let mut pair = Plan::new(1).up();
    pair.crash(B);
    // A sends into the void; B cannot read it and says nothing that could be believed.
    for _ in 0..60 {
        pair.send_inner(A, inner(A, 0), inner(B, 0));
        pair.millis(1000);
    }
    pair.seconds(5);
    assert!(pair.probe_traffic().is_none());
}

#[test]
fn a_link_that_flaps_costs_nothing_that_stays() {
    let mut pair = Plan::new(2).up();
    let before = pair.ike_spis(A);
    for _ in 0..20 {
        pair.net.links.iter_mut().for_each(|link| link.up = false);
        pair.seconds(8);
        pair.net.links.iter_mut().for_each(|link| link.up = true);
        pair.seconds(12);
    }
    assert_eq!(pair.ike_spis(A), before, "eight seconds are no reason to give up");
    pair.assert_healthy();
}

#[test]
fn a_peer_not_behind_nat_is_not_followed_elsewhere() {
    // Both ends see their true addresses; the wrong hash that forces encapsulation does not count as NAT at the
    // side that made it.
    let pair = Plan::new(1).up();
    assert!(!pair.ike_sa(A).local_behind_nat && !pair.ike_sa(B).local_behind_nat);
    assert_eq!(pair.ike_sa(B).remote.ip().to_string(), ADDRESS_A);
}

#[test]
fn a_delayed_duplicate_of_an_old_request_is_not_answered_outside_the_window() {
    let mut pair = Plan::new(1).up();
    pair.net.log = Some(Vec::new());
    pair.rekey_child(A, 0);
    pair.seconds(10);
    pair.rekey_child(A, 0);
    pair.seconds(10);
    let log = pair.net.log.take().unwrap();
    let old = log
        .iter()
        .find(|(_, packet)| matches!(packet.kind(), Kind::Ike { exchange: 36, response: false, .. }))
        .unwrap();
    let before = pair.hosts[B].counters();
    let at = pair.now;
    pair.net.inject(at, old.1.clone());
    pair.net.log = Some(Vec::new());
    pair.millis(100);
    assert_eq!(pair.hosts[B].counters().out_of_window, before.out_of_window + 1);
    assert!(pair.net.log.take().unwrap().is_empty());
    pair.rule(A, Select::Any, Action::Duplicate(Duration::from_secs(3)), usize::MAX);
    pair.rekey_child(A, 0);
    pair.seconds(30);
    pair.net.rules.clear();
    pair.assert_healthy();
}
