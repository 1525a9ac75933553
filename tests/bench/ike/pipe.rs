//! What the two processes of a measurement say to each other: length-prefixed frames.

use std::io::{Read, Write};

use skybridge::ike::{Transmit, TransmitKind};

use crate::world;

/// From the generator to the measured responder.
#[derive(Debug)]
pub enum Order {
    /// A datagram of the initiator with this number.
    Datagram { from: usize, encapsulated: bool, octets: Vec<u8> },
    /// The clock is so many microseconds after the start.
    Time(u64),
    /// The figures since the last time.
    Figures,
    /// The data path's lookups are to be measured with this many tunnels.
    Lookups(usize),
}

/// The responder's answer to [`Order::Datagram`] and [`Order::Time`]: datagrams for initiators.
pub type Answers = Vec<(usize, Transmit)>;

fn put(out: &mut impl Write, octets: &[u8]) {
    out.write_all(&u32::try_from(octets.len()).unwrap().to_be_bytes()).unwrap();
    out.write_all(octets).unwrap();
}

fn word(input: &mut impl Read) -> Option<u64> {
    let mut word = [0; 8];
    input.read_exact(&mut word).ok()?;
    Some(u64::from_be_bytes(word))
}

fn take(input: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    input.read_exact(&mut length).unwrap();
    let mut octets = vec![0; u32::from_be_bytes(length) as usize];
    input.read_exact(&mut octets).unwrap();
    octets
}

impl Order {
    pub fn write(&self, out: &mut impl Write) {
        let (kind, number) = match self {
            Self::Datagram { from, encapsulated, .. } => (u64::from(*encapsulated), *from as u64),
            Self::Time(micros) => (2, *micros),
            Self::Figures => (3, 0),
            Self::Lookups(tunnels) => (4, *tunnels as u64),
        };
        out.write_all(&kind.to_be_bytes()).unwrap();
        out.write_all(&number.to_be_bytes()).unwrap();
        if let Self::Datagram { octets, .. } = self {
            put(out, octets);
        }
        out.flush().unwrap();
    }

    /// `None` when the generator is gone.
    pub fn read(input: &mut impl Read) -> Option<Self> {
        let kind = word(input)?;
        let number = word(input)?;
        let index = usize::try_from(number).unwrap();
        Some(match kind {
            0 | 1 => Self::Datagram { from: index, encapsulated: kind == 1, octets: take(input) },
            2 => Self::Time(number),
            3 => Self::Figures,
            _ => Self::Lookups(index),
        })
    }
}

/// Only IKE messages are passed on.
pub fn write_answers(out: &mut impl Write, transmits: &[Transmit]) {
    let messages: Vec<_> = transmits.iter().filter(|transmit| transmit.kind == TransmitKind::Ike).collect();
    out.write_all(&(messages.len() as u64).to_be_bytes()).unwrap();
    for transmit in messages {
        let to = world::index_of(transmit.remote.ip()) as u64;
        out.write_all(&(to << 1 | u64::from(transmit.encapsulated)).to_be_bytes()).unwrap();
        put(out, &transmit.octets);
    }
    out.flush().unwrap();
}

pub fn read_answers(input: &mut impl Read) -> Answers {
    let count = word(input).expect("the responder lives");
    (0..count)
        .map(|_| {
            let head = word(input).expect("the responder lives");
            let to = usize::try_from(head >> 1).unwrap();
            let encapsulated = head & 1 == 1;
            let port = if encapsulated { 4500 } else { 500 };
            let transmit = Transmit {
                local: None,
                remote: (world::address(to), port).into(),
                encapsulated,
                kind: TransmitKind::Ike,
                octets: take(input),
                dont_fragment: false,
            };
            (to, transmit)
        })
        .collect()
}

/// A line of JSON.
pub fn write_text(out: &mut impl Write, text: &str) {
    put(out, text.as_bytes());
    out.flush().unwrap();
}

pub fn read_text(input: &mut impl Read) -> String {
    String::from_utf8(take(input)).unwrap()
}
