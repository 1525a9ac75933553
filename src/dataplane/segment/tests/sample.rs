//! Super-packets with what they stand for, by code that shares nothing with what is tested. The tests against
//! the kernel use it too.

use proptest::prelude::*;

use super::{Offload, PartialChecksum, Segmentation};

/// The fields of a flow's packets, and the payload of several of them.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// IPv4 options, or what follows the first two octets of an IPv6 destination options header.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) id: u16,
    pub(crate) label: u32,
    /// The last octet of the source address.
    pub(crate) host: u8,
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) segment_size: u16,
}

impl Sample {
    pub(crate) fn tcp4() -> Self {
        Self {
            v6: false,
            udp: false,
            ip_options: vec![],
            tos: 0,
            ttl: 64,
            dont_fragment: true,
            id: 1,
            label: 0,
            host: 1,
            ports: [40_000, 443],
            sequence: 1000,
            ack: 2000,
            flags: 0x10,
            window: 500,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..3500u16).map(|n| n as u8).collect(),
            segment_size: 1000,
        }
    }

    pub(crate) fn udp4() -> Self {
        Self { udp: true, ..Self::tcp4() }
    }

    pub(crate) fn transport(&self) -> usize {
        match (self.v6, self.ip_options.len()) {
            (false, options) => 20 + options,
            (true, 0) => 40,
            (true, options) => 40 + 2 + options,
        }
    }

    pub(crate) fn offload(&self) -> Offload {
        let segmentation = match (self.udp, self.v6) {
            (true, _) => Segmentation::Udp,
            (false, false) => Segmentation::TcpV4,
            (false, true) => Segmentation::TcpV6,
        };
        let start = self.transport() as u16;
        let offset = if self.udp { 6 } else { 16 };
        let checksum = Some(PartialChecksum { start, offset });
        Offload { segmentation, segment_size: self.segment_size, header_len: 7, checksum }
    }

    /// The packet of `payload`, the `index`th of the flow; `sequence` octets went before.
    pub(crate) fn packet(
        &self,
        index: usize,
        sequence: usize,
        flags: u8,
        payload: &[u8],
        whole_checksum: bool,
    ) -> Vec<u8> {
        let protocol: u8 = if self.udp { 17 } else { 6 };
        let mut upper = Vec::new();
        upper.extend(self.ports[0].to_be_bytes());
        upper.extend(self.ports[1].to_be_bytes());
        let at = if self.udp {
            upper.extend((8 + payload.len() as u16).to_be_bytes());
            upper.extend([0, 0]);
            6
        } else {
            upper.extend(self.sequence.wrapping_add(sequence as u32).to_be_bytes());
            upper.extend(self.ack.to_be_bytes());
            upper.extend([((20 + self.tcp_options.len() as u8) / 4) << 4, flags]);
            upper.extend(self.window.to_be_bytes());
            upper.extend([0; 4]);
            upper.extend(&self.tcp_options);
            16
        };
        upper.extend(payload);

        let mut src = vec![10, 1, 0, self.host];
        let mut dst = vec![192, 168, 200, 7];
        if self.v6 {
            src = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[self.host]].concat();
            dst = vec![0xfd, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        }
        let len = (upper.len() as u32).to_be_bytes();
        let pseudo = [&src[..], &dst, &len, &[0, 0, 0, protocol]].concat();
        let sum = if whole_checksum {
            let sum = !words(&[&pseudo[..], &upper].concat());
            if sum == 0 && self.udp { 0xffff } else { sum }
        } else {
            words(&pseudo)
        };
        upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());

        let mut packet = Vec::new();
        if self.v6 {
            let mut extension = Vec::new();
            if !self.ip_options.is_empty() {
                extension = vec![protocol, ((self.ip_options.len() + 2) / 8 - 1) as u8];
                extension.extend(&self.ip_options);
            }
            let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
            packet.extend(first.to_be_bytes());
            packet.extend(((extension.len() + upper.len()) as u16).to_be_bytes());
            packet.extend([if extension.is_empty() { protocol } else { 60 }, self.ttl]);
            packet.extend([src, dst].concat());
            packet.extend(extension);
        } else {
            let header_len = 20 + self.ip_options.len();
            packet.extend([0x40 | (header_len / 4) as u8, self.tos]);
            packet.extend(((header_len + upper.len()) as u16).to_be_bytes());
            packet.extend(self.id.wrapping_add(index as u16).to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
            packet.extend([src, dst].concat());
            packet.extend(&self.ip_options);
            let sum = !words(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend(upper);
        packet
    }

    /// As a kernel hands it over.
    pub(crate) fn whole(&self) -> Vec<u8> {
        self.packet(0, 0, self.flags, &self.payload, false)
    }

    /// What it stands for, each packet built on its own.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let size = usize::from(self.segment_size);
        let count = self.payload.len().div_ceil(size).max(1);
        let build = |index: usize| {
            let payload = &self.payload[index * size..self.payload.len().min((index + 1) * size)];
            let mut flags = self.flags;
            if index > 0 {
                flags &= 0x7f;
            }
            if index < count - 1 {
                flags &= !0x09;
            }
            self.packet(index, index * size, flags, payload, true)
        };
        (0..count).map(build).collect()
    }
}

/// The ones' complement sum, a word at a time.
fn words(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

pub(crate) fn samples() -> impl Strategy<Value = Sample> {
    let kind = (any::<bool>(), any::<bool>(), 0..4usize, any::<u8>(), any::<u8>(), any::<bool>());
    let id = prop_oneof![any::<u16>(), 0xfff0..=0xffffu16];
    let sequence = prop_oneof![any::<u32>(), 0xffff_0000..=u32::MAX];
    let flags = prop_oneof![Just(0x10u8), Just(0x18), Just(0x11), Just(0xd8), Just(0x59), any::<u8>()];
    let tcp = (sequence, any::<u32>(), flags, any::<u16>(), 0..=10usize);
    let payload = (1..1500u16, 1..60usize, any::<u8>(), any::<u64>());
    (kind, id, 0..0x10_0000u32, any::<[u16; 2]>(), tcp, payload).prop_map(
        |(kind, id, label, ports, tcp, payload)| {
            let (v6, udp, options, tos, ttl, dont_fragment) = kind;
            let (sequence, ack, flags, window, tcp_options) = tcp;
            let (segment_size, count, rest, seed) = payload;
            let mut random = seed | 1;
            let mut octets = |len: usize| -> Vec<u8> {
                let next = |_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random as u8
                };
                (0..len).map(next).collect()
            };
            let most = 65_535 - 40 - 32 - 60;
            let len =
                usize::from(segment_size) * (count - 1) + 1 + usize::from(rest) % usize::from(segment_size);
            let ip_options = match (v6, options) {
                (_, 0) => vec![],
                (false, options) => octets(options * 4),
                (true, options) => [&[1, (options * 8 - 4) as u8][..], &vec![0; options * 8 - 4]].concat(),
            };
            Sample {
                v6,
                udp,
                ip_options,
                tos,
                ttl,
                dont_fragment,
                id,
                label,
                host: 1,
                ports,
                sequence,
                ack,
                flags,
                window,
                tcp_options: octets(tcp_options * 4),
                payload: octets(len.min(most)),
                segment_size,
            }
        },
    )
}
