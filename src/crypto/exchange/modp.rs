//! The MODP groups 14, 15 and 16 ([RFC 3526](https://www.rfc-editor.org/rfc/rfc3526)): generator 2
//! modulo a safe prime, by constant-time Montgomery exponentiation.
//!
//! # Length of the private exponent
//!
//! The exponent has at least twice as many bits as the group has strength, and more than every
//! published recommendation asks for:
//!
//! | Group | Strength, RFC 3526 section 8 | Least by NIST SP 800-56A rev. 3 (2s) | RFC 7919 appendix A | Here |
//! |---|---|---|---|---|
//! | 2048 | 110 to 160 | 224 | 225 | 256 |
//! | 3072 | 130 to 210 | 256 | 275 | 320 |
//! | 4096 | 150 to 240 | 304 | 325 | 384 |
//!
//! A short exponent is safe because p is a safe prime: the only small subgroup has order 2, which
//! 1 < y < p-1 excludes ([RFC 6989 section 2.1](https://www.rfc-editor.org/rfc/rfc6989#section-2.1)).

use std::sync::LazyLock;

use crypto_bigint::{
    BoxedUint, Odd, Resize, U2048, U3072, U4096,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyExchange, check_len};
use crate::crypto::{CryptoError, Group, Secret, SharedSecret};

static MODP2048: LazyLock<BoxedMontyParams> = LazyLock::new(|| {
    const PRIME: Odd<U2048> = Odd::<U2048>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
        "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
        "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
        "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    ));
    BoxedMontyParams::new_vartime(PRIME.into())
});

static MODP3072: LazyLock<BoxedMontyParams> = LazyLock::new(|| {
    const PRIME: Odd<U3072> = Odd::<U3072>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
        "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
        "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
        "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C",
        "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    ));
    BoxedMontyParams::new_vartime(PRIME.into())
});

static MODP4096: LazyLock<BoxedMontyParams> = LazyLock::new(|| {
    const PRIME: Odd<U4096> = Odd::<U4096>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
        "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
        "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
        "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C",
        "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7",
        "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6",
        "287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9",
        "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
    ));
    BoxedMontyParams::new_vartime(PRIME.into())
});

pub(super) struct Modp {
    group: Group,
    exponent: Zeroizing<BoxedUint>,
    public: Vec<u8>,
}

impl Modp {
    pub(super) fn generate(group: Group, fill: &mut dyn FnMut(&mut [u8])) -> Result<Self, CryptoError> {
        let mut private = Zeroizing::new(vec![0; exponent_bits(group) as usize / 8]);
        fill(&mut private);
        if private.iter().all(|octet| *octet == 0) {
            return Err(CryptoError::Random);
        }
        let exponent = BoxedUint::from_be_slice(&private, exponent_bits(group))
            .map(Zeroizing::new)
            .map_err(|_| CryptoError::Random)?;
        let params = parameters(group);
        let generator = BoxedUint::from(2u8).resize(params.bits_precision());
        let public = power(group, generator, &exponent).to_vec();
        Ok(Self { group, exponent, public })
    }
}

impl KeyExchange for Modp {
    fn group(&self) -> Group {
        self.group
    }

    fn public_value(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        check_len(self.group, peer_public)?;
        let out_of_range = CryptoError::PublicValue { group: self.group, reason: "not between 1 and p-1" };
        let params = parameters(self.group);
        let peer = BoxedUint::from_be_slice(peer_public, params.bits_precision())
            .map_err(|_| out_of_range.clone())?;
        let one = BoxedUint::one_with_precision(params.bits_precision());
        let last = params.modulus().as_ref().wrapping_sub(&one);
        if peer <= one || peer >= last {
            return Err(out_of_range);
        }
        let shared = Zeroizing::new(power(self.group, peer, &self.exponent));
        Ok(SharedSecret::new(Secret::from_slice(&shared)))
    }
}

/// `base^exponent mod p`, big-endian and as long as p. The time depends on the group alone.
fn power(group: Group, base: BoxedUint, exponent: &BoxedUint) -> Box<[u8]> {
    let base = BoxedMontyForm::new(base, parameters(group));
    let mut result = base.pow_bounded_exp(exponent, exponent_bits(group));
    let retrieved = Zeroizing::new(result.retrieve());
    result.zeroize();
    retrieved.to_be_bytes()
}

fn parameters(group: Group) -> &'static BoxedMontyParams {
    match group {
        Group::Modp3072 => &MODP3072,
        Group::Modp4096 => &MODP4096,
        _ => &MODP2048,
    }
}

const fn exponent_bits(group: Group) -> u32 {
    match group {
        Group::Modp3072 => 320,
        Group::Modp4096 => 384,
        _ => 256,
    }
}

#[cfg(test)]
mod tests;
