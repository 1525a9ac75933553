//! How the keys of an IKE SA and of its Child SAs come out of a key exchange.
//!
//! ```text
//!   first exchange:  SKEYSEED = prf(Ni | Nr, g^ir)                            RFC 7296, 2.14
//!   rekey:           SKEYSEED = prf_old(SK_d_old, g^ir_new | Ni | Nr)         RFC 7296, 2.18
//!
//!   prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
//!     = SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr
//!        │     └──┬───┘        └──┬───┘        └──┬───┘
//!        │     integrity       encryption      AUTH payloads                  RFC 7296, 2.15
//!        │     (none with      (an AEAD's
//!        │      an AEAD)        with salt)                                    RFC 5282, 7.1
//!        ▼
//!   KEYMAT = prf+(SK_d, [g^ir_child |] Ni | Nr)                               RFC 7296, 2.17
//!     = initiator's encryption | initiator's integrity
//!     | responder's encryption | responder's integrity
//! ```
//!
//! "Initiator" is whoever began the exchange that the nonces come from. References:
//! [RFC 7296](https://www.rfc-editor.org/rfc/rfc7296#section-2.13),
//! [RFC 5282](https://www.rfc-editor.org/rfc/rfc5282#section-7).

use subtle::ConstantTimeEq;

use super::{
    Cipher, CipherKey, CryptoError, EspSuite, IkeSuite, Integrity, Prf, Secret, SharedSecret,
    prf::{prf, prf_plus},
};
use crate::wire::ike::IkeSpi;

/// The keys of an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeKeys {
    /// SK_d: derives the keys of Child SAs and of the next IKE SA.
    pub sk_d: Secret,
    /// SK_ai: the initiator's integrity key; empty with an AEAD.
    pub sk_ai: Secret,
    /// SK_ar: the responder's integrity key; empty with an AEAD.
    pub sk_ar: Secret,
    /// SK_ei: the initiator's encryption key, salt included.
    pub sk_ei: Secret,
    /// SK_er: the responder's encryption key, salt included.
    pub sk_er: Secret,
    /// SK_pi: enters the initiator's AUTH payload.
    pub sk_pi: Secret,
    /// SK_pr: enters the responder's AUTH payload.
    pub sk_pr: Secret,
}

impl IkeKeys {
    /// Keys of an IKE SA made by IKE_SA_INIT. `ni` and `nr` are the nonces without payload headers.
    ///
    /// # Errors
    /// None with an implemented suite; prf+ is asked for a few hundred octets.
    pub fn derive(
        suite: &IkeSuite,
        shared: &SharedSecret,
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Result<Self, CryptoError> {
        let skeyseed = prf(suite.prf, &[ni, nr].concat(), &[shared.expose()]);
        Self::expand(suite, &skeyseed, ni, nr, spi_i, spi_r)
    }

    /// Keys of an IKE SA that replaces another
    /// ([RFC 7296 section 2.18](https://www.rfc-editor.org/rfc/rfc7296#section-2.18)): SKEYSEED by the
    /// *old* SA's PRF from the old SK_d, the rest by the new suite's. Initiator, nonces and SPIs are
    /// those of the CREATE_CHILD_SA exchange.
    ///
    /// # Errors
    /// As [`Self::derive`].
    #[expect(clippy::too_many_arguments, reason = "the inputs of RFC 7296 2.18, each once")]
    pub fn derive_rekey(
        suite: &IkeSuite,
        old_prf: Prf,
        old_sk_d: &Secret,
        shared: &SharedSecret,
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Result<Self, CryptoError> {
        let skeyseed = prf(old_prf, old_sk_d.expose(), &[shared.expose(), ni, nr]);
        Self::expand(suite, &skeyseed, ni, nr, spi_i, spi_r)
    }

    fn expand(
        suite: &IkeSuite,
        skeyseed: &Secret,
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Result<Self, CryptoError> {
        let (p, e) = (suite.prf.output_len(), suite.cipher.key_len());
        let a = integrity_len(suite.cipher, suite.integrity)?;
        let seed = [ni, nr, &spi_i.0, &spi_r.0];
        let material = prf_plus(suite.prf, skeyseed.expose(), &seed, 3 * p + 2 * a + 2 * e)?;
        let mut cut = Cut(material.expose());
        Ok(Self {
            sk_d: cut.take(p),
            sk_ai: cut.take(a),
            sk_ar: cut.take(a),
            sk_ei: cut.take(e),
            sk_er: cut.take(e),
            sk_pi: cut.take(p),
            sk_pr: cut.take(p),
        })
    }

    /// The key for messages of the IKE SA's original initiator.
    ///
    /// # Errors
    /// When the keys were not derived for this suite.
    pub fn initiator_cipher(&self, suite: &IkeSuite) -> Result<CipherKey, CryptoError> {
        CipherKey::new(suite.cipher, suite.integrity, self.sk_ei.expose(), self.sk_ai.expose())
    }

    /// The key for messages of the IKE SA's original responder.
    ///
    /// # Errors
    /// As [`Self::initiator_cipher`].
    pub fn responder_cipher(&self, suite: &IkeSuite) -> Result<CipherKey, CryptoError> {
        CipherKey::new(suite.cipher, suite.integrity, self.sk_er.expose(), self.sk_ar.expose())
    }
}

/// The keys of one direction of a Child SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectionKeys {
    /// Encryption key, an AEAD's salt included as its last four octets.
    pub encryption: Secret,
    /// Integrity key; empty with an AEAD.
    pub integrity: Secret,
}

impl DirectionKeys {
    /// Makes the key ready for use.
    ///
    /// # Errors
    /// When the keys were not derived for this suite.
    pub fn cipher(&self, suite: &EspSuite) -> Result<CipherKey, CryptoError> {
        CipherKey::new(suite.cipher, suite.integrity, self.encryption.expose(), self.integrity.expose())
    }
}

/// The keys of both directions of a Child SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildKeys {
    /// For packets from the exchange's initiator.
    pub initiator_to_responder: DirectionKeys,
    /// For packets from the exchange's responder.
    pub responder_to_initiator: DirectionKeys,
}

impl ChildKeys {
    /// Keys of a Child SA ([RFC 7296 section 2.17](https://www.rfc-editor.org/rfc/rfc7296#section-2.17)).
    /// `prf_algorithm` and `sk_d` are the IKE SA's; `shared` is there if the exchange had a KE payload;
    /// the nonces are those of the exchange that made the Child SA (for the first: IKE_SA_INIT).
    ///
    /// # Errors
    /// [`CryptoError::Suite`] when the suite has neither an AEAD nor an integrity algorithm.
    pub fn derive(
        prf_algorithm: Prf,
        sk_d: &Secret,
        suite: &EspSuite,
        shared: Option<&SharedSecret>,
        ni: &[u8],
        nr: &[u8],
    ) -> Result<Self, CryptoError> {
        let e = suite.cipher.key_len();
        let a = integrity_len(suite.cipher, suite.integrity)?;
        let seed = [shared.map_or(&[][..], SharedSecret::expose), ni, nr];
        let material = prf_plus(prf_algorithm, sk_d.expose(), &seed, 2 * (e + a))?;
        let mut cut = Cut(material.expose());
        let mut direction = || DirectionKeys { encryption: cut.take(e), integrity: cut.take(a) };
        Ok(Self { initiator_to_responder: direction(), responder_to_initiator: direction() })
    }
}

/// The octets that an AUTH payload covers
/// ([RFC 7296 section 2.15](https://www.rfc-editor.org/rfc/rfc7296#section-2.15)):
/// the signer's IKE_SA_INIT message whole, the *other* side's nonce, and prf(SK_p, ID body) where the
/// body begins with the ID type and its three reserved octets as they were on the wire.
pub fn signed_octets(prf_algorithm: Prf, sk_p: &Secret, message: &[u8], nonce: &[u8], id: &[u8]) -> Vec<u8> {
    let maced_id = prf(prf_algorithm, sk_p.expose(), &[id]);
    [message, nonce, maced_id.expose()].concat()
}

/// AUTH data of the shared key method: `prf(prf(psk, "Key Pad for IKEv2"), octets)` with the
/// [`signed_octets`].
pub fn psk_auth(prf_algorithm: Prf, psk: &Secret, octets: &[u8]) -> Secret {
    let padded = prf(prf_algorithm, psk.expose(), &[b"Key Pad for IKEv2"]);
    prf(prf_algorithm, padded.expose(), &[octets])
}

/// Whether `auth` is what the peer must send with this shared key; in constant time.
pub fn verify_psk_auth(prf_algorithm: Prf, psk: &Secret, octets: &[u8], auth: &[u8]) -> bool {
    psk_auth(prf_algorithm, psk, octets).expose().ct_eq(auth).into()
}

fn integrity_len(cipher: Cipher, integrity: Option<Integrity>) -> Result<usize, CryptoError> {
    match (cipher.is_aead(), integrity) {
        (true, None) => Ok(0),
        (false, Some(integrity)) => Ok(integrity.key_len()),
        (true, Some(_)) => Err(CryptoError::Suite("an AEAD goes without an integrity algorithm")),
        (false, None) => Err(CryptoError::Suite("AES-CBC needs an integrity algorithm")),
    }
}

/// Takes keys off the front of key material that was made as long as their sum.
struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn take(&mut self, len: usize) -> Secret {
        let (head, tail) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = tail;
        Secret::from_slice(head)
    }
}

#[cfg(test)]
mod tests;
