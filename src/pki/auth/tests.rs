use proptest::prelude::*;

use super::super::certificate::CertificateInfo;
use super::super::key::PrivateKey;
use super::super::local::{LocalCertificate, RsaPadding};
use super::super::testing::data;
use super::*;

const MESSAGE: &[u8] = data!("message");
const ALL: &[HashAlgorithmId] = SUPPORTED_HASHES;

fn local(certificate: &[u8], key: &[u8]) -> LocalCertificate {
    LocalCertificate::new(certificate, PrivateKey::from_file(key, None).unwrap()).unwrap()
}

fn rsa() -> LocalCertificate {
    local(data!("rsa.pem"), data!("rsa.key"))
}

fn every_key() -> Vec<LocalCertificate> {
    vec![
        rsa(),
        rsa().with_rsa_padding(RsaPadding::Pkcs1),
        local(data!("p256.pem"), data!("p256.key")),
        local(data!("p384.pem"), data!("p384-sec1.key")),
        local(data!("ed25519.pem"), data!("ed25519.key")),
    ]
}

fn check(
    certificate: &CertificateInfo,
    method: AuthMethod,
    data: &[u8],
    policy: &SignaturePolicy,
) -> Result<(), PkiError> {
    verify(certificate.public_key().unwrap(), "subject", method, data, MESSAGE, policy)
}

fn policy(announced: &[HashAlgorithmId]) -> SignaturePolicy {
    SignaturePolicy { announced: announced.to_vec(), allow_sha1: false }
}

fn blob(identifier: &[u8], signature: &[u8]) -> Vec<u8> {
    [&[u8::try_from(identifier.len()).unwrap()][..], identifier, signature].concat()
}

#[test]
fn algorithm_identifiers_are_those_of_rfc_7427_appendix_a() {
    let hex = |scheme: Scheme| super::super::identity::hex(&scheme.algorithm_identifier().unwrap());
    assert_eq!(hex(Scheme::RsaPkcs1(Hash::Sha256)), "300d06092a864886f70d01010b0500");
    assert_eq!(hex(Scheme::RsaPkcs1(Hash::Sha384)), "300d06092a864886f70d01010c0500");
    assert_eq!(hex(Scheme::RsaPkcs1(Hash::Sha512)), "300d06092a864886f70d01010d0500");
    assert_eq!(hex(Scheme::Ecdsa(Hash::Sha256)), "300a06082a8648ce3d040302");
    assert_eq!(hex(Scheme::Ecdsa(Hash::Sha384)), "300a06082a8648ce3d040303");
    assert_eq!(hex(Scheme::Ecdsa(Hash::Sha512)), "300a06082a8648ce3d040304");
    assert_eq!(hex(Scheme::Ed25519), "300506032b6570");
    let pss = "304106092a864886f70d01010a3034a00f300d06096086480165030402010500\
               a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120";
    assert_eq!(hex(Scheme::RsaPss(Hash::Sha256)), pss);
    let with_trailer = "304606092a864886f70d01010a3039a00f300d06096086480165030402010500\
                        a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120a303020101";
    let with_trailer = super::super::identity::unhex(with_trailer.as_bytes()).unwrap();
    assert_eq!(Scheme::from_identifier(&with_trailer), Some(Scheme::RsaPss(Hash::Sha256)));
}

#[test]
fn no_two_schemes_share_an_encoding() {
    let schemes: Vec<_> = STRONG
        .into_iter()
        .flat_map(|hash| [Scheme::RsaPkcs1(hash), Scheme::RsaPss(hash), Scheme::Ecdsa(hash)])
        .chain([Scheme::Ed25519])
        .collect();
    for scheme in schemes {
        for identifier in scheme.accepted_identifiers() {
            assert_eq!(Scheme::from_identifier(&identifier), Some(scheme));
        }
    }
}

#[test]
fn every_key_signs_and_verifies_by_rfc_7427() {
    for local in every_key() {
        let (method, data) = local.sign_auth(Some(ALL), MESSAGE).unwrap();
        assert_eq!(method, AuthMethod::DIGITAL_SIGNATURE);
        check(local.info(), method, &data, &policy(ALL)).unwrap();
    }
}

#[test]
fn signatures_made_by_openssl_verify() {
    let info = rsa().info().clone();
    for (scheme, signature) in [
        (Scheme::RsaPkcs1(Hash::Sha256), data!("rsa-pkcs1-sha256.sig")),
        (Scheme::RsaPkcs1(Hash::Sha384), data!("rsa-pkcs1-sha384.sig")),
        (Scheme::RsaPkcs1(Hash::Sha512), data!("rsa-pkcs1-sha512.sig")),
        (Scheme::RsaPss(Hash::Sha256), data!("rsa-pss-sha256.sig")),
    ] {
        for identifier in scheme.accepted_identifiers() {
            check(&info, AuthMethod::DIGITAL_SIGNATURE, &blob(&identifier, signature), &policy(ALL)).unwrap();
        }
    }
    let p521 = pem::parse(data!("p521.pem")).unwrap();
    let p521 = CertificateInfo::parse(p521.contents()).unwrap();
    let identifier = Scheme::Ecdsa(Hash::Sha512).algorithm_identifier().unwrap();
    check(&p521, AuthMethod::DIGITAL_SIGNATURE, &blob(&identifier, data!("p521.sig")), &policy(ALL)).unwrap();
}

#[test]
fn a_pss_salt_of_another_length_is_refused() {
    let info = rsa().info().clone();
    let identifier = Scheme::RsaPss(Hash::Sha256).algorithm_identifier().unwrap();
    let data = blob(&identifier, data!("rsa-pss-sha256-salt20.sig"));
    assert!(matches!(
        check(&info, AuthMethod::DIGITAL_SIGNATURE, &data, &policy(ALL)),
        Err(PkiError::BadSignature { .. })
    ));
}

#[test]
fn pss_with_empty_default_or_odd_parameters_is_refused() {
    let info = rsa().info().clone();
    let oid = der::encode(der::OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]);
    let good = Scheme::RsaPss(Hash::Sha256).algorithm_identifier().unwrap();
    let salt_at = good.len() - 1;
    let mut other_salt = good.clone();
    other_salt[salt_at] = 20;
    let bare = der::encode(der::SEQUENCE, &oid);
    let empty = der::encode(der::SEQUENCE, &[oid.as_slice(), &[0x30, 0]].concat());
    for identifier in [other_salt, bare, empty] {
        let data = blob(&identifier, data!("rsa-pss-sha256.sig"));
        let error = check(&info, AuthMethod::DIGITAL_SIGNATURE, &data, &policy(ALL)).unwrap_err();
        assert!(matches!(error, PkiError::UnsupportedAlgorithm(_)), "{error}");
        assert!(error.to_string().contains("RSA-PSS"), "{error}");
    }
}

#[test]
fn every_single_octet_changed_or_cut_is_refused() {
    for local in every_key() {
        let (method, data) = local.sign_auth(Some(ALL), MESSAGE).unwrap();
        for at in 0..data.len() {
            let mut damaged = data.clone();
            damaged[at] ^= 0x01;
            assert!(check(local.info(), method, &damaged, &policy(ALL)).is_err(), "octet {at}");
        }
        for length in (0..data.len()).step_by(3).chain([data.len() - 1]) {
            assert!(check(local.info(), method, &data[..length], &policy(ALL)).is_err(), "length {length}");
        }
        let mut longer = data.clone();
        longer.push(0);
        assert!(check(local.info(), method, &longer, &policy(ALL)).is_err(), "a trailing octet");
    }
}

#[test]
fn the_signed_octets_matter() {
    for local in every_key() {
        let (method, data) = local.sign_auth(Some(ALL), b"other octets").unwrap();
        assert!(matches!(
            check(local.info(), method, &data, &policy(ALL)),
            Err(PkiError::BadSignature { .. })
        ));
    }
}

#[test]
fn empty_data_and_empty_signatures_are_malformed() {
    for local in every_key() {
        for method in [1, 9, 10, 11, 14].map(AuthMethod) {
            assert!(matches!(
                check(local.info(), method, &[], &policy(ALL)),
                Err(PkiError::MalformedSignature(_) | PkiError::AlgorithmMismatch { .. })
            ));
        }
        let (method, data) = local.sign_auth(Some(ALL), MESSAGE).unwrap();
        let end = 1 + usize::from(data[0]);
        assert!(matches!(
            check(local.info(), method, &data[..end], &policy(ALL)),
            Err(PkiError::MalformedSignature(_))
        ));
        let zeros = [&data[..end], &vec![0; data.len() - end]].concat();
        assert!(check(local.info(), method, &zeros, &policy(ALL)).is_err());
    }
}

#[test]
fn a_hash_that_was_not_announced_is_refused() {
    for local in every_key() {
        let (method, data) = local.sign_auth(Some(ALL), MESSAGE).unwrap();
        let (scheme, _) = parse_digital_signature(&data).unwrap();
        let others: Vec<_> = ALL.iter().copied().filter(|hash| *hash != scheme.hash_id()).collect();
        assert_eq!(
            check(local.info(), method, &data, &policy(&others)),
            Err(PkiError::HashNotAnnounced(scheme.hash_id()))
        );
    }
}

#[test]
fn the_algorithm_must_fit_the_key() {
    let keys = every_key();
    for (index, signer) in keys.iter().enumerate() {
        for (other_index, holder) in keys.iter().enumerate() {
            let (method, data) = signer.sign_auth(Some(ALL), MESSAGE).unwrap();
            let same_key = index == other_index || (index < 2 && other_index < 2);
            assert_eq!(check(holder.info(), method, &data, &policy(ALL)).is_ok(), same_key);
        }
    }
}

#[test]
fn sha1_and_unknown_algorithms_are_named_in_the_refusal() {
    let info = rsa().info().clone();
    let with = |oid: &[u8]| {
        let identifier =
            der::encode(der::SEQUENCE, &[der::encode(der::OID, oid).as_slice(), &[5, 0]].concat());
        check(&info, AuthMethod::DIGITAL_SIGNATURE, &blob(&identifier, &[1; 256]), &policy(ALL))
            .unwrap_err()
            .to_string()
    };
    assert!(with(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05]).contains("SHA-1"));
    assert!(with(&[0x2b, 0x65, 0x71]).contains("Ed448"));
    assert!(with(&[0x2a, 0x03]).contains("1.2.3"));
    assert!(with(&[0x2b, 0x65, 0x70]).contains("malformed parameters"));
}

#[test]
fn method_1_verifies_sha2_always_and_sha1_only_by_opt_in() {
    let info = rsa().info().clone();
    let strict = SignaturePolicy { announced: Vec::new(), allow_sha1: false };
    let legacy = SignaturePolicy { allow_sha1: true, ..strict.clone() };
    for signature in
        [data!("rsa-pkcs1-sha256.sig"), data!("rsa-pkcs1-sha384.sig"), data!("rsa-pkcs1-sha512.sig")]
    {
        check(&info, AuthMethod::RSA_SIGNATURE, signature, &strict).unwrap();
    }
    let sha1 = data!("rsa-pkcs1-sha1.sig");
    assert!(matches!(
        check(&info, AuthMethod::RSA_SIGNATURE, sha1, &strict),
        Err(PkiError::BadSignature { .. })
    ));
    check(&info, AuthMethod::RSA_SIGNATURE, sha1, &legacy).unwrap();
    let pss = data!("rsa-pss-sha256.sig");
    assert!(check(&info, AuthMethod::RSA_SIGNATURE, pss, &legacy).is_err());
}

#[test]
fn methods_9_and_10_are_used_where_the_peer_announced_nothing() {
    let none = SignaturePolicy { announced: Vec::new(), allow_sha1: false };
    for (local, expected, length) in [
        (local(data!("p256.pem"), data!("p256.key")), AuthMethod::ECDSA_256, 64),
        (local(data!("p384.pem"), data!("p384.key")), AuthMethod::ECDSA_384, 96),
    ] {
        for hashes in [None, Some(&[][..]), Some(&[HashAlgorithmId::SHA2_512][..])] {
            let (method, data) = local.sign_auth(hashes, MESSAGE).unwrap();
            assert_eq!((method, data.len()), (expected, length));
            check(local.info(), method, &data, &none).unwrap();
            let other =
                if method == AuthMethod::ECDSA_256 { AuthMethod::ECDSA_384 } else { AuthMethod::ECDSA_256 };
            assert!(matches!(
                check(local.info(), other, &data, &none),
                Err(PkiError::AlgorithmMismatch { .. })
            ));
            assert!(check(local.info(), method, &data[1..], &none).is_err());
            assert!(check(local.info(), method, &vec![0; length], &none).is_err());
        }
    }
}

#[test]
fn rsa_and_ed25519_say_what_to_do_when_they_cannot_sign() {
    let error = rsa().sign_auth(None, MESSAGE).unwrap_err().to_string();
    assert!(error.contains("RFC 7427"), "{error}");
    let error = rsa().sign_auth(Some(&[HashAlgorithmId::SHA1]), MESSAGE).unwrap_err().to_string();
    assert!(error.contains("SHA-256"), "{error}");
    let ed = local(data!("ed25519.pem"), data!("ed25519.key"));
    let error = ed.sign_auth(Some(&[HashAlgorithmId::SHA2_256]), MESSAGE).unwrap_err().to_string();
    assert!(error.contains("RFC 8420"), "{error}");
}

#[test]
fn rsa_takes_the_first_strong_hash_the_peer_knows() {
    for hash in STRONG {
        let (_, data) = rsa().sign_auth(Some(&[HashAlgorithmId::SHA1, hash_id(hash)]), MESSAGE).unwrap();
        assert_eq!(parse_digital_signature(&data).unwrap().0, Scheme::RsaPss(hash));
        check(rsa().info(), AuthMethod::DIGITAL_SIGNATURE, &data, &policy(&[hash_id(hash)])).unwrap();
    }
}

#[test]
fn methods_that_are_no_signatures_are_refused() {
    let info = rsa().info().clone();
    for method in [0, 2, 3, 12, 13, 200].map(AuthMethod) {
        assert_eq!(check(&info, method, &[1; 64], &policy(ALL)), Err(PkiError::UnsupportedMethod(method)));
    }
}

proptest! {
    #[test]
    fn any_auth_data_is_refused_without_panic(method: u8, data: Vec<u8>) {
        for local in [rsa(), local(data!("p256.pem"), data!("p256.key"))] {
            prop_assert!(check(local.info(), AuthMethod(method), &data, &SignaturePolicy::default()).is_err());
        }
    }
}
