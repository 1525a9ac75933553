use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap()
}

#[test]
fn a_name_encodes_as_openssl_encodes_it() {
    let expected = [
        0x30, 0x27, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, b'C', b'H', 0x31, 0x0b,
        0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x02, b'E', b'x', 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03,
        0x55, 0x04, 0x03, 0x0c, 0x02, b'g', b'w',
    ];
    assert_eq!(parse("C=CH, O=Ex, CN=gw").to_der(), expected);
    assert_eq!(parse("/C=CH/O=Ex/CN=gw").to_der(), expected);
    assert_eq!(parse("c = CH;o= Ex ;2.5.4.3=gw").to_der(), expected);
}

#[test]
fn text_round_trips() {
    for text in [
        "C=CH, O=Example, CN=gw.example.com",
        "O=Example\\, Inc., CN=a\\+b",
        "CN=a+UID=b, O=c",
        "CN=\\#hash",
        "CN=\\20lead and trail\\20",
        "E=admin@example.com, DC=example, serialNumber=12",
        "2.999.1=text",
        "CN=Zürich",
        "CN=bell\\07",
        "CN=#020101",
        "CN=a\\=b",
    ] {
        let name = parse(text);
        assert_eq!(name.to_string(), text);
        assert_eq!(DistinguishedName::from_der(&name.to_der()).unwrap(), name);
    }
    assert_eq!(parse("CN=\"a, b\"").to_string(), "CN=a\\, b");
    assert_eq!(parse("emailAddress=a@b").to_string(), "E=a@b");
}

#[test]
fn text_that_is_no_name_is_refused() {
    for text in [
        "",
        "CN",
        "CN=a,",
        "CN=,O=b",
        "CN=\"a",
        "CN=a\\",
        "CN=#zz",
        "CN=#0201",
        "CN=#05000500",
        "9.9=a",
        "CN=\\ff",
    ] {
        assert!(DistinguishedName::parse(text).is_err(), "{text:?}");
    }
    let many = vec!["OU=a"; MAX_ATTRIBUTES + 1].join(",");
    assert!(DistinguishedName::parse(&many).is_err());
}

#[test]
fn string_types_case_and_white_space_do_not_distinguish_names() {
    let with = |tag: u8, octets: &[u8]| {
        let mut pair = der::encode(der::OID, &[0x55, 4, 3]);
        pair.extend(der::encode(tag, octets));
        let name = der::encode(der::SEQUENCE, &der::encode(der::SET, &der::encode(der::SEQUENCE, &pair)));
        DistinguishedName::from_der(&name).unwrap()
    };
    let reference = parse("CN=Office Gateway");
    for same in [
        with(PRINTABLE_STRING, b"office  GATEWAY"),
        with(IA5_STRING, b" Office Gateway "),
        with(TELETEX_STRING, b"Office Gateway"),
        with(BMP_STRING, &"Office Gateway".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
        with(
            UNIVERSAL_STRING,
            &"Office Gateway".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect::<Vec<_>>(),
        ),
    ] {
        assert!(reference.matches(&same), "{same}");
    }
    for other in [
        with(UTF8_STRING, b"Office Gateway 2"),
        with(UTF8_STRING, b"OfficeGateway"),
        with(UTF8_STRING, b"Office Gateway\0"),
        with(UTF8_STRING, b"Office Gateway\0.evil"),
        with(der::OCTET_STRING, b"Office Gateway"),
        with(UTF8_STRING, b"\xff"),
    ] {
        assert!(!reference.matches(&other), "{other}");
    }
}

#[test]
fn order_and_number_of_attributes_matter_but_not_within_one_relative_name() {
    assert!(!parse("C=CH, CN=a").matches(&parse("CN=a, C=CH")));
    assert!(!parse("CN=a").matches(&parse("CN=a, CN=a")));
    assert!(!parse("CN=a").matches(&parse("OU=a")));
    assert!(!parse("CN=a+OU=b").matches(&parse("CN=a, OU=b")));
    assert!(parse("CN=a+OU=b").matches(&parse("OU=B+CN=A")));
}

#[test]
fn malformed_der_is_refused() {
    let good = parse("C=CH, CN=gw").to_der();
    for length in 0..good.len() {
        assert!(DistinguishedName::from_der(&good[..length]).is_err(), "{length}");
    }
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(DistinguishedName::from_der(&trailing).is_err());
    assert!(DistinguishedName::from_der(&[0x30, 2, 0x31, 0]).is_err(), "an empty relative name");
    assert!(DistinguishedName::from_der(&[0x30, 0]).unwrap().is_empty());
}

proptest! {
    #[test]
    fn octets_never_panic_and_reencode(octets: Vec<u8>) {
        if let Ok(name) = DistinguishedName::from_der(&octets) {
            let _ = name.to_string();
            prop_assert!(name.matches(&name));
        }
    }

    #[test]
    fn damaged_names_never_panic(at in 0usize..41, value: u8) {
        let mut octets = parse("C=CH, O=Ex, CN=gw").to_der();
        octets[at] = value;
        if let Ok(name) = DistinguishedName::from_der(&octets) {
            let text = name.to_string();
            prop_assert!(!text.chars().any(char::is_control));
            if !name.is_empty() {
                prop_assert!(DistinguishedName::parse(&text).unwrap().matches(&name), "{text}");
            }
        }
    }

    #[test]
    fn any_value_round_trips_as_text(value in "\\PC{1,20}") {
        let mut pair = der::encode(der::OID, &[0x55, 4, 3]);
        pair.extend(der::encode(UTF8_STRING, value.as_bytes()));
        let octets = der::encode(der::SEQUENCE, &der::encode(der::SET, &der::encode(der::SEQUENCE, &pair)));
        let name = DistinguishedName::from_der(&octets).unwrap();
        prop_assert_eq!(parse(&name.to_string()).to_der(), octets);
    }
}
