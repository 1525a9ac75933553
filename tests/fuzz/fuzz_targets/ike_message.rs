//! Whole datagrams of either port: the demultiplexer and the message decoder. What decodes must encode
//! to something that decodes to the same, but for the lengths and offsets that encoding computes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::wire::ike::{Header, Message};
use skybridge::wire::udp_encap::{Encapsulated, demux};

fuzz_target!(|octets: &[u8]| {
    let _ = Header::peek(octets);
    if let Ok(Encapsulated::Ike(message)) = demux(octets) {
        check(message);
    }
    check(octets);
});

fn check(octets: &[u8]) {
    let Ok(message) = Message::decode(octets) else { return };
    let again = message.encode();
    let decoded = Message::decode(&again).expect("an encoded message decodes");
    assert_eq!(decoded.encode(), again);
    assert_eq!(decoded.payloads.len(), message.payloads.len());
}
