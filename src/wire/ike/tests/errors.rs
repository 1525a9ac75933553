//! One test for each way in which a message is wrong.

use super::*;
use crate::wire::{DecodeError, DecodeErrorKind as Kind};

fn decode_one(kind: PayloadType, body: &[u8]) -> Result<Payload, DecodeError> {
    let mut octets = vec![0, 0];
    octets.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    octets.extend(body);
    decode_chain(kind, &octets).map(|mut payloads| payloads.remove(0))
}

fn kind_of<T>(result: Result<T, DecodeError>) -> Option<Kind> {
    result.err().map(|error| error.kind)
}

#[test]
fn another_major_version_is_told_apart_and_its_header_can_be_read() {
    let mut octets = message(vec![]).encode();
    octets[17] = 0x30;
    octets.extend([1, 2, 3]);
    let error = Message::decode(&octets).unwrap_err();
    assert_eq!(error, DecodeError { offset: 17, kind: Kind::UnsupportedMajorVersion(3) });
    let header = Header::peek(&octets).unwrap();
    assert_eq!(header.message_id, 5);
    assert_eq!(header.version, Version { major: 3, minor: 0 });
}

#[test]
fn a_higher_minor_version_is_accepted() {
    let mut octets = message(vec![]).encode();
    octets[17] = 0x2f;
    assert_eq!(Message::decode(&octets).unwrap().header.version, Version { major: 2, minor: 15 });
}

#[test]
fn reserved_flags_are_ignored() {
    let mut octets = message(vec![]).encode();
    octets[19] |= 0xc7;
    let flags = Message::decode(&octets).unwrap().header.flags;
    assert_eq!(flags, Flags { initiator: true, version: false, response: false });
}

#[test]
fn the_header_length_is_the_datagrams() {
    let octets = message(vec![Payload::VendorId(vec![1])]).encode();
    for wrong in [0, 28, 32, 34, u32::MAX] {
        let mut octets = octets.clone();
        octets[24..28].copy_from_slice(&wrong.to_be_bytes());
        let kind = Kind::LengthMismatch { declared: wrong as usize, actual: 33 };
        assert_eq!(Message::decode(&octets), Err(DecodeError { offset: 24, kind }));
    }
}

#[test]
fn a_message_larger_than_a_datagram_is_refused() {
    let mut octets = message(vec![]).encode();
    octets.resize(MAX_MESSAGE_LEN + 1, 0);
    octets[24..28].copy_from_slice(&65_536u32.to_be_bytes());
    assert_eq!(kind_of(Message::decode(&octets)), Some(Kind::TooLarge(65_536)));
    assert_eq!(kind_of(decode_chain(PayloadType::NONE, &octets)), Some(Kind::TooLarge(65_536)));
}

#[test]
fn a_payload_shorter_than_its_header_is_refused() {
    for length in 0..4 {
        let error = decode_chain(PayloadType::VENDOR_ID, &[0, 0, 0, length]).unwrap_err();
        assert_eq!(error.offset, 2);
        assert_eq!(error.kind, Kind::BadLength { what: "payload", length: length.into() });
    }
}

#[test]
fn a_payload_longer_than_the_message_is_refused() {
    let error = decode_chain(PayloadType::VENDOR_ID, &[0, 0, 0, 6, 1]).unwrap_err();
    assert_eq!(error, DecodeError { offset: 4, kind: Kind::Truncated { needed: 2, available: 1 } });
}

#[test]
fn octets_after_the_last_payload_are_refused() {
    let error = decode_chain(PayloadType::VENDOR_ID, &[0, 0, 0, 5, 1, 2, 3]).unwrap_err();
    assert_eq!(error, DecodeError { offset: 5, kind: Kind::TrailingOctets(2) });
    assert_eq!(kind_of(decode_chain(PayloadType::NONE, &[0])), Some(Kind::TrailingOctets(1)));
}

#[test]
fn an_unknown_critical_payload_is_told_by_its_type() {
    let error = decode_chain(PayloadType(200), &[0, 0x80, 0, 4]).unwrap_err();
    assert_eq!(error.kind, Kind::UnsupportedCritical(PayloadType(200)));
    assert_eq!(error.to_string(), "unknown payload type 200 is marked critical (at octet 0)");
}

#[test]
fn an_unknown_payload_without_the_critical_bit_survives() {
    let payloads = decode_chain(PayloadType(200), &[43, 0x7f, 0, 5, 9, 0, 0, 0, 4]).unwrap();
    let unknown = Payload::Unknown { kind: PayloadType(200), critical: false, body: vec![9] };
    assert_eq!(payloads, [unknown, Payload::VendorId(vec![])]);
}

#[test]
fn the_critical_bit_of_a_known_payload_is_ignored() {
    assert_eq!(
        decode_chain(PayloadType::VENDOR_ID, &[0, 0x80, 0, 5, 7]),
        Ok(vec![Payload::VendorId(vec![7])])
    );
}

#[test]
fn the_number_of_payloads_is_capped() {
    let (first, octets) = encode_chain(&vec![Payload::VendorId(vec![]); MAX_PAYLOADS]);
    assert_eq!(decode_chain(first, &octets).unwrap().len(), MAX_PAYLOADS);
    let (first, octets) = encode_chain(&vec![Payload::VendorId(vec![]); MAX_PAYLOADS + 1]);
    assert_eq!(kind_of(decode_chain(first, &octets)), Some(Kind::TooManyPayloads(MAX_PAYLOADS)));
}

#[test]
fn nothing_follows_an_encrypted_payload() {
    let sk = Payload::Encrypted(EncryptedBody::new(PayloadType::VENDOR_ID, vec![1, 2]));
    let alone = message(vec![sk.clone()]).encode();
    assert_eq!(message(vec![sk.clone(), Payload::VendorId(vec![])]).encode(), alone);
    let mut octets = alone;
    octets.extend([0, 0, 0, 4]);
    octets[27] += 4;
    assert_eq!(kind_of(Message::decode(&octets)), Some(Kind::TrailingOctets(4)));
}

#[test]
fn encrypted_payloads_do_not_nest() {
    for kind in [PayloadType::ENCRYPTED, PayloadType::ENCRYPTED_FRAGMENT] {
        let octets = [0, 0, 0, 8, 0, 1, 0, 1];
        assert_eq!(kind_of(decode_chain(kind, &octets)), Some(Kind::NestedEncrypted(kind)));
    }
}

#[test]
fn a_fragment_number_is_within_its_total() {
    for (number, total) in [(0, 0), (0, 1), (2, 1)] {
        let body = EncryptedBody::new(PayloadType::NONE, vec![]);
        let octets = message(vec![Payload::EncryptedFragment { number, total, body }]).encode();
        let kind = Kind::BadValue { what: "fragment number", value: number.into() };
        assert_eq!(Message::decode(&octets), Err(DecodeError { offset: 32, kind }));
    }
}

#[test]
fn an_encrypted_body_needs_room_for_iv_icv_and_pad_length() {
    let mut body = EncryptedBody::new(PayloadType::NONE, vec![0; 24]);
    let kind = Kind::BadLength { what: "encrypted payload", length: 24 };
    assert_eq!(kind_of(body.split_mut(8, 16)), Some(kind));
    assert_eq!(kind_of(body.split_mut(usize::MAX, 16)), Some(kind));
    body.body.push(0);
    assert_eq!(body.split_mut(8, 16).unwrap().data.len(), 1);
}

#[test]
fn padding_beyond_the_plaintext_is_refused() {
    assert_eq!(strip_padding(&[7, 0, 0, 2]), Ok(&[7][..]));
    assert_eq!(kind_of(strip_padding(&[0, 0, 3])), Some(Kind::BadLength { what: "padding", length: 3 }));
    assert_eq!(kind_of(strip_padding(&[])), Some(Kind::Truncated { needed: 1, available: 0 }));
}

#[test]
fn a_nonce_has_16_to_256_octets() {
    for (len, fits) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
        assert_eq!(decode_one(PayloadType::NONCE, &vec![1; len]).is_ok(), fits, "{len}");
    }
}

#[test]
fn fixed_fields_of_every_payload_must_be_there() {
    let shortest = [
        (PayloadType::SECURITY_ASSOCIATION, 8),
        (PayloadType::KEY_EXCHANGE, 4),
        (PayloadType::ID_INITIATOR, 4),
        (PayloadType::ID_RESPONDER, 4),
        (PayloadType::CERTIFICATE, 1),
        (PayloadType::CERTIFICATE_REQUEST, 1),
        (PayloadType::AUTHENTICATION, 4),
        (PayloadType::NOTIFY, 4),
        (PayloadType::DELETE, 4),
        (PayloadType::TS_INITIATOR, 4),
        (PayloadType::TS_RESPONDER, 4),
        (PayloadType::CONFIGURATION, 4),
    ];
    for (kind, len) in shortest {
        for short in 0..len {
            let error = decode_one(kind, &vec![0; short]).unwrap_err();
            assert!(matches!(error.kind, Kind::Truncated { .. } | Kind::BadLength { .. }), "{kind} {error}");
        }
    }
}

#[test]
fn proposals_and_transforms_must_add_up() {
    let good = [0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 8, 2, 0, 0, 5];
    let sa = PayloadType::SECURITY_ASSOCIATION;
    assert!(decode_one(sa, &good).is_ok());
    let with = |at: usize, value: u8| {
        let mut octets = good;
        octets[at] = value;
        kind_of(decode_one(sa, &octets))
    };
    assert_eq!(with(0, 1), Some(Kind::BadValue { what: "proposal", value: 1 }));
    assert_eq!(with(0, 2), Some(Kind::Truncated { needed: 1, available: 0 }));
    assert_eq!(with(3, 3), Some(Kind::BadLength { what: "proposal", length: 3 }));
    assert_eq!(with(3, 17), Some(Kind::Truncated { needed: 13, available: 12 }));
    assert_eq!(with(3, 15), Some(Kind::Truncated { needed: 4, available: 3 }));
    assert_eq!(with(6, 9), Some(Kind::Truncated { needed: 9, available: 8 }));
    assert_eq!(with(7, 2), Some(Kind::BadValue { what: "number of transforms", value: 2 }));
    assert_eq!(with(7, 0), Some(Kind::BadValue { what: "number of transforms", value: 0 }));
    assert_eq!(with(8, 2), Some(Kind::BadValue { what: "transform", value: 2 }));
    assert_eq!(with(8, 3), Some(Kind::Truncated { needed: 1, available: 0 }));
    assert_eq!(with(11, 7), Some(Kind::Truncated { needed: 2, available: 1 }));
    let mut trailing = good.to_vec();
    trailing.extend([0; 3]);
    assert_eq!(kind_of(decode_one(sa, &trailing)), Some(Kind::TrailingOctets(3)));
}

#[test]
fn a_transform_attribute_stays_within_its_transform() {
    let octets = [0, 0, 0, 20, 1, 1, 0, 1, 0, 0, 0, 12, 2, 0, 0, 5, 0, 14, 0, 1];
    let error = decode_one(PayloadType::SECURITY_ASSOCIATION, &octets).unwrap_err();
    assert_eq!(error.kind, Kind::Truncated { needed: 1, available: 0 });
}

#[test]
fn a_selectors_length_belongs_to_its_type() {
    for (kind, good) in [(7u8, 16u8), (8, 40)] {
        for length in 0..=48u8 {
            let mut body = vec![1, 0, 0, 0, kind, 0, 0, length];
            body.resize(4 + usize::from(length.max(4)), 0);
            assert_eq!(
                decode_one(PayloadType::TS_INITIATOR, &body).is_ok(),
                length == good,
                "{kind} {length}"
            );
        }
    }
}

#[test]
fn the_number_of_selectors_is_what_is_there() {
    let selector = [99, 0, 0, 5, 1];
    let chain = |count: u8| [&[count, 0, 0, 0][..], &selector, &selector].concat();
    assert!(decode_one(PayloadType::TS_RESPONDER, &chain(2)).is_ok());
    assert_eq!(kind_of(decode_one(PayloadType::TS_RESPONDER, &chain(1))), Some(Kind::TrailingOctets(5)));
    let missing = Kind::Truncated { needed: 1, available: 0 };
    assert_eq!(kind_of(decode_one(PayloadType::TS_RESPONDER, &chain(3))), Some(missing));
}

#[test]
fn the_spis_of_a_delete_are_counted() {
    let spis = [3, 4, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2];
    let delete = Payload::Delete { protocol: ProtocolId::ESP, spis: vec![vec![1; 4], vec![2; 4]] };
    assert_eq!(decode_one(PayloadType::DELETE, &spis), Ok(delete));
    let mut more = spis.to_vec();
    more.push(9);
    assert_eq!(kind_of(decode_one(PayloadType::DELETE, &more)), Some(Kind::TrailingOctets(1)));
    assert!(decode_one(PayloadType::DELETE, &spis[..11]).is_err());
    let empty_spis = Kind::BadLength { what: "SPI in a delete", length: 0 };
    assert_eq!(kind_of(decode_one(PayloadType::DELETE, &[1, 0, 0xff, 0xff])), Some(empty_spis));
}

#[test]
fn a_notifys_spi_is_within_it() {
    let error = decode_one(PayloadType::NOTIFY, &[3, 4, 0, 11, 1, 2, 3]).unwrap_err();
    assert_eq!(error.kind, Kind::Truncated { needed: 4, available: 3 });
}

#[test]
fn a_configuration_attributes_length_is_within_the_payload() {
    let error = decode_one(PayloadType::CONFIGURATION, &[1, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3]).unwrap_err();
    assert_eq!(error.kind, Kind::Truncated { needed: 4, available: 3 });
}
