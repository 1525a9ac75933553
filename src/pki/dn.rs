//! Distinguished names: the DER of an X.501 Name, its text form, and name comparison.
//!
//! Comparison follows [RFC 5280 section 7.1](https://www.rfc-editor.org/rfc/rfc5280#section-7.1): attribute by
//! attribute, directory strings of any encoding without regard to case and with white space collapsed.
//! Unicode normalisation is not applied, which can only make equal names differ, never the reverse.

use std::fmt;

use super::der::{self, BadDer, Reader};
use super::identity::{IdentityError, hex, unhex};

pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const IA5_STRING: u8 = 0x16;
const TELETEX_STRING: u8 = 0x14;
const BMP_STRING: u8 = 0x1e;
const UNIVERSAL_STRING: u8 = 0x1c;

/// The most attributes a name may hold.
const MAX_ATTRIBUTES: usize = 64;

/// Attribute types by their usual short names; the first name of an OID is the one printed.
const ATTRIBUTES: &[(&str, &[u64], u8)] = &[
    ("C", &[2, 5, 4, 6], PRINTABLE_STRING),
    ("ST", &[2, 5, 4, 8], UTF8_STRING),
    ("L", &[2, 5, 4, 7], UTF8_STRING),
    ("O", &[2, 5, 4, 10], UTF8_STRING),
    ("OU", &[2, 5, 4, 11], UTF8_STRING),
    ("CN", &[2, 5, 4, 3], UTF8_STRING),
    ("STREET", &[2, 5, 4, 9], UTF8_STRING),
    ("serialNumber", &[2, 5, 4, 5], PRINTABLE_STRING),
    ("surname", &[2, 5, 4, 4], UTF8_STRING),
    ("title", &[2, 5, 4, 12], UTF8_STRING),
    ("description", &[2, 5, 4, 13], UTF8_STRING),
    ("postalCode", &[2, 5, 4, 17], UTF8_STRING),
    ("name", &[2, 5, 4, 41], UTF8_STRING),
    ("givenName", &[2, 5, 4, 42], UTF8_STRING),
    ("initials", &[2, 5, 4, 43], UTF8_STRING),
    ("dnQualifier", &[2, 5, 4, 46], PRINTABLE_STRING),
    ("organizationIdentifier", &[2, 5, 4, 97], UTF8_STRING),
    ("DC", &[0, 9, 2342, 19_200_300, 100, 1, 25], IA5_STRING),
    ("UID", &[0, 9, 2342, 19_200_300, 100, 1, 1], UTF8_STRING),
    ("E", &[1, 2, 840, 113_549, 1, 9, 1], IA5_STRING),
    ("emailAddress", &[1, 2, 840, 113_549, 1, 9, 1], IA5_STRING),
    ("Email", &[1, 2, 840, 113_549, 1, 9, 1], IA5_STRING),
    ("unstructuredName", &[1, 2, 840, 113_549, 1, 9, 2], IA5_STRING),
];

/// One attribute: type (content octets of the OID), string tag and value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    oid: Vec<u8>,
    tag: u8,
    value: Vec<u8>,
}

/// Arcs of the type, string tag, value.
pub(super) type SingleAttribute = (Vec<u64>, u8, Vec<u8>);

/// A distinguished name. Equality is by octets; [`DistinguishedName::matches`] compares names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    relative: Vec<Vec<Attribute>>,
}

impl DistinguishedName {
    /// Reads the DER of a Name, strictly and whole.
    ///
    /// # Errors
    /// [`IdentityError`] if the octets are not one.
    pub fn from_der(octets: &[u8]) -> Result<Self, IdentityError> {
        read_name(octets).map_err(|BadDer| IdentityError::new("malformed distinguished name"))
    }

    /// The DER of the Name.
    pub fn to_der(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for relative in &self.relative {
            let mut encoded: Vec<Vec<u8>> = relative
                .iter()
                .map(|attribute| {
                    let mut pair = der::encode(der::OID, &attribute.oid);
                    pair.extend(der::encode(attribute.tag, &attribute.value));
                    der::encode(der::SEQUENCE, &pair)
                })
                .collect();
            encoded.sort();
            content.extend(der::encode(der::SET, &encoded.concat()));
        }
        der::encode(der::SEQUENCE, &content)
    }

    /// Reads `C=CH, O=Example, CN=gw.example.com` (in the certificate's order; `/C=CH/O=Example` works too).
    ///
    /// A `+` joins attributes of one relative name; `\` escapes the next character or two hexadecimal
    /// digits; quotes protect a whole value; `#hex` gives a value's DER; a type may be a dotted OID.
    ///
    /// # Errors
    /// [`IdentityError`] with what would be right.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        let (text, separators) = match text.strip_prefix('/') {
            Some(rest) => (rest, &['/'][..]),
            None => (text, &[',', ';'][..]),
        };
        let mut relative = Vec::new();
        let mut current = Vec::new();
        let mut count = 0;
        let mut rest = text.chars().peekable();
        loop {
            let mut kind = String::new();
            loop {
                match rest.next() {
                    Some('=') => break,
                    Some(c) => kind.push(c),
                    None => {
                        return Err(IdentityError::new(
                            "each part of a name is written TYPE=value, as CN=gw",
                        ));
                    }
                }
            }
            let (value, end) = read_value(&mut rest, separators)?;
            current.push(attribute(kind.trim(), value)?);
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(IdentityError::new(format!("a name has at most {MAX_ATTRIBUTES} attributes")));
            }
            if end != Some('+') {
                relative.push(std::mem::take(&mut current));
            }
            if end.is_none() {
                return Ok(Self { relative });
            }
        }
    }

    /// Whether the two are the same name by RFC 5280 section 7.1.
    pub fn matches(&self, other: &Self) -> bool {
        self.relative.len() == other.relative.len()
            && self.relative.iter().zip(&other.relative).all(|(ours, theirs)| normal(ours) == normal(theirs))
    }

    /// Arcs of the type, string tag and value of each attribute; `None` if a relative name has several.
    pub(super) fn single_attributes(&self) -> Option<Vec<SingleAttribute>> {
        self.relative
            .iter()
            .map(|relative| {
                let [attribute] = relative.as_slice() else { return None };
                let arcs = der::dotted_oid(&attribute.oid)?
                    .split('.')
                    .map(|arc| arc.parse().ok())
                    .collect::<Option<_>>()?;
                Some((arcs, attribute.tag, attribute.value.clone()))
            })
            .collect()
    }

    /// Whether it holds no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.relative.is_empty()
    }
}

fn read_name(octets: &[u8]) -> Result<DistinguishedName, BadDer> {
    let mut names = Reader::new(der::single(octets, der::SEQUENCE)?.content);
    let mut relative = Vec::new();
    let mut count = 0;
    while !names.is_empty() {
        let mut set = Reader::new(names.expect(der::SET)?.content);
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut pair = Reader::new(set.expect(der::SEQUENCE)?.content);
            let oid = pair.expect(der::OID)?.content;
            let value = pair.any()?;
            pair.finish()?;
            der::dotted_oid(oid).ok_or(BadDer)?;
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(BadDer);
            }
            attributes.push(Attribute { oid: oid.to_vec(), tag: value.tag, value: value.content.to_vec() });
        }
        if attributes.is_empty() {
            return Err(BadDer);
        }
        relative.push(attributes);
    }
    Ok(DistinguishedName { relative })
}

enum Value {
    Text(String),
    Der(Vec<u8>),
}

fn read_value(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    separators: &[char],
) -> Result<(Value, Option<char>), IdentityError> {
    while rest.next_if(|c| *c == ' ').is_some() {}
    let is_der = rest.next_if_eq(&'#').is_some();
    let mut text = Vec::new();
    let mut keep = 0;
    let mut quoted = false;
    let end = loop {
        match rest.next() {
            None if quoted => return Err(IdentityError::new("a quote is not closed")),
            None => break None,
            Some('"') => quoted = !quoted,
            Some('\\') => {
                let first = rest.next().ok_or_else(|| IdentityError::new("nothing stands after \\"))?;
                match (first.to_digit(16), rest.peek().and_then(|c| c.to_digit(16))) {
                    (Some(high), Some(low)) => {
                        rest.next();
                        text.push(u8::try_from(high << 4 | low).unwrap_or(0));
                    }
                    _ => text.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                keep = text.len();
            }
            Some(c) if !quoted && (c == '+' || separators.contains(&c)) => break Some(c),
            Some(c) => {
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                if c != ' ' || quoted {
                    keep = text.len();
                }
            }
        }
    };
    text.truncate(keep);
    if is_der {
        return match unhex(&text) {
            Some(octets) => Ok((Value::Der(octets), end)),
            None => Err(IdentityError::new("# must be followed by hexadecimal DER")),
        };
    }
    let text = String::from_utf8(text).map_err(|_| IdentityError::new("escaped octets are not UTF-8"))?;
    if text.is_empty() {
        return Err(IdentityError::new("a value is empty"));
    }
    Ok((Value::Text(text), end))
}

fn attribute(kind: &str, value: Value) -> Result<Attribute, IdentityError> {
    let known = ATTRIBUTES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(kind));
    let (oid, tag) = match known {
        Some((_, arcs, tag)) => (der::encode_oid(arcs), *tag),
        None => {
            let arcs: Option<Vec<u64>> = kind.split('.').map(|arc| arc.parse().ok()).collect();
            (arcs.and_then(|arcs| der::encode_oid(&arcs)), UTF8_STRING)
        }
    };
    let oid = oid.ok_or_else(|| {
        IdentityError::new(format!(
            "unknown attribute type {kind:?}: use C, ST, L, O, OU, CN, DC, UID, E or a dotted OID"
        ))
    })?;
    match value {
        Value::Text(text) => {
            let fits = match tag {
                PRINTABLE_STRING => text.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || matches!(c, ' ' | '\'' | '(' | ')' | '+' | ',' | '-' | '.' | '/' | ':' | '=' | '?')
                }),
                IA5_STRING => text.is_ascii(),
                _ => true,
            };
            Ok(Attribute { oid, tag: if fits { tag } else { UTF8_STRING }, value: text.into_bytes() })
        }
        Value::Der(octets) => {
            let mut reader = Reader::new(&octets);
            let element = reader.any().and_then(|element| reader.finish().map(|()| element));
            let element =
                element.map_err(|BadDer| IdentityError::new("# must be followed by one DER value"))?;
            Ok(Attribute { oid, tag: element.tag, value: element.content.to_vec() })
        }
    }
}

/// The text of a directory string, if the tag is one of its encodings and the octets are valid in it.
fn directory_text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING => std::str::from_utf8(value).ok().map(str::to_owned),
        PRINTABLE_STRING | IA5_STRING => {
            value.is_ascii().then(|| value.iter().map(|octet| char::from(*octet)).collect())
        }
        TELETEX_STRING => Some(value.iter().map(|octet| char::from(*octet)).collect()),
        BMP_STRING => {
            let (pairs, []) = value.as_chunks::<2>() else { return None };
            char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
                .collect::<Result<_, _>>()
                .ok()
        }
        UNIVERSAL_STRING => {
            let (quads, []) = value.as_chunks::<4>() else { return None };
            quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad))).collect()
        }
        _ => None,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum NormalValue<'a> {
    Text(String),
    Octets(u8, &'a [u8]),
}

fn normal(relative: &[Attribute]) -> Vec<(&[u8], NormalValue<'_>)> {
    let mut all: Vec<_> = relative
        .iter()
        .map(|attribute| {
            let value = match directory_text(attribute.tag, &attribute.value) {
                Some(text) => NormalValue::Text(
                    text.to_lowercase()
                        .split([' ', '\t', '\r', '\n'])
                        .filter(|word| !word.is_empty())
                        .collect::<Vec<_>>()
                        .join(" "),
                ),
                None => NormalValue::Octets(attribute.tag, attribute.value.as_slice()),
            };
            (attribute.oid.as_slice(), value)
        })
        .collect();
    all.sort();
    all
}

/// Writes the form [`DistinguishedName::parse`] reads.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, relative) in self.relative.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            for (index, attribute) in relative.iter().enumerate() {
                if index > 0 {
                    f.write_str("+")?;
                }
                write_attribute(f, attribute)?;
            }
        }
        Ok(())
    }
}

fn write_attribute(f: &mut fmt::Formatter<'_>, attribute: &Attribute) -> fmt::Result {
    let known =
        ATTRIBUTES.iter().find(|(_, arcs, _)| der::encode_oid(arcs).as_deref() == Some(&attribute.oid));
    match known {
        Some((name, ..)) => f.write_str(name)?,
        None => f.write_str(&der::dotted_oid(&attribute.oid).unwrap_or_default())?,
    }
    f.write_str("=")?;
    let Some(text) = directory_text(attribute.tag, &attribute.value).filter(|text| !text.is_empty()) else {
        return write!(f, "#{}", hex(&der::encode(attribute.tag, &attribute.value)));
    };
    let last = text.chars().count() - 1;
    for (index, c) in text.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => write!(f, "\\{c}")?,
            '#' | '/' if index == 0 => write!(f, "\\{c}")?,
            ' ' if index == 0 || index == last => f.write_str("\\20")?,
            ' '..='~' => write!(f, "{c}")?,
            c if c.is_alphanumeric() => write!(f, "{c}")?,
            c => {
                for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                    write!(f, "\\{octet:02x}")?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
