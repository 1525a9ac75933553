//! ESP as the wire layer sees it: the demultiplexer, the header, and the trailer of an opened packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::wire::esp::{self, EspHeader};
use skybridge::wire::udp_encap::{Encapsulated, demux};

fuzz_target!(|octets: &[u8]| {
    if let Ok(Encapsulated::Esp(packet)) = demux(octets) {
        let (header, rest) = EspHeader::split(packet).expect("demultiplexed packets have a header");
        assert!(header.spi > 255);
        assert_eq!([&header.to_octets()[..], rest].concat(), packet);
    }
    if let Ok((payload, next_header)) = esp::split_trailer(octets) {
        let mut again = octets.to_vec();
        assert!(esp::write_trailer(&mut again[payload.len()..], next_header));
        assert_eq!(again, octets);
    }
});
