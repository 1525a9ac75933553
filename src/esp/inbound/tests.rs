use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    crypto::Secret,
    esp::{
        Limits,
        fixture::{
            GCM, GCM_ESN, everything, fragment_field, inbound, inbound_with, ip, nets, outbound, path,
            plaintext, seal, seal_as, seal_plaintext, selectors, suites, udp,
        },
    },
    wire::ip::{Ecn, checksum, icmp},
};

fn opened(sa: &InboundSa, mut packet: Vec<u8>) -> Result<Vec<u8>, DropReason> {
    match sa.open(&mut packet, Ecn::NotEct, 1) {
        Ok(opened) => Ok(opened.inner.map(|range| packet[range].to_vec()).unwrap_or_default()),
        Err(refused) => Err(refused.reason),
    }
}

fn inner() -> Vec<u8> {
    udp("10.2.0.1", "10.1.0.1", (1_000, 2_000), 33)
}

proptest! {
    #[test]
    fn what_any_suite_seals_it_opens(
        len in 0usize..300,
        v6 in any::<bool>(),
        start in prop_oneof![0u64..5, 0xffff_0000u64..0xffff_fff0],
    ) {
        let packet = if v6 { udp("fd02::1", "fd01::1", (1, 2), len) } else { udp("10.2.0.1", "10.1.0.1", (1, 2), len) };
        for suite in suites() {
            let (out, into) = (outbound(suite).continuing(start), inbound(suite).continuing(start));
            let sealed = seal(&out, &packet);
            prop_assert_eq!(opened(&into, sealed.clone()), Ok(packet.clone()), "{}", suite);
            prop_assert_eq!(opened(&into, sealed), Err(DropReason::Replayed));
            prop_assert_eq!(into.counters().octets(), packet.len() as u64);
            prop_assert_eq!(out.counters().octets(), packet.len() as u64);
        }
    }

    #[test]
    fn a_forged_packet_is_refused_and_moves_nothing(at in 0usize..200, flip in 1u8.., esn in any::<bool>()) {
        let suite = if esn { GCM_ESN } else { GCM };
        let (out, into) = (outbound(suite), inbound(suite));
        prop_assert!(opened(&into, seal(&out, &inner())).is_ok());
        let sealed = seal(&out, &inner());
        let mut forged = sealed.clone();
        let at = 4 + at % (forged.len() - 4);
        forged[at] ^= flip;
        let before = into.highest_sequence();
        prop_assert!(opened(&into, forged).is_err());
        prop_assert_eq!(into.highest_sequence(), before);
        prop_assert!(opened(&into, sealed).is_ok());
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        for suite in suites() {
            let _ = inbound(suite).open(&mut octets.clone(), Ecn::Ce, 1);
        }
    }
}

#[test]
fn extended_numbers_go_over_a_wrap_with_losses_and_forgeries_between() {
    for suite in suites().into_iter().filter(|suite| suite.esn) {
        let start = 0xffff_ff00;
        let (out, into) = (outbound(suite).continuing(start), inbound(suite).continuing(start));
        let mut late = Vec::new();
        for round in 0..600u32 {
            let sealed = seal(&out, &inner());
            if round % 7 == 3 {
                late.push(sealed);
                continue;
            }
            if round % 5 == 1 {
                let mut forged = sealed.clone();
                forged[4..8].copy_from_slice(&round.wrapping_mul(0x9e37_79b9).to_be_bytes());
                assert!(opened(&into, forged).is_err());
            }
            assert!(opened(&into, sealed).is_ok(), "{suite} round {round}");
        }
        assert!(into.highest_sequence() > 0x1_0000_0000);
        for sealed in late {
            assert_eq!(opened(&into, sealed), Ok(inner()));
        }
    }
}

#[test]
fn a_packet_of_the_wrong_extended_half_is_not_authentic() {
    let (out, into) = (outbound(GCM_ESN).continuing(0x5_0000_0000), inbound(GCM_ESN));
    assert_eq!(opened(&into, seal(&out, &inner())), Err(DropReason::AuthenticationFailed));
}

#[test]
fn truncation_at_every_octet_is_refused() {
    for suite in suites() {
        let sealed = seal(&outbound(suite), &inner());
        let into = inbound(suite);
        for len in 0..sealed.len() {
            let reason = opened(&into, sealed[..len].to_vec()).unwrap_err();
            assert!(
                matches!(reason, DropReason::CiphertextLength | DropReason::AuthenticationFailed),
                "{suite} at {len}: {reason}"
            );
        }
        assert_eq!(into.highest_sequence(), 0);
    }
}

/// Packets of draft-mcgrew-gcm-test-01 and RFC 7634: with the window where the packet needs it, each is
/// authentic; those with an IPv4 next header come out, the others are refused for it.
#[test]
fn whole_packets_of_the_standards_are_authentic() {
    let mut seen = 0;
    for case in cases() {
        let Some(cipher) =
            case["cipher"].parse().ok().filter(|cipher: &crate::crypto::Cipher| cipher.is_aead())
        else {
            continue;
        };
        let head = hex(&case["head"]);
        let (esn, sequence) = match head.len() {
            8 => (false, u64::from(u32::from_be_bytes(head[4..].try_into().unwrap()))),
            12 => (true, u64::from_be_bytes(head[4..].try_into().unwrap())),
            _ => continue,
        };
        let suite = EspSuite { cipher, integrity: None, group: None, esn };
        let keys = DirectionKeys {
            encryption: Secret::from_slice(&hex(&case["key"])),
            integrity: Secret::from_slice(&[]),
        };
        let spi = u32::from_be_bytes(head[..4].try_into().unwrap());
        let sa = InboundSa::new(InboundConfig {
            child: ChildId(1),
            spi,
            suite,
            keys: &keys,
            path: path(),
            limits: Limits::default(),
            selectors: everything(),
            replay_window: 4_096,
            treatment: Treatment::default(),
        })
        .unwrap()
        .continuing(sequence - 1);
        let low = (sequence & 0xffff_ffff) as u32;
        let mut packet = [
            &spi.to_be_bytes()[..],
            &low.to_be_bytes(),
            &hex(&case["iv"]),
            &hex(&case["sealed"]),
            &hex(&case["icv"]),
        ]
        .concat();
        let plain = hex(&case["plain"]);
        let result = sa.open(&mut packet, Ecn::NotEct, 1);
        if plain.last() == Some(&4) {
            let inner = result.unwrap().inner.unwrap();
            assert_eq!(packet[inner.clone()], plain[..inner.len()]);
        } else {
            let refused = Refused { reason: DropReason::UnknownNextHeader, authentic: true };
            assert_eq!(result, Err(refused), "{}", case["case"]);
        }
        assert_eq!(sa.highest_sequence(), sequence);
        seen += 1;
    }
    assert_eq!(seen, 15);
}

fn cases() -> Vec<HashMap<String, String>> {
    include_str!("../../../tests/vectors/esp_packets.txt")
        .split("\n\n")
        .map(|paragraph| {
            paragraph
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect::<HashMap<_, _>>()
        })
        .filter(|case| case.contains_key("case"))
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn sequence_number_zero_and_numbers_behind_the_window_are_refused() {
    let (out, into) = (outbound(GCM), inbound(GCM));
    assert_eq!(opened(&into, seal_as(&out, 0, 4, &inner())), Err(DropReason::SequenceZero));
    assert!(opened(&into, seal_as(&out, 100_000, 4, &inner())).is_ok());
    assert_eq!(opened(&into, seal_as(&out, 10, 4, &inner())), Err(DropReason::ReplayTooOld));
    assert_eq!(into.counters().drops.total(), 2);
}

#[test]
fn padding_must_count_up_and_end_within_the_packet() {
    let into = inbound(GCM);
    let mut good = plaintext(&inner(), 0, 4);
    let pad = good.len() - 3;
    good[pad] ^= 1;
    assert_eq!(opened(&into, seal_plaintext(&GCM, 1, &good)), Err(DropReason::BadPadding));
    assert_eq!(opened(&into, seal_plaintext(&GCM, 2, &[9, 9, 200, 4])), Err(DropReason::BadPadding));
}

#[test]
fn confidentiality_padding_behind_the_inner_packet_is_cut() {
    let into = inbound(GCM);
    assert_eq!(opened(&into, seal_plaintext(&GCM, 1, &plaintext(&inner(), 700, 4))), Ok(inner()));
    let v6 = udp("fd02::1", "fd01::1", (1, 2), 9);
    assert_eq!(opened(&into, seal_plaintext(&GCM, 2, &plaintext(&v6, 300, 41))), Ok(v6));
}

#[test]
fn a_dummy_is_silent_but_a_sign_of_life() {
    let into = inbound(GCM);
    let mut dummy = seal_plaintext(&GCM, 1, &plaintext(&[0xaa; 50], 0, 59));
    let result = into.open(&mut dummy, Ecn::NotEct, 4_711).unwrap();
    assert_eq!(result.inner, None);
    assert!(result.first && result.highest);
    assert_eq!(into.counters().last_used(), Some(4_711));
    assert_eq!(
        (into.counters().dummies(), into.counters().packets(), into.counters().drops.total()),
        (1, 0, 0)
    );
}

#[test]
fn the_next_header_must_name_the_version_that_is_inside() {
    let into = inbound(GCM);
    let v6 = udp("fd02::1", "fd01::1", (1, 2), 9);
    let cases: [(Vec<u8>, DropReason); 5] = [
        (plaintext(&inner(), 0, 6), DropReason::UnknownNextHeader),
        (plaintext(&inner(), 0, 41), DropReason::InnerMalformed),
        (plaintext(&v6, 0, 4), DropReason::InnerMalformed),
        (plaintext(&inner()[..30], 0, 4), DropReason::InnerMalformed),
        (plaintext(&[], 0, 4), DropReason::InnerMalformed),
    ];
    for (sequence, (plain, reason)) in (1..).zip(cases) {
        let mut packet = seal_plaintext(&GCM, sequence, &plain);
        let refused = into.open(&mut packet, Ecn::NotEct, 1).unwrap_err();
        assert_eq!(refused, Refused { reason, authentic: true });
        assert_eq!(into.counters().drops.get(reason), into.counters().drops.get(reason).max(1));
    }
    assert_eq!(into.highest_sequence(), 5);
}

#[test]
fn congestion_marks_come_out_and_illegal_ones_do_not() {
    let (out, into) = (outbound(GCM), inbound(GCM));
    let mut capable = inner();
    ip::set_ecn(&mut capable, Ecn::Ect0);
    let mut packet = seal(&out, &capable);
    let range = into.open(&mut packet, Ecn::Ce, 1).unwrap().inner.unwrap();
    assert_eq!(InnerPacket::parse(&packet[range.clone()]).unwrap().ecn, Ecn::Ce);
    assert!(checksum::ipv4_header_is_valid(&packet[range]));

    let mut packet = seal(&out, &inner());
    let refused = into.open(&mut packet, Ecn::Ce, 1).unwrap_err();
    assert_eq!(refused.reason, DropReason::EcnIllegal);
}

#[test]
fn only_what_the_selectors_allow_comes_out() {
    let (out, into) = (outbound(GCM), inbound_with(GCM, nets(), Limits::default()));
    assert!(opened(&into, seal(&out, &inner())).is_ok());
    for (source, destination) in
        [("10.3.0.1", "10.1.0.1"), ("10.2.0.1", "10.3.0.1"), ("10.1.0.1", "10.2.0.1"), ("fd02::1", "fd03::1")]
    {
        let packet = udp(source, destination, (1, 2), 3);
        assert_eq!(opened(&into, seal(&out, &packet)), Err(DropReason::InnerSelectorMismatch));
    }
}

#[test]
fn ports_are_checked_and_later_fragments_fit_only_selectors_without_ports() {
    let web = selectors(&["10.1.0.0/16[tcp/443]", "10.1.0.0/16[udp/53]"], &["10.2.0.0/16"]);
    let (out, into) = (outbound(GCM), inbound_with(GCM, web, Limits::default()));
    let dns = udp("10.2.0.1", "10.1.0.1", (5_000, 53), 100);
    assert!(opened(&into, seal(&out, &dns)).is_ok());
    let other = udp("10.2.0.1", "10.1.0.1", (5_000, 54), 3);
    assert_eq!(opened(&into, seal(&out, &other)), Err(DropReason::InnerSelectorMismatch));
    let later = fragment_field(dns, 20);
    assert_eq!(opened(&into, seal(&out, &later)), Err(DropReason::InnerFragmentWithoutPorts));
    let open_ports = inbound_with(GCM, nets(), Limits::default());
    assert!(opened(&open_ports, seal(&out, &later)).is_ok());
}

#[test]
fn an_icmp_error_passes_where_the_packet_it_answers_could() {
    let web = selectors(&["10.1.0.0/16[udp]"], &["10.2.0.0/16[udp/53]"]);
    let (out, into) = (outbound(GCM), inbound_with(GCM, web, Limits::default()));
    let ours = udp("10.1.0.5", "10.2.0.9", (4_000, 53), 200);
    // From a router on the way, whose address is in no selector.
    let error = icmp::fragmentation_needed(&ours, "172.31.0.1".parse().unwrap(), 1_300).unwrap();
    assert_eq!(opened(&into, seal(&out, &error)), Ok(error));
    let foreign = udp("10.1.0.5", "10.2.0.9", (4_000, 54), 200);
    let error = icmp::fragmentation_needed(&foreign, "172.31.0.1".parse().unwrap(), 1_300).unwrap();
    assert_eq!(opened(&into, seal(&out, &error)), Err(DropReason::InnerSelectorMismatch));
    // An echo request is no error, whatever it contains.
    let echo = ip("10.2.0.9", "10.1.0.5", 1, &[&[8, 0, 0, 0, 0, 0, 0, 0], &ours[..]].concat());
    assert_eq!(opened(&into, seal(&out, &echo)), Err(DropReason::InnerSelectorMismatch));
}

#[test]
fn limits_are_reported_once_and_the_hard_one_stops_everything() {
    let limits = Limits { soft_packets: Some(2), hard_packets: Some(4), ..Limits::default() };
    let (out, into) = (outbound(GCM), inbound_with(GCM, everything(), limits));
    let results: Vec<_> = (0..6)
        .map(|_| {
            into.open(&mut seal(&out, &inner()), Ecn::NotEct, 1)
                .map(|opened| (opened.first, opened.soft_limit))
        })
        .collect();
    let refused = Refused { reason: DropReason::InboundHardLimit, authentic: true };
    assert_eq!(
        results,
        [
            Ok((true, false)),
            Ok((false, true)),
            Ok((false, false)),
            Ok((false, false)),
            Err(refused),
            Err(refused)
        ]
    );
}

#[test]
fn only_the_highest_number_makes_an_address_believable() {
    let (out, into) = (outbound(GCM), inbound(GCM));
    let (mut one, mut two) = (seal(&out, &inner()), seal(&out, &inner()));
    assert!(into.open(&mut two, Ecn::NotEct, 1).unwrap().highest);
    assert!(!into.open(&mut one, Ecn::NotEct, 1).unwrap().highest);
}
