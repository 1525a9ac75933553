//! A strict reader and a small writer for the few DER structures the libraries leave to us: names,
//! AlgorithmIdentifiers, key wrappers. Definite lengths only, minimal length octets, no trailing octets
//! unless the caller reads on.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const OID: u8 = 0x06;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
#[cfg(test)]
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;

/// The octets are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadDer;

/// One element: its tag, its content, and the whole encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// Reads elements one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn any(&mut self) -> Result<Element<'a>, BadDer> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(BadDer)?;
        if tag & 0x1f == 0x1f {
            return Err(BadDer);
        }
        let (&first, after_length) = after_tag.split_first().ok_or(BadDer)?;
        let (length, body) = match first {
            0..=0x7f => (usize::from(first), after_length),
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let (octets, body) = after_length.split_at_checked(count).ok_or(BadDer)?;
                let length = octets.iter().fold(0_usize, |sum, &octet| (sum << 8) | usize::from(octet));
                let minimal = if count == 1 { 0x80 } else { 1 << (8 * (count - 1)) };
                if length < minimal {
                    return Err(BadDer);
                }
                (length, body)
            }
            _ => return Err(BadDer),
        };
        let (content, rest) = body.split_at_checked(length).ok_or(BadDer)?;
        let (whole, _) = self.rest.split_at_checked(self.rest.len() - rest.len()).ok_or(BadDer)?;
        self.rest = rest;
        Ok(Element { tag, content, whole })
    }

    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, BadDer> {
        let element = self.any()?;
        if element.tag == tag { Ok(element) } else { Err(BadDer) }
    }

    pub(super) fn finish(self) -> Result<(), BadDer> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadDer) }
    }
}

/// Reads exactly one element of the given tag and nothing after it.
pub(super) fn single(octets: &[u8], tag: u8) -> Result<Element<'_>, BadDer> {
    let mut reader = Reader::new(octets);
    let element = reader.expect(tag)?;
    reader.finish()?;
    Ok(element)
}

/// Encodes one element.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let octets = content.len().to_be_bytes();
            let skip = octets.iter().take_while(|octet| **octet == 0).count();
            let significant = octets.iter().skip(skip);
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
            out.extend(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Encodes the content octets of an object identifier from its arcs; `None` if it is not one.
pub(super) fn encode_oid(arcs: &[u64]) -> Option<Vec<u8>> {
    let (&first, rest) = arcs.split_first()?;
    let (&second, rest) = rest.split_first()?;
    if first > 2 || (first < 2 && second > 39) {
        return None;
    }
    let mut out = Vec::new();
    push_base128(&mut out, second.checked_add(first * 40)?);
    for &arc in rest {
        push_base128(&mut out, arc);
    }
    Some(out)
}

fn push_base128(out: &mut Vec<u8>, value: u64) {
    let groups = (64 - value.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let bits = u8::try_from((value >> (7 * group)) & 0x7f).unwrap_or(0);
        out.push(if group == 0 { bits } else { bits | 0x80 });
    }
}

/// Writes the content octets of an object identifier in dotted form; `None` if they are malformed.
pub(super) fn dotted_oid(content: &[u8]) -> Option<String> {
    if content.last()? & 0x80 != 0 {
        return None;
    }
    let mut arcs: Vec<u64> = Vec::new();
    let mut value: u64 = 0;
    let mut fresh = true;
    for &octet in content {
        if fresh && octet == 0x80 || value > u64::MAX >> 7 {
            return None;
        }
        value = (value << 7) | u64::from(octet & 0x7f);
        fresh = octet & 0x80 == 0;
        if fresh {
            arcs.push(value);
            value = 0;
        }
    }
    let (&head, tail) = arcs.split_first()?;
    let (first, second) = if head < 80 { (head / 40, head % 40) } else { (2, head - 80) };
    let mut text = format!("{first}.{second}");
    for arc in tail {
        text.push('.');
        text.push_str(&arc.to_string());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip_and_must_be_minimal() {
        for length in [0_usize, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let encoded = encode(OCTET_STRING, &vec![7; length]);
            assert_eq!(single(&encoded, OCTET_STRING).unwrap().content.len(), length);
        }
        assert_eq!(single(&[0x04, 0x81, 0x01, 0x00], OCTET_STRING), Err(BadDer));
        assert_eq!(single(&[0x04, 0x82, 0x00, 0x01, 0x00], OCTET_STRING), Err(BadDer));
        assert_eq!(single(&[0x04, 0x80, 0x00, 0x00], OCTET_STRING), Err(BadDer));
        assert_eq!(single(&[0x04, 0x84, 0, 0, 0, 1, 0], OCTET_STRING), Err(BadDer));
    }

    #[test]
    fn trailing_and_missing_octets_are_refused() {
        assert_eq!(single(&[0x05, 0x00, 0x00], NULL), Err(BadDer));
        assert_eq!(single(&[0x04, 0x02, 0x00], OCTET_STRING), Err(BadDer));
        assert_eq!(single(&[], NULL), Err(BadDer));
        assert_eq!(single(&[0x05], NULL), Err(BadDer));
    }

    #[test]
    fn object_identifiers_print_as_they_were_written() {
        for (arcs, text) in [
            (&[2_u64, 5, 4, 3][..], "2.5.4.3"),
            (&[1, 2, 840, 113_549, 1, 9, 1], "1.2.840.113549.1.9.1"),
            (&[2, 999, 1], "2.999.1"),
            (&[0, 9, 2342, 19_200_300, 100, 1, 25], "0.9.2342.19200300.100.1.25"),
        ] {
            assert_eq!(dotted_oid(&encode_oid(arcs).unwrap()).unwrap(), text);
        }
        assert_eq!(encode_oid(&[3, 1]), None);
        assert_eq!(encode_oid(&[1, 40]), None);
        assert_eq!(dotted_oid(&[0x55, 0x84]), None);
        assert_eq!(dotted_oid(&[0x55, 0x80, 0x01]), None);
        assert_eq!(dotted_oid(&[]), None);
    }
}
