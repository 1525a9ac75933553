//! Hashes. SHA-1 is reachable only through the two uses that IKEv2 fixes, neither of which protects
//! anything; signatures over SHA-1 are in [`signature`](super::signature) behind an explicit opt-in.

use std::net::SocketAddr;

use ring::digest;

use crate::wire::ike::IkeSpi;

/// A hash function of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-1, for verification of legacy signatures only.
    Sha1,
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
}

/// SHA2-256 of the parts together.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&digest::SHA256, parts)
}

/// SHA2-384 of the parts together.
pub fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    hash(&digest::SHA384, parts)
}

/// SHA2-512 of the parts together.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    hash(&digest::SHA512, parts)
}

/// The data of a NAT_DETECTION_*_IP notify
/// ([RFC 7296 section 2.23](https://www.rfc-editor.org/rfc/rfc7296#section-2.23)): SHA-1 of SPIs,
/// address and port. In the IKE_SA_INIT request the responder's SPI is zero.
pub fn nat_detection(spi_i: IkeSpi, spi_r: IkeSpi, address: SocketAddr) -> [u8; 20] {
    let port = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
        std::net::IpAddr::V6(ip) => sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
    }
}

/// How a CERTREQ payload names a trust anchor
/// ([RFC 7296 section 3.7](https://www.rfc-editor.org/rfc/rfc7296#section-3.7)): SHA-1 of the DER of
/// its SubjectPublicKeyInfo.
pub fn authority_hash(subject_public_key_info: &[u8]) -> [u8; 20] {
    sha1(&[subject_public_key_info])
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts)
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; N];
    for (octet, computed) in out.iter_mut().zip(context.finish().as_ref()) {
        *octet = *computed;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn the_fips_180_examples_hold() {
        assert_eq!(hex(&sha1(&[b"abc"])), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            hex(&sha256(&[b"a", b"bc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(hex(&sha384(&[b"abc"])).starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab"));
        assert!(hex(&sha512(&[b"abc"])).starts_with("ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn nat_detection_hashes_spis_address_and_port_in_wire_order() {
        let (spi_i, spi_r) = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        let wire = [&[1; 8][..], &[2; 8], &[192, 0, 2, 1], &[0x11, 0x94]].concat();
        let address = "192.0.2.1:4500".parse().unwrap();
        assert_eq!(nat_detection(spi_i, spi_r, address), sha1(&[&wire]));
        let mapped = "[::ffff:192.0.2.1]:4500".parse().unwrap();
        assert_eq!(nat_detection(spi_i, spi_r, mapped), sha1(&[&wire]));
        let v6: SocketAddr = "[2001:db8::1]:500".parse().unwrap();
        assert_ne!(nat_detection(spi_i, spi_r, v6), nat_detection(spi_r, spi_i, v6));
    }
}
