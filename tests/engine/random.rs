//! Seeded randomness: one generator for the link and one a host, with nonces that a case may force.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use skybridge::crypto::{CryptoError, Group, KeyExchange, Random, Secret, SharedSecret, exchange};
use x25519_dalek::{PublicKey, StaticSecret};

/// SplitMix64: a few lines, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed ^ 0x5bf0_3635_ca11_ab1e);
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        #[allow(clippy::cast_precision_loss)]
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        share < probability
    }
}

/// What a host draws next, as far as a case forces it.
#[derive(Debug, Default)]
pub struct Script {
    /// First octets of the next nonces; the rest of a nonce stays random.
    pub nonces: VecDeque<u8>,
    /// Key exchanges made so far, to show that a repeated message makes none.
    pub key_exchanges: u64,
}

pub type SharedScript = Arc<Mutex<Script>>;

/// A nonce has this many octets; nothing else that is drawn in a case with forced nonces does.
const NONCE_LEN: usize = 32;

/// The random source of one host.
pub struct SimRandom {
    dice: Dice,
    script: SharedScript,
}

impl SimRandom {
    pub fn new(seed: u64, script: SharedScript) -> Self {
        Self { dice: Dice::new(seed), script }
    }
}

impl Random for SimRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.dice.next().to_be_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
        if out.len() == NONCE_LEN
            && let Some(first) = self.script.lock().unwrap().nonces.pop_front()
        {
            out[0] = first;
        }
    }

    fn key_exchange(&mut self, group: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
        self.script.lock().unwrap().key_exchanges += 1;
        if group != Group::Curve25519 {
            return exchange::generate(group, &mut |out| self.fill(out));
        }
        let mut private = [0; 32];
        for chunk in private.chunks_mut(8) {
            chunk.copy_from_slice(&self.dice.next().to_be_bytes());
        }
        let private = StaticSecret::from(private);
        let public = PublicKey::from(&private).to_bytes();
        Ok(Box::new(X25519 { private, public }))
    }
}

struct X25519 {
    private: StaticSecret,
    public: [u8; 32],
}

impl KeyExchange for X25519 {
    fn group(&self) -> Group {
        Group::Curve25519
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        let refused = |reason| CryptoError::PublicValue { group: Group::Curve25519, reason };
        let peer = <[u8; 32]>::try_from(peer_public).map_err(|_| refused("wrong length"))?;
        let shared = self.private.diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(refused("the shared secret is zero"));
        }
        Ok(SharedSecret::new(Secret::from_slice(shared.as_bytes())))
    }
}
