use super::super::testing::{DAY, NOW, base, ca_params, data, leaf_params, self_signed, signed};
use super::*;

#[test]
fn the_chain_is_ordered_from_the_leaf_and_leaves_the_root_out() {
    let root = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &root);
    let lower = signed(ca_params("lower"), &middle);
    let leaf = signed(leaf_params("gw.example.com"), &lower);
    let file = [&root, &middle, &leaf, &lower].map(|made| made.pem.as_str()).concat();
    let local = LocalCertificate::new(file.as_bytes(), leaf.private_key()).unwrap();
    assert_eq!(local.chain(), [leaf.der, lower.der, middle.der]);
}

#[test]
fn a_certificate_that_is_not_the_keys_is_refused() {
    let leaf = self_signed(leaf_params("gw.example.com"));
    let other = self_signed(leaf_params("other.example.com"));
    let error = LocalCertificate::new(leaf.pem.as_bytes(), other.private_key()).unwrap_err();
    assert!(
        matches!(&error, PkiError::KeyMismatch { subject } if subject.contains("gw.example.com")),
        "{error}"
    );
    let key = PrivateKey::from_file(data!("p384.key"), None).unwrap();
    assert!(LocalCertificate::new(leaf.pem.as_bytes(), key).is_err());
    assert!(LocalCertificate::new(b"", other.private_key()).is_err());
}

#[test]
fn the_earliest_end_in_the_chain_counts() {
    let root = self_signed(ca_params("root"));
    let mut middle = ca_params("middle");
    middle.not_after = super::super::testing::at(NOW + 5 * DAY);
    let middle = signed(middle, &root);
    let leaf = signed(leaf_params("gw.example.com"), &middle);
    let file = format!("{}{}", leaf.pem, middle.pem);
    let local = LocalCertificate::new(file.as_bytes(), leaf.private_key()).unwrap();
    assert_eq!(local.not_after(), NOW + 5 * DAY);
    assert_eq!(local.expiry_warning(NOW).unwrap().threshold_days, 7);
    assert_eq!(local.expiry_warning(NOW - 30 * DAY), None);
}

#[test]
fn warnings_come_at_30_7_and_1_days_and_after_the_end() {
    let threshold =
        |left: i64| ExpiryWarning::check("x", NOW + left, NOW).map(|warning| warning.threshold_days);
    assert_eq!(threshold(31 * DAY), None);
    assert_eq!(threshold(30 * DAY), Some(30));
    assert_eq!(threshold(7 * DAY + 1), Some(30));
    assert_eq!(threshold(7 * DAY), Some(7));
    assert_eq!(threshold(DAY), Some(1));
    assert_eq!(threshold(0), Some(1));
    assert_eq!(threshold(-1), Some(0));
    assert_eq!(threshold(i64::MIN / 2), Some(0));
}

#[test]
fn the_next_change_is_where_the_answer_changes() {
    let end = NOW + 100 * DAY;
    let mut now = NOW;
    let mut seen = Vec::new();
    while let Some(next) = ExpiryWarning::next_change(end, now) {
        let before = ExpiryWarning::check("x", end, next - 1);
        let after = ExpiryWarning::check("x", end, next);
        assert_ne!(before, after);
        seen.push(after.unwrap().threshold_days);
        now = next;
    }
    assert_eq!(seen, [30, 7, 1, 0]);
}

#[test]
fn identities_are_checked_and_sent_in_the_certificates_own_encoding() {
    let leaf = self_signed(leaf_params("gw.example.com"));
    let local = LocalCertificate::new(leaf.pem.as_bytes(), leaf.private_key()).unwrap();
    local.check_identity(&Identity::parse("GW.example.com").unwrap()).unwrap();
    assert!(local.check_identity(&Identity::parse("other.example.com").unwrap()).is_err());
    let written = Identity::parse("O=EXAMPLE, CN=GW.example.com").unwrap();
    local.check_identity(&written).unwrap();
    assert_eq!(local.identity_to_send(&written), local.info().subject_identity());
    let other = Identity::parse("O=Other, CN=gw.example.com").unwrap();
    assert_eq!(local.identity_to_send(&other), other);
    assert_eq!(local.default_identity(), local.info().subject_identity());
}

#[test]
fn a_certificate_without_subject_speaks_by_its_first_name() {
    let mut params = leaf_params("gw.example.com");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let leaf = self_signed(params);
    let local = LocalCertificate::new(leaf.pem.as_bytes(), leaf.private_key()).unwrap();
    assert_eq!(local.default_identity(), Identity::from_fqdn("gw.example.com"));
    assert_eq!(local.info().subject(), "gw.example.com");
}

#[test]
fn a_chain_that_is_too_long_is_refused() {
    let root = self_signed(ca_params("root"));
    let mut chain = vec![signed(ca_params("ca 0"), &root)];
    for number in 1..=MAX_CHAIN {
        let next = signed(ca_params(&format!("ca {number}")), &chain[number - 1]);
        chain.push(next);
    }
    let leaf = signed(base("leaf"), &chain[MAX_CHAIN]);
    let file: String = chain.iter().chain([&leaf]).map(|made| made.pem.as_str()).collect();
    assert!(matches!(
        LocalCertificate::new(file.as_bytes(), leaf.private_key()),
        Err(PkiError::TooLarge { .. })
    ));
}
