use super::*;
use crate::crypto::{Random, SystemRandom};

fn fresh(group: Group) -> Box<dyn KeyExchange> {
    SystemRandom::new().unwrap().key_exchange(group).unwrap()
}

fn refusal(group: Group, peer_public: &[u8]) -> &'static str {
    match fresh(group).agree(peer_public) {
        Err(CryptoError::PublicValue { group: named, reason }) => {
            assert_eq!(named, group);
            reason
        }
        Ok(_) => panic!("{group} accepted a bad public value"),
        Err(other) => panic!("{group}: {other}"),
    }
}

#[test]
fn both_sides_agree_in_every_group_with_values_of_the_stated_lengths() {
    for group in Group::ALL {
        let (ours, theirs) = (fresh(group), fresh(group));
        assert_eq!(ours.group(), group);
        let (our_public, their_public) = (ours.public_value().to_vec(), theirs.public_value().to_vec());
        assert_eq!(our_public.len(), group.public_len(), "{group}");
        assert_ne!(our_public, their_public, "{group}");
        let shared = ours.agree(&their_public).unwrap();
        assert_eq!(shared.expose().len(), group.shared_len(), "{group}");
        assert_eq!(shared, theirs.agree(&our_public).unwrap(), "{group}");
    }
}

#[test]
fn public_values_of_another_length_are_refused() {
    for group in Group::ALL {
        let good = fresh(group).public_value().to_vec();
        assert_eq!(refusal(group, &[]), "wrong length");
        assert_eq!(refusal(group, &good[1..]), "wrong length");
        assert_eq!(refusal(group, &[&[4], good.as_slice()].concat()), "wrong length");
        assert_eq!(refusal(group, &[good.as_slice(), &[0]].concat()), "wrong length");
    }
}

#[test]
fn points_off_the_curve_and_at_infinity_are_refused() {
    for group in [Group::Ecp256, Group::Ecp384, Group::Ecp521] {
        let mut point = fresh(group).public_value().to_vec();
        *point.last_mut().unwrap() ^= 1;
        assert_eq!(refusal(group, &point), "not on the curve");
        assert_eq!(refusal(group, &vec![0; group.public_len()]), "not on the curve");
        assert_eq!(refusal(group, &vec![0xff; group.public_len()]), "not on the curve");
    }
}

#[test]
fn x25519_points_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    for point in [[0; 32], one, minus_one] {
        assert_eq!(refusal(Group::Curve25519, &point), "the shared secret is zero");
    }
}

#[test]
fn a_dead_random_source_gives_no_key() {
    for group in [Group::Ecp521, Group::Modp2048, Group::Modp3072, Group::Modp4096] {
        let made = generate(group, &mut |out| out.fill(0));
        assert_eq!(made.err(), Some(CryptoError::Random), "{group}");
    }
    assert!(generate(Group::Ecp521, &mut |out| out.fill(0xff)).is_err());
}
