//! NIST's samples of the IKEv2 key derivation, through the functions that the IKE layer calls.

use skybridge::{
    crypto::{
        ChildKeys, Cipher, EspSuite, Group, IkeKeys, IkeSuite, Integrity, Prf, Secret, SharedSecret, prf,
    },
    wire::ike::IkeSpi,
};

use crate::{Case, cases};

struct Inputs {
    prf: Prf,
    ni: Vec<u8>,
    nr: Vec<u8>,
    gir: SharedSecret,
    gir_new: SharedSecret,
    spi_i: IkeSpi,
    spi_r: IkeSpi,
}

fn inputs(case: &Case) -> Inputs {
    let spi = |name| IkeSpi(case.octets(name).try_into().unwrap());
    let shared = |name| SharedSecret::new(Secret::new(case.octets(name)));
    Inputs {
        prf: case.text("prf").parse().unwrap(),
        ni: case.octets("ni"),
        nr: case.octets("nr"),
        gir: shared("gir"),
        gir_new: shared("gir_new"),
        spi_i: spi("spi_i"),
        spi_r: spi("spi_r"),
    }
}

fn join(keys: &IkeKeys) -> Vec<u8> {
    let IkeKeys { sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = keys;
    [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr].iter().flat_map(|key| key.expose().to_vec()).collect()
}

/// Whether one is the beginning of the other: samples are cut where NIST's test asked for less.
fn assert_begins_alike(ours: &[u8], sample: &[u8]) {
    let common = ours.len().min(sample.len());
    assert!(common >= 72, "only {common} octets to compare");
    assert_eq!(ours[..common], sample[..common]);
}

#[test]
fn keys_of_an_ike_sa_match_nist() {
    let cases = cases(include_str!("ikev2_kdf.txt"));
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let Inputs { prf: algorithm, ni, nr, gir, spi_i, spi_r, .. } = inputs(case);
        let skeyseed = prf::prf(algorithm, &[&ni[..], &nr].concat(), &[gir.expose()]);
        assert_eq!(skeyseed.expose(), case.octets("skeyseed"));
        for (cipher, integrity) in [
            (Cipher::AesCbc { key_bits: 256 }, Some(Integrity::HmacSha256_128)),
            (Cipher::AesGcm { key_bits: 256, icv_len: 16 }, None),
            (Cipher::ChaCha20Poly1305, None),
        ] {
            let suite = IkeSuite { cipher, integrity, prf: algorithm, group: Group::Modp2048 };
            let keys = IkeKeys::derive(&suite, &gir, &ni, &nr, spi_i, spi_r).unwrap();
            assert_begins_alike(&join(&keys), &case.octets("dkm"));
        }
    }
}

#[test]
fn keys_of_a_child_sa_with_and_without_an_exchange_match_nist() {
    let mut checked = 0;
    for case in cases(include_str!("ikev2_kdf.txt")) {
        let Inputs { prf: algorithm, ni, nr, gir_new, .. } = inputs(&case);
        let sk_d = Secret::from_slice(&case.octets("dkm")[..algorithm.output_len()]);
        for (sample, shared) in [("dkm_child", None), ("dkm_child_dh", Some(&gir_new))] {
            if case.get(sample).is_none() {
                continue;
            }
            for (cipher, integrity) in [
                (Cipher::AesCbc { key_bits: 128 }, Some(Integrity::HmacSha256_128)),
                (Cipher::AesGcm { key_bits: 256, icv_len: 16 }, None),
            ] {
                let suite = EspSuite { cipher, integrity, group: None, esn: false };
                let keys = ChildKeys::derive(algorithm, &sk_d, &suite, shared, &ni, &nr).unwrap();
                let together: Vec<u8> = [keys.initiator_to_responder, keys.responder_to_initiator]
                    .iter()
                    .flat_map(|keys| [keys.encryption.expose(), keys.integrity.expose()].concat())
                    .collect();
                assert_begins_alike(&together, &case.octets(sample));
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 4);
}

#[test]
fn the_seed_of_a_rekeyed_ike_sa_matches_nist() {
    for case in cases(include_str!("ikev2_kdf.txt")) {
        let Inputs { prf: algorithm, ni, nr, gir_new, spi_i, spi_r, .. } = inputs(&case);
        let sk_d = Secret::from_slice(&case.octets("dkm")[..algorithm.output_len()]);
        let cipher = Cipher::AesGcm { key_bits: 256, icv_len: 16 };
        // The new SA's PRF is another, so that a mix-up of old and new shows.
        let suite = IkeSuite { cipher, integrity: None, prf: Prf::HmacSha512, group: Group::Modp2048 };
        let keys = IkeKeys::derive_rekey(&suite, algorithm, &sk_d, &gir_new, &ni, &nr, spi_i, spi_r).unwrap();
        let seed = [&ni[..], &nr, &spi_i.0, &spi_r.0];
        let expected = prf::prf_plus(suite.prf, &case.octets("skeyseed_rekey"), &seed, 3 * 64 + 2 * 36);
        assert_eq!(join(&keys), expected.unwrap().expose());
    }
}
