//! Ports and NATs that more than one peer has to do with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pair::*;
use crate::ike::*;
use crate::wire::ike::registry::ExchangeType;

const NAT: &str = "203.0.113.1";

/// Two peers behind one NAT and the responder that they connect to.
struct Three {
    now: Now,
    behind: [(Node, u16); 2],
    hub: Node,
}

impl Three {
    fn new() -> Self {
        let initiator = |index: usize, name: &str, local: &str| {
            let mut config = peer("hub", B, name, "b.example.com");
            config.children = vec![child("lan", local, "10.9.0.0/16")];
            config.children[0].start = StartPolicy::Connect;
            node(A, index as u64 + 1, EndpointSettings::default(), vec![config])
        };
        let behind = [
            (initiator(0, "one.example.com", "10.1.0.0/16"), 20_000),
            (initiator(1, "two.example.com", "10.2.0.0/16"), 30_000),
        ];
        let configured = [("one", "10.1.0.0/16"), ("two", "10.2.0.0/16")].map(|(name, remote)| {
            let mut config = peer(name, NAT, "b.example.com", &format!("{name}.example.com"));
            config.remote = RemoteAddress::Any;
            config.children = vec![child("lan", "10.9.0.0/16", remote)];
            config
        });
        let hub = node(B, 9, EndpointSettings::default(), configured.to_vec());
        Self { now: Now::new(Instant::now(), 1_790_000_000), behind, hub }
    }

    /// Hands everything over until nobody has anything to say.
    fn exchange(&mut self) {
        let now = self.now;
        loop {
            let mut quiet = true;
            for (node, port) in &mut self.behind {
                node.endpoint.handle_timeout(now);
                for sent in node.drain() {
                    quiet = false;
                    let remote = SocketAddr::new(NAT.parse().unwrap(), *port + u16::from(!sent.encapsulated));
                    let local =
                        SocketAddr::new(B.parse().unwrap(), if sent.encapsulated { 4500 } else { 500 });
                    let (octets, encapsulated) = (&sent.octets[..], sent.encapsulated);
                    self.hub.endpoint.handle_datagram(now, Datagram { local, remote, octets, encapsulated });
                }
            }
            for sent in self.hub.drain() {
                quiet = false;
                let to = self.behind.iter_mut().find(|(_, port)| sent.remote.port() & !1 == *port);
                let (node, _) = to.expect("to one of the two");
                let port = if sent.encapsulated { 4500 } else { 500 };
                let local = SocketAddr::new(A.parse().unwrap(), port);
                let remote = SocketAddr::new(B.parse().unwrap(), port);
                let (octets, encapsulated) = (&sent.octets[..], sent.encapsulated);
                node.endpoint.handle_datagram(now, Datagram { local, remote, octets, encapsulated });
            }
            if quiet {
                break;
            }
        }
    }
}

#[test]
fn two_peers_behind_one_nat_are_told_apart_by_their_spis() {
    let mut three = Three::new();
    three.exchange();
    assert_eq!(three.hub.children.len(), 2);
    let ports = |hub: &Node| {
        let mut ports: Vec<(String, u16)> =
            hub.children.values().map(|child| (child.peer.to_string(), child.remote.port())).collect();
        ports.sort();
        ports
    };
    assert_eq!(ports(&three.hub), [("one".to_owned(), 20_000), ("two".to_owned(), 30_000)]);
    // One of them rekeys, and goes: the other is not touched.
    let other = three.behind[1].0.children.keys().next().copied();
    let now = three.now;
    for command in [
        Command::RekeyChild { peer: "hub".into(), child: "lan".into() },
        Command::RekeyIke { peer: "hub".into() },
        Command::Down { peer: "hub".into(), child: None },
    ] {
        three.behind[0].0.endpoint.handle_command(now, command).unwrap();
        three.exchange();
    }
    assert_eq!(three.behind[1].0.children.keys().next().copied(), other);
    assert_eq!(ports(&three.hub), [("two".to_owned(), 30_000)]);
}

#[test]
fn a_start_on_4500_never_uses_500() {
    let (mut a, b) = configs();
    a.start_encapsulated = true;
    let mut pair = Pair::new(a, b);
    pair.filter = Box::new(|flight| flight.transmit.encapsulated.then_some(LATENCY));
    pair.run(Duration::from_secs(2));
    pair.assert_converged(1);
    assert!(
        pair.a.sent.iter().chain(&pair.b.sent).all(|sent| sent.encapsulated && sent.remote.port() == 4500)
    );
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let (a, b) = configs();
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(5));
    let (_, flight) = pair.link.pop_first().unwrap();
    assert!(flight.is(ExchangeType::IKE_SA_INIT, false));
    pair.b.address = "198.51.100.77".parse().unwrap();
    pair.deliver(&flight);
    let answer = pair.b.sent.last().unwrap();
    assert_eq!(answer.local, Some("198.51.100.77".parse().unwrap()));
    assert_eq!(answer.remote, flight.from);
}
