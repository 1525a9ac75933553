//! SPD entries by remote prefix: one table a prefix length, so that the cost of a lookup grows with the
//! number of different lengths and not with the number of entries.
//!
//! The keys of the tables (and our SPIs, which are hashed in the same way) come from the configuration and
//! from this side's own random numbers. A sender chooses only what is looked for, never what is in a table,
//! so the hash need not be keyed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// For tables whose keys nobody outside can choose.
pub(super) type KeyHash = BuildHasherDefault<KeyHasher>;

/// A multiplication, folded.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl KeyHasher {
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.mix((*octet).into());
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) trait Address: Copy + Ord + Hash {
    fn masked(self, prefix_len: u8) -> Self;

    /// The length of the prefix that is exactly the addresses from `self` to `last`, if there is one.
    fn prefix_to(self, last: Self) -> Option<u8>;
}

impl Address for u32 {
    fn masked(self, prefix_len: u8) -> Self {
        self & Self::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
    }

    fn prefix_to(self, last: Self) -> Option<u8> {
        let span = last.checked_sub(self)?;
        let one = span & span.wrapping_add(1) == 0 && self & span == 0;
        one.then_some(span.leading_zeros() as u8)
    }
}

impl Address for u128 {
    fn masked(self, prefix_len: u8) -> Self {
        self & Self::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0)
    }

    fn prefix_to(self, last: Self) -> Option<u8> {
        let span = last.checked_sub(self)?;
        let one = span & span.wrapping_add(1) == 0 && self & span == 0;
        one.then_some(span.leading_zeros() as u8)
    }
}

/// Prefixes and their entries, in no order yet.
#[derive(Debug)]
pub(super) struct PrefixIndexBuilder<A>(Vec<(u8, A, u32)>);

impl<A> Default for PrefixIndexBuilder<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A: Address> PrefixIndexBuilder<A> {
    pub(super) fn insert(&mut self, prefix_len: u8, network: A, entry: usize) {
        let entry = u32::try_from(entry).unwrap_or(u32::MAX);
        self.0.push((prefix_len, network.masked(prefix_len), entry));
    }

    /// As [`PrefixIndexBuilder::insert`] for a range that is one prefix; tells whether it is.
    pub(super) fn insert_range(&mut self, first: A, last: A, entry: usize) -> bool {
        let prefix_len = first.prefix_to(last);
        if let Some(prefix_len) = prefix_len {
            self.insert(prefix_len, first, entry);
        }
        prefix_len.is_some()
    }

    pub(super) fn build(mut self) -> PrefixIndex<A> {
        self.0.sort_unstable();
        self.0.dedup();
        let mut tables = Vec::new();
        let mut entries = Vec::with_capacity(self.0.len());
        for of_length in self.0.chunk_by(|a, b| a.0 == b.0) {
            let Some((prefix_len, ..)) = of_length.first() else { continue };
            let mut table = HashMap::with_capacity_and_hasher(of_length.len(), KeyHash::default());
            for of_prefix in of_length.chunk_by(|a, b| a.1 == b.1) {
                let Some((_, network, _)) = of_prefix.first() else { continue };
                let start = entries.len();
                entries.extend(of_prefix.iter().map(|(.., entry)| *entry));
                table.insert(*network, (start as u32, entries.len() as u32));
            }
            tables.push((*prefix_len, table));
        }
        PrefixIndex { tables, entries }
    }
}

/// Where the entries of a prefix lie in the list of all.
type Run = (u32, u32);

/// Entry numbers by prefix.
#[derive(Debug)]
pub(super) struct PrefixIndex<A> {
    tables: Vec<(u8, HashMap<A, Run, KeyHash>)>,
    entries: Vec<u32>,
}

impl<A> Default for PrefixIndex<A> {
    fn default() -> Self {
        Self { tables: Vec::new(), entries: Vec::new() }
    }
}

impl<A: Address> PrefixIndex<A> {
    /// The lowest entry number under a prefix of `address` that `fits`.
    pub(super) fn first(&self, address: A, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for (prefix_len, table) in &self.tables {
            let Some((start, end)) = table.get(&address.masked(*prefix_len)) else { continue };
            let found = self
                .entries
                .get(*start as usize..*end as usize)?
                .iter()
                .map(|entry| *entry as usize)
                .take_while(|entry| best.is_none_or(|best| *entry < best))
                .find(|entry| fits(*entry));
            best = found.or(best);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_prefix_if_it_is_aligned_and_a_power_of_two() {
        let prefix = |first: u32, last: u32| first.prefix_to(last);
        assert_eq!(prefix(0, u32::MAX), Some(0));
        assert_eq!(prefix(0x0a00_0000, 0x0aff_ffff), Some(8));
        assert_eq!(prefix(7, 7), Some(32));
        assert_eq!(prefix(6, 7), Some(31));
        assert_eq!(prefix(7, 8), None);
        assert_eq!(prefix(8, 10), None);
        assert_eq!(prefix(9, 8), None);
        assert_eq!(0u128.prefix_to(u128::MAX), Some(0));
        assert_eq!((1u128 << 64).prefix_to((2u128 << 64) - 1), Some(64));
        assert_eq!(5u128.prefix_to(5), Some(128));
    }
}
