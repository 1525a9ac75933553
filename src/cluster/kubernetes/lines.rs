//! Lines out of the pieces of a stream, none longer than allowed.

/// A line, or what is left of one that was too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line without its end.
    Whole(Vec<u8>),
    /// A line that was longer than allowed was left out.
    TooLong,
}

/// Cuts pieces into lines. Holds at most one line of the allowed length and the last piece.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    line: Vec<u8>,
    too_long: bool,
    piece: Vec<u8>,
    at: usize,
}

impl Lines {
    /// Lines of at most `limit` octets.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), too_long: false, piece: Vec::new(), at: 0 }
    }

    /// Takes the next piece. All lines of the one before should have been taken out.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.piece.drain(..self.at);
        self.at = 0;
        self.piece.extend_from_slice(piece);
    }

    /// The next line that has ended; empty lines are passed over.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let rest = self.piece.get(self.at..).unwrap_or_default();
            let end = rest.iter().position(|octet| *octet == b'\n');
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if self.line.len() + part.len() > self.limit {
                self.too_long = true;
                self.line = Vec::new();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            }
            let Some(end) = end else {
                self.at = 0;
                self.piece.clear();
                return None;
            };
            self.at += end + 1;
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.too_long) {
                return Some(Line::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<Line> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\n\ntwo\r\nthree three\n";
        for size in 1..=text.len() {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece);
                found.extend(all(&mut lines));
            }
            assert_eq!(found, [whole("one"), whole("two\r"), whole("three three")], "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_no_line() {
        let mut lines = Lines::new(100);
        lines.push(b"one\ntw");
        assert_eq!(all(&mut lines), [whole("one")]);
        lines.push(b"o\n");
        assert_eq!(all(&mut lines), [whole("two")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_not_held() {
        for size in [1, 3, 7, 1000] {
            let mut lines = Lines::new(5);
            let mut found = Vec::new();
            for piece in b"12345\n123456\nabc\n".chunks(size) {
                lines.push(piece);
                found.extend(all(&mut lines));
                assert!(lines.line.len() <= 5);
            }
            assert_eq!(found, [whole("12345"), Line::TooLong, whole("abc")], "pieces of {size}");
        }
    }
}
