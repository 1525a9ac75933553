use proptest::prelude::*;

use super::*;
use crate::{
    crypto::EspSuite,
    esp::{
        ChildId, InboundConfig, Limits, OutboundSa, SaSelectors, Treatment,
        fixture::{
            GCM, GCM_ESN, SPI, everything, fragment_field, ip, keys, nets, outbound, path, seal_as,
            selectors, suites, syn, udp,
        },
    },
    wire::ip::{IpVersion, checksum},
};

const LEN: usize = 72;

/// What stands in one place of a train.
#[derive(Debug, Clone)]
struct Place {
    sequence: u64,
    inside: usize,
    /// Where a bit is flipped, if anywhere.
    forged: Option<usize>,
}

/// Insides of one length, good and bad, with the next header.
fn inside(kind: usize) -> (u8, Vec<u8>) {
    let plain = udp("10.2.0.1", "10.1.0.1", (1_000, 2_000), LEN - 28);
    let error = |inner: &[u8]| {
        let mut upper = vec![3, 4, 0, 0, 0, 0, 5, 0];
        upper.extend_from_slice(&inner[..inner.len().min(LEN - 28)]);
        upper.resize(LEN - 20, 0);
        ip("192.0.2.9", "10.1.0.1", 1, &upper)
    };
    let answered = udp("10.1.0.1", "10.2.0.1", (2_000, 1_000), LEN - 28);
    match kind {
        0..=3 => (4, plain),
        4 => (4, udp("10.2.0.1", "10.1.0.1", (1_000, 2_001), LEN - 28)),
        5 => (41, udp("fd02::1", "fd01::1", (1_000, 2_000), LEN - 48)),
        6 => (4, udp("10.3.0.1", "10.1.0.1", (1_000, 2_000), LEN - 28)),
        7 => (59, vec![0; LEN]),
        8 => (4, vec![0x45; LEN]),
        9 => (99, plain),
        10 => (41, plain),
        11 => (4, fragment_field(plain, 0x2000)),
        12 => (4, fragment_field(plain, 8)),
        13 => (4, error(&answered)),
        14 => (4, error(&plain)),
        15 => (4, plain[..1].repeat(LEN)),
        _ => {
            let mut shorter = udp("10.2.0.1", "10.1.0.1", (1_000, 2_000), LEN - 30);
            shorter[1] |= 2;
            checksum::fill_ipv4_header(&mut shorter);
            shorter.resize(LEN, 0);
            (4, shorter)
        }
    }
}

fn pair(suite: EspSuite, selectors: &SaSelectors, limits: Limits, window: u32, start: u64) -> [InboundSa; 2] {
    [(); 2].map(|()| {
        InboundSa::new(InboundConfig {
            child: ChildId(7),
            spi: SPI,
            suite,
            keys: &keys(&suite),
            path: path(),
            limits,
            selectors: selectors.clone(),
            replay_window: window,
            treatment: Treatment::default(),
        })
        .unwrap()
        .continuing(start)
    })
}

fn build(out: &OutboundSa, places: &[Place], cut: usize) -> (Vec<u8>, usize) {
    let mut buffer = Vec::new();
    let segment = out.sealed_len(LEN);
    for place in places {
        let (next_header, inner) = inside(place.inside);
        let mut sealed = seal_as(out, place.sequence, next_header, &inner);
        assert_eq!(sealed.len(), segment);
        if let Some(at) = place.forged {
            let at = 8 + at % (segment - 8);
            sealed[at] ^= 1;
        }
        buffer.extend(sealed);
    }
    buffer.truncate(buffer.len() - cut.min(segment - 1));
    (buffer, segment)
}

/// Opens the buffer in both ways and compares everything that can be seen from outside.
fn compare([single, train]: &[InboundSa; 2], buffer: &[u8], segment: usize, ecn: Ecn, now: u64) {
    let mut expected_octets = buffer.to_vec();
    let mut octets = buffer.to_vec();
    let mut opened = OpenedTrain::new();
    train.open_train(&mut octets, segment, ecn, now, &mut opened);
    let mut start = 0;
    let mut results = opened.iter();
    for packet in expected_octets.chunks_mut(segment) {
        let expected = single.open(packet, ecn, now).map(|mut opened| {
            opened.inner = opened.inner.map(|inner| start + inner.start..start + inner.end);
            opened
        });
        start += packet.len();
        assert_eq!(results.next(), Some(&expected));
    }
    assert_eq!(results.next(), None);
    for range in opened.iter().flatten().filter_map(|opened| opened.inner.clone()) {
        assert_eq!(octets[range.clone()], expected_octets[range]);
    }
    let [a, b] = [single.counters(), train.counters()];
    assert_eq!(
        (a.packets(), a.octets(), a.dummies(), a.last_used()),
        (b.packets(), b.octets(), b.dummies(), b.last_used())
    );
    assert_eq!(a.drops.nonzero().collect::<Vec<_>>(), b.drops.nonzero().collect::<Vec<_>>());
    assert_eq!(single.highest_sequence(), train.highest_sequence());
    assert_eq!(format!("{:?}", single.replay()), format!("{:?}", train.replay()));
}

prop_compose! {
    fn place(base: u64)(
        sequence in prop_oneof![
            6 => 0u64..40,
            2 => 40u64..300,
            1 => 300u64..20_000,
            1 => Just(1u64 << 32),
            1 => Just((1u64 << 31) - 7),
        ],
        inside in 0usize..17,
        forged in prop::option::weighted(0.12, 0usize..200),
    ) -> Place {
        Place { sequence: base.saturating_add(sequence).max(1), inside, forged }
    }
}

fn train_from(base: u64) -> impl Strategy<Value = (u64, Vec<Vec<Place>>)> {
    (Just(base), prop::collection::vec(prop::collection::vec(place(base.saturating_sub(20)), 1..30), 1..4))
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.3, 1u64..40)
}

proptest! {
    #[test]
    fn a_train_gives_what_its_packets_give_one_by_one(
        (base, trains) in prop_oneof![Just(0u64), Just(5_000), Just(0xffff_fff0), Just(0x1_ffff_ff80)].prop_flat_map(train_from),
        esn in any::<bool>(),
        window in prop_oneof![Just(64u32), Just(4_096)],
        ports in any::<bool>(),
        outer in 0u8..4,
        cut in prop_oneof![5 => Just(0usize), 1 => 1usize..100],
        (soft_packets, hard_packets, soft, hard) in (limit(), limit(), limit(), limit()),
    ) {
        let suite = if esn { GCM_ESN } else { GCM };
        let octets = |packets: Option<u64>| packets.map(|packets| packets * LEN as u64);
        let limits = Limits { soft_packets, hard_packets, soft_octets: octets(soft), hard_octets: octets(hard) };
        let selectors = if ports {
            selectors(&["10.1.0.0/16[udp/2000]", "fd01::/16"], &["10.2.0.0/16", "fd02::/16"])
        } else {
            nets()
        };
        let both = pair(suite, &selectors, limits, window, base);
        for (number, places) in trains.iter().enumerate() {
            let (buffer, segment) = build(&outbound(suite), places, cut);
            compare(&both, &buffer, segment, Ecn::from_bits(outer), number as u64 + 1);
        }
    }

    #[test]
    fn no_octets_make_a_train_panic(octets in prop::collection::vec(any::<u8>(), 0..400), segment in 0usize..200) {
        let both = pair(GCM_ESN, &everything(), Limits::default(), 64, 0);
        compare(&both, &octets, segment.max(1), Ecn::Ce, 1);
        both[0].open_train(&mut octets.clone(), 0, Ecn::Ce, 1, &mut OpenedTrain::default());
    }
}

#[test]
fn every_suite_opens_trains_longer_than_a_part_with_forgeries_and_repetitions() {
    for suite in suites() {
        let start = if suite.esn { 0xffff_ff80 } else { 7 };
        let both = pair(suite, &nets(), Limits::default(), 64, start);
        let places: Vec<Place> = (0..300)
            .map(|at| Place {
                sequence: start + 1 + at - if at % 11 == 10 { 3 } else { 0 },
                inside: 0,
                forged: (at % 97 == 50).then_some(0),
            })
            .collect();
        let (buffer, segment) = build(&outbound(suite), &places, 0);
        compare(&both, &buffer, segment, Ecn::NotEct, 1);
        assert!(both[1].counters().packets() > 250, "{suite}");
        compare(&both, &buffer, segment, Ecn::NotEct, 2);
    }
}

#[test]
fn a_duplicate_in_one_train_is_refused() {
    let [_, sa] = pair(GCM_ESN, &nets(), Limits::default(), 64, 0);
    let places = [5, 6, 5, 6].map(|sequence| Place { sequence, inside: 0, forged: None });
    let (mut buffer, segment) = build(&outbound(GCM_ESN), &places, 0);
    let mut opened = OpenedTrain::new();
    sa.open_train(&mut buffer, segment, Ecn::NotEct, 1, &mut opened);
    let replayed = Err(Refused { reason: DropReason::Replayed, authentic: false });
    let results: Vec<_> = opened.iter().cloned().map(|result| result.map(|opened| opened.sequence)).collect();
    assert_eq!(results, [Ok(5), Ok(6), replayed, replayed]);
}

#[test]
fn a_forgery_far_ahead_does_not_make_those_behind_it_too_old() {
    let both = pair(GCM_ESN, &nets(), Limits::default(), 64, 0);
    let mut places: Vec<Place> =
        (1..20).map(|sequence| Place { sequence, inside: 0, forged: None }).collect();
    places[4] = Place { sequence: 1 << 31, inside: 0, forged: Some(60) };
    let (buffer, segment) = build(&outbound(GCM_ESN), &places, 0);
    compare(&both, &buffer, segment, Ecn::NotEct, 1);
    assert_eq!(both[1].highest_sequence(), 19);
    assert_eq!(both[1].counters().packets(), 18);
}

#[test]
fn a_train_of_flows_in_turn_is_checked_packet_by_packet() {
    let both = pair(GCM, &nets(), Limits::default(), 64, 0);
    let places: Vec<Place> = [0, 6, 0, 0, 6, 4, 6, 13, 14, 0, 12]
        .into_iter()
        .zip(1..)
        .map(|(inside, sequence)| Place { sequence, inside, forged: None })
        .collect();
    let (buffer, segment) = build(&outbound(GCM), &places, 0);
    compare(&both, &buffer, segment, Ecn::NotEct, 1);
    assert_eq!(both[1].counters().drops.get(DropReason::InnerSelectorMismatch), 4);
}

#[test]
fn the_facts_say_what_the_inner_packet_is() {
    let out = outbound(GCM);
    let [sa, _] = pair(GCM, &everything(), Limits::default(), 64, 0);
    let mut sequence = 0;
    let mut facts = |inner: Vec<u8>, next_header| {
        sequence += 1;
        let mut sealed = seal_as(&out, sequence, next_header, &inner);
        sa.open(&mut sealed, Ecn::NotEct, 1).unwrap().facts
    };
    let tcp = facts(syn("10.2.0.1", "10.1.0.1", 1_460), 4).unwrap();
    assert_eq!((tcp.version, tcp.protocol, tcp.header_len), (IpVersion::V4, 6, 20));
    assert!(tcp.may_clamp && !tcp.fragment);
    let mut established = syn("fd02::1", "fd01::1", 1_460);
    established[40 + 13] = 0x10;
    let tcp = facts(established, 41).unwrap();
    assert_eq!((tcp.version, tcp.header_len, tcp.may_clamp), (IpVersion::V6, 40, false));
    let later = facts(fragment_field(syn("10.2.0.1", "10.1.0.1", 1_460), 8), 4).unwrap();
    assert!(later.fragment && !later.may_clamp);
    assert_eq!(facts(vec![0; 40], 59), None);
}
