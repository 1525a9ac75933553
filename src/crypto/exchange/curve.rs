//! Groups 19, 20 and 31 by `ring`, which checks that a point is on its curve and rejects the all-zero
//! result of X25519 ([RFC 8031 section 3](https://www.rfc-editor.org/rfc/rfc8031#section-3)).

use ring::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    rand::SystemRandom,
};

use super::{KeyExchange, check_len};
use crate::crypto::{CryptoError, Group, Secret, SharedSecret};

pub(super) struct Curve {
    group: Group,
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

impl Curve {
    pub(super) fn generate(group: Group) -> Result<Self, CryptoError> {
        let (algorithm, prefix) = parameters(group);
        let private = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
            .map_err(|_| CryptoError::Random)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::Random)?;
        let public = public.as_ref().strip_prefix(prefix).unwrap_or(public.as_ref()).to_vec();
        Ok(Self { group, private, public })
    }
}

impl KeyExchange for Curve {
    fn group(&self) -> Group {
        self.group
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        check_len(self.group, peer_public)?;
        let (algorithm, prefix) = parameters(self.group);
        let peer = UnparsedPublicKey::new(algorithm, [prefix, peer_public].concat());
        let reason = match self.group {
            Group::Curve25519 => "the shared secret is zero",
            _ => "not on the curve",
        };
        agreement::agree_ephemeral(self.private, &peer, |secret| {
            SharedSecret::new(Secret::from_slice(secret))
        })
        .map_err(|_| CryptoError::PublicValue { group: self.group, reason })
    }
}

/// The algorithm, and the octet of an uncompressed point that IKE leaves out.
fn parameters(group: Group) -> (&'static agreement::Algorithm, &'static [u8]) {
    match group {
        Group::Ecp256 => (&agreement::ECDH_P256, &[4]),
        Group::Ecp384 => (&agreement::ECDH_P384, &[4]),
        _ => (&agreement::X25519, &[]),
    }
}
