//! The identity in an ID payload: as octets, as text, and how two of them compare.
//!
//! [RFC 7296 section 3.5](https://www.rfc-editor.org/rfc/rfc7296#section-3.5). Identities are compared by
//! type and content; only host names, the domain part of mail addresses and distinguished names have
//! equivalent spellings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dn::DistinguishedName;
use crate::wire::ike::registry::IdType;

/// The longest textual identity that is accepted, in octets.
pub const MAX_TEXT: usize = 1024;

/// An identity: the ID payload's type and data. Unknown types are kept as they came.
///
/// Equality is by octets; [`Identity::matches`] is the comparison that authentication uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The ID type.
    pub kind: IdType,
    /// The identification data, without the type and the reserved octets.
    pub data: Vec<u8>,
}

/// A text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an identity: {reason}")]
pub struct IdentityError {
    /// What is wrong and what would be right.
    pub reason: String,
}

impl IdentityError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl Identity {
    /// Takes an ID payload's type and data as they are.
    pub fn new(kind: IdType, data: impl Into<Vec<u8>>) -> Self {
        Self { kind, data: data.into() }
    }

    /// An address as an identity.
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(IdType::IPV4_ADDR, v4.octets()),
            IpAddr::V6(v6) => Self::new(IdType::IPV6_ADDR, v6.octets()),
        }
    }

    /// A host name as an identity; the text is not checked.
    pub fn from_fqdn(name: &str) -> Self {
        Self::new(IdType::FQDN, name.as_bytes())
    }

    /// A distinguished name (the DER of an X.501 Name) as an identity.
    pub fn from_dn_der(name: &[u8]) -> Self {
        Self::new(IdType::DER_ASN1_DN, name)
    }

    /// Reads an identity as users write it.
    ///
    /// `192.0.2.1` and `2001:db8::1` are addresses, `C=CH, O=Example, CN=gw` is a distinguished name,
    /// `user@example.com` a mail address, anything else a host name. A prefix decides where the text alone
    /// would mean something else: `fqdn:`, `email:`, `ipv4:`, `ipv6:`, `dn:`, `keyid:` (hexadecimal) and
    /// `keyid-text:`; as in strongSwan, `@name` is a host name and `@#hex` a key ID.
    ///
    /// # Errors
    /// [`IdentityError`] with what would be right.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(IdentityError::new("the text is empty"));
        }
        if text.len() > MAX_TEXT {
            return Err(IdentityError::new(format!("longer than {MAX_TEXT} octets")));
        }
        if let Some((prefix, rest)) = text.split_once(':') {
            match prefix.to_ascii_lowercase().as_str() {
                "fqdn" => return parse_fqdn(rest),
                "email" | "rfc822" => return parse_mail(rest),
                "ipv4" => {
                    return parse_with::<Ipv4Addr>(rest, "an IPv4 address")
                        .map(|ip| Self::from_ip(ip.into()));
                }
                "ipv6" => {
                    return parse_with::<Ipv6Addr>(rest, "an IPv6 address")
                        .map(|ip| Self::from_ip(ip.into()));
                }
                "dn" => return parse_dn(rest),
                "keyid" => return parse_key_id(rest),
                "keyid-text" => return nonempty(rest).map(|rest| Self::new(IdType::KEY_ID, rest.as_bytes())),
                _ => {}
            }
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from_ip(address));
        }
        if let Some(hex) = text.strip_prefix("@#") {
            return parse_key_id(hex);
        }
        if let Some(name) = text.strip_prefix('@') {
            return parse_fqdn(name);
        }
        if text.contains('=') {
            return parse_dn(text);
        }
        if text.contains('@') { parse_mail(text) } else { parse_fqdn(text) }
    }

    /// The address, if it is one of the right length.
    pub fn as_ip(&self) -> Option<IpAddr> {
        match self.kind {
            IdType::IPV4_ADDR => <[u8; 4]>::try_from(self.data.as_slice()).ok().map(IpAddr::from),
            IdType::IPV6_ADDR => <[u8; 16]>::try_from(self.data.as_slice()).ok().map(IpAddr::from),
            _ => None,
        }
    }

    /// The distinguished name, if it is one and well-formed.
    pub fn as_dn(&self) -> Option<DistinguishedName> {
        if self.kind != IdType::DER_ASN1_DN {
            return None;
        }
        DistinguishedName::from_der(&self.data).ok()
    }

    /// Whether the two name the same party: same type, and equal content. Host names compare without
    /// regard to ASCII case, mail addresses so in their domain part, distinguished names by
    /// [RFC 5280 section 7.1](https://www.rfc-editor.org/rfc/rfc5280#section-7.1); everything else by octets.
    pub fn matches(&self, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        match self.kind {
            IdType::FQDN => self.data.eq_ignore_ascii_case(&other.data),
            IdType::RFC822_ADDR => mail_eq(&self.data, &other.data),
            IdType::DER_ASN1_DN => {
                self.data == other.data
                    || matches!((self.as_dn(), other.as_dn()), (Some(ours), Some(theirs)) if ours.matches(&theirs))
            }
            _ => self.data == other.data,
        }
    }

    fn bare_text(&self) -> Option<String> {
        match self.kind {
            IdType::IPV4_ADDR | IdType::IPV6_ADDR => self.as_ip().map(|address| address.to_string()),
            IdType::FQDN | IdType::RFC822_ADDR => Some(escape(&self.data)),
            IdType::DER_ASN1_DN => self.as_dn().map(|name| name.to_string()),
            _ => None,
        }
    }
}

/// Writes text that [`Identity::parse`] reads back to the same identity where the content is well-formed;
/// control characters, backslashes and octets that are not UTF-8 are escaped.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.bare_text();
        match (self.kind, bare) {
            (IdType::FQDN, Some(text)) if Self::parse(&text).as_ref() != Ok(self) => write!(f, "fqdn:{text}"),
            (IdType::RFC822_ADDR, Some(text)) if Self::parse(&text).as_ref() != Ok(self) => {
                write!(f, "email:{text}")
            }
            (IdType::DER_ASN1_DN, Some(text)) if text.is_empty() => f.write_str("dn:"),
            (_, Some(text)) => f.write_str(&text),
            (IdType::KEY_ID, None) => write!(f, "keyid:{}", hex(&self.data)),
            (kind, None) => write!(f, "{kind}:{}", hex(&self.data)),
        }
    }
}

fn nonempty(text: &str) -> Result<&str, IdentityError> {
    if text.is_empty() { Err(IdentityError::new("nothing stands after the prefix")) } else { Ok(text) }
}

fn parse_with<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, IdentityError> {
    text.parse().map_err(|_| IdentityError::new(format!("\"{}\" is not {what}", escape(text.as_bytes()))))
}

fn parse_fqdn(text: &str) -> Result<Identity, IdentityError> {
    nonempty(text)?;
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))) {
        None => Ok(Identity::from_fqdn(text)),
        Some('*') => {
            Err(IdentityError::new("a wildcard is allowed only where peers are matched, as *.example.com"))
        }
        Some(other) => Err(IdentityError::new(format!("a host name cannot contain {other:?}"))),
    }
}

fn parse_mail(text: &str) -> Result<Identity, IdentityError> {
    let good = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if !good || text.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii() || c == '\\') {
        return Err(IdentityError::new("a mail address is written user@example.com"));
    }
    Ok(Identity::new(IdType::RFC822_ADDR, text.as_bytes()))
}

fn parse_dn(text: &str) -> Result<Identity, IdentityError> {
    Ok(Identity::new(IdType::DER_ASN1_DN, DistinguishedName::parse(text)?.to_der()))
}

fn parse_key_id(text: &str) -> Result<Identity, IdentityError> {
    let digits: Vec<u8> = text.bytes().filter(|octet| *octet != b':').collect();
    match unhex(&digits) {
        Some(data) if !data.is_empty() => Ok(Identity::new(IdType::KEY_ID, data)),
        _ => Err(IdentityError::new(
            "a key ID is written in hexadecimal, as keyid:0a1b2c, or as keyid-text:name",
        )),
    }
}

pub(super) fn mail_eq(ours: &[u8], theirs: &[u8]) -> bool {
    let split = |octets: &[u8]| octets.iter().rposition(|octet| *octet == b'@');
    match (split(ours), split(theirs)) {
        (Some(at), Some(their_at)) if at == their_at => {
            let (local, domain) = ours.split_at(at);
            let (their_local, their_domain) = theirs.split_at(their_at);
            local == their_local && domain.eq_ignore_ascii_case(their_domain)
        }
        _ => ours == theirs,
    }
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(super) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs
        .iter()
        .map(|[high, low]| {
            let high = char::from(*high).to_digit(16)?;
            let low = char::from(*low).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()
        })
        .collect()
}

/// Text that is safe in a log line: control, format and invalid octets become `\xNN` or `\u{N}`.
pub(super) fn escape(octets: &[u8]) -> String {
    let mut out = String::new();
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                ' '..='~' => out.push(c),
                c if c.is_alphanumeric() => out.push(c),
                c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            }
        }
        for octet in chunk.invalid() {
            out.push_str(&format!("\\x{octet:02x}"));
        }
    }
    out
}

/// Which identities a peer may claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdentityPattern {
    /// Any identity; what it proves is up to the credentials.
    Any,
    /// This identity, by [`Identity::matches`].
    Exact(Identity),
    /// A host name with at least one label before this domain: `*.example.com` (kept without `*.`) matches
    /// `a.example.com` and `a.b.example.com`, not `example.com`. Host names only.
    Subdomain(String),
}

impl IdentityPattern {
    /// Reads `any` (or `%any`, `*`), `*.domain`, or an identity.
    ///
    /// # Errors
    /// As [`Identity::parse`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if matches!(text, "any" | "%any" | "*") {
            return Ok(Self::Any);
        }
        let bare = text.strip_prefix("fqdn:").unwrap_or(text);
        if let Some(domain) = bare.strip_prefix("*.") {
            parse_fqdn(domain)?;
            return Ok(Self::Subdomain(domain.to_ascii_lowercase()));
        }
        Identity::parse(text).map(Self::Exact)
    }

    /// Whether the identity is one of the pattern's.
    pub fn matches(&self, identity: &Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => expected.matches(identity),
            Self::Subdomain(domain) => {
                identity.kind == IdType::FQDN
                    && identity
                        .data
                        .len()
                        .checked_sub(domain.len())
                        .and_then(|at| identity.data.split_at_checked(at))
                        .is_some_and(|(head, tail)| {
                            tail.eq_ignore_ascii_case(domain.as_bytes())
                                && head.strip_suffix(b".").is_some_and(|labels| {
                                    labels.split(|octet| *octet == b'.').all(|label| !label.is_empty())
                                })
                        })
            }
        }
    }

    /// The one identity the pattern names, if it names one.
    pub fn exact(&self) -> Option<&Identity> {
        match self {
            Self::Exact(identity) => Some(identity),
            Self::Any | Self::Subdomain(_) => None,
        }
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(identity) => identity.fmt(f),
            Self::Subdomain(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests;
