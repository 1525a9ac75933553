use super::*;
use crate::crypto::Group;

const GCM: Cipher = Cipher::AesGcm { key_bits: 256, icv_len: 16 };
const CBC: Cipher = Cipher::AesCbc { key_bits: 128 };
const SPI_I: IkeSpi = IkeSpi([1; 8]);
const SPI_R: IkeSpi = IkeSpi([2; 8]);

fn suite(cipher: Cipher, integrity: Option<Integrity>) -> IkeSuite {
    IkeSuite { cipher, integrity, prf: Prf::HmacSha384, group: Group::Ecp256 }
}

fn shared() -> SharedSecret {
    SharedSecret::new(Secret::from_slice(&[5; 32]))
}

fn child(cipher: Cipher, integrity: Option<Integrity>, shared: Option<&SharedSecret>) -> ChildKeys {
    let suite = EspSuite { cipher, integrity, group: None, esn: false };
    let sk_d = Secret::from_slice(&[6; 32]);
    ChildKeys::derive(Prf::HmacSha256, &sk_d, &suite, shared, b"ni", b"nr").unwrap()
}

#[test]
fn an_aead_has_salted_encryption_keys_and_no_integrity_keys() {
    let keys = IkeKeys::derive(&suite(GCM, None), &shared(), b"ni", b"nr", SPI_I, SPI_R).unwrap();
    assert_eq!((keys.sk_ei.len(), keys.sk_er.len()), (36, 36));
    assert!(keys.sk_ai.is_empty() && keys.sk_ar.is_empty());
    assert_eq!((keys.sk_d.len(), keys.sk_pi.len(), keys.sk_pr.len()), (48, 48, 48));
    assert_ne!(keys.sk_ei, keys.sk_er);
    assert_ne!(keys.sk_pi, keys.sk_pr);
}

#[test]
fn the_keys_of_an_ike_sa_come_in_the_order_of_the_standard() {
    let suite = suite(CBC, Some(Integrity::HmacSha256_128));
    let keys = IkeKeys::derive(&suite, &shared(), b"ni", b"nr", SPI_I, SPI_R).unwrap();
    let skeyseed = prf(suite.prf, b"ninr", &[shared().expose()]);
    let seed = [&b"ninr"[..], &SPI_I.0, &SPI_R.0].concat();
    let expected = prf_plus(suite.prf, skeyseed.expose(), &[&seed], 3 * 48 + 2 * 32 + 2 * 16).unwrap();
    let IkeKeys { sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = &keys;
    let together: Vec<u8> = [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr]
        .iter()
        .flat_map(|key| key.expose().to_vec())
        .collect();
    assert_eq!(together, expected.expose());
    assert_eq!((sk_ai.len(), sk_ei.len()), (32, 16));
}

#[test]
fn every_input_of_the_derivation_matters() {
    let suite = suite(GCM, None);
    let base = IkeKeys::derive(&suite, &shared(), b"ni", b"nr", SPI_I, SPI_R).unwrap();
    let other = SharedSecret::new(Secret::from_slice(&[4; 32]));
    for (shared, ni, nr, spi_i, spi_r) in [
        (&other, b"ni", b"nr", SPI_I, SPI_R),
        (&shared(), b"nj", b"nr", SPI_I, SPI_R),
        (&shared(), b"ni", b"ns", SPI_I, SPI_R),
        (&shared(), b"ni", b"nr", SPI_R, SPI_R),
        (&shared(), b"ni", b"nr", SPI_I, SPI_I),
    ] {
        let changed = IkeKeys::derive(&suite, shared, ni, nr, spi_i, spi_r).unwrap();
        assert_ne!(changed.sk_d, base.sk_d);
    }
}

#[test]
fn a_rekeyed_ike_sa_seeds_with_the_old_prf_and_expands_with_the_new() {
    let suite = suite(GCM, None);
    let old_sk_d = Secret::from_slice(&[8; 32]);
    let keys =
        IkeKeys::derive_rekey(&suite, Prf::HmacSha256, &old_sk_d, &shared(), b"ni", b"nr", SPI_I, SPI_R)
            .unwrap();
    let skeyseed = prf(Prf::HmacSha256, old_sk_d.expose(), &[shared().expose(), b"ninr"]);
    let seed = [&b"ninr"[..], &SPI_I.0, &SPI_R.0].concat();
    let sk_d = prf_plus(Prf::HmacSha384, skeyseed.expose(), &[&seed], 48).unwrap();
    assert_eq!(keys.sk_d, sk_d);
}

#[test]
fn child_keys_come_initiator_first_encryption_before_integrity() {
    let keys = child(CBC, Some(Integrity::HmacSha512_256), None);
    let keymat = prf_plus(Prf::HmacSha256, &[6; 32], &[b"ninr"], 2 * (16 + 64)).unwrap();
    let (i, r) = (&keys.initiator_to_responder, &keys.responder_to_initiator);
    let together: Vec<u8> = [&i.encryption, &i.integrity, &r.encryption, &r.integrity]
        .iter()
        .flat_map(|key| key.expose().to_vec())
        .collect();
    assert_eq!(together, keymat.expose());
}

#[test]
fn a_child_key_exchange_goes_before_the_nonces() {
    let keys = child(GCM, None, Some(&shared()));
    let seed = [shared().expose(), b"ninr"].concat();
    let keymat = prf_plus(Prf::HmacSha256, &[6; 32], &[&seed], 72).unwrap();
    assert_eq!(keys.initiator_to_responder.encryption.expose(), &keymat.expose()[..36]);
    assert_ne!(keys, child(GCM, None, None));
}

#[test]
fn derived_keys_fit_their_suite_and_no_other() {
    let suite_gcm = suite(GCM, None);
    let keys = IkeKeys::derive(&suite_gcm, &shared(), b"ni", b"nr", SPI_I, SPI_R).unwrap();
    assert!(keys.initiator_cipher(&suite_gcm).is_ok() && keys.responder_cipher(&suite_gcm).is_ok());
    assert!(keys.initiator_cipher(&suite(CBC, Some(Integrity::HmacSha256_128))).is_err());
    let no_integrity = suite(CBC, None);
    let refused = IkeKeys::derive(&no_integrity, &shared(), b"ni", b"nr", SPI_I, SPI_R);
    assert!(matches!(refused, Err(CryptoError::Suite(_))));
}

#[test]
fn a_psk_auth_verifies_only_with_key_and_octets_unchanged() {
    let psk = Secret::from_slice(b"secret");
    let octets = signed_octets(Prf::HmacSha256, &Secret::from_slice(&[1; 32]), b"message", b"nonce", b"id");
    assert_eq!(&octets[..12], b"messagenonce");
    assert_eq!(octets.len(), 12 + 32);
    let auth = psk_auth(Prf::HmacSha256, &psk, &octets);
    assert!(verify_psk_auth(Prf::HmacSha256, &psk, &octets, auth.expose()));
    assert!(!verify_psk_auth(Prf::HmacSha256, &Secret::from_slice(b"secreu"), &octets, auth.expose()));
    assert!(!verify_psk_auth(Prf::HmacSha256, &psk, &octets[1..], auth.expose()));
    assert!(!verify_psk_auth(Prf::HmacSha256, &psk, &octets, &auth.expose()[1..]));
    assert!(!verify_psk_auth(Prf::HmacSha256, &psk, &octets, &[]));
    assert!(!verify_psk_auth(Prf::HmacSha512, &psk, &octets, auth.expose()));
}
