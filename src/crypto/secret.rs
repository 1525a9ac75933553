//! Octets that must not leak: wiped when dropped, never printed, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret octets, wiped when dropped. Two secrets compare in time that depends on their lengths alone.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over without copying.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Copies `octets`.
    pub fn from_slice(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }

    /// The empty secret, as the integrity key of an AEAD.
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// The octets themselves. Every use of a secret is found by searching for this name.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no octets.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.len())
    }
}

/// The result of a key exchange, g^ir, encoded as IKEv2 feeds it to the PRF.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedSecret(Secret);

impl SharedSecret {
    /// Wraps the encoded g^ir. Only [`KeyExchange`](super::KeyExchange) implementations need this.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The octets of g^ir.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        let secret = Secret::from_slice(b"swordfish");
        assert_eq!(format!("{secret:?}"), "Secret(9 octets)");
        assert_eq!(format!("{:?}", SharedSecret::new(secret)), "SharedSecret(Secret(9 octets))");
    }

    #[test]
    fn equality_looks_at_every_octet_and_the_length() {
        let secret = Secret::from_slice(&[1, 2, 3]);
        assert_eq!(secret, Secret::from_slice(&[1, 2, 3]));
        assert_ne!(secret, Secret::from_slice(&[1, 2, 4]));
        assert_ne!(secret, Secret::from_slice(&[1, 2]));
        assert_ne!(secret, Secret::empty());
    }
}
