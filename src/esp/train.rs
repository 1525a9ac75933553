//! The outcome of opening a train: several ESP packets of one SA that lie one behind the other.

use super::{Opened, Refused};

/// What came out of a train, packet by packet; reused, so that nothing is allocated once it has grown.
///
/// Ranges are relative to the buffer given to [`super::InboundSa::open_train`].
#[derive(Debug, Default)]
pub struct OpenedTrain {
    results: Vec<Result<Opened, Refused>>,
}

impl OpenedTrain {
    /// With room for the longest train that the kernel makes.
    pub fn new() -> Self {
        Self { results: Vec::with_capacity(128) }
    }

    /// Packets in the train.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether the train had no packet.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// One result a packet, in the order of the train.
    pub fn iter(&self) -> std::slice::Iter<'_, Result<Opened, Refused>> {
        self.results.iter()
    }

    pub(super) fn clear(&mut self) {
        self.results.clear();
    }

    pub(super) fn push(&mut self, result: Result<Opened, Refused>) {
        self.results.push(result);
    }
}

impl<'a> IntoIterator for &'a OpenedTrain {
    type Item = &'a Result<Opened, Refused>;
    type IntoIter = std::slice::Iter<'a, Result<Opened, Refused>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
