//! Asks the kernel about its tables without `nft`, which reads every element before it answers anything.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    time::Duration,
};

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

// Message types and attributes of the kernel's `nf_tables.h`.
const GET_CHAIN: u8 = 4;
const GET_RULE: u8 = 7;
const GET_ELEMENT: u8 = 13;
const GET_GENERATION: u8 = 16;
/// The table is the first attribute of chains, rules and lists of elements.
const TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// Also an element's key, that key's value, and the generation number.
const FIRST: u16 = 1;
const NESTED: u16 = 1 << 15;

const NAME: &[u8] = b"skybridge\0";
const PATIENCE: Duration = Duration::from_secs(5);

/// The generation number of all rules in this thread's network namespace, which grows with every transaction of
/// anybody; `None` if it cannot be told.
pub(super) fn generation() -> Option<u32> {
    let answers = request(GET_GENERATION, NLM_F_REQUEST, Vec::new()).ok()?;
    attribute(answers.first()?, FIRST)?.try_into().ok().map(u32::from_be_bytes)
}

/// A number that is another one once a chain or rule of the table has changed. Elements of maps have no part in it, but
/// for how many lead to each chain.
pub(super) fn fingerprint() -> Option<u64> {
    let mut hash = DefaultHasher::new();
    let table = || vec![DefaultNla::new(TABLE, NAME.to_vec())];
    for (kind, attributes) in [(GET_CHAIN, Vec::new()), (GET_RULE, table())] {
        for answer in request(kind, NLM_F_REQUEST | NLM_F_DUMP, attributes).ok()? {
            if attribute(&answer, TABLE) == Some(NAME.to_vec()) {
                answer.hash(&mut hash);
            }
        }
    }
    Some(hash.finish())
}

/// Whether a map or set of the table has an element.
pub(super) fn has(set: &str, key: &[u8]) -> bool {
    let mut key = DefaultNla::new(FIRST, key.to_vec());
    for _ in 0..2 {
        key = DefaultNla::new(FIRST | NESTED, octets(&key));
    }
    let attributes = vec![
        DefaultNla::new(TABLE, NAME.to_vec()),
        DefaultNla::new(ELEMENTS_SET, [set.as_bytes(), b"\0"].concat()),
        DefaultNla::new(ELEMENTS | NESTED, octets(&key)),
    ];
    request(GET_ELEMENT, NLM_F_REQUEST | NLM_F_ACK, attributes).is_ok()
}

fn octets(attribute: &DefaultNla) -> Vec<u8> {
    use netlink_packet_core::Emitable;
    let mut octets = vec![0; attribute.buffer_len()];
    attribute.emit(&mut octets);
    octets
}

/// The value of an attribute of an answer.
fn attribute(answer: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(answer).flatten().find(|nla| nla.kind() == kind).map(|nla| nla.value().to_vec())
}

/// The attributes of each answer, as octets. The kernel answers at once.
fn request(kind: u8, flags: u16, attributes: Vec<DefaultNla>) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let inner =
        NetfilterMessageInner::Other { subsys: NetfilterSubsystem::NfTables, message_type: kind, attributes };
    let message = NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), inner);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    socket.send(&request, 0)?;

    let mut answers = Vec::new();
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        buffer.clear();
        let length = socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| malformed())?;
            let body = rest.get(16..message.length() as usize).ok_or_else(malformed)?;
            match message.message_type() {
                // NLMSG_ERROR, which is an acknowledgement with 0.
                2 => {
                    let code =
                        body.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or_else(malformed)?;
                    return if code == 0 { Ok(answers) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                // NLMSG_DONE.
                3 => return Ok(answers),
                // The four octets of the netfilter header hold the generation number.
                _ => answers.push(body.get(4..).unwrap_or_default().to_vec()),
            }
            rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        }
        if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
            return Ok(answers);
        }
    }
}
