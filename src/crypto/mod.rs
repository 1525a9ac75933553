//! The only user of the cryptographic libraries: suites, key schedule, key exchange, ciphers,
//! signatures and secrets.
//!
//! This layer turns octets and keys into octets. It knows no payload, no certificate and no policy;
//! it writes no primitive of its own. All randomness enters through [`Random`], so that a test can
//! script nonces, SPIs and key exchanges. What each library is used for:
//!
//! | Library | Use |
//! |---|---|
//! | `ring` | AES-GCM-16 with 128/256-bit keys, ChaCha20-Poly1305, HMAC, hashes, groups 19, 20 and 31, signatures, randomness |
//! | `aes-gcm` | AES-GCM with 192-bit keys or 8- and 12-octet ICVs |
//! | `aes` + `cbc` | AES-CBC |
//! | `crypto-bigint` | the MODP groups 14, 15 and 16, in constant time |
//! | `p521` | group 21 and verification of ECDSA P-521 signatures |

mod cipher;
mod error;
pub mod exchange;
mod group;
pub mod hash;
pub mod key_schedule;
pub mod prf;
mod random;
mod secret;
pub mod signature;
mod suite;

pub use cipher::CipherKey;
pub use error::CryptoError;
pub use exchange::KeyExchange;
pub use group::Group;
pub use key_schedule::{ChildKeys, DirectionKeys, IkeKeys};
pub use random::{Random, SystemRandom};
pub use secret::{Secret, SharedSecret};
pub use suite::{Cipher, EspSuite, IkeSuite, Integrity, Prf, UnknownAlgorithm};
