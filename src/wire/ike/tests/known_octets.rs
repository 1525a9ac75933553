//! Messages written out by hand after the figures of RFC 7296, RFC 7383 and RFC 7815 (appendix A).

use super::*;

/// Hexadecimal with spaces and line comments.
fn hex(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn both_ways(octets: &[u8], message: &Message) {
    assert_eq!(Message::decode(octets).as_ref(), Ok(&as_decoded(message, octets)));
    assert_eq!(message.encode(), octets);
}

#[test]
fn ike_sa_init_request() {
    let octets = hex("0102030405060708 0000000000000000   # SPIs
         21 20 22 08 00000000 000000b0       # SA, version 2.0, IKE_SA_INIT, initiator, ID 0, 176 octets
         22 00 0030                          # SA, KE follows
           00 00 002c 01 01 00 04            # last proposal, #1, IKE, no SPI, 4 transforms
             03 00 000c 01 00 000c 800e 0100 # AES-CBC, key length 256
             03 00 0008 02 00 0005           # PRF-HMAC-SHA2-256
             03 00 0008 03 00 000c           # HMAC-SHA2-256-128
             00 00 0008 04 00 001f           # curve25519
         28 00 0028 001f 0000                # KE, nonce follows
           6b6b6b6b6b6b6b6b 6b6b6b6b6b6b6b6b 6b6b6b6b6b6b6b6b 6b6b6b6b6b6b6b6b
         29 00 0014 6e6e6e6e6e6e6e6e 6e6e6e6e6e6e6e6e
         29 00 0008 00 00 402e               # N(IKEV2_FRAGMENTATION_SUPPORTED)
         2b 00 000e 00 00 402f 0002 0003 0004 # N(SIGNATURE_HASH_ALGORITHMS)
         00 00 0012 7465737420696d706c656d656e74 # V");
    let suite = vec![
        Transform::with_key_length(TransformType::ENCRYPTION, EncryptionId::AES_CBC.0, 256),
        Transform::new(TransformType::PRF, PrfId::HMAC_SHA2_256.0),
        Transform::new(TransformType::INTEGRITY, IntegrityId::HMAC_SHA2_256_128.0),
        Transform::new(TransformType::KEY_EXCHANGE, GroupId::CURVE25519.0),
    ];
    assert_eq!(suite[0].key_length(), Some(256));
    assert_eq!(suite[1].key_length(), None);
    let proposal = ProposalBody { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms: suite };
    let flags = Flags { initiator: true, ..Flags::default() };
    let spi = IkeSpi([1, 2, 3, 4, 5, 6, 7, 8]);
    let message = Message {
        header: Header::new(spi, IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0),
        payloads: vec![
            Payload::SecurityAssociation(vec![proposal]),
            Payload::KeyExchange { group: GroupId::CURVE25519, data: vec![0x6b; 32] },
            Payload::Nonce(vec![0x6e; 16]),
            Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])),
            Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, [0, 2, 0, 3, 0, 4])),
            Payload::VendorId(b"test implement".to_vec()),
        ],
    };
    assert_eq!(spi.to_string(), "0102030405060708");
    both_ways(&octets, &message);
}

#[test]
fn a_response_with_an_invalid_ke_payload_notify() {
    let octets = hex("1111111111111111 2222222222222222 29 20 22 20 00000000 00000026
         00 00 000a 00 00 0011 000e");
    let flags = Flags { response: true, ..Flags::default() };
    let header = Header::new(IkeSpi([0x11; 8]), IkeSpi([0x22; 8]), ExchangeType::IKE_SA_INIT, flags, 0);
    let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, GroupId::MODP_2048.0.to_be_bytes());
    both_ways(&octets, &Message { header, payloads: vec![Payload::Notify(notify)] });
}

#[test]
fn the_inside_of_ike_auth() {
    let octets = hex("27 00 000d 02 000000 62722e6578       # IDi, FQDN br.ex
         21 00 000c 02 000000 aabbccdd         # AUTH, shared key
         2c 00 0024                            # SA
           00 00 0020 01 03 04 02 0badcafe     # #1, ESP, SPI of 4 octets, 2 transforms
             03 00 000c 01 00 0014 800e 0080   # AES-GCM-16, 128 bits
             00 00 0008 05 00 0001             # ESN
         2d 00 0018 01 000000                  # TSi
           07 06 0010 01bb 01bb 0a000000 0affffff
         00 00 0030 01 000000                  # TSr
           08 00 0028 0000 ffff 20010db8000000000000000000000000 20010db8ffffffffffffffffffffffff");
    let suite = vec![
        Transform::with_key_length(TransformType::ENCRYPTION, EncryptionId::AES_GCM_16.0, 128),
        Transform::new(TransformType::SEQUENCE_NUMBERS, SequenceNumbersId::BITS_64.0),
    ];
    let spi = vec![0x0b, 0xad, 0xca, 0xfe];
    let payloads = vec![
        Payload::IdInitiator(Identification::new(IdType::FQDN, b"br.ex".to_vec())),
        Payload::Authentication { method: AuthMethod::SHARED_KEY, data: vec![0xaa, 0xbb, 0xcc, 0xdd] },
        Payload::SecurityAssociation(vec![ProposalBody {
            number: 1,
            protocol: ProtocolId::ESP,
            spi,
            transforms: suite,
        }]),
        Payload::TsInitiator(vec![WireTs::Ipv4 {
            protocol: 6,
            start_port: 443,
            end_port: 443,
            start: [10, 0, 0, 0].into(),
            end: [10, 255, 255, 255].into(),
        }]),
        Payload::TsResponder(vec![WireTs::Ipv6 {
            protocol: 0,
            start_port: 0,
            end_port: 65535,
            start: "2001:db8::".parse().unwrap(),
            end: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
        }]),
    ];
    assert_eq!(decode_chain(PayloadType::ID_INITIATOR, &octets), Ok(payloads.clone()));
    assert_eq!(encode_chain(&payloads), (PayloadType::ID_INITIATOR, octets));
}

#[test]
fn an_encrypted_fragment_after_a_clear_payload() {
    let octets = hex("1111111111111111 2222222222222222 2b 20 25 08 00000005 0000002e
         35 00 0005 07
         24 00 000d 0001 0003 c0ffee0102");
    let body = EncryptedBody::new(PayloadType::ID_RESPONDER, vec![0xc0, 0xff, 0xee, 1, 2]);
    let message =
        message(vec![Payload::VendorId(vec![7]), Payload::EncryptedFragment { number: 1, total: 3, body }]);
    both_ways(&octets, &message);
    let decoded = Message::decode(&octets).unwrap();
    let Some(Payload::EncryptedFragment { body, .. }) = decoded.payloads.last() else { panic!() };
    assert_eq!((body.offset, body.body_offset), (33, 41));
}

#[test]
fn the_identification_keeps_its_reserved_octets_for_auth() {
    let octets = hex("00 00 000a 0b 010203 beef");
    let payloads = decode_chain(PayloadType::ID_RESPONDER, &octets).unwrap();
    let [Payload::IdResponder(id)] = &payloads[..] else { panic!("{payloads:?}") };
    assert_eq!(id.body(), octets[4..]);
    assert_eq!(encode_chain(&payloads).1, octets);
}

#[test]
fn esp_notifies_carry_the_spi() {
    let rekey = Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x0badcafe));
    assert_eq!(encode_chain(&[rekey]).1, hex("00 00 000c 03 04 4009 0badcafe"));
}

#[test]
fn delete_and_configuration() {
    let octets = hex("2f 00 000c 03 04 0001 deadbeef
         00 00 0010 01 000000 0001 0000 0019 0000");
    let attribute = |kind| ConfigurationAttribute { kind, value: vec![] };
    let payloads = vec![
        Payload::Delete { protocol: ProtocolId::ESP, spis: vec![vec![0xde, 0xad, 0xbe, 0xef]] },
        Payload::Configuration {
            kind: ConfigurationType::REQUEST,
            attributes: vec![
                attribute(ConfigurationAttributeType::INTERNAL_IP4_ADDRESS),
                attribute(ConfigurationAttributeType::INTERNAL_DNS_DOMAIN),
            ],
        },
    ];
    assert_eq!(decode_chain(PayloadType::DELETE, &octets), Ok(payloads.clone()));
    assert_eq!(encode_chain(&payloads), (PayloadType::DELETE, octets));
}
