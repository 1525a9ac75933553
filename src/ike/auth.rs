//! Proof of identity ([RFC 7296 section 2.15](https://www.rfc-editor.org/rfc/rfc7296#section-2.15)): which
//! octets are signed, with what we sign them, and whether the peer's proof holds.

use crate::crypto::key_schedule::{psk_auth, signed_octets, verify_psk_auth};
use crate::crypto::{Prf, Secret};
use crate::pki::Identity;
use crate::wire::ike::Payload;
use crate::wire::ike::registry::{AuthMethod, CertEncoding, HashAlgorithmId};

use super::config::{LocalAuth, PeerConfig, RemoteAuth};
use super::contents::Contents;

/// What one side's AUTH payload covers.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) prf: Prf,
    /// The signer's SK_p.
    pub(crate) sk_p: &'a Secret,
    /// The signer's last IKE_SA_INIT message, as it was on the wire.
    pub(crate) message: &'a [u8],
    /// The other side's nonce.
    pub(crate) nonce: &'a [u8],
    /// The signer's ID payload's body, reserved octets as on the wire.
    pub(crate) id: &'a [u8],
}

impl Claim<'_> {
    fn octets(&self) -> Vec<u8> {
        signed_octets(self.prf, self.sk_p, self.message, self.nonce, self.id)
    }
}

/// That the peer's AUTH payload was verified; there is no other way to get one.
#[derive(Debug)]
pub(crate) struct Proven {
    /// Which of the peer's pre-shared keys it used.
    pub(crate) psk: Option<Secret>,
    /// When the certificate that it used expires.
    pub(crate) not_after: Option<i64>,
}

/// Our CERT and AUTH payloads.
pub(crate) fn prove(
    local: &LocalAuth,
    psk: &Secret,
    hashes: Option<&[HashAlgorithmId]>,
    claim: Claim<'_>,
) -> Result<Vec<Payload>, String> {
    let octets = claim.octets();
    match local {
        LocalAuth::Psk(_) if psk.is_empty() => Err("no pre-shared key is configured".to_owned()),
        LocalAuth::Psk(_) => {
            let data = psk_auth(claim.prf, psk, &octets).expose().to_vec();
            Ok(vec![Payload::Authentication { method: AuthMethod::SHARED_KEY, data }])
        }
        LocalAuth::Certificate(certificate) => {
            let (method, data) = certificate.sign_auth(hashes, &octets).map_err(|error| error.to_string())?;
            let mut payloads: Vec<Payload> = certificate
                .chain()
                .iter()
                .map(|der| Payload::Certificate { encoding: CertEncoding::X509_SIGNATURE, data: der.clone() })
                .collect();
            payloads.push(Payload::Authentication { method, data });
            Ok(payloads)
        }
    }
}

/// The pre-shared key to prove ourselves with: the `attempt`-th of ours, counted round.
pub(crate) fn own_psk(local: &LocalAuth, attempt: usize) -> Secret {
    match local {
        LocalAuth::Psk(keys) => {
            keys.get(attempt.checked_rem(keys.len()).unwrap_or(0)).cloned().unwrap_or_else(Secret::empty)
        }
        LocalAuth::Certificate(_) => Secret::empty(),
    }
}

/// The pre-shared key to answer with: the one that the peer used, if it is one of ours too.
pub(crate) fn answering_psk(local: &LocalAuth, proven: &Proven) -> Secret {
    match (local, &proven.psk) {
        (LocalAuth::Psk(keys), Some(used)) if keys.contains(used) => used.clone(),
        _ => own_psk(local, 0),
    }
}

/// Checks the peer's AUTH payload.
pub(crate) fn verify(
    peer: &PeerConfig,
    id: &Identity,
    contents: &Contents,
    claim: Claim<'_>,
    unix: i64,
) -> Result<Proven, String> {
    let Some((method, data)) = &contents.auth else {
        return Err("the peer sent no AUTH payload (EAP is not supported)".to_owned());
    };
    match &peer.remote_auth {
        RemoteAuth::Psk(keys) => {
            if *method != AuthMethod::SHARED_KEY {
                return Err(format!(
                    "the peer authenticates by {method}, but a pre-shared key is configured for it"
                ));
            }
            let octets = claim.octets();
            let used =
                keys.iter().find(|key| !key.is_empty() && verify_psk_auth(claim.prf, key, &octets, data));
            used.map(|key| Proven { psk: Some(key.clone()), not_after: None })
                .ok_or_else(|| format!("the pre-shared key of {id} does not match ours"))
        }
        RemoteAuth::Certificate { trust, policy } => {
            if *method == AuthMethod::SHARED_KEY {
                return Err(
                    "the peer authenticates by a pre-shared key, but a certificate is configured for it"
                        .to_owned(),
                );
            }
            let presented: Vec<&[u8]> = contents
                .certificates
                .iter()
                .filter(|(encoding, _)| *encoding == CertEncoding::X509_SIGNATURE)
                .map(|(_, der)| der.as_slice())
                .collect();
            let certificate = trust.verify_peer(&presented, id, unix).map_err(|error| error.to_string())?;
            certificate
                .verify_auth(*method, data, &claim.octets(), policy)
                .map_err(|error| error.to_string())?;
            Ok(Proven { psk: None, not_after: Some(certificate.not_after()) })
        }
    }
}

/// The CERTREQ payload for peers that must show a certificate.
pub(crate) fn certificate_request<'a>(peers: impl IntoIterator<Item = &'a PeerConfig>) -> Option<Payload> {
    let mut wanted = false;
    let mut hashes: Vec<[u8; 20]> = Vec::new();
    for peer in peers {
        if let RemoteAuth::Certificate { trust, .. } = &peer.remote_auth {
            wanted = true;
            hashes.extend(trust.authority_hashes());
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    hashes.truncate(256);
    wanted.then(|| Payload::CertificateRequest {
        encoding: CertEncoding::X509_SIGNATURE,
        authorities: hashes.concat(),
    })
}

/// The hash algorithms in a SIGNATURE_HASH_ALGORITHMS notification's data.
pub(crate) fn announced_hashes(data: &[u8]) -> Vec<HashAlgorithmId> {
    data.as_chunks::<2>().0.iter().take(64).map(|pair| HashAlgorithmId(u16::from_be_bytes(*pair))).collect()
}

/// The SIGNATURE_HASH_ALGORITHMS data that we announce.
pub(crate) fn our_hashes() -> Vec<u8> {
    crate::pki::auth::SUPPORTED_HASHES.iter().flat_map(|hash| hash.0.to_be_bytes()).collect()
}
