//! The seeds of the wire layer's fuzz targets are what the encoders write today, and get past the
//! decoders that they are seeds for. `SKYBRIDGE_WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use skybridge::wire::esp::{EspHeader, padding_len, split_trailer, write_trailer};
use skybridge::wire::ike::registry::*;
use skybridge::wire::ike::{
    ConfigurationAttribute, EncryptedBody, Flags, Header, Identification, IkeSpi, Message, Notify, Payload,
    ProposalBody, SealLayout, Sealable, Transform, WireTs, decode_chain, encode_chain,
};
use skybridge::wire::ip::{InnerPacket, checksum, icmp};
use skybridge::wire::udp_encap::{Encapsulated, KEEPALIVE, NON_ESP_MARKER, demux};

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Compares the seeds with the files, or writes them.
fn committed(target: &str, seeds: &Seeds) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let write = std::env::var_os("SKYBRIDGE_WRITE_SEEDS").is_some();
    if write {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, octets) in seeds {
        let file = folder.join(name);
        if write {
            std::fs::write(&file, octets).unwrap();
        }
        let stored = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(stored == *octets, "{} is not what is encoded today", file.display());
    }
}

fn header(exchange: ExchangeType, response: bool, message_id: u32) -> Header {
    let flags = Flags { initiator: !response, version: false, response };
    Header::new(IkeSpi([0x11; 8]), IkeSpi([0x22; 8]), exchange, flags, message_id)
}

fn proposals() -> Payload {
    let gcm = Transform::with_key_length(TransformType::ENCRYPTION, EncryptionId::AES_GCM_16.0, 256);
    let cbc = Transform::with_key_length(TransformType::ENCRYPTION, EncryptionId::AES_CBC.0, 128);
    let prf = Transform::new(TransformType::PRF, PrfId::HMAC_SHA2_384.0);
    let integrity = Transform::new(TransformType::INTEGRITY, IntegrityId::HMAC_SHA2_256_128.0);
    let group = Transform::new(TransformType::KEY_EXCHANGE, GroupId::CURVE25519.0);
    let proposal =
        |number, transforms| ProposalBody { number, protocol: ProtocolId::IKE, spi: vec![], transforms };
    Payload::SecurityAssociation(vec![
        proposal(1, vec![gcm, prf.clone(), group.clone()]),
        proposal(2, vec![cbc, prf, integrity, group]),
    ])
}

fn selectors() -> [Payload; 2] {
    let v4 = WireTs::Ipv4 {
        protocol: 6,
        start_port: 443,
        end_port: 443,
        start: Ipv4Addr::new(10, 0, 0, 0),
        end: Ipv4Addr::new(10, 255, 255, 255),
    };
    let v6 = WireTs::Ipv6 {
        protocol: 0,
        start_port: 0,
        end_port: 65535,
        start: Ipv6Addr::UNSPECIFIED,
        end: Ipv6Addr::from([0xff; 16]),
    };
    let label = WireTs::Unknown { kind: TsType::SECLABEL, protocol: 0, body: b"label".to_vec() };
    [Payload::TsInitiator(vec![v4, label]), Payload::TsResponder(vec![v6])]
}

fn chains() -> Vec<(&'static str, Vec<Payload>)> {
    let [tsi, tsr] = selectors();
    let id = Identification::new(IdType::FQDN, b"office.example.com".to_vec());
    let auth = Payload::Authentication { method: AuthMethod::SHARED_KEY, data: vec![0xa5; 32] };
    let attribute = |kind, value: &[u8]| ConfigurationAttribute { kind, value: value.to_vec() };
    vec![
        (
            "auth",
            vec![
                Payload::IdInitiator(id.clone()),
                Payload::Certificate { encoding: CertEncoding::X509_SIGNATURE, data: vec![0x30, 0] },
                Payload::CertificateRequest {
                    encoding: CertEncoding::X509_SIGNATURE,
                    authorities: vec![3; 20],
                },
                Payload::IdResponder(id),
                auth,
                Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [])),
                proposals(),
                tsi,
                tsr,
            ],
        ),
        (
            "rekey",
            vec![
                Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x0bad_cafe)),
                Payload::Nonce(vec![0x6e; 32]),
                Payload::KeyExchange { group: GroupId::ECP_256, data: vec![4; 64] },
            ],
        ),
        ("delete", vec![Payload::Delete { protocol: ProtocolId::ESP, spis: vec![vec![1; 4], vec![2; 4]] }]),
        (
            "configuration",
            vec![
                Payload::Configuration {
                    kind: ConfigurationType::REQUEST,
                    attributes: vec![
                        attribute(ConfigurationAttributeType::INTERNAL_IP4_ADDRESS, &[]),
                        attribute(ConfigurationAttributeType::APPLICATION_VERSION, b"1"),
                    ],
                },
                Payload::Eap(vec![1, 1, 0, 4]),
                Payload::VendorId(b"vendor".to_vec()),
                Payload::Unknown { kind: PayloadType(200), critical: false, body: vec![1, 2, 3] },
            ],
        ),
    ]
}

#[test]
fn ike_message() {
    let init = vec![
        proposals(),
        Payload::KeyExchange { group: GroupId::CURVE25519, data: vec![0x6b; 32] },
        Payload::Nonce(vec![0x6e; 32]),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, [9; 20])),
    ];
    let init = Message { header: header(ExchangeType::IKE_SA_INIT, false, 0), payloads: init }.encode();
    let refused = Payload::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, [0, 14]));
    let refused =
        Message { header: header(ExchangeType::IKE_SA_INIT, true, 0), payloads: vec![refused] }.encode();
    let layout = SealLayout { iv_len: 8, icv_len: 16, block_len: 1 };
    let (first, plaintext) = encode_chain(&chains()[0].1);
    let auth = header(ExchangeType::IKE_AUTH, false, 1);
    let sealed = Sealable::new(&auth, &[], first, &plaintext, None, layout).into_octets();
    let fragment = EncryptedBody::new(PayloadType::NONE, vec![0x5a; 40]);
    let fragment = Payload::EncryptedFragment { number: 2, total: 3, body: fragment };
    let fragment = Message { header: auth, payloads: vec![fragment] }.encode();
    let marked = [&NON_ESP_MARKER[..], &init].concat();
    let seeds = vec![
        ("sa_init", init),
        ("invalid_ke", refused),
        ("auth_sealed", sealed),
        ("auth_fragment", fragment),
        ("sa_init_marked", marked),
    ];
    for (name, octets) in &seeds {
        let message = match demux(octets) {
            Ok(Encapsulated::Ike(message)) => message,
            _ => octets,
        };
        assert!(Message::decode(message).is_ok(), "{name}");
    }
    committed("ike_message", &seeds);
}

#[test]
fn ike_chain() {
    let seed = |(name, payloads): (_, Vec<Payload>)| {
        let (first, octets) = encode_chain(&payloads);
        assert_eq!(decode_chain(first, &octets), Ok(payloads));
        (name, [&[first.0][..], &octets].concat())
    };
    committed("ike_chain", &chains().into_iter().map(seed).collect());
}

#[test]
fn esp_packet() {
    let payload = [0x45; 21];
    let mut opened = payload.to_vec();
    opened.resize(payload.len() + padding_len(payload.len(), 16) + 2, 0);
    assert!(write_trailer(&mut opened[payload.len()..], 4));
    assert_eq!(split_trailer(&opened), Ok((&payload[..], 4)));
    let header = EspHeader { spi: 0xc0ff_ee01, sequence: 7 }.to_octets();
    let packet = [&header[..], &[0x5a; 44]].concat();
    committed("esp_packet", &vec![("packet", packet), ("opened", opened), ("keepalive", KEEPALIVE.to_vec())]);
}

/// The first octet chooses extended sequence numbers and the outer ECN field; plaintexts follow.
#[test]
fn esp_open() {
    let plaintext = |inner: &[u8], next_header| {
        let mut octets = [&[0], inner].concat();
        let start = octets.len();
        octets.resize(start + padding_len(inner.len(), 4) + 2, 0);
        assert!(write_trailer(&mut octets[start..], next_header));
        octets
    };
    let mut dns = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 2, 0, 1, 10, 1, 0, 1];
    checksum::fill_ipv4_header(&mut dns);
    dns.extend([0x10, 0, 0, 53, 0, 12, 0, 0, b'a', b'b', b'c', b'd']);
    let padded = [&dns[..], &[0; 40]].concat();
    let seeds = vec![
        ("dns", plaintext(&dns, 4)),
        ("flow_padding", plaintext(&padded, 4)),
        ("dummy", plaintext(&[0xaa; 30], 59)),
        ("wrong_version", plaintext(&dns, 41)),
    ];
    committed("esp_open", &seeds);
}

#[test]
fn inner_packet() {
    let udp = [0x10, 0, 0, 53, 0, 12, 0, 0, b'a', b'b', b'c', b'd'];
    let syn = [0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4];
    let v4 = |protocol: u8, upper: &[u8]| {
        let len = u8::try_from(20 + upper.len()).unwrap();
        let mut packet =
            vec![0x45, 0, 0, len, 0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 168, 1, 2, 10, 0, 0, 3];
        checksum::fill_ipv4_header(&mut packet);
        packet.extend(upper);
        assert!(checksum::fill_transport(&mut packet));
        packet
    };
    let v6 = |next: u8, rest: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0, 0, u8::try_from(rest.len()).unwrap(), next, 64];
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(rest);
        checksum::fill_transport(&mut packet);
        packet
    };
    let offender = v4(17, &udp);
    let error = icmp::fragmentation_needed(&offender, Ipv4Addr::new(192, 168, 1, 1), 1400).unwrap();
    let extended =
        [&[60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0][..], &[17, 0, 0, 1, 0, 0, 0, 9], &udp];
    let seeds = vec![
        ("udp4", offender),
        ("syn4", v4(6, &syn)),
        ("syn6", v6(6, &syn)),
        ("echo6", v6(58, &[128, 0, 0, 0, 0, 1, 0, 1])),
        ("extended6", v6(0, &extended.concat())),
        ("icmp_error4", error),
    ];
    for (name, octets) in &seeds {
        assert!(InnerPacket::parse(octets).is_ok(), "{name}");
    }
    committed("inner_packet", &seeds);
}

/// Behind the integrity check: whom it goes to and what that end is doing, then messages, each with its
/// choices, the first payload's type, its length and its chain.
#[test]
fn ike_sealed() {
    let message = |flags: u8, payloads: &[Payload]| {
        let (first, octets) = encode_chain(payloads);
        let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
        [&[flags, first.0][..], &length, &octets].concat()
    };
    let chains = chains();
    let (auth, rekey, delete) = (&chains[0].1, &chains[1].1, &chains[2].1);
    let (create, informational, response, fragments) = (1, 2, 4, 16);
    let half_open = 1;
    let (to_initiator, to_responder) = (2, 3);
    let (rekeying_ike, rekeying_child, deleting) = (4, 8, 12);
    let seeds = vec![
        ("auth", [vec![half_open], message(0, auth)].concat()),
        ("auth_fragments", [vec![half_open], message(fragments, auth)].concat()),
        ("rekey", [vec![to_responder], message(create, rekey), message(informational, delete)].concat()),
        (
            "rekey_crossing",
            [vec![to_initiator | rekeying_child], message(create, rekey), message(create | response, rekey)]
                .concat(),
        ),
        ("rekey_ike_answer", [vec![to_responder | rekeying_ike], message(create | response, rekey)].concat()),
        (
            "delete_crossing",
            [
                vec![to_initiator | deleting],
                message(informational, delete),
                message(informational | response, delete),
            ]
            .concat(),
        ),
        ("dpd", [vec![to_responder], message(informational, &[])].concat()),
        ("configuration", [vec![to_responder], message(informational, &chains[3].1)].concat()),
    ];
    committed("ike_sealed", &seeds);
}

/// A virtio header as Linux writes it, then a super-packet of three, the last one shorter.
#[test]
fn split() {
    let header = |kind: u8, len: u16, start: u16, offset: u16| {
        let fields = [len, 8, start, offset].map(u16::to_le_bytes).concat();
        [&[1, kind][..], &fields].concat()
    };
    let tcp = |flags: u8| {
        [&[0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, flags, 2, 0, 0, 0, 0, 0, 1, 1, 1, 0][..], &[7; 21]]
            .concat()
    };
    let udp = [&[0xc0, 0, 1, 0xbb, 0, 29, 0, 0][..], &[7; 21]].concat();
    let seeds = vec![
        ("tcp4", [header(1, 44, 20, 16), ip_packet(false, 6, &tcp(0xd9))].concat()),
        ("tcp6", [header(4, 64, 40, 16), ip_packet(true, 6, &tcp(0x18))].concat()),
        ("udp4", [header(5, 28, 20, 6), ip_packet(false, 17, &udp)].concat()),
        ("udp6", [header(5, 48, 40, 6), ip_packet(true, 17, &udp)].concat()),
        ("single", [header(0, 0, 20, 16), ip_packet(false, 6, &tcp(0x02))].concat()),
    ];
    committed("split", &seeds);
}

/// The choice of offers and slots, then packets with their length before them and what is to be done.
#[test]
fn coalesce() {
    let (repair, follow, flush) = (0x8000, 0x4000, 0x2000);
    let given = |bits: u16, packet: &[u8]| {
        [&(bits | u16::try_from(packet.len()).unwrap()).to_be_bytes()[..], packet].concat()
    };
    let next = |bits: u16| (repair | follow | bits).to_be_bytes().to_vec();
    let tcp = |flags: u8| {
        [&[0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 2, 0, 0, 0, 0, 0][..], &[7; 9]].concat()
    };
    let udp = [&[0xc0, 0, 1, 0xbb, 0, 17, 0, 0][..], &[7; 9]].concat();
    let run = |choice: u8, packet: Vec<u8>| {
        [vec![choice], given(repair, &packet), next(0), next(0), next(flush), next(0)].concat()
    };
    let seeds = vec![
        ("tcp4", run(7, ip_packet(false, 6, &tcp(0x10)))),
        ("tcp6", run(7, ip_packet(true, 6, &tcp(0x50)))),
        ("udp4", run(7, ip_packet(false, 17, &udp))),
        ("udp6", run(6, ip_packet(true, 17, &udp))),
        (
            "two_flows",
            [
                vec![11],
                given(repair, &ip_packet(false, 6, &tcp(0x10))),
                given(repair, &ip_packet(false, 17, &udp)),
                next(0),
                given(repair, &ip_packet(false, 6, &tcp(0x18))),
            ]
            .concat(),
        ),
    ];
    committed("coalesce", &seeds);
}

/// A packet of IPv4 or IPv6; the checksum of what it holds is left as it is.
fn ip_packet(v6: bool, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let len = u8::try_from(upper.len()).unwrap();
    let mut packet = if v6 {
        let mut packet = vec![0x60, 0, 0, 0, 0, len, protocol, 64];
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet
    } else {
        vec![0x45, 0, 0, len + 20, 0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 168, 1, 2, 10, 0, 0, 3]
    };
    checksum::fill_ipv4_header(&mut packet);
    packet.extend(upper);
    packet
}
