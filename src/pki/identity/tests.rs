use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

#[test]
fn text_is_read_as_the_kind_it_looks_like() {
    for (text, kind, data) in [
        ("192.0.2.1", IdType::IPV4_ADDR, &[192, 0, 2, 1][..]),
        ("gw.example.com", IdType::FQDN, b"gw.example.com"),
        ("@gw.example.com", IdType::FQDN, b"gw.example.com"),
        ("@192.0.2.1", IdType::FQDN, b"192.0.2.1"),
        ("fqdn:192.0.2.1", IdType::FQDN, b"192.0.2.1"),
        ("admin@example.com", IdType::RFC822_ADDR, b"admin@example.com"),
        ("email:admin@example.com", IdType::RFC822_ADDR, b"admin@example.com"),
        ("ipv4:192.0.2.1", IdType::IPV4_ADDR, &[192, 0, 2, 1]),
        ("keyid:0aFF", IdType::KEY_ID, &[0x0a, 0xff]),
        ("keyid:0a:ff", IdType::KEY_ID, &[0x0a, 0xff]),
        ("@#0aff", IdType::KEY_ID, &[0x0a, 0xff]),
        ("keyid-text:branch 7", IdType::KEY_ID, b"branch 7"),
    ] {
        assert_eq!(parse(text), Identity::new(kind, data), "{text}");
    }
    assert_eq!(parse("2001:db8::1").kind, IdType::IPV6_ADDR);
    assert_eq!(parse("ipv6:2001:db8::1"), parse("2001:db8::1"));
    assert_eq!(parse("C=CH, O=Example, CN=gw").kind, IdType::DER_ASN1_DN);
    assert_eq!(parse("dn:CN=gw"), parse("CN=gw"));
}

#[test]
fn text_that_is_no_identity_is_refused() {
    for text in [
        "",
        "  ",
        "a b",
        "*.example.com",
        "user@",
        "@",
        "keyid:",
        "keyid:0",
        "keyid:xy",
        "ipv4:2001:db8::1",
        "ipv6:192.0.2.1",
        "fqdn:",
        "CN=",
        "=x",
        "XX=1",
        "gw\u{7}",
        "us er@example.com",
        "exämple.com",
    ] {
        assert!(Identity::parse(text).is_err(), "{text:?}");
    }
    assert!(Identity::parse(&"a".repeat(MAX_TEXT + 1)).is_err());
}

#[test]
fn display_reads_back_to_the_same_identity() {
    for text in [
        "192.0.2.1",
        "2001:db8::1",
        "gw.example.com",
        "admin@example.com",
        "C=CH, O=Example, CN=gw",
        "keyid:0aff",
        "fqdn:192.0.2.1",
        "fqdn:a.b",
    ] {
        let identity = parse(text);
        assert_eq!(parse(&identity.to_string()), identity, "{text}");
    }
    assert_eq!(parse("fqdn:192.0.2.1").to_string(), "fqdn:192.0.2.1");
    assert_eq!(parse("fqdn:a.b").to_string(), "a.b");
}

#[test]
fn display_escapes_what_a_peer_could_play_tricks_with() {
    let show = |kind, data: &[u8]| Identity::new(kind, data).to_string();
    assert_eq!(show(IdType::FQDN, b"a\n\x1b[31mb\\"), "fqdn:a\\x0a\\x1b[31mb\\\\");
    assert_eq!(show(IdType::FQDN, b"\xff\xfe"), "fqdn:\\xff\\xfe");
    assert_eq!(show(IdType::FQDN, "a\u{202e}b".as_bytes()), "fqdn:a\\u{202e}b");
    assert_eq!(show(IdType::RFC822_ADDR, b"a b@c\0"), "email:a b@c\\x00");
    assert_eq!(show(IdType::IPV4_ADDR, &[1, 2, 3]), "ID_IPV4_ADDR:010203");
    assert_eq!(show(IdType::DER_ASN1_DN, &[0x30, 0x80]), "ID_DER_ASN1_DN:3080");
    assert_eq!(show(IdType(201), b"\n"), "201:0a");
    assert_eq!(show(IdType::FQDN, b""), "fqdn:");
}

#[test]
fn an_unknown_type_survives() {
    let identity = Identity::new(IdType(201), [1, 2, 3]);
    assert_eq!((identity.kind, identity.data.as_slice()), (IdType(201), &[1, 2, 3][..]));
    assert!(identity.matches(&identity.clone()));
    assert!(!identity.matches(&Identity::new(IdType(202), [1, 2, 3])));
}

#[test]
fn type_and_content_both_matter() {
    assert!(!parse("@192.0.2.1").matches(&parse("192.0.2.1")));
    assert!(parse("GW.Example.com").matches(&parse("gw.example.COM")));
    assert!(!parse("gw.example.com").matches(&parse("gw.example.com.evil.org")));
    assert!(!parse("gw.example.com").matches(&Identity::new(IdType::FQDN, b"gw.example.com\0".as_slice())));
    assert!(parse("admin@EXAMPLE.com").matches(&parse("admin@example.com")));
    assert!(!parse("Admin@example.com").matches(&parse("admin@example.com")));
    assert!(!parse("keyid:0a").matches(&parse("keyid:0b")));
}

#[test]
fn patterns_match_what_they_say() {
    let pattern = |text: &str| IdentityPattern::parse(text).unwrap();
    assert!(pattern("any").matches(&parse("keyid:0a")));
    assert!(pattern("%any").matches(&parse("gw.example.com")));
    assert!(pattern("gw.example.com").matches(&parse("GW.example.com")));
    let sub = pattern("*.Example.com");
    assert!(sub.matches(&parse("gw.example.com")));
    assert!(sub.matches(&parse("a.b.EXAMPLE.com")));
    for other in ["example.com", "evilexample.com", "gw.example.com.evil.org", "gw.example.net"] {
        assert!(!sub.matches(&parse(other)), "{other}");
    }
    assert!(!sub.matches(&Identity::new(IdType::FQDN, b".example.com".as_slice())));
    assert!(!sub.matches(&Identity::new(IdType::FQDN, b"a..example.com".as_slice())));
    assert!(!sub.matches(&Identity::new(IdType::RFC822_ADDR, b"gw.example.com".as_slice())));
    assert!(IdentityPattern::parse("a.*.example.com").is_err());
    assert!(IdentityPattern::parse("*.").is_err());
    for text in ["any", "*.example.com", "gw.example.com"] {
        assert_eq!(pattern(&pattern(text).to_string()), pattern(text));
    }
    assert_eq!(pattern("gw.example.com").exact(), Some(&parse("gw.example.com")));
    assert_eq!(pattern("any").exact(), None);
}

proptest! {
    #[test]
    fn any_octets_print_without_control_characters(kind: u8, data: Vec<u8>) {
        let identity = Identity::new(IdType(kind), data);
        let text = identity.to_string();
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert!(identity.matches(&identity));
    }

    #[test]
    fn any_text_parses_or_is_refused_and_reads_back(text in "\\PC{0,40}") {
        if let Ok(identity) = Identity::parse(&text) {
            prop_assert!(Identity::parse(&identity.to_string()).unwrap().matches(&identity), "{}", identity);
        }
    }
}
