use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::{any_header, any_message, clear_payload};
use super::*;

/// What decodes must encode to something that decodes to the same.
fn stays_the_same(octets: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(decoded) = Message::decode(octets) {
        let again = decoded.encode();
        prop_assert_eq!(Message::decode(&again), Ok(as_decoded(&decoded, &again)));
    }
    Ok(())
}

fn with_header_length(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let length = u32::try_from(octets.len()).unwrap();
    octets[24..28].copy_from_slice(&length.to_be_bytes());
    octets
}

proptest! {
    #[test]
    fn an_encoded_message_decodes_to_itself(message in any_message()) {
        let octets = message.encode();
        prop_assert_eq!(Message::decode(&octets), Ok(as_decoded(&message, &octets)));
    }

    #[test]
    fn an_encoded_chain_decodes_to_itself(payloads in vec(clear_payload(), 0..10)) {
        let (first, octets) = encode_chain(&payloads);
        prop_assert_eq!(decode_chain(first, &octets), Ok(payloads));
    }

    #[test]
    fn no_octets_make_decoding_panic(octets in vec(any::<u8>(), 0..400), first in any::<u8>()) {
        let _ = Message::decode(&octets);
        let _ = Header::peek(&octets);
        let _ = decode_chain(PayloadType(first), &octets);
        let _ = strip_padding(&octets);
    }

    #[test]
    fn no_octets_behind_a_right_header_make_decoding_panic(header in any_header(), first in 33u8..54, body in vec(any::<u8>(), 0..400)) {
        let mut octets = Message { header, payloads: Vec::new() }.encode();
        octets[16] = first;
        octets.extend(body);
        stays_the_same(&with_header_length(&octets))?;
    }

    #[test]
    fn every_truncation_is_an_error(message in any_message()) {
        let octets = message.encode();
        for len in 0..octets.len() {
            prop_assert!(Message::decode(&octets[..len]).is_err());
            if len > HEADER_LEN {
                prop_assert!(Message::decode(&with_header_length(&octets[..len])).is_err(), "{} octets", len);
            }
        }
    }

    #[test]
    fn octets_after_the_message_are_an_error(message in any_message(), more in vec(any::<u8>(), 1..5)) {
        let mut octets = message.encode();
        octets.extend(more);
        prop_assert!(Message::decode(&octets).is_err());
        prop_assert!(Message::decode(&with_header_length(&octets)).is_err());
    }

    #[test]
    fn a_changed_octet_anywhere_does_no_harm(message in any_message(), change in 1u8..) {
        let octets = message.encode();
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] = changed[at].wrapping_add(change);
            stays_the_same(&changed)?;
        }
    }

    #[test]
    fn a_sealable_message_decodes_to_what_was_laid_out(
        header in any_header(),
        outer in vec(clear_payload(), 0..3),
        inner in vec(clear_payload(), 0..4),
        (iv_len, icv_len, block_len) in prop_oneof![Just((8, 16, 1)), Just((16, 32, 16)), Just((8, 8, 4))],
        number in prop::option::of(1u16..4),
    ) {
        let layout = SealLayout { iv_len, icv_len, block_len };
        let fragment = number.map(|number| (number, 4));
        let (first, plaintext) = encode_chain(&inner);
        let mut sealable = Sealable::new(&header, &outer, first, &plaintext, fragment, layout);
        let parts = sealable.parts();
        prop_assert_eq!(parts.data.len() % block_len, 0);
        parts.iv.fill(0xaa);
        parts.icv.fill(0xbb);
        prop_assert_eq!(parts.iv.len() + parts.data.len() + parts.icv.len(), layout.sealed_len(plaintext.len()));
        let aad = parts.aad.to_vec();
        let octets = sealable.into_octets();
        let mut decoded = Message::decode(&octets).unwrap();
        let last = decoded.payloads.pop().unwrap();
        prop_assert_eq!(decoded.payloads, outer);
        let mut body = match (last, fragment) {
            (Payload::Encrypted(body), None) => body,
            (Payload::EncryptedFragment { number, total, body }, Some(fragment)) => {
                prop_assert_eq!((number, total), fragment);
                body
            }
            (other, _) => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let later = number.is_some_and(|number| number > 1);
        prop_assert_eq!(body.next_payload, if later { PayloadType::NONE } else { first });
        prop_assert_eq!(&octets[..body.body_offset], &aad[..]);
        let OpenParts { iv, data, icv } = body.split_mut(iv_len, icv_len).unwrap();
        prop_assert_eq!(iv, vec![0xaa; iv_len]);
        prop_assert_eq!(icv, vec![0xbb; icv_len]);
        prop_assert_eq!(strip_padding(data), Ok(&plaintext[..]));
    }
}
