//! Group 21, NIST P-521, by the crate of that name ([RFC 5903](https://www.rfc-editor.org/rfc/rfc5903)).

use p521::{PublicKey, SecretKey, ecdh::diffie_hellman};
use zeroize::Zeroizing;

use super::{KeyExchange, check_len};
use crate::crypto::{CryptoError, Group, Secret, SharedSecret};

const FIELD_LEN: usize = 66;
/// A draw is outside 1..n with a chance of about 2^-260, unless the random source is broken.
const MAX_DRAWS: usize = 8;

pub(super) struct P521 {
    private: SecretKey,
    public: Vec<u8>,
}

impl P521 {
    pub(super) fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Result<Self, CryptoError> {
        let mut scalar = Zeroizing::new([0; FIELD_LEN]);
        for _ in 0..MAX_DRAWS {
            fill(scalar.as_mut_slice());
            scalar[0] &= 1;
            if let Ok(private) = SecretKey::from_slice(scalar.as_slice()) {
                return Ok(Self::new(private));
            }
        }
        Err(CryptoError::Random)
    }

    fn new(private: SecretKey) -> Self {
        let point = private.public_key().to_sec1_bytes();
        let public = point.strip_prefix(&[4]).unwrap_or(&point).to_vec();
        Self { private, public }
    }
}

impl KeyExchange for P521 {
    fn group(&self) -> Group {
        Group::Ecp521
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        check_len(Group::Ecp521, peer_public)?;
        let peer = PublicKey::from_sec1_bytes(&[&[4], peer_public].concat())
            .map_err(|_| CryptoError::PublicValue { group: Group::Ecp521, reason: "not on the curve" })?;
        let shared = diffie_hellman(self.private.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::new(Secret::from_slice(shared.raw_secret_bytes())))
    }
}
