use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet, CustomExtension,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SanType, SerialNumber,
};

use super::super::testing::{
    DAY, Made, NOW, at, base, ca_params, data, leaf_params, self_signed, signed, signed_with, trusting,
};
use super::*;

const NAME: &str = "gw.example.com";

fn id(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn verify(store: &TrustStore, presented: &[&Made]) -> Result<PeerCertificate, PkiError> {
    let presented: Vec<_> = presented.iter().map(|made| made.der.as_slice()).collect();
    store.verify_peer(&presented, &id(NAME), NOW)
}

/// The outcome for a leaf with one thing changed, under a good CA.
fn leaf_with(change: impl FnOnce(&mut CertificateParams)) -> Result<PeerCertificate, PkiError> {
    let ca = self_signed(ca_params("root"));
    let mut params = leaf_params(NAME);
    change(&mut params);
    verify(&trusting(&ca), &[&signed(params, &ca)])
}

/// The outcome for a good leaf under an intermediate with one thing changed.
fn intermediate_with(change: impl FnOnce(&mut CertificateParams)) -> Result<PeerCertificate, PkiError> {
    let root = self_signed(ca_params("root"));
    let mut params = ca_params("middle");
    change(&mut params);
    let middle = signed(params, &root);
    verify(&trusting(&root), &[&signed(leaf_params(NAME), &middle), &middle])
}

fn error(result: Result<PeerCertificate, PkiError>) -> PkiError {
    result.unwrap_err()
}

struct CrlSpec {
    next_update: i64,
    this_update: i64,
    serials: Vec<Vec<u8>>,
}

impl Default for CrlSpec {
    fn default() -> Self {
        Self { next_update: NOW + 10 * DAY, this_update: NOW - DAY, serials: Vec::new() }
    }
}

fn crl_by(issuer: &Made, spec: CrlSpec) -> String {
    let revoked = |serial: &Vec<u8>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: at(NOW - 3600),
        reason_code: Some(rcgen::RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: at(spec.this_update),
        next_update: at(spec.next_update),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: spec.serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&issuer.issuer())
    .unwrap()
    .pem()
    .unwrap()
}

fn serial(made: &Made) -> Vec<u8> {
    CertificateInfo::parse(&made.der).unwrap().serial
}

#[test]
fn a_good_certificate_is_believed() {
    let peer = leaf_with(|_| {}).unwrap();
    assert_eq!(peer.not_after(), NOW + 100 * DAY);
    assert_eq!(peer.key_kind(), KeyKind::EcdsaP256);
    assert_eq!(peer.expiry_warning(NOW), None);
    assert_eq!(peer.expiry_warning(NOW + 95 * DAY).unwrap().threshold_days, 7);
    intermediate_with(|_| {}).unwrap();
}

#[test]
fn each_purpose_that_fits_ike_is_accepted_and_none_at_all() {
    use ExtendedKeyUsagePurpose as P;
    for purposes in [
        vec![],
        vec![P::ServerAuth],
        vec![P::ClientAuth],
        vec![P::Any],
        vec![P::CodeSigning, P::ServerAuth],
        vec![P::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])],
        vec![P::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2])],
    ] {
        leaf_with(|params| params.extended_key_usages = purposes).unwrap();
    }
    leaf_with(|params| params.key_usages.clear()).unwrap();
    leaf_with(|params| params.key_usages = vec![KeyUsagePurpose::ContentCommitment]).unwrap();
}

#[test]
fn certificates_made_by_openssl_are_believed() {
    let mut store = TrustStore::new();
    store.add_anchors(data!("rsa-ca.pem")).unwrap();
    for (file, name) in [
        (data!("rsa.pem"), "rsa.example.com"),
        (data!("rsa-exponent-3.pem"), "rsa-exponent-3.example.com"),
        (data!("p256.pem"), "p256.example.com"),
        (data!("p384.pem"), "p384.example.com"),
        (data!("p521.pem"), "p521.example.com"),
        (data!("ed25519.pem"), "ed25519.example.com"),
    ] {
        let der = pem::parse(file).unwrap().into_contents();
        store.verify_peer(&[&der], &id(name), NOW).unwrap();
        store.verify_peer(&[&der], &id(&format!("C=CH, O=Example, CN={name}")), NOW).unwrap();
    }
    for (file, name, part) in [
        (data!("rsa-short.pem"), "rsa-short.example.com", "1024 bits"),
        (data!("sha1.pem"), "sha1.example.com", "unsupported algorithm"),
    ] {
        let der = pem::parse(file).unwrap().into_contents();
        let error = store.verify_peer(&[&der], &id(name), NOW).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_expired_certificate_says_when_it_expired() {
    let error = error(leaf_with(|params| params.not_after = at(NOW - 1)));
    assert!(
        matches!(error, PkiError::Expired { role: Role::EndEntity, not_after, .. } if not_after == NOW - 1)
    );
    assert_eq!(
        error.to_string(),
        "the certificate O=Example, CN=gw.example.com expired on 2027-01-15 07:59 UTC: renew it"
    );
    leaf_with(|params| params.not_after = at(NOW)).unwrap();
}

#[test]
fn a_certificate_from_the_future_points_at_the_clock() {
    let error = error(leaf_with(|params| params.not_before = at(NOW + 60)));
    assert!(matches!(error, PkiError::NotYetValid { role: Role::EndEntity, .. }));
    assert!(error.to_string().contains("clock"), "{error}");
    leaf_with(|params| params.not_before = at(NOW)).unwrap();
}

#[test]
fn expired_issuers_are_named() {
    let result = error(intermediate_with(|params| params.not_after = at(NOW - 1)));
    assert!(
        matches!(&result, PkiError::Expired { role: Role::Intermediate, subject, .. } if subject.contains("middle")),
        "{result}"
    );
    let result = error(intermediate_with(|params| params.not_before = at(NOW + 1)));
    assert!(matches!(result, PkiError::NotYetValid { role: Role::Intermediate, .. }), "{result}");
    let mut params = ca_params("root");
    params.not_after = at(NOW - 1);
    let root = self_signed(params);
    let result = error(verify(&trusting(&root), &[&signed(leaf_params(NAME), &root)]));
    assert!(matches!(result, PkiError::Expired { role: Role::Anchor, .. }), "{result}");
}

#[test]
fn a_renewed_anchor_of_the_same_key_takes_over() {
    let mut old = ca_params("root");
    old.not_after = at(NOW - 1);
    let old = self_signed(old);
    let renewed = ca_params("root").self_signed(&old.key).unwrap();
    let mut store = trusting(&old);
    let leaf = signed(leaf_params(NAME), &old);
    assert!(verify(&store, &[&leaf]).is_err());
    store.add_anchors(renewed.pem().as_bytes()).unwrap();
    verify(&store, &[&leaf]).unwrap();
}

#[test]
fn an_unknown_issuer_and_a_missing_intermediate_are_named() {
    let root = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &root);
    let lower = signed(ca_params("lower"), &middle);
    let leaf = signed(leaf_params(NAME), &lower);
    let mut store = trusting(&root);
    let issuer = |result: Result<PeerCertificate, PkiError>| match error(result) {
        PkiError::UnknownIssuer { issuer, .. } => issuer,
        other => panic!("{other}"),
    };
    assert_eq!(issuer(verify(&store, &[&leaf])), "O=Example, CN=lower");
    assert_eq!(issuer(verify(&store, &[&leaf, &lower])), "O=Example, CN=middle");
    verify(&store, &[&leaf, &middle, &lower]).unwrap();
    store.add_intermediates(middle.pem.as_bytes()).unwrap();
    verify(&store, &[&leaf, &lower]).unwrap();
    assert_eq!(issuer(verify(&TrustStore::new(), &[&leaf, &middle, &lower])), "O=Example, CN=root");
}

#[test]
fn an_impostor_of_the_same_name_is_refused() {
    let root = self_signed(ca_params("root"));
    let impostor = self_signed(ca_params("root"));
    let leaf = signed(leaf_params(NAME), &impostor);
    let result = error(verify(&trusting(&root), &[&leaf, &impostor]));
    assert!(matches!(result, PkiError::BadPathSignature { .. }), "{result}");
}

#[test]
fn a_self_signed_certificate_needs_a_pin() {
    let peer = self_signed(leaf_params(NAME));
    let mut store = TrustStore::new();
    assert!(matches!(error(verify(&store, &[&peer])), PkiError::SelfSigned { .. }));
    store.add_pinned(peer.pem.as_bytes()).unwrap();
    verify(&store, &[&peer]).unwrap();
    let other = self_signed(leaf_params(NAME));
    assert!(matches!(error(verify(&store, &[&other])), PkiError::SelfSigned { .. }));
    let same_key = leaf_params(NAME).self_signed(&peer.key).unwrap();
    assert!(
        store.verify_peer(&[same_key.der()], &id(NAME), NOW).is_err(),
        "another certificate of the same key"
    );
    let mut der = peer.der.clone();
    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(store.verify_peer(&[&der], &id(NAME), NOW).is_err());
}

#[test]
fn a_pinned_certificate_still_needs_validity_usage_and_identity() {
    let outcome = |change: fn(&mut CertificateParams), name: &str| {
        let mut params = leaf_params(NAME);
        change(&mut params);
        let peer = self_signed(params);
        let mut store = TrustStore::new();
        store.add_pinned(peer.pem.as_bytes()).unwrap();
        store.verify_peer(&[&peer.der], &id(name), NOW)
    };
    outcome(|_| {}, NAME).unwrap();
    outcome(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), NAME).unwrap();
    assert!(matches!(
        error(outcome(|params| params.not_after = at(NOW - 1), NAME)),
        PkiError::Expired { .. }
    ));
    assert!(matches!(
        error(outcome(|params| params.not_before = at(NOW + 1), NAME)),
        PkiError::NotYetValid { .. }
    ));
    assert!(matches!(error(outcome(|_| {}, "other.example.com")), PkiError::IdentityMismatch { .. }));
    let key_usage = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert!(matches!(error(outcome(key_usage, NAME)), PkiError::KeyUsage { .. }));
}

#[test]
fn a_pinned_peer_may_leave_its_certificate_out() {
    let (old, new) = (self_signed(leaf_params(NAME)), self_signed(leaf_params(NAME)));
    let mut store = TrustStore::new();
    assert!(matches!(error(verify(&store, &[])), PkiError::NoCertificate { .. }));
    store.add_pinned(new.pem.as_bytes()).unwrap();
    store.add_pinned(old.pem.as_bytes()).unwrap();
    assert_eq!(verify(&store, &[]).unwrap().info().der(), new.der);
    let result = store.verify_peer(&[], &id("other.example.com"), NOW);
    assert!(matches!(error(result), PkiError::NoCertificate { .. }));
    let result = store.verify_peer(&[], &id(NAME), NOW + 101 * DAY);
    assert!(matches!(error(result), PkiError::Expired { .. }));
}

#[test]
fn a_ca_certificate_cannot_be_a_peer_and_a_peer_cannot_be_a_ca() {
    let change = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert!(matches!(error(leaf_with(change)), PkiError::CaAsEndEntity { .. }));
    for change in [
        (|params: &mut CertificateParams| params.is_ca = IsCa::NoCa) as fn(&mut CertificateParams),
        |params| params.is_ca = IsCa::ExplicitNoCa,
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
    ] {
        let result = error(intermediate_with(change));
        assert!(matches!(result, PkiError::IssuerNotCa { .. }), "{result}");
    }
    let leaf = self_signed(leaf_params(NAME));
    assert!(matches!(TrustStore::new().add_anchors(leaf.pem.as_bytes()), Err(PkiError::IssuerNotCa { .. })));
}

#[test]
fn wrong_usages_are_refused_and_named() {
    let result =
        error(leaf_with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]));
    assert!(matches!(&result, PkiError::ExtendedKeyUsage { present, .. } if present == "1.3.6.1.5.5.7.3.3"));
    let result = error(leaf_with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]));
    assert!(matches!(result, PkiError::KeyUsage { .. }), "{result}");
    let result = error(intermediate_with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping]
    }));
    assert!(matches!(result, PkiError::ExtendedKeyUsage { .. }), "{result}");
}

#[test]
fn path_lengths_are_kept() {
    let zero = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate_with(|params| params.is_ca = zero).unwrap();
    let root = self_signed(ca_params("root"));
    let mut params = ca_params("middle");
    params.is_ca = zero;
    let middle = signed(params, &root);
    let lower = signed(ca_params("lower"), &middle);
    let leaf = signed(leaf_params(NAME), &lower);
    let result = error(verify(&trusting(&root), &[&leaf, &lower, &middle]));
    assert!(matches!(result, PkiError::PathTooLong { .. }), "{result}");

    let mut params = ca_params("root");
    params.is_ca = zero;
    let root = self_signed(params);
    verify(&trusting(&root), &[&signed(leaf_params(NAME), &root)]).unwrap();
    let middle = signed(ca_params("middle"), &root);
    let result = error(verify(&trusting(&root), &[&signed(leaf_params(NAME), &middle), &middle]));
    assert!(matches!(result, PkiError::PathTooLong { .. }), "an anchor's limit counts too: {result}");
}

#[test]
fn a_path_that_is_too_deep_or_a_list_that_is_too_long_is_refused() {
    let root = self_signed(ca_params("root"));
    let mut cas = vec![signed(ca_params("ca 0"), &root)];
    for number in 1..10 {
        let next = signed(ca_params(&format!("ca {number}")), &cas[number - 1]);
        cas.push(next);
    }
    let leaf = signed(leaf_params(NAME), &cas[9]);
    let presented: Vec<&Made> = std::iter::once(&leaf).chain(&cas).collect();
    let result = error(verify(&trusting(&root), &presented));
    assert!(matches!(result, PkiError::PathTooLong { .. } | PkiError::UnknownIssuer { .. }), "{result}");
    let many = vec![&leaf; MAX_PRESENTED + 1];
    assert!(matches!(error(verify(&trusting(&root), &many)), PkiError::TooLarge { .. }));
    let large = vec![0x30; MAX_CERTIFICATE + 1];
    let result = trusting(&root).verify_peer(&[&leaf.der, &large], &id(NAME), NOW);
    assert!(matches!(error(result), PkiError::TooLarge { .. }));
}

#[test]
fn name_constraints_are_kept_also_the_excluded_ones() {
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        intermediate_with(|params| {
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        })
    };
    constrained(vec![dns("example.com")], vec![]).unwrap();
    constrained(vec![], vec![dns("example.org")]).unwrap();
    for result in [
        constrained(vec![dns("example.org")], vec![]),
        constrained(vec![], vec![dns("example.com")]),
        constrained(vec![dns("example.com")], vec![dns("gw.example.com")]),
    ] {
        let result = error(result);
        assert!(matches!(result, PkiError::NameConstraint { .. }), "{result}");
    }
    // On the anchor, and on addresses.
    let mut params = ca_params("root");
    let excluded = vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24))];
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: vec![], excluded_subtrees: excluded });
    let root = self_signed(params);
    let mut leaf = leaf_params(NAME);
    leaf.subject_alt_names.push(SanType::IpAddress("192.0.2.9".parse().unwrap()));
    let result = error(verify(&trusting(&root), &[&signed(leaf, &root)]));
    assert!(matches!(result, PkiError::NameConstraint { .. }), "{result}");
}

#[test]
fn an_unknown_critical_extension_is_refused() {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    let result = error(leaf_with(|params| params.custom_extensions = vec![extension]));
    assert!(result.to_string().contains("critical extension"), "{result}");
    let plain = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    leaf_with(|params| params.custom_extensions = vec![plain]).unwrap();
}

#[test]
fn identities_bind_to_whole_names_only() {
    let ca = self_signed(ca_params("root"));
    let mut params = leaf_params(NAME);
    params.subject_alt_names.extend([
        SanType::IpAddress("192.0.2.9".parse().unwrap()),
        SanType::IpAddress("2001:db8::9".parse().unwrap()),
        SanType::Rfc822Name("admin@example.com".try_into().unwrap()),
        SanType::DnsName("*.wild.example.com".try_into().unwrap()),
        SanType::DnsName("198.51.100.1".try_into().unwrap()),
    ]);
    let leaf = signed(params, &ca);
    let store = trusting(&ca);
    let check = |identity: &Identity| store.verify_peer(&[&leaf.der], identity, NOW);
    for text in [
        NAME,
        "GW.EXAMPLE.COM",
        "192.0.2.9",
        "2001:db8::9",
        "admin@example.com",
        "admin@EXAMPLE.com",
        "O=Example, CN=gw.example.com",
        "o=EXAMPLE, cn=gw.example.com",
    ] {
        check(&id(text)).unwrap();
    }
    for text in [
        "gw.example.co",
        "w.example.com",
        "agw.example.com",
        "example.com",
        "gw.example.com.",
        "192.0.2.8",
        "198.51.100.1",
        "fqdn:192.0.2.9",
        "2001:db8::8",
        "a.wild.example.com",
        "Admin@example.com",
        "CN=gw.example.com",
        "CN=gw.example.com, O=Example",
        "O=Example, CN=gw.example.com, OU=x",
        "O=Example, CN=gw",
    ] {
        let result = error(check(&id(text)));
        assert!(matches!(result, PkiError::IdentityMismatch { .. }), "{text}: {result}");
    }
    for data in [&b"gw.example.com\0"[..], b"gw.example.com\0.org", b""] {
        assert!(check(&Identity::new(crate::wire::ike::registry::IdType::FQDN, data)).is_err());
    }
    for text in ["keyid:00", "keyid-text:gw.example.com"] {
        assert!(matches!(error(check(&id(text))), PkiError::IdentityNotCertifiable { .. }));
    }
    let text = error(check(&id("other.example.com"))).to_string();
    assert!(text.contains("other.example.com") && text.contains("gw.example.com, 192.0.2.9"), "{text}");
}

#[test]
fn the_common_name_is_no_host_name() {
    let result = error(leaf_with(|params| params.subject_alt_names.clear()));
    assert!(matches!(result, PkiError::IdentityMismatch { .. }), "{result}");
    let result = error(leaf_with(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name = rcgen::DistinguishedName::new();
    }));
    assert!(result.to_string().contains("it names nothing"), "{result}");
}

#[test]
fn an_empty_subject_proves_no_empty_name() {
    let ca = self_signed(ca_params("root"));
    let mut params = leaf_params(NAME);
    params.distinguished_name = rcgen::DistinguishedName::new();
    let leaf = signed(params, &ca);
    let empty = Identity::from_dn_der(&[0x30, 0]);
    assert!(trusting(&ca).verify_peer(&[&leaf.der], &empty, NOW).is_err());
}

#[test]
fn a_revoked_certificate_says_when_and_why() {
    let ca = self_signed(ca_params("root"));
    let leaf = signed(leaf_params(NAME), &ca);
    let mut store = trusting(&ca);
    store.add_crls(crl_by(&ca, CrlSpec::default()).as_bytes()).unwrap();
    verify(&store, &[&leaf]).unwrap();
    let newer = CrlSpec { this_update: NOW - 60, serials: vec![serial(&leaf)], ..CrlSpec::default() };
    store.add_crls(crl_by(&ca, newer).as_bytes()).unwrap();
    let result = error(verify(&store, &[&leaf]));
    assert!(
        matches!(result, PkiError::Revoked { role: Role::EndEntity, on: Some(on), reason: Some("key compromise"), .. }
            if on == NOW - 3600),
        "{result}"
    );
    assert!(result.to_string().contains("revoked on 2027-01-15 07:00 UTC (key compromise)"), "{result}");
}

#[test]
fn an_expired_crl_is_refused_and_warned_about() {
    let ca = self_signed(ca_params("root"));
    let leaf = signed(leaf_params(NAME), &ca);
    let mut store = trusting(&ca);
    let spec = CrlSpec { next_update: NOW - 1, this_update: NOW - DAY, ..CrlSpec::default() };
    store.add_crls(crl_by(&ca, spec).as_bytes()).unwrap();
    let result = error(verify(&store, &[&leaf]));
    assert!(matches!(result, PkiError::CrlExpired { next_update, .. } if next_update == NOW - 1), "{result}");
    let warnings = store.expiry_warnings(NOW);
    assert!(warnings.iter().any(|warning| warning.subject.contains("CRL") && warning.threshold_days == 0));
}

#[test]
fn a_crl_of_another_key_or_of_no_crl_signer_is_refused() {
    let ca = self_signed(ca_params("root"));
    let leaf = signed(leaf_params(NAME), &ca);
    let impostor = self_signed(ca_params("root"));
    let mut store = trusting(&ca);
    store.add_crls(crl_by(&impostor, CrlSpec::default()).as_bytes()).unwrap();
    let result = error(verify(&store, &[&leaf]));
    assert!(matches!(result, PkiError::CrlUnusable { .. }), "{result}");

    let mut params = ca_params("middle");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let middle = signed(params, &ca);
    let leaf = signed(leaf_params(NAME), &middle);
    let lenient =
        signed_with(ca_params("middle"), KeyPair::from_pem(&middle.key.serialize_pem()).unwrap(), &ca);
    let mut store = trusting(&ca);
    store.add_crls(crl_by(&lenient, CrlSpec::default()).as_bytes()).unwrap();
    let result = error(verify(&store, &[&leaf, &middle]));
    assert!(matches!(result, PkiError::CrlUnusable { .. }), "{result}");
}

#[test]
fn the_revocation_policy_decides_what_must_be_covered() {
    let root = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &root);
    let leaf = signed(leaf_params(NAME), &middle);
    let under = |policy, crls: &[String]| {
        let mut store = trusting(&root);
        store.set_revocation(policy);
        for crl in crls {
            store.add_crls(crl.as_bytes()).unwrap();
        }
        verify(&store, &[&leaf, &middle])
    };
    let by_root = crl_by(&root, CrlSpec::default());
    let by_middle = crl_by(&middle, CrlSpec::default());
    let root_revokes = crl_by(&root, CrlSpec { serials: vec![serial(&middle)], ..CrlSpec::default() });
    use RevocationPolicy::{Chain, EndEntity, WhereCovered};
    for policy in [EndEntity, Chain, WhereCovered] {
        under(policy, &[]).unwrap();
        under(policy, &[by_root.clone(), by_middle.clone()]).unwrap();
        let result = error(under(policy, &[root_revokes.clone(), by_middle.clone()]));
        assert!(matches!(result, PkiError::Revoked { role: Role::Intermediate, .. }), "{result}");
    }
    under(EndEntity, std::slice::from_ref(&by_middle)).unwrap();
    under(WhereCovered, std::slice::from_ref(&by_root)).unwrap();
    let result = error(under(EndEntity, std::slice::from_ref(&by_root)));
    assert!(
        matches!(&result, PkiError::RevocationUnknown { issuer, .. } if issuer.contains("middle")),
        "{result}"
    );
    let result = error(under(Chain, std::slice::from_ref(&by_middle)));
    assert!(
        matches!(&result, PkiError::RevocationUnknown { issuer, .. } if issuer.contains("root")),
        "{result}"
    );
}

#[test]
fn damaged_certificates_and_crls_are_refused_everywhere() {
    let ca = self_signed(ca_params("root"));
    let leaf = signed(leaf_params(NAME), &ca);
    let store = trusting(&ca);
    for at in 0..leaf.der.len() {
        let mut der = leaf.der.clone();
        der[at] ^= 0x10;
        assert!(store.verify_peer(&[&der], &id(NAME), NOW).is_err(), "octet {at}");
        assert!(store.verify_peer(&[&leaf.der[..at]], &id(NAME), NOW).is_err(), "length {at}");
    }
    let crl =
        pem::parse(crl_by(&ca, CrlSpec { serials: vec![serial(&leaf)], ..CrlSpec::default() })).unwrap();
    for at in 0..crl.contents().len() {
        let mut store = trusting(&ca);
        assert!(store.add_crls(&crl.contents()[..at]).is_err(), "length {at}");
        let mut der = crl.contents().to_vec();
        der[at] ^= 0x10;
        if store.add_crls(&der).is_ok() {
            assert!(verify(&store, &[&leaf]).is_err(), "octet {at}");
        }
    }
}

#[test]
fn garbage_beside_a_good_certificate_is_harmless() {
    let ca = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &ca);
    let leaf = signed(leaf_params(NAME), &middle);
    let presented = [leaf.der.as_slice(), &middle.der, &ca.der];
    trusting(&ca).verify_peer(&presented, &id(NAME), NOW).unwrap();
}

#[test]
fn authority_hashes_are_sha1_of_the_public_key_info() {
    let (ca, pin) = (self_signed(ca_params("root")), self_signed(leaf_params(NAME)));
    let mut store = trusting(&ca);
    store.add_anchors(ca.pem.as_bytes()).unwrap();
    store.add_pinned(pin.pem.as_bytes()).unwrap();
    let spki = |made: &Made| {
        use rcgen::PublicKeyData;
        authority_hash(&made.key.subject_public_key_info())
    };
    assert_eq!(store.authority_hashes(), [spki(&ca), spki(&pin)]);
    assert!(TrustStore::new().is_empty() && !store.is_empty());
}

#[test]
fn configured_certificates_are_warned_about_before_they_expire() {
    let mut params = ca_params("root");
    params.not_after = at(NOW + 20 * DAY);
    let ca = self_signed(params);
    let warnings = trusting(&ca).expiry_warnings(NOW);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].threshold_days, 30);
    assert!(warnings[0].to_string().contains("CN=root expires within 30 days"), "{}", warnings[0]);
}

#[test]
fn messages_escape_what_the_certificate_says() {
    let ca = self_signed(ca_params("root"));
    let mut params = base("x");
    params.distinguished_name.push(DnType::CommonName, "evil\n\u{1b}[31m, CN=gw");
    params.subject_alt_names = vec![SanType::DnsName("a\nb".try_into().unwrap())];
    let result = error(verify(&trusting(&ca), &[&signed(params, &ca)])).to_string();
    assert!(!result.chars().any(char::is_control), "{result:?}");
    assert!(result.contains("a\\x0ab"), "{result}");
}
