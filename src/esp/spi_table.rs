//! Inbound SAs by SPI, in shards that copies of the table share until one of them changes.

use std::{collections::HashMap, sync::Arc};

use super::{InboundSa, prefix_index::KeyHash};

/// With 10,000 SAs a change copies some 40 of them. Our SPIs are random numbers of our own, so they spread.
const SHARDS: usize = 256;

type Shard = HashMap<u32, Arc<InboundSa>, KeyHash>;

/// The inbound half of the SAD; a copy costs little and shares all.
#[derive(Debug, Clone)]
pub struct SpiTable(Box<[Arc<Shard>]>);

impl Default for SpiTable {
    fn default() -> Self {
        let empty = Arc::new(Shard::default());
        Self(vec![empty; SHARDS].into())
    }
}

impl SpiTable {
    /// Adds an SA; it takes the place of one with the same SPI.
    pub fn insert(&mut self, sa: Arc<InboundSa>) {
        if let Some(shard) = self.0.get_mut(sa.spi() as usize % SHARDS) {
            Arc::make_mut(shard).insert(sa.spi(), sa);
        }
    }

    /// Removes this SA; another one with the same SPI stays.
    pub fn remove(&mut self, sa: &Arc<InboundSa>) {
        if self.get(sa.spi()).is_some_and(|known| Arc::ptr_eq(known, sa))
            && let Some(shard) = self.0.get_mut(sa.spi() as usize % SHARDS)
        {
            Arc::make_mut(shard).remove(&sa.spi());
        }
    }

    /// The SA with this SPI.
    pub fn get(&self, spi: u32) -> Option<&Arc<InboundSa>> {
        self.0.get(spi as usize % SHARDS)?.get(&spi)
    }

    /// All SAs, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<InboundSa>> {
        self.0.iter().flat_map(|shard| shard.values())
    }
}

impl FromIterator<Arc<InboundSa>> for SpiTable {
    fn from_iter<T: IntoIterator<Item = Arc<InboundSa>>>(sas: T) -> Self {
        let mut table = Self::default();
        sas.into_iter().for_each(|sa| table.insert(sa));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::fixture::{GCM, inbound};

    #[test]
    fn a_copy_keeps_what_it_had() {
        let sa = Arc::new(inbound(GCM));
        let mut table = SpiTable::from_iter([Arc::clone(&sa)]);
        let copy = table.clone();
        let other = Arc::new(inbound(GCM));
        table.remove(&other);
        assert_eq!(table.iter().count(), 1, "another SA with this SPI");
        table.insert(Arc::clone(&other));
        assert!(table.get(sa.spi()).is_some_and(|found| Arc::ptr_eq(found, &other)));
        table.remove(&other);
        assert!(table.get(sa.spi()).is_none());
        assert!(copy.get(sa.spi()).is_some_and(|found| Arc::ptr_eq(found, &sa)));
        let shared = table.0.iter().zip(&copy.0).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), SHARDS - 1);
    }
}
