//! Appends octets; length fields fill themselves in when their structure ends.

use std::ops::{Deref, DerefMut};

/// Appends to a vector, in network order.
#[derive(Debug, Default)]
pub struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// One octet.
    pub fn u8(&mut self, value: u8) {
        self.octets.push(value);
    }

    /// Two octets.
    pub fn u16(&mut self, value: u16) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    /// Four octets.
    pub fn u32(&mut self, value: u32) {
        self.octets.extend_from_slice(&value.to_be_bytes());
    }

    /// A slice as it is.
    pub fn slice(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// `len` zero octets.
    pub fn zeros(&mut self, len: usize) {
        self.octets.resize(self.octets.len() + len, 0);
    }

    /// Begins a structure whose length field (two octets, counting `counted_before` octets already
    /// written and the field itself) comes next. The field is filled in when the guard is dropped.
    ///
    /// A structure that outgrows its field is cut at 65,535 octets, so that the framing stays
    /// well-formed; nothing that this crate builds comes near.
    pub fn length_prefixed(&mut self, counted_before: usize) -> LengthPrefixed<'_> {
        let field = self.len();
        let start = field.saturating_sub(counted_before);
        self.u16(0);
        LengthPrefixed { writer: self, start, field }
    }

    /// The octets written.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    pub(crate) fn patch(&mut self, at: usize, with: &[u8]) {
        if let Some(field) = self.octets.get_mut(at..at + with.len()) {
            field.copy_from_slice(with);
        }
    }
}

/// A structure being written; see [`Writer::length_prefixed`].
#[derive(Debug)]
pub struct LengthPrefixed<'a> {
    writer: &'a mut Writer,
    start: usize,
    field: usize,
}

impl Deref for LengthPrefixed<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        self.writer
    }
}

impl DerefMut for LengthPrefixed<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        self.writer
    }
}

impl Drop for LengthPrefixed<'_> {
    fn drop(&mut self) {
        let len = u16::try_from(self.writer.len() - self.start).unwrap_or(u16::MAX);
        self.writer.octets.truncate(self.start + usize::from(len));
        self.writer.patch(self.field, &len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lengths_close_themselves() {
        let mut writer = Writer::new();
        writer.slice(&[9, 9]);
        {
            let mut outer = writer.length_prefixed(2);
            outer.u8(1);
            outer.u8(0xaa);
            let mut inner = outer.length_prefixed(1);
            inner.u32(7);
        }
        assert_eq!(writer.into_octets(), [9, 9, 0, 12, 1, 0xaa, 0, 7, 0, 0, 0, 7]);
    }

    #[test]
    fn a_structure_too_long_for_its_field_is_cut_and_stays_well_formed() {
        let mut writer = Writer::new();
        writer.length_prefixed(0).zeros(70_000);
        let octets = writer.into_octets();
        assert_eq!(octets.len(), 65_535);
        assert_eq!(octets[..2], [0xff, 0xff]);
    }
}
