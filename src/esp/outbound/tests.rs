use super::*;
use crate::esp::fixture::{GCM, GCM_ESN, inbound, outbound, outbound_with, path, seal, suites, udp};
use crate::wire::ip::Ecn;

#[test]
fn the_hard_limit_of_packets_is_met_exactly_and_never_passed() {
    let limits = Limits { hard_packets: Some(10), ..Limits::default() };
    let sa = outbound_with(GCM, path(), limits);
    assert_eq!(sa.reserve(8, 0).unwrap().sequences, 1..9);
    assert_eq!(sa.reserve(3, 0), Err(DropReason::OutboundHardLimit));
    assert_eq!(sa.reserve(2, 0).unwrap().sequences, 9..11);
    assert_eq!(sa.reserve(1, 0), Err(DropReason::OutboundHardLimit));
    assert_eq!(sa.last_sequence(), 10);
    assert!(sa.first_hard_limit());
    assert!(!sa.first_hard_limit());
}

#[test]
fn sequence_numbers_never_cycle_without_extended_ones() {
    let sa = outbound(GCM).continuing(0xffff_fffd);
    assert_eq!(sa.reserve(2, 0).unwrap().sequences, 0xffff_fffe..0x1_0000_0000);
    assert_eq!(sa.reserve(1, 0), Err(DropReason::OutboundHardLimit));
    let wide = outbound(GCM_ESN).continuing(0xffff_ffff);
    assert_eq!(wide.reserve(1, 0).unwrap().sequences.start, 0x1_0000_0000);
}

#[test]
fn the_hard_limit_of_octets_is_never_passed_and_a_refusal_uses_no_number() {
    let limits = Limits { hard_octets: Some(1_000), ..Limits::default() };
    let sa = outbound_with(GCM, path(), limits);
    sa.reserve(1, 900).unwrap();
    assert_eq!(sa.reserve(1, 101), Err(DropReason::OutboundHardLimit));
    assert_eq!(sa.reserve(1, 100).unwrap().sequences, 2..3);
}

#[test]
fn a_refused_batch_gives_its_octets_back() {
    let limits = Limits { hard_packets: Some(1), hard_octets: Some(100), ..Limits::default() };
    let sa = outbound_with(GCM, path(), limits);
    assert!(sa.reserve(2, 100).is_err());
    assert!(sa.reserve(1, 100).is_ok());
}

#[test]
fn each_soft_limit_is_reported_once() {
    for limits in [
        Limits { soft_packets: Some(3), ..Limits::default() },
        Limits { soft_octets: Some(250), ..Limits::default() },
    ] {
        let sa = outbound_with(GCM, path(), limits);
        let reported: Vec<bool> = (0..6).map(|_| sa.reserve(1, 100).unwrap().soft_limit).collect();
        assert_eq!(reported, [false, false, true, false, false, false]);
        sa.report_again();
        assert!(sa.reserve(1, 100).unwrap().soft_limit);
    }
}

#[test]
fn threads_never_share_a_number() {
    let sa = outbound(GCM);
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let sa = &sa;
                scope.spawn(move || {
                    (0..500).flat_map(|_| sa.reserve(thread + 1, 10).unwrap().sequences).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=5_000));
}

#[test]
fn an_aead_takes_the_sequence_number_as_iv_and_cbc_the_random_octets() {
    let packet = udp("10.1.0.1", "10.2.0.1", (1, 2), 10);
    for suite in suites() {
        let sa = outbound(suite).continuing(0x41);
        let sealed = seal(&sa, &packet);
        assert_eq!(sealed[4..8], [0, 0, 0, 0x42]);
        if suite.cipher.is_aead() {
            assert_eq!(sealed[8..16], [0, 0, 0, 0, 0, 0, 0, 0x42]);
        } else {
            assert!(sa.needs_random_iv());
            assert_eq!(sealed[8..24], [0x5c; 16]);
        }
    }
}

#[test]
fn an_output_that_is_too_short_is_refused() {
    let sa = outbound(GCM);
    let packet = udp("10.1.0.1", "10.2.0.1", (1, 2), 10);
    let mut out = vec![0; sa.sealed_len(packet.len()) - 1];
    assert_eq!(sa.seal(1, 4, &packet, &[0; 16], 1, &mut out), Err(DropReason::SealFailed));
    assert_eq!(sa.counters().packets(), 0);
}

#[test]
fn the_inner_mtu_follows_the_path() {
    let path = path();
    let sa = outbound_with(GCM, Arc::clone(&path), Limits::default());
    assert_eq!(sa.inner_mtu(), 1_438);
    path.set_outer_mtu(1_400);
    assert_eq!(sa.inner_mtu(), 1_338);
    path.set_addresses(None, "[2001:db8::1]:4500".parse().unwrap());
    assert_eq!(sa.inner_mtu(), 1_318);
}

#[test]
fn the_debug_output_shows_no_key() {
    let keys = crate::esp::fixture::keys(&GCM);
    let hex: String = keys.encryption.expose()[..4].iter().map(|octet| format!("{octet:02x}")).collect();
    let decimal = format!("{:?}", &keys.encryption.expose()[..4]);
    let decimal = decimal.trim_matches(['[', ']']);
    for text in [format!("{:?}", outbound(GCM)), format!("{:?}", inbound(GCM))] {
        assert!(!text.contains(&hex) && !text.contains(decimal), "{text}");
    }
    assert!(
        inbound(GCM)
            .open(&mut seal(&outbound(GCM), &udp("10.1.0.1", "10.2.0.1", (1, 2), 3)), Ecn::NotEct, 1)
            .is_ok()
    );
}
