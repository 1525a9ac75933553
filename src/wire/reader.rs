//! A bounded cursor over octets. Every read is checked; offsets in errors count from the outermost slice.

use super::error::{DecodeError, DecodeErrorKind};

/// A cursor over a slice that never reads past its end.
///
/// A structure with a length field is read through [`Reader::sub`], which cannot leave it, and ended by
/// [`Reader::finish`], which rejects what is left over.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    octets: &'a [u8],
    position: usize,
    base: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `octets`.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, position: 0, base: 0 }
    }

    /// The current offset from the start of the outermost slice.
    pub fn offset(&self) -> usize {
        self.base + self.position
    }

    /// Octets not yet read.
    pub fn left(&self) -> usize {
        self.octets.len() - self.position
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// An error of `kind` at the current offset.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.offset(), kind)
    }

    /// The next `len` octets.
    ///
    /// # Errors
    /// `Truncated` if fewer are left, as for all reads.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.octets.get(self.position..).unwrap_or_default();
        match rest.get(..len) {
            Some(taken) => {
                self.position += len;
                Ok(taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated { needed: len, available: rest.len() })),
        }
    }

    /// The next `N` octets as an array.
    ///
    /// # Errors
    /// `Truncated` if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One octet.
    ///
    /// # Errors
    /// `Truncated` if none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two octets, in network order.
    ///
    /// # Errors
    /// `Truncated` if fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four octets, in network order.
    ///
    /// # Errors
    /// `Truncated` if fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A reader over the next `len` octets alone; this one continues after them.
    ///
    /// # Errors
    /// `Truncated` if fewer are left.
    pub fn sub(&mut self, len: usize) -> Result<Reader<'a>, DecodeError> {
        let base = self.offset();
        Ok(Reader { octets: self.take(len)?, position: 0, base })
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.octets.get(self.position..).unwrap_or_default();
        self.position = self.octets.len();
        rest
    }

    /// Ends the structure.
    ///
    /// # Errors
    /// `TrailingOctets` if anything is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingOctets(left))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_advance_in_network_order() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.rest(), &[8]);
        assert!(reader.is_empty());
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_read_past_the_end_says_where_and_leaves_the_cursor() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u8().unwrap();
        let error = reader.u32().unwrap_err();
        assert_eq!(error.offset, 1);
        assert_eq!(error.kind, DecodeErrorKind::Truncated { needed: 4, available: 2 });
        assert_eq!(reader.u16(), Ok(0x0203));
    }

    #[test]
    fn a_sub_reader_is_bounded_and_counts_from_the_outermost_start() {
        let mut reader = Reader::new(&[0, 1, 2, 3, 4]);
        reader.u8().unwrap();
        let mut sub = reader.sub(2).unwrap();
        assert_eq!(sub.offset(), 1);
        assert!(sub.u32().is_err());
        sub.u8().unwrap();
        assert_eq!(sub.finish(), Err(DecodeError { offset: 2, kind: DecodeErrorKind::TrailingOctets(1) }));
        assert_eq!(reader.offset(), 3);
    }
}
