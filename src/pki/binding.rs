//! Whether a certificate speaks for an identity.
//!
//! [RFC 4945 section 3.1](https://www.rfc-editor.org/rfc/rfc4945#section-3.1): an address must be an iPAddress, a
//! host name a dNSName and a mail address an rfc822Name of the subjectAltName extension, each whole; a
//! distinguished name must be the subject. The common name is never taken for a host name, and wildcards in
//! a certificate are not expanded.

use super::certificate::{CertificateInfo, SubjectAltName};
use super::error::PkiError;
use super::identity::{Identity, mail_eq};
use crate::wire::ike::registry::IdType;

/// The most names an error message lists.
const LISTED: usize = 8;

/// Checks that `certificate` names `identity`.
pub(super) fn check(certificate: &CertificateInfo, identity: &Identity) -> Result<(), PkiError> {
    let any = |test: &dyn Fn(&SubjectAltName) -> bool| certificate.names.iter().any(test);
    let bound = match identity.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => identity
            .as_ip()
            .is_some_and(|address| any(&|name| matches!(name, SubjectAltName::Ip(ip) if *ip == address))),
        IdType::FQDN => any(&|name| {
            matches!(name, SubjectAltName::Dns(dns)
                if !dns.is_empty() && dns.as_bytes().eq_ignore_ascii_case(&identity.data))
        }),
        IdType::RFC822_ADDR => any(
            &|name| matches!(name, SubjectAltName::Mail(mail) if !mail.is_empty() && mail_eq(mail.as_bytes(), &identity.data)),
        ),
        IdType::DER_ASN1_DN => {
            let subject = certificate.subject_identity();
            subject.as_dn().is_some_and(|name| !name.is_empty()) && subject.matches(identity)
        }
        _ => return Err(PkiError::IdentityNotCertifiable { identity: identity.to_string() }),
    };
    if bound {
        return Ok(());
    }
    Err(PkiError::IdentityMismatch {
        subject: certificate.subject(),
        identity: identity.to_string(),
        names: described(certificate),
    })
}

fn described(certificate: &CertificateInfo) -> String {
    let mut names: Vec<String> = certificate.names.iter().take(LISTED).map(ToString::to_string).collect();
    if certificate.names.len() > LISTED {
        names.push(format!("and {} more", certificate.names.len() - LISTED));
    }
    let subject = certificate.subject_identity();
    if subject.as_dn().is_some_and(|name| !name.is_empty()) {
        names.push(format!("subject \"{subject}\""));
    }
    match names.len() {
        0 => "nothing".to_owned(),
        _ => names.join(", "),
    }
}
