//! What an authenticated or half-authenticated peer may send: the fuzzer's octets are sealed with the IKE
//! SA's real keys, so that they reach everything behind the integrity check.
//!
//! The first octet chooses whom they go to, how far the IKE SA is and what that end is doing; then come
//! messages: an octet of choices, the first payload's type, two octets of length, the payload chain.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use skybridge::crypto::{CipherKey, CryptoError, Group, KeyExchange, Random, Secret, exchange};
use skybridge::ike::{
    ChildConfig, ChildLifetime, Command, Datagram, Endpoint, EndpointSettings, Event, KeyLog, LocalAuth, Now,
    PeerConfig, RemoteAddress, RemoteAuth, StartPolicy, TransmitKind,
};
use skybridge::pki::{Identity, IdentityPattern};
use skybridge::policy::{Proposal, SelectorSet};
use skybridge::wire::ike::registry::{ExchangeType, PayloadType};
use skybridge::wire::ike::{Flags, Header, IkeSpi, SealLayout, Sealable};

const ADDRESSES: [&str; 2] = ["192.0.2.1", "198.51.100.1"];
/// Far more than any input can cause rightly.
const MANY: usize = 500;

struct Script(u64);

impl Script {
    fn octets(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (self.0 >> 56) as u8;
        }
    }
}

impl Random for Script {
    fn fill(&mut self, out: &mut [u8]) {
        self.octets(out);
    }

    fn key_exchange(&mut self, group: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
        exchange::generate(group, &mut |out: &mut [u8]| self.octets(out))
    }
}

/// Both keys of an IKE SA, initiator's first.
struct Keys {
    spis: [IkeSpi; 2],
    ciphers: [CipherKey; 2],
}

struct Node {
    endpoint: Endpoint,
    address: SocketAddr,
    keys: Option<Keys>,
    children: BTreeSet<u64>,
    /// The last request it sent.
    request: Option<u32>,
}

impl Node {
    fn new(side: usize) -> Self {
        let names = ["a.example.com", "b.example.com"];
        let key = || vec![Secret::from_slice(b"a key that only the fuzzer knows")];
        let mut peer = PeerConfig::new(
            "peer".into(),
            RemoteAddress::Addresses(vec![ADDRESSES[1 - side].parse().expect("an address")]),
            Identity::from_fqdn(names[side]),
            IdentityPattern::Exact(Identity::from_fqdn(names[1 - side])),
            LocalAuth::Psk(key()),
            RemoteAuth::Psk(key()),
        );
        peer.ike = vec![Proposal::parse_ike("aes256gcm16-prfsha384-x25519").expect("a proposal")];
        let nets = ["10.1.0.0/16", "10.2.0.0/16"].map(|net| {
            SelectorSet::of_prefixes([
                net.parse().expect("a network"),
                "fd00::/64".parse().expect("a network"),
            ])
        });
        peer.children = vec![ChildConfig {
            name: "lan".into(),
            local: nets[side].clone(),
            remote: nets[1 - side].clone(),
            esp: vec![Proposal::parse_esp("aes256gcm16-x25519").expect("a proposal")],
            start: if side == 0 { StartPolicy::Connect } else { StartPolicy::Wait },
            lifetime: ChildLifetime::default(),
        }];
        let settings = EndpointSettings { key_log: true, ..EndpointSettings::default() };
        Self {
            endpoint: Endpoint::new(settings, vec![peer], Box::new(Script(side as u64 + 1))),
            address: SocketAddr::new(ADDRESSES[side].parse().expect("an address"), 4500),
            keys: None,
            children: BTreeSet::new(),
            request: None,
        }
    }

    /// Takes everything out; gives the IKE messages.
    fn drain(&mut self) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if transmit.kind == TransmitKind::Ike {
                let header = Header::peek(&transmit.octets).expect("what we send has a header");
                if !header.flags.response {
                    self.request = Some(header.message_id);
                }
                out.push((transmit.octets, transmit.encapsulated));
                assert!(out.len() < MANY, "messages without end");
            }
        }
        let mut events = 0;
        while let Some(event) = self.endpoint.poll_event() {
            events += 1;
            assert!(events < MANY, "events without end");
            match event {
                Event::KeyLog(KeyLog::Ike {
                    initiator_spi,
                    responder_spi,
                    sk_ei,
                    sk_er,
                    sk_ai,
                    sk_ar,
                    suite,
                }) if self.keys.is_none() => {
                    let cipher = |key: &Secret, integrity: &Secret| {
                        CipherKey::new(suite.cipher, suite.integrity, key.expose(), integrity.expose())
                            .expect("the suite's own keys")
                    };
                    self.keys = Some(Keys {
                        spis: [IkeSpi(initiator_spi), IkeSpi(responder_spi)],
                        ciphers: [cipher(&sk_ei, &sk_ai), cipher(&sk_er, &sk_ar)],
                    });
                }
                Event::ChildInstalled(install) => {
                    assert!(self.children.insert(install.id.0), "installed twice")
                }
                Event::ChildRemoved { child, .. } => {
                    assert!(self.children.remove(&child.0), "removed and never installed");
                }
                Event::Refused { reason, .. } => {
                    assert!(!reason.chars().any(|c| c.is_control() && c != '\n'), "{reason:?}");
                }
                _ => {}
            }
        }
        out
    }

    fn take(
        &mut self,
        now: Now,
        from: SocketAddr,
        octets: &[u8],
        encapsulated: bool,
    ) -> Vec<(Vec<u8>, bool)> {
        let port = if encapsulated { 4500 } else { 500 };
        let at = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        let datagram = Datagram { local: at(self.address), remote: at(from), octets, encapsulated };
        self.endpoint.handle_datagram(now, datagram);
        self.drain()
    }

    fn later(&mut self, now: &mut Now) {
        if let Some((at, _)) = self.endpoint.poll_timeout() {
            now.unix +=
                i64::try_from(at.saturating_duration_since(now.mono).as_secs()).expect("not that late");
            now.mono = now.mono.max(at);
            self.endpoint.handle_timeout(*now);
        }
    }
}

/// Both ends, after so many messages between them.
fn pair(now: Now, messages: usize) -> [Node; 2] {
    let mut nodes = [Node::new(0), Node::new(1)];
    nodes[0].endpoint.handle_timeout(now);
    let mut waiting = nodes[0].drain();
    for turn in 0..messages {
        let to = (turn + 1) % 2;
        let from = nodes[1 - to].address;
        waiting = waiting
            .iter()
            .flat_map(|(octets, encapsulated)| nodes[to].take(now, from, octets, *encapsulated))
            .collect();
    }
    nodes
}

fuzz_target!(|octets: &[u8]| {
    let [choice, messages @ ..] = octets else { return };
    let mut now = Now::new(Instant::now(), 1_800_000_000);
    let side = usize::from(choice & 1);
    let stage = choice >> 1 & 1;
    // IKE_SA_INIT and its response; with stage 1, IKE_AUTH and its response too.
    let mut nodes = pair(now, if stage == 0 { 2 } else { 4 });
    let keys = nodes[1].keys.take().expect("keys after IKE_SA_INIT");
    assert!(stage == 0 || nodes.iter().all(|node| node.children.len() == 1), "a sound tunnel to start with");
    let from = nodes[1 - side].address;
    let node = &mut nodes[side];
    let command = match choice >> 2 & 3 {
        1 => Some(Command::RekeyIke { peer: "peer".into() }),
        2 => Some(Command::RekeyChild { peer: "peer".into(), child: "lan".into() }),
        3 => Some(Command::Down { peer: "peer".into(), child: Some("lan".into()) }),
        _ => None,
    };
    if let Some(command) = command {
        let _ = node.endpoint.handle_command(now, command);
        node.drain();
    }
    // The sender is the other end: its next request, as far as the exchange has come.
    let mut next = if side == 0 { 0 } else { 1 + u32::from(stage) };
    let mut rest = messages;
    while let [flags, first, high, low, more @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (body, more) = more.split_at(len);
        rest = more;
        let exchange = match flags & 3 {
            0 => ExchangeType::IKE_AUTH,
            1 => ExchangeType::CREATE_CHILD_SA,
            2 => ExchangeType::INFORMATIONAL,
            _ => ExchangeType::IKE_SA_INIT,
        };
        let response = flags & 4 != 0;
        let message_id = if response {
            node.request.unwrap_or(0)
        } else if flags & 8 != 0 {
            next.saturating_sub(1)
        } else {
            next += 1;
            next - 1
        };
        let header = Header::new(
            keys.spis[0],
            keys.spis[1],
            exchange,
            Flags { initiator: side == 1, version: false, response },
            message_id,
        );
        let pieces: Vec<(&[u8], Option<(u16, u16)>)> = if flags & 16 != 0 {
            let (one, two) = body.split_at(body.len() / 2);
            vec![(one, Some((1, 2))), (two, Some((2, 2)))]
        } else {
            vec![(body, None)]
        };
        for (piece, fragment) in pieces {
            let sealed = seal(&keys.ciphers[1 - side], &header, PayloadType(*first), piece, fragment);
            node.take(now, from, &sealed, true);
        }
        if flags & 32 != 0 {
            node.later(&mut now);
            node.drain();
        }
        assert!(node.endpoint.sa_count() < 64, "SAs without end");
    }
    for _ in 0..8 {
        node.later(&mut now);
        node.drain();
    }
    let _ = (node.endpoint.status(now), node.endpoint.counters());
    now.mono += Duration::from_secs(1);
    let _ = node.endpoint.handle_command(now, Command::Shutdown);
    node.drain();
});

fn seal(
    key: &CipherKey,
    header: &Header,
    first: PayloadType,
    chain: &[u8],
    fragment: Option<(u16, u16)>,
) -> Vec<u8> {
    let layout = SealLayout { iv_len: key.iv_len(), icv_len: key.icv_len(), block_len: key.block_len() };
    let mut message = Sealable::new(header, &[], first, chain, fragment, layout);
    let parts = message.parts();
    parts.iv.fill(0x5a);
    key.seal(parts.iv, parts.aad, &[], parts.data, parts.icv).expect("a layout of the key's own");
    message.into_octets()
}
