//! The single seam through which randomness enters the protocol.

use ring::rand::{SecureRandom, SystemRandom as RingRandom};

use super::{CryptoError, Group, KeyExchange, exchange};

/// Source of nonces, SPIs, initialisation vectors and key exchanges.
///
/// The key exchange is part of it because `ring` takes no seed for its ephemeral keys: a test that
/// wants a reproducible run scripts both methods.
pub trait Random: Send {
    /// Fills `out` with unpredictable octets.
    fn fill(&mut self, out: &mut [u8]);

    /// Makes a fresh ephemeral key pair in `group`.
    ///
    /// # Errors
    /// [`CryptoError::Random`] when no usable private value could be drawn.
    fn key_exchange(&mut self, group: Group) -> Result<Box<dyn KeyExchange>, CryptoError>;
}

/// The operating system's random source.
#[derive(Debug, Clone)]
pub struct SystemRandom(RingRandom);

impl SystemRandom {
    /// Opens the source, which blocks until the kernel has seeded it.
    ///
    /// # Errors
    /// [`CryptoError::Random`] when the kernel offers none.
    pub fn new() -> Result<Self, CryptoError> {
        let source = RingRandom::new();
        source.fill(&mut [0; 1]).map_err(|_| CryptoError::Random)?;
        Ok(Self(source))
    }
}

impl Random for SystemRandom {
    /// A source that worked once and fails later leaves no safe way on, so the process aborts
    /// rather than send a predictable octet.
    fn fill(&mut self, out: &mut [u8]) {
        if self.0.fill(out).is_err() {
            std::process::abort();
        }
    }

    fn key_exchange(&mut self, group: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
        exchange::generate(group, &mut |out| self.fill(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_fill_the_whole_slice() {
        let mut random = SystemRandom::new().unwrap();
        let (mut a, mut b) = ([0; 64], [0; 64]);
        random.fill(&mut a);
        random.fill(&mut b);
        assert_ne!(a, b);
        assert!(a[32..].iter().any(|octet| *octet != 0));
    }
}
