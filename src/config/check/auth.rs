//! Credentials: files into keys, certificates and trust stores.

use std::sync::Arc;

use super::Context;
use crate::config::file::{
    AuthFile, LocalAuthFile, OneOrMany, RemoteAuthFile, RevocationFile, RsaPaddingFile,
};
use crate::config::source::At;
use crate::config::types::{Proof, Proofs};
use crate::crypto::Secret;
use crate::ike::config::{LocalAuth, RemoteAuth};
use crate::pki::{
    Identity, LocalCertificate, PkiError, PrivateKey, RevocationPolicy, RsaPadding, SignaturePolicy,
    TrustStore, certificate_identity,
};

/// Below this many octets a pre-shared key is guessed too easily.
const SHORT_PSK: usize = 16;

/// What to do about a certificate that expires.
const RENEW: &str =
    "put a new one in its place (`skybridge genkey renew`, or your CA), then `skybridge reload`";

/// What to do about a file that holds something else.
const LOOK: &str =
    "`openssl x509 -noout -text -in FILE` shows what a certificate's file holds, `openssl crl` a CRL's";

/// What kind of proof is written.
pub(super) fn proofs(
    auth: Option<&AuthFile>,
    local: Option<&LocalAuthFile>,
    remote: Option<&RemoteAuthFile>,
) -> Proofs {
    let first = |one: &Option<String>, many: &Option<Vec<String>>| -> Option<String> {
        one.clone().or_else(|| many.as_ref().and_then(|many| many.first().cloned()))
    };
    let (local, remote) = match auth {
        Some(auth) => {
            let psk = first(&auth.psk_file, &auth.psk_files);
            (psk.clone(), psk)
        }
        None => (
            local.and_then(|local| first(&local.psk_file, &local.psk_files)),
            remote.and_then(|remote| first(&remote.psk_file, &remote.psk_files)),
        ),
    };
    let kind = |psk: &Option<String>| if psk.is_some() { Proof::Psk } else { Proof::Certificate };
    Proofs { local: kind(&local), remote: kind(&remote), same_psk: local.is_some() && local == remote }
}

/// The identity of the certificate where its key is not read, if the certificate can be.
pub(super) fn sealed_identity(
    auth: Option<&AuthFile>,
    local: Option<&LocalAuthFile>,
    context: &mut Context<'_>,
) -> Option<Identity> {
    let file = match auth {
        Some(auth) => auth.certificate.as_ref(),
        None => local.and_then(|local| local.certificate.as_ref()),
    };
    let octets = context.vault.sealed.then(|| context.vault.read(file?).ok()).flatten()?;
    certificate_identity(&octets).ok()
}

/// Both ways of proof, each `None` where it could not be made (and an error says why).
pub(super) fn check(
    auth: Option<AuthFile>,
    local: Option<LocalAuthFile>,
    remote: Option<RemoteAuthFile>,
    peer_at: &At,
    context: &mut Context<'_>,
) -> (Option<LocalAuth>, Option<RemoteAuth>) {
    if let Some(auth) = auth {
        for (given, key) in [(local.is_some(), "local_auth"), (remote.is_some(), "remote_auth")] {
            if given {
                let hint = "write either `auth`, or both `local_auth` and `remote_auth`".to_owned();
                context.error_at_key(
                    &peer_at.key(key),
                    "contradiction",
                    format!("`{key}` stands beside `auth`"),
                    hint,
                );
            }
        }
        return both(auth, &peer_at.key("auth"), context);
    }
    if local.is_none() && remote.is_none() {
        let hint =
            "add auth = { psk_file = \"…\" }, or auth = { certificate = \"…\", key = \"…\", ca = [\"…\"] }"
                .to_owned();
        context.error(peer_at, "missing-key", format!("`{peer_at}` has no `auth`"), hint);
        return (None, None);
    }
    for (given, key) in [(local.is_some(), "local_auth"), (remote.is_some(), "remote_auth")] {
        if !given {
            let hint = format!("add `{key}`, or write `auth` for both");
            context.error(peer_at, "missing-key", format!("`{peer_at}` has no `{key}`"), hint);
        }
    }
    let local = local.and_then(|local| prove(local, &peer_at.key("local_auth"), context));
    let remote = remote.and_then(|remote| believe(remote, &peer_at.key("remote_auth"), context));
    (local, remote)
}

fn both(auth: AuthFile, at: &At, context: &mut Context<'_>) -> (Option<LocalAuth>, Option<RemoteAuth>) {
    let AuthFile {
        psk_file,
        psk_files,
        certificate,
        key,
        key_passphrase_file,
        rsa_padding,
        ca,
        intermediates,
        crl,
        revocation,
        peer_certificate,
        allow_sha1_signatures,
    } = auth;
    let others = [
        ("certificate", certificate.is_some()),
        ("key", key.is_some()),
        ("key_passphrase_file", key_passphrase_file.is_some()),
        ("rsa_padding", rsa_padding.is_some()),
        ("ca", ca.is_some()),
        ("intermediates", intermediates.is_some()),
        ("crl", crl.is_some()),
        ("revocation", revocation.is_some()),
        ("peer_certificate", peer_certificate.is_some()),
        ("allow_sha1_signatures", allow_sha1_signatures.is_some()),
    ];
    if psk_file.is_some() || psk_files.is_some() {
        for (name, _) in others.iter().filter(|(_, given)| *given) {
            let hint = "leave one out, or write `local_auth` and `remote_auth`".to_owned();
            context.error_at_key(
                &at.key(name),
                "contradiction",
                format!("`{name}` belongs to certificates and stands beside a pre-shared key"),
                hint,
            );
        }
        let Some(keys) = psks(psk_file, psk_files, at, context) else {
            return (None, None);
        };
        return (Some(LocalAuth::Psk(keys.clone())), Some(RemoteAuth::Psk(keys)));
    }
    if others.iter().all(|(_, given)| !given) {
        let hint = "write psk_file = \"…\", or certificate, key and ca".to_owned();
        context.error(at, "missing-key", format!("`{at}` is empty"), hint);
        return (None, None);
    }
    let local =
        LocalAuthFile { psk_file: None, psk_files: None, certificate, key, key_passphrase_file, rsa_padding };
    let remote = RemoteAuthFile {
        psk_file: None,
        psk_files: None,
        ca,
        intermediates,
        crl,
        revocation,
        peer_certificate,
        allow_sha1_signatures,
    };
    (prove(local, at, context), believe(remote, at, context))
}

fn psks(
    one: Option<String>,
    several: Option<Vec<String>>,
    at: &At,
    context: &mut Context<'_>,
) -> Option<Vec<Secret>> {
    let files: Vec<(At, String)> = match (one, several) {
        (Some(_), Some(_)) => {
            let hint = "put all into `psk_files`, the current one first".to_owned();
            context.error_at_key(
                &at.key("psk_files"),
                "contradiction",
                "`psk_files` stands beside `psk_file`",
                hint,
            );
            return None;
        }
        (Some(one), None) => vec![(at.key("psk_file"), one)],
        (None, several) => {
            let at = at.key("psk_files");
            several
                .unwrap_or_default()
                .into_iter()
                .enumerate()
                .map(|(index, file)| (at.index(index), file))
                .collect()
        }
    };
    if files.is_empty() || files.len() > 8 {
        let hint = "name the current key's file first, then up to seven others".to_owned();
        context.error(&at.key("psk_files"), "out-of-range", "`psk_files` must name one to eight files", hint);
        return None;
    }
    let mut keys = Vec::new();
    if context.vault.sealed {
        return Some(keys);
    }
    for (at, file) in &files {
        match context.vault.read_psk(file) {
            Ok(key) => {
                if key.len() < SHORT_PSK {
                    let message = format!("the pre-shared key has only {} octets", key.len());
                    context.warning(
                        at,
                        "weak-secret",
                        message,
                        "make one with `skybridge genkey psk`".to_owned(),
                    );
                }
                if keys.contains(&key) {
                    context.warning(
                        at,
                        "repeated-secret",
                        "this file holds the same key as one before",
                        "leave one out".to_owned(),
                    );
                } else {
                    keys.push(key);
                }
            }
            Err(refusal) => context.refused(at, refusal),
        }
    }
    (!keys.is_empty()).then_some(keys)
}

fn prove(file: LocalAuthFile, at: &At, context: &mut Context<'_>) -> Option<LocalAuth> {
    let LocalAuthFile { psk_file, psk_files, certificate, key, key_passphrase_file, rsa_padding } = file;
    if psk_file.is_some() || psk_files.is_some() {
        for (name, given) in [("certificate", certificate.is_some()), ("key", key.is_some())] {
            if given {
                context.error_at_key(
                    &at.key(name),
                    "contradiction",
                    format!("`{name}` stands beside a pre-shared key"),
                    "leave one out".to_owned(),
                );
            }
        }
        return psks(psk_file, psk_files, at, context).map(LocalAuth::Psk);
    }
    let (Some(certificate), Some(key)) = (&certificate, &key) else {
        let missing = if certificate.is_none() { "certificate" } else { "key" };
        context.error(
            at,
            "missing-key",
            format!("`{at}` has no `{missing}`"),
            "give our certificate and its private key".to_owned(),
        );
        return None;
    };
    if context.vault.sealed {
        return Some(LocalAuth::Psk(Vec::new()));
    }
    let passphrase = match key_passphrase_file {
        None => None,
        Some(file) => match context.vault.read_secret(&file) {
            Ok(passphrase) => Some(passphrase),
            Err(refusal) => {
                context.refused(&at.key("key_passphrase_file"), refusal);
                return None;
            }
        },
    };
    let passphrase = passphrase.as_deref().map(|octets| octets.strip_suffix(b"\n").unwrap_or(octets));
    let key_at = at.key("key");
    let private = match context.vault.read_secret(key) {
        Err(refusal) => {
            context.refused(&key_at, refusal);
            None
        }
        Ok(octets) => match PrivateKey::from_file(&octets, passphrase) {
            Ok(private) => Some(private),
            Err(error) => {
                let hint = if matches!(error, PkiError::PassphraseNeeded) {
                    "add `key_passphrase_file`"
                } else {
                    "name our private key's file; `openssl pkey -noout -text -in FILE` shows what is in one"
                };
                context.error(&key_at, "bad-key", error, hint.to_owned());
                None
            }
        },
    };
    let certificate_at = at.key("certificate");
    let octets = match context.vault.read(certificate) {
        Ok(octets) => octets,
        Err(refusal) => {
            context.refused(&certificate_at, refusal);
            return None;
        }
    };
    match LocalCertificate::new(&octets, private?) {
        Ok(local) => {
            if let Some(warning) = local.expiry_warning(context.unix_now) {
                context.warning(&certificate_at, "expiring", warning, RENEW.to_owned());
            }
            if local.not_before() > context.unix_now {
                context.warning(
                    &certificate_at,
                    "expiring",
                    "the certificate is not valid yet",
                    "check this machine's clock".to_owned(),
                );
            }
            let padding = match rsa_padding {
                None | Some(RsaPaddingFile::Pss) => RsaPadding::Pss,
                Some(RsaPaddingFile::Pkcs1) => RsaPadding::Pkcs1,
            };
            Some(LocalAuth::Certificate(Arc::new(local.with_rsa_padding(padding))))
        }
        Err(error @ PkiError::KeyMismatch { .. }) => {
            let hint = "name the key that the certificate was issued for, or the certificate of this key";
            context.error(&key_at, "key-mismatch", error, hint.to_owned());
            None
        }
        Err(error) => {
            context.error(&certificate_at, "bad-certificate", error, LOOK.to_owned());
            None
        }
    }
}

fn believe(file: RemoteAuthFile, at: &At, context: &mut Context<'_>) -> Option<RemoteAuth> {
    let RemoteAuthFile {
        psk_file,
        psk_files,
        ca,
        intermediates,
        crl,
        revocation,
        peer_certificate,
        allow_sha1_signatures,
    } = file;
    if psk_file.is_some() || psk_files.is_some() {
        for (name, given) in [("ca", ca.is_some()), ("peer_certificate", peer_certificate.is_some())] {
            if given {
                context.error_at_key(
                    &at.key(name),
                    "contradiction",
                    format!("`{name}` stands beside a pre-shared key"),
                    "leave one out".to_owned(),
                );
            }
        }
        return psks(psk_file, psk_files, at, context).map(RemoteAuth::Psk);
    }
    if context.vault.sealed {
        return Some(RemoteAuth::Certificate {
            trust: Arc::new(TrustStore::new()),
            policy: SignaturePolicy::default(),
        });
    }
    let listed = |files: Option<Vec<String>>| files.map(OneOrMany::Many);
    let mut trust = TrustStore::new();
    let mut failed = false;
    type Add = fn(&mut TrustStore, &[u8]) -> Result<(), PkiError>;
    let kinds: [(&str, Option<OneOrMany>, Add); 4] = [
        ("ca", listed(ca), TrustStore::add_anchors),
        ("intermediates", listed(intermediates), TrustStore::add_intermediates),
        ("crl", listed(crl), TrustStore::add_crls),
        ("peer_certificate", peer_certificate, TrustStore::add_pinned),
    ];
    for (name, files, add) in kinds {
        for (index, file) in files.iter().flat_map(OneOrMany::texts) {
            let at = at.key(name).maybe_index(index);
            match context.vault.read(file) {
                Err(refusal) => {
                    context.refused(&at, refusal);
                    failed = true;
                }
                Ok(octets) => {
                    if let Err(error) = add(&mut trust, &octets) {
                        context.error(&at, "bad-certificate", error, LOOK.to_owned());
                        failed = true;
                    }
                }
            }
        }
    }
    if failed {
        return None;
    }
    if trust.is_empty() {
        let hint = "add ca = [\"…\"], or peer_certificate = \"…\"".to_owned();
        context.error(at, "missing-key", format!("`{at}` trusts nobody"), hint);
        return None;
    }
    trust.set_revocation(match revocation {
        None | Some(RevocationFile::EndEntity) => RevocationPolicy::EndEntity,
        Some(RevocationFile::Chain) => RevocationPolicy::Chain,
        Some(RevocationFile::WhereCovered) => RevocationPolicy::WhereCovered,
    });
    for warning in trust.expiry_warnings(context.unix_now) {
        context.warning(at, "expiring", warning, RENEW.to_owned());
    }
    let policy =
        SignaturePolicy { allow_sha1: allow_sha1_signatures.unwrap_or(false), ..SignaturePolicy::default() };
    if policy.allow_sha1 {
        let hint = "leave it out once the peer has been updated".to_owned();
        context.warning(
            &at.key("allow_sha1_signatures"),
            "weak-signatures",
            "SHA-1 signatures are accepted",
            hint,
        );
    }
    Some(RemoteAuth::Certificate { trust: Arc::new(trust), policy })
}
