//! Packets inside the tunnel: parsing, and every edit that the data path makes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::wire::ip::icmp::{self, IcmpError, Unreachable};
use skybridge::wire::ip::{Ecn, InnerPacket, checksum, set_dscp, set_ecn, tcp, udp};

fuzz_target!(|octets: &[u8]| {
    let Ok(view) = InnerPacket::parse(octets) else { return };
    assert!(view.header_len <= view.total_len && view.total_len <= octets.len());
    let _ = (tcp::flags(octets, &view), udp::payload(octets, &view), checksum::ipv4_header_is_valid(octets));

    let mut packet = octets.to_vec();
    if checksum::fill_transport(&mut packet) {
        assert_ne!(checksum::transport_is_valid(&packet), Some(false));
        if tcp::clamp_mss(&mut packet, 1200) {
            assert_eq!(checksum::transport_is_valid(&packet), Some(true));
            assert!(!tcp::clamp_mss(&mut packet, 1200));
        }
    }
    checksum::fill_ipv4_header(&mut packet);
    set_ecn(&mut packet, Ecn::Ce);
    set_dscp(&mut packet, 46);
    let edited = InnerPacket::parse(&packet).expect("an edited packet stays one");
    assert_eq!((edited.dscp, edited.ecn, edited.ports), (46, Ecn::Ce, view.ports));

    let froms = ["192.0.2.1", "2001:db8::1"].map(|from| from.parse().expect("an address"));
    let errors = [
        IcmpError::TooBig(1280),
        IcmpError::Unreachable(Unreachable::AdministrativelyProhibited),
        IcmpError::TimeExceeded,
    ];
    for (from, error) in froms.iter().flat_map(|from| errors.map(|error| (*from, error))) {
        if let Some(reply) = icmp::error(octets, from, error) {
            let reply_view = InnerPacket::parse(&reply).expect("errors are packets");
            assert_eq!((reply_view.src, reply_view.dst), (from, view.src));
            assert_eq!(checksum::transport_is_valid(&reply), Some(true));
            assert_eq!(icmp::error(&reply, from, error), None);
        }
    }
});
