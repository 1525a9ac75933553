//! What can go wrong in this layer. No variant carries secret octets.

use super::Group;

/// A cryptographic operation that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The integrity check value does not match: forged, damaged or sealed with another key.
    #[error("integrity check failed")]
    Integrity,
    /// A key has another length than its algorithm needs.
    #[error("the {algorithm} key must have {expected} octets, not {actual}")]
    KeyLength {
        /// The algorithm's name.
        algorithm: &'static str,
        /// Octets needed, salt included.
        expected: usize,
        /// Octets given.
        actual: usize,
    },
    /// An initialisation vector, ICV or trailer of the wrong length, or data that is no whole number of blocks.
    #[error("wrong length of {0}")]
    Length(&'static str),
    /// A cipher that needs an integrity algorithm has none, or an AEAD was given one.
    #[error("{0}")]
    Suite(&'static str),
    /// The peer's public value is not a valid element of the group, or gives a forbidden shared secret.
    #[error("invalid public value for {group}: {reason}")]
    PublicValue {
        /// The group.
        group: Group,
        /// Which check of RFC 6989, 5903 or 8031 failed.
        reason: &'static str,
    },
    /// More key material was asked for than prf+ can give (255 blocks).
    #[error("prf+ cannot give that much key material")]
    TooMuchKeyMaterial,
    /// The random source failed or gave a value that cannot be used.
    #[error("the random source failed")]
    Random,
    /// A signature does not verify.
    #[error("signature does not verify")]
    Signature,
    /// The key cannot sign or verify with the scheme, or policy forbids the scheme.
    #[error("{0}")]
    Scheme(&'static str),
    /// A private key that cannot be used.
    #[error("private key rejected: {0}")]
    PrivateKey(String),
}
