//! The small CA behind `skybridge genkey`: a CA certificate, endpoint certificates, renewal, CRLs; and
//! random pre-shared keys.
//!
//! Everything goes in and comes out as PEM text; where it is kept, with which file mode, is the caller's
//! business. Keys are made by the libraries' own random source.

use std::collections::HashSet;
use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName as RcgenName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::binding;
use super::certificate::{CERTIFICATE_LABELS, CRL_LABELS, CertificateInfo, blocks};
use super::dn::DistinguishedName;
use super::error::{PkiError, Role};
use super::identity::{Identity, escape};
use crate::crypto::Random;
use crate::wire::ike::registry::IdType;

const DAY: i64 = 86_400;
/// Certificates are valid from a little before they are made, for clocks that are behind.
const BACKDATE: i64 = 3600;
/// Octets of a random pre-shared key before base64.
const PSK_OCTETS: usize = 32;

/// The kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewKey {
    /// ECDSA on P-256, which every peer with certificates understands.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8420).
    Ed25519,
}

impl fmt::Display for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Ed25519 => "ed25519",
        })
    }
}

impl std::str::FromStr for NewKey {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        [Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519]
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| issue_error("the key kind is one of ecdsa-p256, ecdsa-p384, ed25519"))
    }
}

/// A certificate and its private key (PKCS#8), both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key; write it with mode 0600.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A CA's certificate and private key, ready to issue.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    info: CertificateInfo,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("subject", &self.info.subject()).finish_non_exhaustive()
    }
}

/// Makes a CA: a self-signed certificate that may issue endpoint certificates and CRLs, but no further CA.
/// `name` is a common name or a whole distinguished name.
///
/// # Errors
/// [`PkiError::Issue`] for a name or validity that cannot be certified.
pub fn create_ca(
    name: &str,
    key: NewKey,
    days: u32,
    unix_now: i64,
    random: &mut dyn Random,
) -> Result<Issued, PkiError> {
    let key = generate(key)?;
    let name = if name.contains('=') { name.to_owned() } else { format!("CN={}", quoted(name)) };
    let name = DistinguishedName::parse(&name).map_err(|error| issue_error(error.reason))?;
    let mut params = params(&name, unix_now, unix_now.saturating_add(i64::from(days) * DAY), random)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Issued { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

impl Ca {
    /// Loads a CA from its certificate and its unencrypted PKCS#8 key, as [`create_ca`] makes them.
    ///
    /// # Errors
    /// [`PkiError::Issue`] if the key is not the certificate's, or the certificate is no CA's.
    pub fn load(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let der = first_certificate(certificate)?;
        let info = CertificateInfo::parse(&der)?;
        if !info.is_ca || !info.cert_sign {
            return Err(PkiError::IssuerNotCa { subject: info.subject() });
        }
        let key = KeyPair::from_pem(key).map_err(|_| {
            issue_error("the CA's private key cannot be read: an unencrypted PKCS#8 key is needed")
        })?;
        if info.public_key()?.octets != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { subject: info.subject() });
        }
        let issuer = Issuer::from_ca_cert_der(&der.into(), key).map_err(failed)?;
        Ok(Self { issuer, info })
    }

    /// What the CA's certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// Issues a certificate with a new key for an endpoint with these identities; the first one names the
    /// subject. It ends with the CA's own validity at the latest.
    ///
    /// # Errors
    /// [`PkiError::Issue`], [`PkiError::IdentityNotCertifiable`], or [`PkiError::Expired`] of the CA.
    pub fn issue_endpoint(
        &self,
        identities: &[Identity],
        key: NewKey,
        days: u32,
        unix_now: i64,
        random: &mut dyn Random,
    ) -> Result<Issued, PkiError> {
        let key = generate(key)?;
        let first = identities.first().ok_or_else(|| issue_error("no identity given"))?;
        let subject = match first.as_dn() {
            Some(name) => name,
            None => DistinguishedName::parse(&format!("CN={}", quoted(&identity_text(first)?)))
                .map_err(|error| issue_error(error.reason))?,
        };
        let names = identities
            .iter()
            .filter(|identity| identity.kind != IdType::DER_ASN1_DN)
            .map(alt_name)
            .collect::<Result<Vec<_>, _>>()?;
        let certificate = self.certify(&subject, names, &key, days, unix_now, random)?;
        let info = CertificateInfo::parse(&first_certificate(&certificate)?)?;
        for identity in identities {
            binding::check(&info, identity)?;
        }
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// Issues a new certificate for the names and key of an old one; returns the certificate.
    ///
    /// # Errors
    /// As [`Ca::issue_endpoint`]; [`PkiError::KeyMismatch`] if the key is not the old certificate's.
    pub fn renew_endpoint(
        &self,
        old_certificate: &str,
        key: &str,
        days: u32,
        unix_now: i64,
        random: &mut dyn Random,
    ) -> Result<String, PkiError> {
        use super::certificate::SubjectAltName;
        let old = CertificateInfo::parse(&first_certificate(old_certificate)?)?;
        let key = KeyPair::from_pem(key).map_err(|_| {
            issue_error("the private key cannot be read: an unencrypted PKCS#8 key is needed")
        })?;
        if old.public_key()?.octets != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { subject: old.subject() });
        }
        let subject =
            DistinguishedName::from_der(&old.subject_der).map_err(|error| issue_error(error.reason))?;
        let names = old
            .names
            .iter()
            .map(|name| match name {
                SubjectAltName::Dns(text) => alt_name(&Identity::from_fqdn(text)),
                SubjectAltName::Ip(address) => alt_name(&Identity::from_ip(*address)),
                SubjectAltName::Mail(text) => alt_name(&Identity::new(IdType::RFC822_ADDR, text.as_bytes())),
                SubjectAltName::Other(text) => {
                    Err(issue_error(format!("the name {text} cannot be carried over")))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.certify(&subject, names, &key, days, unix_now, random)
    }

    fn certify(
        &self,
        subject: &DistinguishedName,
        names: Vec<SanType>,
        key: &KeyPair,
        days: u32,
        now: i64,
        random: &mut dyn Random,
    ) -> Result<String, PkiError> {
        self.info.check_validity(Role::Anchor, now)?;
        let not_after = now.saturating_add(i64::from(days) * DAY).min(self.info.not_after);
        let mut params = params(subject, now, not_after, random)?;
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]),
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(key, &self.issuer).map_err(failed)?;
        let info = CertificateInfo::parse(certificate.der())?;
        if info.issuer_der != self.info.subject_der || info.subject_der != subject.to_der() {
            return Err(issue_error("a name has attributes that cannot be reproduced: use each type once"));
        }
        Ok(certificate.pem())
    }

    /// Writes a CRL of the entries. `number` must grow from one CRL to the next; see [`read_crl`].
    ///
    /// # Errors
    /// [`PkiError::Issue`].
    pub fn write_crl(
        &self,
        revoked: &[Revocation],
        number: u64,
        days: u32,
        unix_now: i64,
    ) -> Result<String, PkiError> {
        let revoked_certs = revoked
            .iter()
            .map(|entry| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&entry.serial),
                    revocation_time: at(entry.unix_time)?,
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<Result<Vec<_>, PkiError>>()?;
        let params = CertificateRevocationListParams {
            this_update: at(unix_now)?,
            next_update: at(unix_now.saturating_add(i64::from(days) * DAY))?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|crl| crl.pem()).map_err(failed)
    }
}

/// One entry of a CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate's serial number, big-endian.
    pub serial: Vec<u8>,
    /// When it was revoked, Unix seconds.
    pub unix_time: i64,
}

impl Revocation {
    /// The entry that revokes a certificate (PEM).
    ///
    /// # Errors
    /// Parse errors.
    pub fn of(certificate: &str, unix_time: i64) -> Result<Self, PkiError> {
        let info = CertificateInfo::parse(&first_certificate(certificate)?)?;
        Ok(Self { serial: info.serial, unix_time })
    }
}

/// The entries and the number of a CRL (PEM), to write the next one.
///
/// # Errors
/// Parse errors.
pub fn read_crl(crl: &str) -> Result<(Vec<Revocation>, u64), PkiError> {
    let der = blocks(crl.as_bytes(), CRL_LABELS, "CRL")?.into_iter().next();
    let der = der.ok_or(PkiError::NothingFound { wanted: "CRL" })?;
    let (_, crl) = CertificateRevocationList::from_der(&der)
        .map_err(|error| PkiError::Malformed { what: "CRL", reason: escape(error.to_string().as_bytes()) })?;
    let entries = crl
        .iter_revoked_certificates()
        .map(|entry| Revocation {
            serial: entry.raw_serial().to_vec(),
            unix_time: entry.revocation_date.timestamp(),
        })
        .collect();
    let number = crl.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    Ok((entries, number))
}

/// A random pre-shared key: 256 bits as base64 text, without a line end.
pub fn random_psk(random: &mut dyn Random) -> Zeroizing<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut octets = Zeroizing::new([0; PSK_OCTETS]);
    random.fill(octets.as_mut_slice());
    let mut text = Zeroizing::new(String::with_capacity(44));
    for chunk in octets.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * position) & 0x3f).unwrap_or(0);
            let symbol = ALPHABET.get(index).copied().unwrap_or(b'A');
            text.push(if position <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

fn generate(key: NewKey) -> Result<KeyPair, PkiError> {
    let algorithm = match key {
        NewKey::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        NewKey::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        NewKey::Ed25519 => &rcgen::PKCS_ED25519,
    };
    KeyPair::generate_for(algorithm).map_err(failed)
}

fn params(
    subject: &DistinguishedName,
    now: i64,
    not_after: i64,
    random: &mut dyn Random,
) -> Result<CertificateParams, PkiError> {
    if not_after <= now {
        return Err(issue_error("the validity must be at least one day"));
    }
    let mut serial = [0; 16];
    random.fill(&mut serial);
    // Positive and of fixed length, as RFC 5280 section 4.1.2.2 wants it.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen_name(subject)?;
    params.not_before = at(now.saturating_sub(BACKDATE))?;
    params.not_after = at(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn rcgen_name(name: &DistinguishedName) -> Result<RcgenName, PkiError> {
    let mut out = RcgenName::new();
    let mut seen = HashSet::new();
    for (arcs, tag, value) in
        name.single_attributes().ok_or_else(|| issue_error("multi-valued names are not issued"))?
    {
        if !seen.insert(arcs.clone()) {
            return Err(issue_error("a name holds each attribute type at most once here"));
        }
        let text = String::from_utf8(value).map_err(|_| issue_error("a name is not text"))?;
        let value = match tag {
            super::dn::PRINTABLE_STRING => {
                DnValue::PrintableString(text.as_str().try_into().map_err(failed)?)
            }
            super::dn::IA5_STRING => DnValue::Ia5String(text.as_str().try_into().map_err(failed)?),
            super::dn::UTF8_STRING => DnValue::Utf8String(text),
            _ => return Err(issue_error("a name uses an unusual string type")),
        };
        out.push(DnType::from_oid(&arcs), value);
    }
    Ok(out)
}

fn identity_text(identity: &Identity) -> Result<String, PkiError> {
    match (identity.as_ip(), identity.kind) {
        (Some(address), _) => Ok(address.to_string()),
        (None, IdType::FQDN | IdType::RFC822_ADDR) => String::from_utf8(identity.data.clone())
            .map_err(|_| PkiError::IdentityNotCertifiable { identity: identity.to_string() }),
        _ => Err(PkiError::IdentityNotCertifiable { identity: identity.to_string() }),
    }
}

fn alt_name(identity: &Identity) -> Result<SanType, PkiError> {
    let text = identity_text(identity)?;
    match (identity.as_ip(), identity.kind) {
        (Some(address), _) => Ok(SanType::IpAddress(address)),
        (None, IdType::RFC822_ADDR) => Ok(SanType::Rfc822Name(text.as_str().try_into().map_err(failed)?)),
        _ => Ok(SanType::DnsName(text.as_str().try_into().map_err(failed)?)),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c.is_ascii() {
            out.push_str(&format!("\\{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn first_certificate(text: &str) -> Result<Vec<u8>, PkiError> {
    let mut all = blocks(text.as_bytes(), CERTIFICATE_LABELS, "certificate")?.into_iter();
    all.next().ok_or(PkiError::NothingFound { wanted: "certificate" })
}

fn at(unix: i64) -> Result<OffsetDateTime, PkiError> {
    match OffsetDateTime::from_unix_timestamp(unix) {
        Ok(at) if at.year() < 9999 => Ok(at),
        _ => Err(issue_error("the date is out of range: fewer days, or a clock that is right")),
    }
}

fn issue_error(reason: impl Into<String>) -> PkiError {
    PkiError::Issue(reason.into())
}

fn failed(error: rcgen::Error) -> PkiError {
    PkiError::Issue(escape(error.to_string().as_bytes()))
}

#[cfg(test)]
mod tests;
