//! Keys for Wireshark, for debugging only: rows of its tables `ikev2_decryption_table` and `esp_sa`,
//! appended to files of these names in a folder that becomes Wireshark's profile.
//!
//! Off unless the configuration names the folder. Whoever reads these files reads the traffic.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::crypto::{Cipher, EspSuite, IkeSuite, Integrity, Secret};
use crate::ike::KeyLog;

/// An open pair of key tables.
#[derive(Debug)]
pub(super) struct KeyLogFiles {
    ike: File,
    esp: File,
}

impl KeyLogFiles {
    /// Opens or creates both tables in `folder`, readable by their owner alone.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let open = |name: &str| -> io::Result<File> {
            let path: PathBuf = folder.join(name);
            OpenOptions::new().append(true).create(true).mode(0o600).open(path)
        };
        Ok(Self { ike: open("ikev2_decryption_table")?, esp: open("esp_sa")? })
    }

    /// Appends the row for `keys`.
    pub(super) fn write(&mut self, keys: &KeyLog) -> io::Result<()> {
        match keys {
            KeyLog::Ike { initiator_spi, responder_spi, sk_ei, sk_er, sk_ai, sk_ar, suite } => {
                let row = ike_row(initiator_spi, responder_spi, [sk_ei, sk_er], [sk_ai, sk_ar], suite);
                self.ike.write_all(row.as_bytes())
            }
            KeyLog::Esp { source, destination, spi, encryption, integrity, suite } => {
                let row = esp_row(*source, *destination, *spi, encryption, integrity, suite);
                self.esp.write_all(row.as_bytes())
            }
        }
    }
}

fn ike_row(
    initiator_spi: &[u8],
    responder_spi: &[u8],
    encryption: [&Secret; 2],
    integrity: [&Secret; 2],
    suite: &IkeSuite,
) -> String {
    let (cipher, known) = match suite.cipher {
        Cipher::AesGcm { key_bits, icv_len } => {
            (format!("AES-GCM-{key_bits} with {icv_len} octet ICV [RFC5282]"), true)
        }
        Cipher::AesCbc { key_bits } => (format!("AES-CBC-{key_bits} [RFC3602]"), true),
        Cipher::ChaCha20Poly1305 => ("ChaCha20-Poly1305 [RFC7634]".to_owned(), false),
    };
    let mac = match suite.integrity {
        None => "NONE [RFC4306]",
        Some(Integrity::HmacSha256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC_SHA2_512_256 [RFC4868]",
    };
    format!(
        "{}{},{},{},{},\"{cipher}\",{},{},\"{mac}\"\n",
        comment(known),
        hex(initiator_spi),
        hex(responder_spi),
        hex(encryption[0].expose()),
        hex(encryption[1].expose()),
        hex(integrity[0].expose()),
        hex(integrity[1].expose()),
    )
}

fn esp_row(
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    spi: u32,
    encryption: &Secret,
    integrity: &Secret,
    suite: &EspSuite,
) -> String {
    let (cipher, known) = match suite.cipher {
        Cipher::AesGcm { icv_len: 16, .. } => ("AES-GCM with 16 octet ICV [RFC4106]", true),
        Cipher::AesGcm { icv_len: 12, .. } => ("AES-GCM with 12 octet ICV [RFC4106]", true),
        Cipher::AesGcm { .. } => ("AES-GCM with 8 octet ICV [RFC4106]", true),
        Cipher::AesCbc { .. } => ("AES-CBC [RFC3602]", true),
        Cipher::ChaCha20Poly1305 => ("ChaCha20-Poly1305 [RFC7634]", false),
    };
    let mac = match suite.integrity {
        None => "NULL",
        Some(Integrity::HmacSha256_128) => "HMAC-SHA-256-128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC-SHA-384-192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC-SHA-512-256 [RFC4868]",
    };
    let address = |address: Option<IpAddr>| address.map_or_else(|| "*".to_owned(), |a| a.to_string());
    let protocol = if destination.or(source).is_some_and(|a| a.is_ipv6()) { "IPv6" } else { "IPv4" };
    let prefixed = |key: &Secret| {
        if key.expose().is_empty() { String::new() } else { format!("0x{}", hex(key.expose())) }
    };
    format!(
        "{}\"{protocol}\",\"{}\",\"{}\",\"0x{spi:08x}\",\"{cipher}\",\"{}\",\"{mac}\",\"{}\",\"{}\"\n",
        comment(known),
        address(source),
        address(destination),
        prefixed(encryption),
        prefixed(integrity),
        if suite.esn { "64-bit" } else { "32-bit" },
    )
}

/// Wireshark refuses a whole table for one row that it does not know.
fn comment(known: bool) -> &'static str {
    if known { "" } else { "# not known to this table: " }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut out, octet| {
        let _ = write!(out, "{octet:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Group, Prf};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn rows_have_the_form_wireshark_reads() {
        let suite = IkeSuite {
            cipher: Cipher::AesGcm { key_bits: 256, icv_len: 16 },
            integrity: None,
            prf: Prf::HmacSha384,
            group: Group::Curve25519,
        };
        let none = Secret::from_slice(&[]);
        assert_eq!(
            ike_row(
                &[1; 8],
                &[2; 8],
                [&Secret::from_slice(&[3, 4]), &Secret::from_slice(&[5])],
                [&none, &none],
                &suite
            ),
            "0101010101010101,0202020202020202,0304,05,\"AES-GCM-256 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\"\n"
        );
        let esp = EspSuite {
            cipher: Cipher::AesCbc { key_bits: 128 },
            integrity: Some(Integrity::HmacSha256_128),
            group: None,
            esn: true,
        };
        assert_eq!(
            esp_row(
                None,
                Some(IpAddr::from([192, 0, 2, 1])),
                0x1234,
                &Secret::from_slice(&[9]),
                &Secret::from_slice(&[8]),
                &esp
            ),
            "\"IPv4\",\"*\",\"192.0.2.1\",\"0x00001234\",\"AES-CBC [RFC3602]\",\"0x09\",\"HMAC-SHA-256-128 [RFC4868]\",\"0x08\",\"64-bit\"\n"
        );
    }

    #[test]
    fn the_tables_are_readable_by_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("keys");
        KeyLogFiles::open(&inside).unwrap();
        for path in [inside.clone(), inside.join("esp_sa"), inside.join("ikev2_decryption_table")] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{path:?}");
        }
    }
}
