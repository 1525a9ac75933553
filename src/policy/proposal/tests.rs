use super::*;
use proptest::prelude::*;

fn ike_error(text: &str) -> (String, String) {
    let error = Proposal::parse_ike(text).unwrap_err();
    (text.get(error.span.clone()).unwrap().to_owned(), error.to_string())
}

fn esp_error(text: &str) -> (String, String) {
    let error = Proposal::parse_esp(text).unwrap_err();
    (text.get(error.span.clone()).unwrap().to_owned(), error.to_string())
}

#[test]
fn a_proposal_is_read_into_its_algorithms() {
    let proposal = Proposal::parse_ike("aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256").unwrap();
    assert_eq!(proposal.ciphers().len(), 2);
    assert_eq!(proposal.prfs(), [Prf::HmacSha384]);
    assert_eq!(proposal.groups(), [Group::Curve25519, Group::Ecp256]);
    assert!(proposal.integrity().is_empty() && proposal.esn().is_empty());
}

#[test]
fn a_prf_is_taken_from_the_integrity_algorithm_where_none_is_named() {
    let proposal = Proposal::parse_ike("aes256-sha256-sha512-modp2048").unwrap();
    assert_eq!(proposal.prfs(), [Prf::HmacSha256, Prf::HmacSha512]);
    let named = Proposal::parse_ike("aes256-sha256-prfsha384-modp2048").unwrap();
    assert_eq!(named.prfs(), [Prf::HmacSha384]);
}

#[test]
fn sequence_numbers_are_offered_both_ways_unless_said() {
    assert_eq!(Proposal::parse_esp("aes256gcm16").unwrap().esn(), [true, false]);
    assert_eq!(Proposal::parse_esp("aes256gcm16-noesn").unwrap().esn(), [false]);
    assert_eq!(Proposal::parse_esp("aes256gcm16-noesn-esn").unwrap().esn(), [false, true]);
}

#[test]
fn upper_case_and_other_names_are_understood() {
    assert_eq!(
        Proposal::parse_ike("AES256GCM128-PRFSHA384-CURVE25519"),
        Proposal::parse_ike("aes256gcm16-prfsha384-x25519")
    );
    assert_eq!(Proposal::parse_esp("aes-sha2_256"), Proposal::parse_esp("aes128-sha256"));
}

#[test]
fn every_error_points_at_its_word() {
    let (at, text) = ike_error("aes256gcm16-prfsha384-x25591");
    assert_eq!(at, "x25591");
    assert!(text.contains("did you mean x25519"), "{text}");
    let (at, text) = ike_error("aes256gcm16-sha256-x25519");
    assert_eq!(at, "sha256");
    assert!(text.contains("prfsha256"), "{text}");
    let (at, text) = ike_error("aes256gcm16-x25519");
    assert_eq!(at, "aes256gcm16-x25519");
    assert!(text.contains("no PRF"), "{text}");
    assert!(ike_error("aes256gcm16-prfsha384").1.contains("no key exchange group"));
    assert!(ike_error("prfsha384-x25519").1.contains("no cipher"));
    assert!(esp_error("aes256").1.contains("needs an integrity algorithm"));
    assert!(esp_error("aes256gcm16-aes256-sha256").1.contains("two proposals"));
    assert_eq!(esp_error("aes256gcm16-prfsha256").0, "prfsha256");
    assert_eq!(ike_error("aes256gcm16-prfsha384-x25519-esn").0, "esn");
    assert!(esp_error("aes256gcm16-aes256gcm16").1.contains("twice"));
    assert!(ike_error("").1.contains("empty"));
    assert!(esp_error("aes256gcm16-").1.contains("no algorithm"));
    assert!(ike_error("rot13-prfsha384-x25519").1.contains("known are"));
}

#[test]
fn weak_algorithms_are_refused_with_the_reason_and_a_substitute() {
    for (text, word, substitute) in [
        ("aes256-sha256-modp1024", "modp1024", "modp2048"),
        ("aes256-sha1-modp2048", "sha1", "sha256"),
        ("3des-sha256-modp2048", "3des", "aes256"),
        ("aes256-md5-modp2048", "md5", "sha256"),
        ("aes256-sha256-modp1024s160", "modp1024s160", "modp2048"),
        ("null-sha256-modp2048", "null", "aes256gcm16"),
        ("aes128ctr-sha256-modp2048", "aes128ctr", "aes128gcm16"),
        ("aes256-sha256-prfsha1-modp2048", "prfsha1", "prfsha256"),
        ("aes256gcm16-prfsha384-mlkem768", "mlkem768", "x25519"),
    ] {
        let (at, message) = ike_error(text);
        assert_eq!(at, word);
        assert!(message.contains("not supported") && message.contains(substitute), "{message}");
    }
}

#[test]
fn the_defaults_read_back_and_prefer_strong_algorithms() {
    for proposal in Proposal::default_ike() {
        assert_eq!(Proposal::parse_ike(&proposal.to_string()), Ok(proposal));
    }
    for proposal in Proposal::default_esp(true).into_iter().chain(Proposal::default_esp(false)) {
        assert_eq!(Proposal::parse_esp(&proposal.to_string()), Ok(proposal));
    }
    assert!(
        Proposal::default_ike()[0]
            .to_string()
            .starts_with("aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384")
    );
}

proptest! {
    #[test]
    fn any_text_reads_or_is_refused_with_a_span_inside(text in "([a-z0-9_é]{0,8}-?){0,6}|(aes256gcm16|sha256|x25519|esn|prfsha256|aes128|-){0,8}") {
        for result in [Proposal::parse_ike(&text), Proposal::parse_esp(&text)] {
            match result {
                Ok(proposal) => {
                    let again = match proposal.kind() {
                        ProposalKind::Ike => Proposal::parse_ike(&proposal.to_string()),
                        ProposalKind::Esp => Proposal::parse_esp(&proposal.to_string()),
                    };
                    prop_assert_eq!(again, Ok(proposal));
                }
                Err(error) => prop_assert!(text.get(error.span).is_some()),
            }
        }
    }
}
