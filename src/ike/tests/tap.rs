//! Somebody who holds the keys of an IKE SA, and so can do what no honest peer does.

use std::time::Duration;

use super::pair::*;
use crate::crypto::{IkeKeys, IkeSuite, Secret, SystemRandom};
use crate::ike::channel::{Channel, Cut, Opened};
use crate::ike::window::Window;
use crate::ike::*;
use crate::wire::ike::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::{IkeSpi, Message, Notify, Payload, decode_chain};

/// See the module.
pub(super) struct Tap {
    suite: IkeSuite,
    keys: IkeKeys,
    spis: (IkeSpi, IkeSpi),
}

impl Tap {
    /// Of the IKE SA whose keys the node logged last.
    pub(super) fn of(node: &Node) -> Self {
        let logged = node.events.iter().rev().find_map(|event| match event {
            Event::KeyLog(KeyLog::Ike {
                initiator_spi,
                responder_spi,
                sk_ei,
                sk_er,
                sk_ai,
                sk_ar,
                suite,
            }) => {
                let (i, r) = (IkeSpi(*initiator_spi), IkeSpi(*responder_spi));
                let keys = IkeKeys {
                    sk_d: Secret::empty(),
                    sk_ai: sk_ai.clone(),
                    sk_ar: sk_ar.clone(),
                    sk_ei: sk_ei.clone(),
                    sk_er: sk_er.clone(),
                    sk_pi: Secret::empty(),
                    sk_pr: Secret::empty(),
                };
                Some(Self { suite: *suite, keys, spis: (i, r) })
            }
            _ => None,
        });
        logged.expect("keys are logged")
    }

    fn channel(&self, initiator: bool) -> Channel {
        let mut channel =
            Channel::new(&self.suite, &self.keys, self.spis, initiator, Window::default()).unwrap();
        channel.fragmentation = true;
        channel
    }

    /// What is inside a message.
    pub(super) fn open(&self, octets: &[u8]) -> Vec<Payload> {
        let message = Message::decode(octets).unwrap();
        let channel = self.channel(!message.header.flags.initiator);
        let Opened::Whole(first, plaintext) = channel.open(octets, message).unwrap() else {
            panic!("a fragment")
        };
        decode_chain(first, &plaintext).unwrap()
    }

    /// The notifications inside a message.
    pub(super) fn notifies(&self, octets: &[u8]) -> Vec<NotifyType> {
        let kind = |payload: &Payload| match payload {
            Payload::Notify(notify) => Some(notify.kind),
            _ => None,
        };
        self.open(octets).iter().filter_map(kind).collect()
    }

    pub(super) fn seal(
        &self,
        by_initiator: bool,
        exchange: ExchangeType,
        id: u32,
        response: bool,
        payloads: &[Payload],
    ) -> Vec<u8> {
        let mut random = SystemRandom::new().unwrap();
        let mut channel = self.channel(by_initiator);
        channel.encode(exchange, id, response, payloads, Cut::Whole, &mut random).unwrap().remove(0)
    }

    /// Changes the inside of a message on its way.
    pub(super) fn alter(&self, flight: &mut Flight, change: impl FnOnce(&mut Vec<Payload>)) {
        let header = flight.header();
        let mut payloads = self.open(&flight.transmit.octets);
        change(&mut payloads);
        let flags = header.flags;
        flight.transmit.octets =
            self.seal(flags.initiator, header.exchange, header.message_id, flags.response, &payloads);
    }

    /// A request of A, which is the initiator, to B; gives B's answers.
    pub(super) fn ask(
        &self,
        pair: &mut Pair,
        exchange: ExchangeType,
        id: u32,
        payloads: &[Payload],
    ) -> Vec<Vec<u8>> {
        let octets = self.seal(true, exchange, id, false, payloads);
        let before = pair.b.sent.len();
        inject(pair, octets);
        pair.b.sent[before..].iter().map(|transmit| transmit.octets.clone()).collect()
    }
}

/// Hands octets to B as if A had sent them.
pub(super) fn inject(pair: &mut Pair, octets: Vec<u8>) {
    let from = format!("{A}:4500").parse().unwrap();
    let remote = format!("{B}:4500").parse().unwrap();
    let kind = TransmitKind::Ike;
    let transmit = Transmit { local: None, remote, encapsulated: true, kind, octets, dont_fragment: false };
    pair.deliver(&Flight { to: Side::B, from, transmit });
}

/// A pair whose A logs keys.
pub(super) fn tapped(a: PeerConfig, b: PeerConfig) -> Pair {
    let settings = EndpointSettings { key_log: true, ..EndpointSettings::default() };
    Pair::of(node(A, 1, settings, vec![a]), node(B, 2, EndpointSettings::default(), vec![b]))
}

/// A tapped pair with everything up and nothing under way.
pub(super) fn tapped_up() -> (Pair, Tap) {
    let (a, b) = configs();
    let mut pair = tapped(a, b);
    pair.run(Duration::from_secs(2));
    pair.assert_converged(1);
    let tap = Tap::of(&pair.a);
    (pair, tap)
}

/// A tapped pair whose IKE_AUTH request is on its way.
pub(super) fn at_auth(a: PeerConfig, b: PeerConfig) -> (Pair, Tap) {
    let mut pair = tapped(a, b);
    pair.run(Duration::from_millis(25));
    let tap = Tap::of(&pair.a);
    (pair, tap)
}

/// The message on the link that `is` the one.
pub(super) fn on_link(pair: &mut Pair, exchange: ExchangeType, response: bool) -> &mut Flight {
    pair.link.values_mut().find(|flight| flight.is(exchange, response)).expect("on its way")
}

pub(super) fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::new(kind, Vec::new()))
}

pub(super) fn without(kind: PayloadType) -> impl FnOnce(&mut Vec<Payload>) {
    move |payloads| payloads.retain(|payload| payload.kind() != kind)
}
