//! Unpredictable octets for the IVs of CBC, drawn for many packets at once: the operating system's random
//! source costs a system call a draw.

use std::fmt;

use crate::crypto::Random;

const IV_LEN: usize = 16;
const IVS: usize = 256;

/// IVs in store. Each is handed out once and wiped.
pub struct IvPool {
    octets: Box<[[u8; IV_LEN]; IVS]>,
    left: usize,
}

impl IvPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self { octets: Box::new([[0; IV_LEN]; IVS]), left: 0 }
    }

    /// An IV that nobody has seen; draws new ones from `random` when the pool is empty.
    pub fn take(&mut self, random: &mut dyn Random) -> [u8; IV_LEN] {
        if self.left == 0 {
            random.fill(self.octets.as_flattened_mut());
            self.left = IVS;
        }
        self.left -= 1;
        self.octets.get_mut(self.left).map(std::mem::take).unwrap_or_default()
    }
}

impl Default for IvPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IvPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IvPool").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::crypto::{CryptoError, Group, KeyExchange};

    struct Counting {
        draws: usize,
        value: u8,
    }

    impl Random for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            self.draws += 1;
            for chunk in out.chunks_mut(2) {
                self.value = self.value.wrapping_add(1);
                chunk.fill(self.value.max(1));
                if let [first, ..] = chunk {
                    *first = self.draws as u8;
                }
            }
            for (at, chunk) in out.chunks_mut(IV_LEN).enumerate() {
                chunk[0] = at as u8;
            }
        }

        fn key_exchange(&mut self, _: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
            Err(CryptoError::Random)
        }
    }

    #[test]
    fn every_iv_is_handed_out_once_and_a_draw_is_for_many() {
        let mut random = Counting { draws: 0, value: 0 };
        let mut pool = IvPool::new();
        let ivs: HashSet<_> = (0..2 * IVS).map(|_| pool.take(&mut random)).collect();
        assert_eq!(ivs.len(), 2 * IVS);
        assert_eq!(random.draws, 2);
        assert!(pool.octets.iter().all(|iv| *iv == [0; IV_LEN]), "wiped once used");
    }
}
