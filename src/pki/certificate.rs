//! The facts of one certificate that this layer works with, read once and owned.

use std::fmt;
use std::net::IpAddr;

use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::nom::Parser as _;

use super::dn::DistinguishedName;
use super::error::{PkiError, Role};
use super::identity::{Identity, escape, hex};
use super::key::KeyKind;
use super::public_key::PublicKey;

/// The largest certificate that is accepted, in octets of DER.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// The most subject alternative names that are read from one certificate.
const MAX_NAMES: usize = 256;

/// A name in the subjectAltName extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectAltName {
    /// dNSName.
    Dns(String),
    /// iPAddress.
    Ip(IpAddr),
    /// rfc822Name.
    Mail(String),
    /// Any other name, described.
    Other(String),
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Dns(text) | Self::Mail(text) => f.write_str(&escape(text.as_bytes())),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// What a certificate says, parsed and owned. Nothing about it has been verified.
#[derive(Debug, Clone)]
pub struct CertificateInfo {
    pub(super) der: Vec<u8>,
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) names: Vec<SubjectAltName>,
    /// RFC 4945 section 5.1.3.2: digitalSignature or nonRepudiation, or no key usage at all.
    pub(super) digital_signature: bool,
    pub(super) cert_sign: bool,
    pub(super) is_ca: bool,
    pub(super) path_length: Option<u32>,
    pub(super) spki: Vec<u8>,
    pub(super) key: Result<PublicKey, String>,
}

impl CertificateInfo {
    /// Reads one DER certificate, whole.
    ///
    /// # Errors
    /// [`PkiError::TooLarge`] and [`PkiError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, PkiError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(PkiError::TooLarge {
                what: "certificate",
                actual: der.len(),
                limit: MAX_CERTIFICATE,
            });
        }
        let (rest, certificate) = X509CertificateParser::new()
            .with_deep_parse_extensions(true)
            .parse(der)
            .map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("octets follow the certificate".to_owned()));
        }
        Self::from_parsed(der, &certificate)
    }

    fn from_parsed(der: &[u8], certificate: &X509Certificate<'_>) -> Result<Self, PkiError> {
        let extension = |error: x509_parser::error::X509Error| malformed(error.to_string());
        let usage = certificate.key_usage().map_err(extension)?;
        let constraints = certificate.basic_constraints().map_err(extension)?;
        let spki = certificate.public_key().raw.to_vec();
        let subject_der = certificate.subject().as_raw().to_vec();
        let issuer_der = certificate.issuer().as_raw().to_vec();
        for name in [&subject_der, &issuer_der] {
            DistinguishedName::from_der(name).map_err(|error| malformed(error.to_string()))?;
        }
        Ok(Self {
            der: der.to_vec(),
            serial: certificate.raw_serial().to_vec(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            names: names(certificate)?,
            digital_signature: usage
                .as_ref()
                .is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation()),
            cert_sign: usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign()),
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.value.ca),
            path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
            key: PublicKey::from_spki(&spki),
            spki,
            subject_der,
            issuer_der,
        })
    }

    /// The DER of the whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject for people, or its first alternative name where the subject is empty.
    pub fn subject(&self) -> String {
        match name_text(&self.subject_der) {
            text if !text.is_empty() => text,
            _ => self
                .names
                .first()
                .map_or_else(|| format!("serial {}", hex(&self.serial)), ToString::to_string),
        }
    }

    /// The issuer for people.
    pub fn issuer(&self) -> String {
        name_text(&self.issuer_der)
    }

    /// The subject as an identity, with the certificate's own encoding.
    pub fn subject_identity(&self) -> Identity {
        Identity::from_dn_der(&self.subject_der)
    }

    /// Begin of validity, Unix seconds.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// End of validity, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The serial number's octets.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The subject alternative names.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }

    /// Whether basicConstraints says that this is a CA.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// The kind of public key, `None` if it is one that cannot be used.
    pub fn key_kind(&self) -> Option<KeyKind> {
        self.key.as_ref().ok().map(|key| key.kind)
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    pub(super) fn check_validity(&self, role: Role, now: i64) -> Result<(), PkiError> {
        if now > self.not_after {
            return Err(PkiError::Expired { role, subject: self.subject(), not_after: self.not_after });
        }
        if now < self.not_before {
            let subject = self.subject();
            return Err(PkiError::NotYetValid { role, subject, not_before: self.not_before, now });
        }
        Ok(())
    }

    pub(super) fn public_key(&self) -> Result<&PublicKey, PkiError> {
        self.key.as_ref().map_err(|reason| PkiError::UnsupportedPublicKey {
            subject: self.subject(),
            reason: reason.clone(),
        })
    }
}

fn malformed(reason: String) -> PkiError {
    PkiError::Malformed { what: "certificate", reason: escape(reason.as_bytes()) }
}

pub(super) fn name_text(der: &[u8]) -> String {
    DistinguishedName::from_der(der).map_or_else(|_| "(malformed name)".to_owned(), |name| name.to_string())
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<SubjectAltName>, PkiError> {
    let extension = certificate.subject_alternative_name().map_err(|error| malformed(error.to_string()))?;
    let Some(extension) = extension else {
        let unparsed = certificate.extensions().iter().any(|extension| {
            extension.oid == x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME
                && !matches!(extension.parsed_extension(), ParsedExtension::SubjectAlternativeName(_))
        });
        return if unparsed { Err(malformed("subjectAltName".to_owned())) } else { Ok(Vec::new()) };
    };
    let names = &extension.value.general_names;
    if names.len() > MAX_NAMES {
        return Err(PkiError::TooLarge { what: "subjectAltName", actual: names.len(), limit: MAX_NAMES });
    }
    Ok(names.iter().map(alt_name).collect())
}

fn alt_name(name: &GeneralName<'_>) -> SubjectAltName {
    let ip = |octets: &[u8]| -> Option<IpAddr> {
        <[u8; 4]>::try_from(octets)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
            .ok()
    };
    match name {
        GeneralName::DNSName(text) if text.is_ascii() => SubjectAltName::Dns((*text).to_owned()),
        GeneralName::RFC822Name(text) if text.is_ascii() => SubjectAltName::Mail((*text).to_owned()),
        GeneralName::IPAddress(octets) => ip(octets)
            .map_or_else(|| SubjectAltName::Other(format!("address {}", hex(octets))), SubjectAltName::Ip),
        GeneralName::DirectoryName(name) => SubjectAltName::Other(name_text(name.as_raw())),
        GeneralName::URI(uri) => SubjectAltName::Other(escape(uri.as_bytes())),
        _ => SubjectAltName::Other("a name of another kind".to_owned()),
    }
}

/// Whether a file is DER rather than PEM, which may begin with any text.
pub(super) fn is_der(octets: &[u8]) -> bool {
    octets.first() == Some(&super::der::SEQUENCE) && !octets.windows(11).any(|text| text == b"-----BEGIN ")
}

/// The DER blocks of one PEM label, or the octets themselves where they are DER.
pub(super) fn blocks(octets: &[u8], labels: &[&str], wanted: &'static str) -> Result<Vec<Vec<u8>>, PkiError> {
    const MAX_BLOCKS: usize = 1024;
    if is_der(octets) {
        return Ok(vec![octets.to_vec()]);
    }
    let parsed = pem::parse_many(octets)
        .map_err(|error| PkiError::Malformed { what: "PEM", reason: escape(error.to_string().as_bytes()) })?;
    let found: Vec<_> = parsed
        .into_iter()
        .filter(|block| labels.contains(&block.tag()))
        .map(pem::Pem::into_contents)
        .collect();
    match found.len() {
        0 => Err(PkiError::NothingFound { wanted }),
        count if count > MAX_BLOCKS => {
            Err(PkiError::TooLarge { what: "PEM file", actual: count, limit: MAX_BLOCKS })
        }
        _ => Ok(found),
    }
}

pub(super) const CERTIFICATE_LABELS: &[&str] = &["CERTIFICATE", "X509 CERTIFICATE"];
pub(super) const CRL_LABELS: &[&str] = &["X509 CRL"];

#[cfg(test)]
mod tests;
