//! Ephemeral key exchange in every [`Group`], with the checks of a peer's public value that
//! [RFC 6989](https://www.rfc-editor.org/rfc/rfc6989),
//! [RFC 5903](https://www.rfc-editor.org/rfc/rfc5903) and
//! [RFC 8031](https://www.rfc-editor.org/rfc/rfc8031) ask for.
//!
//! Every exchange is used once; there is no way to agree twice with one private value.

mod curve;
mod modp;
mod p521;

use super::{CryptoError, Group, SharedSecret};

/// One side of a key exchange: an ephemeral private value that waits for the peer's public value.
pub trait KeyExchange: Send {
    /// The group.
    fn group(&self) -> Group;

    /// Our public value as the KE payload carries it, [`Group::public_len`] octets: x | y without a
    /// leading octet for the NIST curves, the u coordinate for Curve25519, padded to the prime's length
    /// for MODP.
    fn public_value(&self) -> &[u8];

    /// Checks the peer's public value and computes g^ir: x only for the NIST curves, padded to the
    /// prime's length for MODP.
    ///
    /// # Errors
    /// [`CryptoError::PublicValue`] when the value has the wrong length, is no element of the group,
    /// or would give a forbidden result.
    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<SharedSecret, CryptoError>;
}

/// Makes a fresh key pair. `fill` gives the random octets for the groups that take them; `ring`
/// draws its own for groups 19, 20 and 31.
///
/// # Errors
/// [`CryptoError::Random`] when no usable private value could be drawn.
pub fn generate(group: Group, fill: &mut dyn FnMut(&mut [u8])) -> Result<Box<dyn KeyExchange>, CryptoError> {
    match group {
        Group::Curve25519 | Group::Ecp256 | Group::Ecp384 => Ok(Box::new(curve::Curve::generate(group)?)),
        Group::Ecp521 => Ok(Box::new(p521::P521::generate(fill)?)),
        Group::Modp2048 | Group::Modp3072 | Group::Modp4096 => {
            Ok(Box::new(modp::Modp::generate(group, fill)?))
        }
    }
}

fn check_len(group: Group, peer_public: &[u8]) -> Result<(), CryptoError> {
    if peer_public.len() == group.public_len() {
        return Ok(());
    }
    Err(CryptoError::PublicValue { group, reason: "wrong length" })
}

#[cfg(test)]
mod tests;
