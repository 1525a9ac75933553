//! Algorithms and suites: IANA numbers, proposal keywords and lengths.

use std::{fmt, str::FromStr};

use super::Group;
use crate::wire::ike::registry::{EncryptionId, IntegrityId, PrfId};

/// Octets of salt that follow an AEAD's key in KEYMAT
/// ([RFC 4106 section 8.1](https://www.rfc-editor.org/rfc/rfc4106#section-8.1)).
pub(crate) const SALT_LEN: usize = 4;

/// A keyword that names no implemented algorithm of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} '{word}'")]
pub struct UnknownAlgorithm {
    /// What was looked for: "cipher", "integrity algorithm", …
    pub kind: &'static str,
    /// The word as written.
    pub word: String,
}

impl UnknownAlgorithm {
    pub(crate) fn new(kind: &'static str, word: &str) -> Self {
        Self { kind, word: word.to_owned() }
    }
}

/// An encryption algorithm (transform type 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cipher {
    /// AES-GCM ([RFC 4106](https://www.rfc-editor.org/rfc/rfc4106), [RFC 5282](https://www.rfc-editor.org/rfc/rfc5282)).
    AesGcm {
        /// 128, 192 or 256.
        key_bits: u16,
        /// Octets of ICV: 8, 12 or 16.
        icv_len: u8,
    },
    /// ChaCha20-Poly1305 ([RFC 7634](https://www.rfc-editor.org/rfc/rfc7634)).
    ChaCha20Poly1305,
    /// AES-CBC ([RFC 3602](https://www.rfc-editor.org/rfc/rfc3602)), which needs an integrity algorithm.
    AesCbc {
        /// 128, 192 or 256.
        key_bits: u16,
    },
}

impl Cipher {
    /// Every cipher, the preferred ones first.
    pub const ALL: [Self; 13] = [
        Self::AesGcm { key_bits: 256, icv_len: 16 },
        Self::AesGcm { key_bits: 128, icv_len: 16 },
        Self::ChaCha20Poly1305,
        Self::AesGcm { key_bits: 192, icv_len: 16 },
        Self::AesGcm { key_bits: 256, icv_len: 12 },
        Self::AesGcm { key_bits: 192, icv_len: 12 },
        Self::AesGcm { key_bits: 128, icv_len: 12 },
        Self::AesGcm { key_bits: 256, icv_len: 8 },
        Self::AesGcm { key_bits: 192, icv_len: 8 },
        Self::AesGcm { key_bits: 128, icv_len: 8 },
        Self::AesCbc { key_bits: 256 },
        Self::AesCbc { key_bits: 192 },
        Self::AesCbc { key_bits: 128 },
    ];

    /// The transform ID at IANA: 18, 19, 20 for AES-GCM, 28 for ChaCha20-Poly1305, 12 for AES-CBC.
    pub const fn id(self) -> EncryptionId {
        match self {
            Self::AesGcm { icv_len: 8, .. } => EncryptionId(18),
            Self::AesGcm { icv_len: 12, .. } => EncryptionId(19),
            Self::AesGcm { .. } => EncryptionId(20),
            Self::ChaCha20Poly1305 => EncryptionId(28),
            Self::AesCbc { .. } => EncryptionId(12),
        }
    }

    /// The Key Length attribute in bits, which AES has and ChaCha20-Poly1305 must not have
    /// ([RFC 7634 section 4](https://www.rfc-editor.org/rfc/rfc7634#section-4)).
    pub const fn key_length_attribute(self) -> Option<u16> {
        match self {
            Self::AesGcm { key_bits, .. } | Self::AesCbc { key_bits } => Some(key_bits),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// The cipher of a transform, if it is implemented.
    pub fn from_transform(id: EncryptionId, key_length: Option<u16>) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.id() == id && cipher.key_length_attribute() == key_length)
    }

    /// Whether it authenticates as well, so that no integrity algorithm goes with it.
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::AesCbc { .. })
    }

    /// Octets of key material, the salt of an AEAD included.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesGcm { key_bits, .. } => key_bits as usize / 8 + SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + SALT_LEN,
            Self::AesCbc { key_bits } => key_bits as usize / 8,
        }
    }

    /// Octets of initialisation vector in each packet.
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// Octets of ICV in each packet if it is an AEAD; otherwise the integrity algorithm says.
    pub const fn icv_len(self) -> Option<usize> {
        match self {
            Self::AesGcm { icv_len, .. } => Some(icv_len as usize),
            Self::ChaCha20Poly1305 => Some(16),
            Self::AesCbc { .. } => None,
        }
    }

    /// Plaintext must be a multiple of this many octets: 16 for CBC, 1 for an AEAD. ESP pads to a
    /// multiple of 4 besides.
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    /// The keyword of a proposal: `aes256gcm16`, `chacha20poly1305`, `aes256`, …
    pub const fn keyword(self) -> &'static str {
        match (self, self.key_length_attribute()) {
            (Self::ChaCha20Poly1305, _) => "chacha20poly1305",
            (Self::AesGcm { icv_len: 8, .. }, Some(128)) => "aes128gcm8",
            (Self::AesGcm { icv_len: 8, .. }, Some(192)) => "aes192gcm8",
            (Self::AesGcm { icv_len: 8, .. }, _) => "aes256gcm8",
            (Self::AesGcm { icv_len: 12, .. }, Some(128)) => "aes128gcm12",
            (Self::AesGcm { icv_len: 12, .. }, Some(192)) => "aes192gcm12",
            (Self::AesGcm { icv_len: 12, .. }, _) => "aes256gcm12",
            (Self::AesGcm { .. }, Some(128)) => "aes128gcm16",
            (Self::AesGcm { .. }, Some(192)) => "aes192gcm16",
            (Self::AesGcm { .. }, _) => "aes256gcm16",
            (Self::AesCbc { .. }, Some(128)) => "aes128",
            (Self::AesCbc { .. }, Some(192)) => "aes192",
            (Self::AesCbc { .. }, _) => "aes256",
        }
    }
}

/// An integrity algorithm (transform type 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integrity {
    /// AUTH_HMAC_SHA2_256_128 ([RFC 4868](https://www.rfc-editor.org/rfc/rfc4868)).
    HmacSha256_128,
    /// AUTH_HMAC_SHA2_384_192 (RFC 4868).
    HmacSha384_192,
    /// AUTH_HMAC_SHA2_512_256 (RFC 4868).
    HmacSha512_256,
}

impl Integrity {
    /// Every integrity algorithm.
    pub const ALL: [Self; 3] = [Self::HmacSha256_128, Self::HmacSha384_192, Self::HmacSha512_256];

    /// The transform ID at IANA.
    pub const fn id(self) -> IntegrityId {
        match self {
            Self::HmacSha256_128 => IntegrityId(12),
            Self::HmacSha384_192 => IntegrityId(13),
            Self::HmacSha512_256 => IntegrityId(14),
        }
    }

    /// The algorithm with this number, if it is implemented.
    pub fn from_id(id: IntegrityId) -> Option<Self> {
        Self::ALL.into_iter().find(|integrity| integrity.id() == id)
    }

    /// Octets of key, the whole length of the hash.
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of ICV, half the length of the hash.
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// The PRF over the same hash, which an IKE proposal without a PRF keyword means.
    pub const fn default_prf(self) -> Prf {
        match self {
            Self::HmacSha256_128 => Prf::HmacSha256,
            Self::HmacSha384_192 => Prf::HmacSha384,
            Self::HmacSha512_256 => Prf::HmacSha512,
        }
    }

    /// The keyword of a proposal: `sha256`, `sha384`, `sha512`.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::HmacSha256_128 => "sha256",
            Self::HmacSha384_192 => "sha384",
            Self::HmacSha512_256 => "sha512",
        }
    }
}

/// A pseudo-random function (transform type 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256 ([RFC 4868](https://www.rfc-editor.org/rfc/rfc4868)).
    HmacSha256,
    /// PRF_HMAC_SHA2_384 (RFC 4868).
    HmacSha384,
    /// PRF_HMAC_SHA2_512 (RFC 4868).
    HmacSha512,
}

impl Prf {
    /// Every PRF.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The transform ID at IANA.
    pub const fn id(self) -> PrfId {
        match self {
            Self::HmacSha256 => PrfId(5),
            Self::HmacSha384 => PrfId(6),
            Self::HmacSha512 => PrfId(7),
        }
    }

    /// The PRF with this number, if it is implemented.
    pub fn from_id(id: PrfId) -> Option<Self> {
        Self::ALL.into_iter().find(|prf| prf.id() == id)
    }

    /// Octets of output, which is also the preferred key length.
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The keyword of a proposal: `prfsha256`, `prfsha384`, `prfsha512`.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::HmacSha256 => "prfsha256",
            Self::HmacSha384 => "prfsha384",
            Self::HmacSha512 => "prfsha512",
        }
    }
}

/// What an IKE SA agreed on. Displayed as in a proposal: `aes256gcm16-prfsha384-x25519`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IkeSuite {
    /// Protects the SK payload.
    pub cipher: Cipher,
    /// Goes with a cipher that is no AEAD.
    pub integrity: Option<Integrity>,
    /// Derives the keys and authenticates.
    pub prf: Prf,
    /// Of the key exchange.
    pub group: Group,
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cipher.keyword())?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if self.integrity.map(Integrity::default_prf) != Some(self.prf) {
            write!(f, "-{}", self.prf)?;
        }
        write!(f, "-{}", self.group)
    }
}

/// What a Child SA agreed on. Displayed as in a proposal: `aes256gcm16-x25519-esn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EspSuite {
    /// Protects the packets.
    pub cipher: Cipher,
    /// Goes with a cipher that is no AEAD.
    pub integrity: Option<Integrity>,
    /// Of the additional key exchange (perfect forward secrecy), if there was one.
    pub group: Option<Group>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
}

impl EspSuite {
    /// Octets of ICV in each packet.
    pub fn icv_len(&self) -> usize {
        self.cipher.icv_len().or(self.integrity.map(Integrity::icv_len)).unwrap_or(0)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cipher.keyword())?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if let Some(group) = self.group {
            write!(f, "-{group}")?;
        }
        f.write_str(if self.esn { "-esn" } else { "" })
    }
}

macro_rules! keywords {
    ($type:ty, $kind:literal, [$($alias:literal => $target:expr),*]) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.keyword())
            }
        }

        impl FromStr for $type {
            type Err = UnknownAlgorithm;

            fn from_str(word: &str) -> Result<Self, UnknownAlgorithm> {
                match word {
                    $($alias => Ok($target),)*
                    _ => Self::ALL
                        .into_iter()
                        .find(|algorithm| algorithm.keyword() == word)
                        .ok_or_else(|| UnknownAlgorithm::new($kind, word)),
                }
            }
        }
    };
}

keywords!(Cipher, "cipher", [
    "aes128gcm64" => Self::AesGcm { key_bits: 128, icv_len: 8 },
    "aes192gcm64" => Self::AesGcm { key_bits: 192, icv_len: 8 },
    "aes256gcm64" => Self::AesGcm { key_bits: 256, icv_len: 8 },
    "aes128gcm96" => Self::AesGcm { key_bits: 128, icv_len: 12 },
    "aes192gcm96" => Self::AesGcm { key_bits: 192, icv_len: 12 },
    "aes256gcm96" => Self::AesGcm { key_bits: 256, icv_len: 12 },
    "aes128gcm128" => Self::AesGcm { key_bits: 128, icv_len: 16 },
    "aes192gcm128" => Self::AesGcm { key_bits: 192, icv_len: 16 },
    "aes256gcm128" => Self::AesGcm { key_bits: 256, icv_len: 16 }
]);
keywords!(Integrity, "integrity algorithm", [
    "sha2_256" => Self::HmacSha256_128,
    "sha2_384" => Self::HmacSha384_192,
    "sha2_512" => Self::HmacSha512_256
]);
keywords!(Prf, "PRF", []);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_reads_back_from_its_transform_and_its_keyword() {
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::from_transform(cipher.id(), cipher.key_length_attribute()), Some(cipher));
            assert_eq!(cipher.to_string().parse(), Ok(cipher));
        }
        for integrity in Integrity::ALL {
            assert_eq!(Integrity::from_id(integrity.id()), Some(integrity));
            assert_eq!(integrity.to_string().parse(), Ok(integrity));
        }
        for prf in Prf::ALL {
            assert_eq!(Prf::from_id(prf.id()), Some(prf));
            assert_eq!(prf.to_string().parse(), Ok(prf));
        }
    }

    #[test]
    fn keywords_are_distinct() {
        let mut words: Vec<_> = Cipher::ALL.iter().map(|cipher| cipher.keyword()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Cipher::ALL.len());
    }

    #[test]
    fn a_transform_with_a_missing_odd_or_surplus_key_length_is_unknown() {
        assert_eq!(Cipher::from_transform(EncryptionId(20), None), None);
        assert_eq!(Cipher::from_transform(EncryptionId(20), Some(160)), None);
        assert_eq!(Cipher::from_transform(EncryptionId(28), Some(256)), None);
        assert_eq!(Cipher::from_transform(EncryptionId(3), Some(192)), None);
    }

    #[test]
    fn keymat_of_an_aead_includes_four_octets_of_salt() {
        assert_eq!(Cipher::AesGcm { key_bits: 128, icv_len: 16 }.key_len(), 20);
        assert_eq!(Cipher::AesGcm { key_bits: 192, icv_len: 8 }.key_len(), 28);
        assert_eq!(Cipher::ChaCha20Poly1305.key_len(), 36);
        assert_eq!(Cipher::AesCbc { key_bits: 256 }.key_len(), 32);
    }

    #[test]
    fn suites_print_as_proposals() {
        let gcm = Cipher::AesGcm { key_bits: 256, icv_len: 16 };
        let cbc = Cipher::AesCbc { key_bits: 128 };
        let ike =
            |cipher, integrity, prf| IkeSuite { cipher, integrity, prf, group: Group::Modp2048 }.to_string();
        assert_eq!(ike(gcm, None, Prf::HmacSha384), "aes256gcm16-prfsha384-modp2048");
        assert_eq!(ike(cbc, Some(Integrity::HmacSha256_128), Prf::HmacSha256), "aes128-sha256-modp2048");
        assert_eq!(
            ike(cbc, Some(Integrity::HmacSha256_128), Prf::HmacSha512),
            "aes128-sha256-prfsha512-modp2048"
        );
        let esp = EspSuite { cipher: gcm, integrity: None, group: Some(Group::Curve25519), esn: true };
        assert_eq!(esp.to_string(), "aes256gcm16-x25519-esn");
        let esp =
            EspSuite { cipher: cbc, integrity: Some(Integrity::HmacSha512_256), group: None, esn: false };
        assert_eq!(esp.to_string(), "aes128-sha512");
        assert_eq!(esp.icv_len(), 32);
    }
}
