//! Lists and deletes tracked connections by `ctnetlink`.

use std::{io, net::IpAddr, time::Duration};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// How long the kernel may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `TCP_CONNTRACK_SYN_SENT` of the kernel's `nf_conntrack_tcp.h`.
const SYN_SENT: u8 = 1;

/// A tracked connection, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) protocol: u8,
    /// Where its first packet went.
    pub(super) to: (IpAddr, u16),
    /// Where answers come from.
    pub(super) from: (IpAddr, u16),
    /// Whether it is a TCP connection of which only the first SYN has been seen.
    pub(super) opening: bool,
    original: Vec<Tuple>,
}

/// A socket in the network namespace of the thread that opened it.
pub(super) struct Conntrack {
    socket: Socket,
    sequence: u32,
}

impl Conntrack {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(1 << 20)?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Hands over every connection of one IP version.
    pub(super) fn each(&mut self, v4: bool, mut take: impl FnMut(Connection)) -> io::Result<()> {
        self.send(v4, NLM_F_REQUEST | NLM_F_DUMP, ConntrackMessage::Get(Vec::new()))?;
        self.answers(|message| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner
                && let Some(connection) = connection(attributes)
            {
                take(connection);
            }
        })
    }

    /// Forgets one; whether it was still there.
    pub(super) fn delete(&mut self, connection: Connection) -> io::Result<bool> {
        let v4 = connection.to.0.is_ipv4();
        let original = ConntrackAttribute::CtaTupleOrig(connection.original);
        self.send(v4, NLM_F_REQUEST | NLM_F_ACK, ConntrackMessage::Delete(vec![original]))?;
        match self.answers(|_| ()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, v4: bool, flags: u16, message: ConntrackMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let family = if v4 { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.socket.send(&octets, 0).map(drop)
    }

    /// Reads answers up to the end of a dump or to an acknowledgement.
    fn answers(&self, mut take: impl FnMut(NetfilterMessage)) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            let length = self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let malformed = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
                let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest)
                    .map_err(|error| malformed(error.to_string()))?;
                let step = (message.header.length as usize).next_multiple_of(4).max(16);
                rest = rest.get(step..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(()),
                        Some(_) => return Err(error.to_io()),
                    },
                    NetlinkPayload::InnerMessage(message) => take(message),
                    _ => {}
                }
            }
        }
    }
}

fn connection(attributes: Vec<ConntrackAttribute>) -> Option<Connection> {
    let (mut original, mut reply, mut opening) = (None, None, false);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = Some(tuple),
            ConntrackAttribute::CtaProtoInfo(info) => {
                opening = info.iter().any(
                    |info| matches!(info, ProtoInfo::TCP(parts) if parts.contains(&ProtoInfoTCP::State(SYN_SENT))),
                );
            }
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    let (mut protocol, mut to, mut to_port, mut from, mut from_port) = (None, None, 0, None, 0);
    for part in &original {
        match part {
            Tuple::Ip(parts) => parts.iter().for_each(|part| {
                if let IPTuple::DestinationAddress(address) = part {
                    to = Some(*address);
                }
            }),
            Tuple::Proto(parts) => parts.iter().for_each(|part| match part {
                ProtoTuple::Protocol(number) => protocol = Some((*number).into()),
                ProtoTuple::DestinationPort(port) => to_port = *port,
                _ => {}
            }),
            _ => {}
        }
    }
    for part in &reply {
        match part {
            Tuple::Ip(parts) => parts.iter().for_each(|part| {
                if let IPTuple::SourceAddress(address) = part {
                    from = Some(*address);
                }
            }),
            Tuple::Proto(parts) => parts.iter().for_each(|part| {
                if let ProtoTuple::SourcePort(port) = part {
                    from_port = *port;
                }
            }),
            _ => {}
        }
    }
    Some(Connection { protocol: protocol?, to: (to?, to_port), from: (from?, from_port), opening, original })
}
