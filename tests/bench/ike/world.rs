//! Who talks to whom: one responder with a configured peer for every initiator, or one pair.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skybridge::crypto::{Secret, SystemRandom};
use skybridge::engine::{Engine, EngineConfig, PeerSettings};
use skybridge::esp::Treatment;
use skybridge::ike::{
    ChildConfig, ChildLifetime, ChildName, Datagram, EndpointSettings, LocalAuth, Now, PeerConfig, PeerName,
    RemoteAddress, RemoteAuth, StartPolicy, Timing, Transmit,
};
use skybridge::pki::issue::{Ca, NewKey, create_ca};
use skybridge::pki::{Identity, IdentityPattern, LocalCertificate, PrivateKey, SignaturePolicy, TrustStore};
use skybridge::policy::{Proposal, SelectorSet};

/// Within the validity of the certificates of `tests/data/pki`.
pub const UNIX: i64 = 1_800_000_000;
/// The replay window that the daemon has by default.
pub const REPLAY_WINDOW: u32 = skybridge::esp::DEFAULT_REPLAY_WINDOW;
pub const RESPONDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The key of all tunnels: it guards made-up traffic of this benchmark alone.
pub const PSK: &str = "a pre-shared key of thirty-two octets";
/// Silence after which the responder probes an initiator.
pub const DPD: Duration = Duration::from_secs(30);

/// How both ends prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    Psk,
    EcdsaP256,
    Rsa2048,
}

impl Auth {
    pub const ALL: [Self; 3] = [Self::Psk, Self::EcdsaP256, Self::Rsa2048];

    pub fn name(self) -> &'static str {
        match self {
            Self::Psk => "PSK",
            Self::EcdsaP256 => "certificate ECDSA P-256",
            Self::Rsa2048 => "certificate RSA-2048",
        }
    }
}

/// Credentials of both ends.
#[derive(Clone)]
pub struct Credentials {
    pub names: [&'static str; 2],
    local: [LocalAuth; 2],
    remote: RemoteAuth,
}

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pki").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn local(certificate: &[u8], key: &[u8]) -> LocalAuth {
    let key = PrivateKey::from_file(key, None).unwrap();
    LocalAuth::Certificate(Arc::new(LocalCertificate::new(certificate, key).unwrap()))
}

fn trusting(anchor: &[u8]) -> RemoteAuth {
    let mut trust = TrustStore::new();
    trust.add_anchors(anchor).unwrap();
    RemoteAuth::Certificate { trust: Arc::new(trust), policy: SignaturePolicy::default() }
}

impl Credentials {
    pub fn new(auth: Auth) -> Self {
        match auth {
            Auth::Psk => {
                let secret = || Secret::from_slice(PSK.as_bytes());
                let local = || LocalAuth::Psk(vec![secret()]);
                Self {
                    names: ["a.example.com", "b.example.com"],
                    local: [local(), local()],
                    remote: RemoteAuth::Psk(vec![secret()]),
                }
            }
            Auth::EcdsaP256 => {
                let mut random = SystemRandom::new().unwrap();
                let root = create_ca("Bench CA", NewKey::EcdsaP256, 3650, UNIX, &mut random).unwrap();
                let ca = Ca::load(&root.certificate, &root.key).unwrap();
                let names = ["a.example.com", "b.example.com"];
                let local = names.map(|name| {
                    let id = Identity::parse(name).unwrap();
                    let issued = ca.issue_endpoint(&[id], NewKey::EcdsaP256, 100, UNIX, &mut random).unwrap();
                    local(issued.certificate.as_bytes(), issued.key.as_bytes())
                });
                Self { names, local, remote: trusting(root.certificate.as_bytes()) }
            }
            Auth::Rsa2048 => {
                let own = || local(&file("rsa.pem"), &file("rsa.key"));
                let names = ["rsa.example.com"; 2];
                Self { names, local: [own(), own()], remote: trusting(&file("rsa-ca.pem")) }
            }
        }
    }
}

/// The initiator's address.
pub fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + u32::try_from(index).unwrap())
}

/// Which initiator has an address.
pub fn index_of(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else { panic!("all addresses are IPv4") };
    (address.to_bits() - Ipv4Addr::new(198, 18, 0, 0).to_bits()) as usize
}

/// The network behind an initiator: 10.x.y.0/24 of 16,384 networks.
pub fn network(index: usize) -> Ipv4Addr {
    let bits = Ipv4Addr::new(10, 0, 0, 0).to_bits() + (u32::try_from(index).unwrap() << 8);
    Ipv4Addr::from_bits(bits)
}

fn selectors(prefix: &str) -> SelectorSet {
    SelectorSet::of_prefixes([prefix.parse().unwrap()])
}

fn peer(
    name: String,
    credentials: &Credentials,
    side: usize,
    remote: RemoteAddress,
    network: Ipv4Addr,
) -> PeerConfig {
    let other = 1 - side;
    let mut peer = PeerConfig::new(
        PeerName::from(name),
        remote,
        Identity::parse(credentials.names[side]).unwrap(),
        IdentityPattern::parse(credentials.names[other]).unwrap(),
        credentials.local[side].clone(),
        credentials.remote.clone(),
    );
    peer.ike = vec![Proposal::parse_ike("aes256gcm16-prfsha384-x25519").unwrap()];
    let (here, there) = ("172.16.0.0/16".to_owned(), format!("{network}/24"));
    let (local, remote) = if side == 0 { (there, here) } else { (here, there) };
    peer.children = vec![ChildConfig {
        name: ChildName::from("lan"),
        local: selectors(&local),
        remote: selectors(&remote),
        esp: vec![Proposal::parse_esp("aes256gcm16-x25519").unwrap()],
        start: if side == 0 { StartPolicy::Connect } else { StartPolicy::Wait },
        lifetime: ChildLifetime::default(),
    }];
    peer
}

fn engine(peers: Vec<PeerConfig>, now: Now) -> Engine {
    let peers = peers
        .into_iter()
        .map(|ike| PeerSettings { ike, treatment: Treatment::default(), outer_mtu: 1500 })
        .collect();
    let config = EngineConfig {
        settings: EndpointSettings::default(),
        peers,
        replay_window: REPLAY_WINDOW,
        epoch: now.mono,
    };
    Engine::new(config, Box::new(SystemRandom::new().unwrap()), now)
}

fn initiator_name(index: usize) -> String {
    format!("site{index}.example.com")
}

/// An initiator that connects at its first timeout and leaves probing to the responder.
pub fn initiator(credentials: &Credentials, index: Option<usize>, now: Now) -> Engine {
    let responder = RemoteAddress::Addresses(vec![IpAddr::V4(RESPONDER)]);
    let mut peer = peer("hub".to_owned(), credentials, 0, responder, network(index.unwrap_or(0)));
    peer.timing = Timing { dpd_delay: None, ..Timing::default() };
    if let Some(index) = index {
        peer.local_id = Identity::parse(&initiator_name(index)).unwrap();
    }
    engine(vec![peer], now)
}

/// An initiator that begins at once with encapsulation, to a responder elsewhere.
pub fn initiator_to(credentials: &Credentials, index: usize, to: Ipv4Addr, now: Now) -> Engine {
    let mut peer =
        peer("hub".to_owned(), credentials, 0, RemoteAddress::Addresses(vec![to.into()]), network(index));
    peer.local_id = Identity::parse(&initiator_name(index)).unwrap();
    peer.start_encapsulated = true;
    engine(vec![peer], now)
}

/// A responder for one initiator.
pub fn responder(credentials: &Credentials, now: Now) -> Engine {
    engine(vec![peer("a".to_owned(), credentials, 1, RemoteAddress::Any, network(0))], now)
}

/// A responder that knows every one of so many initiators by its identity.
pub fn hub(credentials: &Credentials, peers: usize, now: Now) -> Engine {
    let peers = (0..peers)
        .map(|index| {
            let mut peer = peer(format!("site{index}"), credentials, 1, RemoteAddress::Any, network(index));
            peer.remote_id = IdentityPattern::parse(&initiator_name(index)).unwrap();
            peer.timing = Timing { dpd_delay: Some(DPD), ..Timing::default() };
            peer
        })
        .collect();
    engine(peers, now)
}

/// A datagram of initiator `from` to the responder, or the other way round.
pub fn datagram<'a>(transmit: &'a Transmit, initiator: usize, to_responder: bool) -> Datagram<'a> {
    let port = if transmit.encapsulated { 4500 } else { 500 };
    let here = SocketAddr::from((RESPONDER, port));
    let there = SocketAddr::from((address(initiator), port));
    let (local, remote) = if to_responder { (here, there) } else { (there, here) };
    Datagram { local, remote, octets: &transmit.octets, encapsulated: transmit.encapsulated }
}

/// Takes everything that an engine has to say; gives its datagrams.
pub fn drain(engine: &mut Engine) -> Vec<Transmit> {
    let _ = engine.poll_snapshot();
    let transmits = std::iter::from_fn(|| engine.poll_transmit()).collect();
    while engine.poll_event().is_some() {}
    let _ = engine.poll_timeout();
    transmits
}

/// The clock of a measurement: it stands still unless it is moved.
pub fn at(start: Instant, offset: Duration) -> Now {
    Now::new(start + offset, UNIX)
}
