//! Everything of a peer or a file that the PKI layer parses. The first octet chooses what the rest is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use skybridge::pki::{
    CertificateInfo, Identity, IdentityPattern, PeerCertificate, PrivateKey, SignaturePolicy, TrustStore,
    identity,
};
use skybridge::wire::ike::registry::{AuthMethod, IdType};

const NOW: i64 = 1_800_000_000;
const CA: &[u8] = include_bytes!("../../data/pki/rsa-ca.pem");
const PINNED: [(&[u8], &str); 3] = [
    (include_bytes!("../../data/pki/rsa.pem"), "rsa.example.com"),
    (include_bytes!("../../data/pki/p256.pem"), "p256.example.com"),
    (include_bytes!("../../data/pki/ed25519.pem"), "ed25519.example.com"),
];

static STORE: LazyLock<TrustStore> = LazyLock::new(|| {
    let mut store = TrustStore::new();
    store.add_anchors(CA).expect("the test CA is good");
    store
});

static PEERS: LazyLock<Vec<PeerCertificate>> = LazyLock::new(|| {
    PINNED
        .iter()
        .map(|(file, name)| {
            let mut store = TrustStore::new();
            store.add_pinned(file).expect("the test certificate is good");
            store.verify_peer(&[], &Identity::from_fqdn(name), NOW).expect("a pinned certificate is believed")
        })
        .collect()
});

fuzz_target!(|octets: &[u8]| {
    let [choice, rest @ ..] = octets else { return };
    match choice {
        0 => id(rest),
        1 => text(rest),
        2 => certificate(rest),
        3 => {
            let mut store = TrustStore::new();
            let _ = store.add_crls(rest);
            let _ = store.expiry_warnings(NOW);
        }
        4 => {
            let [method, data @ ..] = rest else { return };
            for peer in PEERS.iter() {
                let policy = SignaturePolicy::default();
                assert!(
                    peer.verify_auth(AuthMethod(*method), data, b"octets nobody signed", &policy).is_err()
                );
            }
        }
        _ => {
            let _ = PrivateKey::from_file(rest, None);
        }
    }
});

fn id(octets: &[u8]) {
    let [kind, data @ ..] = octets else { return };
    let identity = Identity::new(IdType(*kind), data);
    assert!(!identity.to_string().chars().any(char::is_control));
    assert!(identity.matches(&identity));
    assert!(STORE.verify_peer(&[], &identity, NOW).is_err());
}

fn text(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let _ = IdentityPattern::parse(text);
    if let Ok(identity) = Identity::parse(text) {
        let printed = identity.to_string();
        // Escapes are longer than what they stand for.
        if printed.len() <= identity::MAX_TEXT {
            let again = Identity::parse(&printed).expect("what is printed reads back");
            assert!(again.matches(&identity));
        }
    }
}

fn certificate(octets: &[u8]) {
    if let Ok(info) = CertificateInfo::parse(octets) {
        assert!(!info.subject().chars().any(char::is_control));
        if let Err(error) = STORE.verify_peer(&[octets, octets], &info.subject_identity(), NOW) {
            assert!(!error.to_string().chars().any(char::is_control));
        }
    }
    let mut store = TrustStore::new();
    let _ = store.add_anchors(octets);
    let _ = store.add_pinned(octets);
    let _ = (store.authority_hashes(), store.expiry_warnings(NOW));
}
