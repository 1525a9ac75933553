//! What single steps of the data path cost: seal and open beside the bare AEAD, trains, the replay window,
//! the lookups, and the choice of endpoints. `cargo bench --bench micro`, with a part of a name behind `--` to pick some.
//!
//! First comes a table of what ESP adds to the AEAD: both in turn, train by train, the best of many each, so
//! that other load on the machine shows in neither.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    hint::black_box,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use skybridge::{
    cluster::{
        model::{
            Endpoint, Inventory, Protocol, Service, ServiceId, ServiceKind, ServicePort, Slice, SlicePort,
        },
        select::{self, Scope},
    },
    crypto::{DirectionKeys, EspSuite, Secret},
    dataplane::{
        batch::{Offload, PartialChecksum, Segmentation},
        coalesce::Coalescer,
        device::{Offers, TUN_HEADROOM},
        segment::Segments,
    },
    esp::{
        ChildId, FlowCache, InboundConfig, InboundSa, Limits, OpenedTrain, OutboundConfig, OutboundSa, Path,
        PathState, ReplayWindow, SaSelectors, Snapshot, SpdAction, SpdEntry, Treatment,
    },
    policy::{SelectorSet, TrafficSelector},
    wire::ip::{Ecn, InnerPacket, checksum},
};

/// One suite for each engine behind the AEADs and CBC.
const SUITES: [&str; 6] =
    ["aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes192gcm16", "aes128-sha256", "aes256-sha512"];
const BARE: [(&str, &aead::Algorithm); 3] = [
    ("aes128gcm16", &aead::AES_128_GCM),
    ("aes256gcm16", &aead::AES_256_GCM),
    ("chacha20poly1305", &aead::CHACHA20_POLY1305),
];
/// 1406 and 1418 are what an outer packet of 1500 octets over IPv6 can hold.
const LENGTHS: [usize; 6] = [64, 512, 1_400, 1_406, 1_418, 1_438];
const TRAIN: usize = 44;
const ENTRIES: [usize; 3] = [1, 100, 10_000];

fn suite(name: &str) -> EspSuite {
    let (cipher, integrity) =
        name.split_once('-').map_or((name, None), |(cipher, rest)| (cipher, Some(rest)));
    EspSuite {
        cipher: cipher.parse().unwrap(),
        integrity: integrity.map(|integrity| integrity.parse().unwrap()),
        group: None,
        esn: true,
    }
}

fn keys(suite: &EspSuite) -> DirectionKeys {
    let octets = |len: usize, from: u8| (0..len).map(|n| from.wrapping_add(n as u8)).collect::<Vec<_>>();
    DirectionKeys {
        encryption: Secret::from_slice(&octets(suite.cipher.key_len(), 0x31)),
        integrity: Secret::from_slice(&octets(suite.integrity.map_or(0, |it| it.key_len()), 0x77)),
    }
}

fn path() -> Arc<Path> {
    Path::new(PathState { local: None, remote: "192.0.2.2:4500".parse().unwrap(), outer_mtu: 1_500 })
}

fn set(selectors: &[&str]) -> SelectorSet {
    SelectorSet::new(selectors.iter().map(|selector| TrafficSelector::parse(selector).unwrap()))
}

fn everything() -> SaSelectors {
    let all = || set(&["0.0.0.0/0", "::/0"]);
    SaSelectors { local: all(), remote: all() }
}

fn outbound(suite: EspSuite, spi: u32) -> OutboundSa {
    OutboundSa::new(OutboundConfig {
        child: ChildId(1),
        spi,
        suite,
        keys: &keys(&suite),
        path: path(),
        limits: Limits::default(),
        treatment: Treatment::default(),
    })
    .unwrap()
}

fn inbound(suite: EspSuite, spi: u32) -> InboundSa {
    InboundSa::new(InboundConfig {
        child: ChildId(1),
        spi,
        suite,
        keys: &keys(&suite),
        path: path(),
        limits: Limits::default(),
        selectors: everything(),
        replay_window: 8_192,
        treatment: Treatment::default(),
    })
    .unwrap()
}

/// A UDP packet of `len` octets between two hosts numbered `host`.
fn packet(host: u32, len: usize) -> Vec<u8> {
    let [_, a, b, c] = host.to_be_bytes();
    let mut packet = vec![0; len];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 1, 20, a, b, c]);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[20..24].copy_from_slice(&[0x30, 0, 0x14, 0x51]);
    packet[24..26].copy_from_slice(&((len - 20) as u16).to_be_bytes());
    checksum::fill_ipv4_header(&mut packet);
    checksum::fill_transport(&mut packet);
    packet
}

/// Buffers one behind the other in one allocation, as a train lies.
fn train(len: usize) -> Vec<u8> {
    vec![0; len * TRAIN]
}

fn bare(c: &mut Criterion) {
    for (name, algorithm) in BARE {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()]).unwrap());
        for (direction, opens) in [("seal", false), ("open", true)] {
            let mut group = c.benchmark_group(format!("{direction}/{name}/bare"));
            for inner in LENGTHS {
                let len = (inner + 2).next_multiple_of(4);
                let mut buffers = train(len);
                group.throughput(Throughput::Bytes(inner as u64));
                group.bench_function(BenchmarkId::from_parameter(inner), |b| {
                    b.iter_custom(|rounds| {
                        let mut spent = Duration::ZERO;
                        let mut left = rounds;
                        while left > 0 {
                            let now = left.min(TRAIN as u64) as usize;
                            let mut tags = [[0; 16]; TRAIN];
                            let sealing = Instant::now();
                            for (data, tag) in buffers.chunks_exact_mut(len).zip(&mut tags).take(now) {
                                let nonce = Nonce::assume_unique_for_key([1; 12]);
                                let sealed =
                                    key.seal_in_place_separate_tag(nonce, Aad::from([3; 12]), data).unwrap();
                                tag.copy_from_slice(sealed.as_ref());
                            }
                            let sealing = sealing.elapsed();
                            let opening = Instant::now();
                            if opens {
                                for (data, tag) in buffers.chunks_exact_mut(len).zip(&tags).take(now) {
                                    let nonce = Nonce::assume_unique_for_key([1; 12]);
                                    let aad = Aad::from([3; 12]);
                                    key.open_in_place_separate_tag(nonce, aad, (*tag).into(), data, 0..)
                                        .unwrap();
                                }
                            }
                            spent += if opens { opening.elapsed() } else { sealing };
                            left -= now as u64;
                        }
                        spent
                    });
                });
            }
        }
    }
}

/// Seals `count` packets one behind the other; gives how many octets they take.
fn seal_train(sa: &OutboundSa, inner: &[u8], count: usize, copy: bool, out: &mut [u8]) -> usize {
    let sealed = sa.sealed_len(inner.len());
    let octets = (count * inner.len()) as u64;
    let sequences = sa.reserve(count as u64, octets).unwrap().sequences;
    for (sequence, room) in sequences.zip(out.chunks_exact_mut(sealed)) {
        let write = |room: &mut [u8]| {
            if copy {
                room.copy_from_slice(inner);
            }
        };
        sa.seal_with(sequence, 4, inner.len(), &[9; 16], room, write).unwrap();
    }
    sa.count_sealed(count as u64, octets, 1);
    sealed * count
}

fn seal(c: &mut Criterion) {
    for name in SUITES {
        let sa = outbound(suite(name), 1 << 20);
        let mut group = c.benchmark_group(format!("seal/{name}/esp"));
        for len in LENGTHS {
            let inner = packet(1, len);
            let mut buffers = train(sa.sealed_len(len));
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                b.iter_custom(|rounds| {
                    let start = Instant::now();
                    let mut left = rounds;
                    while left > 0 {
                        let now = left.min(TRAIN as u64) as usize;
                        black_box(seal_train(&sa, &inner, now, false, &mut buffers));
                        left -= now as u64;
                    }
                    start.elapsed()
                });
            });
        }
    }
}

/// Opens what was sealed outside of the measured time.
fn open(c: &mut Criterion) {
    for name in SUITES {
        for (kind, trains) in [("single", false), ("esp", true)] {
            let mut group = c.benchmark_group(format!("open/{name}/{kind}"));
            for len in LENGTHS {
                let (out, into) = (outbound(suite(name), 1 << 20), inbound(suite(name), 1 << 20));
                let inner = packet(1, len);
                let sealed = out.sealed_len(len);
                let mut buffers = train(sealed);
                let mut opened = OpenedTrain::new();
                group.throughput(Throughput::Bytes(len as u64));
                group.bench_function(BenchmarkId::from_parameter(len), |b| {
                    b.iter_custom(|rounds| {
                        let mut spent = Duration::ZERO;
                        let mut left = rounds;
                        while left > 0 {
                            let now = left.min(TRAIN as u64) as usize;
                            let octets = seal_train(&out, &inner, now, true, &mut buffers);
                            let octets = buffers.get_mut(..octets).unwrap();
                            let start = Instant::now();
                            if trains {
                                into.open_train(octets, sealed, Ecn::NotEct, 1, &mut opened);
                                assert!(opened.iter().all(Result::is_ok));
                            } else {
                                for packet in octets.chunks_exact_mut(sealed) {
                                    into.open(packet, Ecn::NotEct, 1).unwrap();
                                }
                            }
                            spent += start.elapsed();
                            left -= now as u64;
                        }
                        spent
                    });
                });
            }
        }
    }
}

/// One train in each way; gives what each took.
struct Paired {
    key: LessSafeKey,
    out: OutboundSa,
    into: InboundSa,
    inner: Vec<u8>,
    sealed: usize,
    buffers: Vec<u8>,
    opened: OpenedTrain,
}

/// Seconds of the four steps of a train: seal bare, seal, open bare, open.
type Times = [Duration; 4];

impl Paired {
    fn new(name: &str, algorithm: &'static aead::Algorithm, len: usize) -> Self {
        let (out, into) = (outbound(suite(name), 1 << 20), inbound(suite(name), 1 << 20));
        let sealed = out.sealed_len(len);
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()]).unwrap()),
            out,
            into,
            inner: packet(1, len),
            sealed,
            buffers: train(sealed),
            opened: OpenedTrain::new(),
        }
    }

    /// The AEAD alone, on octets that lie as in ESP packets.
    fn bare(&mut self, opens: bool) -> Duration {
        let start = Instant::now();
        for packet in self.buffers.chunks_exact_mut(self.sealed) {
            let (body, tag) = packet.split_last_chunk_mut::<16>().unwrap();
            let data = body.get_mut(16..).unwrap();
            let nonce = Nonce::assume_unique_for_key([1; 12]);
            if opens {
                self.key
                    .open_in_place_separate_tag(nonce, Aad::from([3; 12]), (*tag).into(), data, 0..)
                    .unwrap();
            } else {
                let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from([3; 12]), data).unwrap();
                tag.copy_from_slice(sealed.as_ref());
            }
        }
        start.elapsed()
    }

    fn round(&mut self) -> Times {
        let seal_bare = self.bare(false);
        let open_bare = self.bare(true);
        let start = Instant::now();
        seal_train(&self.out, &self.inner, TRAIN, false, &mut self.buffers);
        let seal = start.elapsed();
        seal_train(&self.out, &self.inner, TRAIN, true, &mut self.buffers);
        let start = Instant::now();
        self.into.open_train(&mut self.buffers, self.sealed, Ecn::NotEct, 1, &mut self.opened);
        let open = start.elapsed();
        assert!(self.opened.iter().all(Result::is_ok));
        [seal_bare, seal, open_bare, open]
    }
}

/// What ESP adds to the bare AEAD.
fn overhead() {
    println!("ns a packet, best of many trains of {TRAIN}; seal without the copy of the payload");
    println!("{:<18}{:>6}{:>28}{:>28}", "", "octets", "seal: bare, ESP, added", "open: bare, ESP, added");
    for (name, algorithm) in BARE {
        for len in LENGTHS {
            let mut paired = Paired::new(name, algorithm, len);
            let best = (0..400)
                .map(|_| paired.round())
                .fold([Duration::MAX; 4], |best, times| std::array::from_fn(|at| best[at].min(times[at])));
            let [a, b, c, d] = best.map(|time| time.as_nanos() as f64 / TRAIN as f64);
            println!("{name:<18}{len:>6}{a:>12.0}{b:>8.0}{:>8.0}{c:>12.0}{d:>8.0}{:>8.0}", b - a, d - c);
        }
    }
}

fn replay(c: &mut Criterion) {
    let mut window = ReplayWindow::new(8_192);
    let mut sequence = 0;
    c.bench_function("replay/check and commit", |b| {
        b.iter(|| {
            sequence += 1;
            window.check(black_box(sequence)).unwrap();
            window.commit(sequence)
        });
    });
}

/// A super-packet of [`TRAIN`] segments that make packets of 1438 octets, as the kernel gives it.
fn super_packet(tcp: bool) -> (Vec<u8>, Offload) {
    let headers = if tcp { 40 } else { 28 };
    let payload = 1_438 - headers;
    let mut octets = packet(1, headers + TRAIN * payload);
    if tcp {
        octets[9] = 6;
        octets[20..40]
            .copy_from_slice(&[0x30, 0, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        checksum::fill_ipv4_header(&mut octets);
    }
    let offload = Offload {
        segmentation: if tcp { Segmentation::TcpV4 } else { Segmentation::Udp },
        segment_size: payload as u16,
        header_len: headers as u16,
        checksum: Some(PartialChecksum { start: 20, offset: if tcp { 16 } else { 6 } }),
    };
    (octets, offload)
}

/// Times are those of a whole super-packet of 44 packets.
fn supers(c: &mut Criterion) {
    for (name, tcp) in [("tcp", true), ("udp", false)] {
        let (octets, offload) = super_packet(tcp);
        let stride = TUN_HEADROOM + 1_438;
        let mut packets = vec![0; TRAIN * stride];
        let split = |packets: &mut [u8]| {
            let segments = Segments::parse(&octets, offload).unwrap();
            assert_eq!(segments.count(), TRAIN);
            for (index, room) in packets.chunks_exact_mut(stride).enumerate() {
                segments.write(index, room.get_mut(TUN_HEADROOM..).unwrap());
            }
        };
        let mut group = c.benchmark_group(format!("44 packets of {name}"));
        group.throughput(Throughput::Bytes((TRAIN * 1_438) as u64));
        group.bench_function("split", |b| b.iter(|| split(&mut packets)));
        let sa = outbound(suite("aes128gcm16"), 1 << 20);
        let sealed = sa.sealed_len(1_438);
        let mut sealed_train = train(sealed);
        group.bench_function("split and seal", |b| {
            b.iter(|| {
                let segments = Segments::parse(&octets, offload).unwrap();
                let sequences = sa.reserve(TRAIN as u64, (TRAIN * 1_438) as u64).unwrap().sequences;
                for ((index, room), sequence) in
                    sealed_train.chunks_exact_mut(sealed).enumerate().zip(sequences)
                {
                    let write = |room: &mut [u8]| segments.write(index, room);
                    sa.seal_with(sequence, 4, segments.packet_len(index), &[9; 16], room, write).unwrap();
                }
            });
        });
        split(&mut packets);
        let mut coalescer = Coalescer::new(4, Offers { tcp: true, udp: true });
        group.bench_function("coalesce", |b| {
            b.iter(|| {
                let mut merged = 0;
                for buffer in packets.chunks_exact_mut(stride) {
                    coalescer.push(buffer, 1, &mut |it| merged += it.packets);
                }
                coalescer.flush(&mut |it| merged += it.packets);
                assert_eq!(merged, TRAIN as u32);
            });
        });
    }
}

/// A snapshot of as many SAs and SPD entries, each for one remote network of 256 hosts.
fn parts(count: usize) -> (Vec<Arc<InboundSa>>, Vec<SpdEntry>) {
    let suite = suite("aes128gcm16");
    let out = Arc::new(outbound(suite, 1 << 20));
    let spi = |at: usize| (at as u32).wrapping_mul(0x9e37_79b1) | 0x100;
    let sas = (0..count).map(|at| Arc::new(inbound(suite, spi(at)))).collect();
    let spd = (0..count).map(|at| SpdEntry {
        peer: "peer".into(),
        child: "child".into(),
        selectors: SaSelectors {
            local: set(&["10.1.0.0/16"]),
            remote: set(&[&format!("20.{}.{}.0/24", at >> 8, at & 0xff)]),
        },
        action: SpdAction::Protect { outbound: Some(Arc::clone(&out)), trap: false },
    });
    (sas, spd.collect())
}

fn lookup(c: &mut Criterion) {
    for count in ENTRIES {
        let (sas, spd) = parts(count);
        let snapshot = Snapshot::new(1, sas.iter().cloned(), spd.clone());
        let spis: Vec<u32> = sas.iter().map(|sa| sa.spi()).collect();
        let mut at = 0;
        let mut next = move || {
            at = (at + 7_919) % count;
            at
        };
        c.bench_function(&format!("lookup/sad/{count}"), |b| {
            b.iter(|| black_box(snapshot.inbound(spis[next()])).is_some());
        });
        let packets: Vec<Vec<u8>> = (0..count).map(|at| packet((at as u32) << 8 | 9, 64)).collect();
        let views: Vec<_> = packets.iter().map(|octets| InnerPacket::parse(octets).unwrap()).collect();
        c.bench_function(&format!("lookup/spd uncached/{count}"), |b| {
            b.iter(|| {
                let at = next();
                black_box(snapshot.outbound(&views[at], &packets[at])).map(|(index, _)| index).unwrap()
            });
        });
        let mut cache = FlowCache::new();
        let mut turn = 0;
        c.bench_function(&format!("lookup/spd cached, 4 flows/{count}"), |b| {
            b.iter(|| {
                turn += 1;
                let at = turn % count.min(4);
                black_box(cache.lookup(&snapshot, &views[at], &packets[at])).map(|(index, _)| index).unwrap()
            });
        });
        c.bench_function(&format!("lookup/build a snapshot/{count}"), |b| {
            b.iter_with_large_drop(|| Snapshot::new(2, sas.iter().cloned(), spd.clone()));
        });
    }
    let octets = packet(1, 1_400);
    c.bench_function("lookup/parse a packet", |b| b.iter(|| InnerPacket::parse(black_box(&octets))));
}

/// So many Services with four endpoints each.
fn inventory(count: u32) -> Inventory {
    let id = |n: u32| ServiceId { namespace: "default".to_owned(), name: format!("service-{n}") };
    let service = |n: u32| Service {
        id: id(n),
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![Ipv4Addr::from(0xac10_0001 + n).into()],
        ports: vec![ServicePort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 80 }],
        affinity: None,
        internal_local: false,
        distribution: None,
    };
    let endpoint = |n: u32, m: u32| Endpoint {
        addresses: vec![Ipv4Addr::from(0x0a00_0001 + n * 4 + m).into()],
        ready: true,
        serving: true,
        terminating: false,
        node: Some(format!("node-{m}")),
        zone: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
        pod: Some(format!("service-{n}-{m}")),
    };
    let slice = |n: u32| Slice {
        id: ("default".to_owned(), format!("service-{n}-abcde")),
        service: Some(id(n)),
        ports: vec![SlicePort { name: "http".to_owned(), protocol: Protocol::Tcp, port: Some(8080) }],
        endpoints: (0..4).map(|m| endpoint(n, m)).collect(),
    };
    Inventory {
        services: (0..count).map(|n| (id(n), Arc::new(service(n)))).collect(),
        slices: (0..count).map(|n| (slice(n).id, Arc::new(slice(n)))).collect(),
        ..Inventory::default()
    }
}

fn services(c: &mut Criterion) {
    let all = inventory(5_000);
    c.bench_function("services/plan for 5,000 with 20,000 endpoints", |b| {
        b.iter_with_large_drop(|| select::plan(black_box(&all), &Scope::default()));
    });
}

fn main() {
    if !std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        overhead();
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(150))
        .configure_from_args();
    for part in [bare, seal, open, replay, supers, lookup, services] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
