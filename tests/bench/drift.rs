//! A fixed piece of work, measured again and again: what it takes longer is what neighbours took.

use std::time::{Duration, Instant};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Plaintext of an ESP packet that carries a full inner packet.
const LENGTH: usize = 1424;
const FOR: Duration = Duration::from_millis(120);

/// Octets a second that one core seals with AES-256-GCM.
pub fn seal_rate() -> f64 {
    let Ok(key) = UnboundKey::new(&AES_256_GCM, &[7; 32]).map(LessSafeKey::new) else { return f64::NAN };
    let mut buffers = vec![[0_u8; LENGTH]; 32];
    let (mut sealed, begun) = (0_u64, Instant::now());
    while begun.elapsed() < FOR {
        for buffer in &mut buffers {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            if key.seal_in_place_separate_tag(nonce, Aad::from([0; 8]), buffer).is_ok() {
                sealed += LENGTH as u64;
            }
        }
    }
    sealed as f64 / begun.elapsed().as_secs_f64()
}
