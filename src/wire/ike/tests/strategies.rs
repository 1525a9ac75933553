//! Generated messages with every kind of payload.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value =
        prop_oneof![any::<u16>().prop_map(AttributeValue::Short), octets(12).prop_map(AttributeValue::Long)];
    (0u16..0x8000, value).prop_map(|(kind, value)| Attribute { kind: AttributeType(kind), value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = ProposalBody> {
    (any::<u8>(), any::<u8>(), octets(8), vec(transform(), 0..6)).prop_map(
        |(number, protocol, spi, transforms)| ProposalBody {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        },
    )
}

fn identification() -> impl Strategy<Value = Identification> {
    (any::<u8>(), any::<[u8; 3]>(), octets(40)).prop_map(|(kind, reserved, data)| Identification {
        kind: IdType(kind),
        reserved,
        data,
    })
}

fn selector() -> impl Strategy<Value = WireTs> {
    let fields = (any::<u8>(), any::<u16>(), any::<u16>());
    prop_oneof![
        (fields, any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(
            |((protocol, start_port, end_port), start, end)| WireTs::Ipv4 {
                protocol,
                start_port,
                end_port,
                start: start.into(),
                end: end.into(),
            }
        ),
        (fields, any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(
            |((protocol, start_port, end_port), start, end)| WireTs::Ipv6 {
                protocol,
                start_port,
                end_port,
                start: start.into(),
                end: end.into(),
            }
        ),
        (9u8.., any::<u8>(), octets(20)).prop_map(|(kind, protocol, body)| WireTs::Unknown {
            kind: TsType(kind),
            protocol,
            body
        }),
    ]
}

fn spis() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (1usize..=8).prop_flat_map(|len| vec(vec(any::<u8>(), len), 0..5))
}

fn unknown() -> impl Strategy<Value = Payload> {
    (prop_oneof![1u8..33, 49u8..53, 54u8..], octets(30)).prop_map(|(kind, body)| Payload::Unknown {
        kind: PayloadType(kind),
        critical: false,
        body,
    })
}

/// Any payload but SK and SKF.
pub(super) fn clear_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(proposal(), 1..4).prop_map(Payload::SecurityAssociation),
        (any::<u16>(), octets(64))
            .prop_map(|(group, data)| Payload::KeyExchange { group: GroupId(group), data }),
        identification().prop_map(Payload::IdInitiator),
        identification().prop_map(Payload::IdResponder),
        (any::<u8>(), octets(64))
            .prop_map(|(kind, data)| Payload::Certificate { encoding: CertEncoding(kind), data }),
        (any::<u8>(), octets(64)).prop_map(|(kind, authorities)| Payload::CertificateRequest {
            encoding: CertEncoding(kind),
            authorities,
        }),
        (any::<u8>(), octets(64))
            .prop_map(|(kind, data)| Payload::Authentication { method: AuthMethod(kind), data }),
        vec(any::<u8>(), 16..=256).prop_map(Payload::Nonce),
        (any::<u8>(), octets(8), any::<u16>(), octets(40)).prop_map(|(protocol, spi, kind, data)| {
            Payload::Notify(Notify { protocol: ProtocolId(protocol), spi, kind: NotifyType(kind), data })
        }),
        (any::<u8>(), spis())
            .prop_map(|(protocol, spis)| Payload::Delete { protocol: ProtocolId(protocol), spis }),
        octets(32).prop_map(Payload::VendorId),
        vec(selector(), 0..5).prop_map(Payload::TsInitiator),
        vec(selector(), 0..5).prop_map(Payload::TsResponder),
        (any::<u8>(), vec((0u16..0x8000, octets(16)), 0..5)).prop_map(|(kind, attributes)| {
            let attribute =
                |(kind, value)| ConfigurationAttribute { kind: ConfigurationAttributeType(kind), value };
            Payload::Configuration {
                kind: ConfigurationType(kind),
                attributes: attributes.into_iter().map(attribute).collect(),
            }
        }),
        octets(32).prop_map(Payload::Eap),
        unknown(),
    ]
}

pub(super) fn encrypted_payload() -> impl Strategy<Value = Payload> {
    let body = || (any::<u8>(), octets(64)).prop_map(|(next, body)| EncryptedBody::new(next.into(), body));
    prop_oneof![
        body().prop_map(Payload::Encrypted),
        (1u16.., any::<u16>(), body()).prop_map(|(number, total, body)| Payload::EncryptedFragment {
            number,
            total: total.max(number),
            body,
        }),
    ]
}

pub(super) fn any_header() -> impl Strategy<Value = Header> {
    let flags = any::<[bool; 3]>();
    (any::<[u8; 8]>(), any::<[u8; 8]>(), any::<u8>(), flags, any::<u32>(), 0u8..16).prop_map(
        |(spi_i, spi_r, exchange, [initiator, version, response], message_id, minor)| Header {
            version: Version { major: 2, minor },
            ..Header::new(
                IkeSpi(spi_i),
                IkeSpi(spi_r),
                ExchangeType(exchange),
                Flags { initiator, version, response },
                message_id,
            )
        },
    )
}

pub(super) fn any_message() -> impl Strategy<Value = Message> {
    (any_header(), vec(clear_payload(), 0..8), prop::option::of(encrypted_payload())).prop_map(
        |(header, mut payloads, last)| {
            payloads.extend(last);
            Message { header, payloads }
        },
    )
}
