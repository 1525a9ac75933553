//! What the cryptography alone costs: no handshake can be cheaper than its primitives.

use std::hint::black_box;
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use ring::{agreement, rand};
use serde_json::{Value, json};

use crate::measure::{cpu, median, round, us};
use crate::world::Auth;

/// Median CPU times.
pub struct Primitives {
    x25519: Duration,
    p256: [Duration; 2],
    rsa: [Duration; 2],
}

fn median_of(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let before = cpu();
            work();
            cpu() - before
        })
        .collect();
    median(&mut times)
}

fn rsa_key() -> RsaKeyPair {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pki/rsa.key");
    let pem = pem::parse(std::fs::read(path).expect("the test key is there")).expect("PEM");
    RsaKeyPair::from_pkcs8(pem.contents()).expect("PKCS #8")
}

/// Measures each primitive so often.
pub fn measure(rounds: usize) -> Primitives {
    let random = SystemRandom::new();
    let generate = |random: &dyn rand::SecureRandom| {
        agreement::EphemeralPrivateKey::generate(&agreement::X25519, random).expect("a key")
    };
    let peer = generate(&random).compute_public_key().expect("a public key");
    let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer);
    let x25519 = median_of(rounds, || {
        let own = generate(&random);
        black_box(own.compute_public_key().expect("a public key"));
        agreement::agree_ephemeral(own, &peer, |shared| black_box(shared.len())).expect("agreement");
    });

    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key");
    let message = [7; 600];
    let signature = key.sign(&random, &message).expect("a signature");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());
    let p256 = [
        median_of(rounds, || {
            black_box(key.sign(&random, &message).expect("a signature"));
        }),
        median_of(rounds, || public.verify(&message, signature.as_ref()).expect("valid")),
    ];

    let key = rsa_key();
    let mut signature = vec![0; key.public().modulus_len()];
    let sign = median_of(rounds, || {
        key.sign(&RSA_PSS_SHA256, &random, &message, &mut signature).expect("a signature")
    });
    let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key.public().as_ref());
    let rsa = [sign, median_of(rounds, || public.verify(&message, &signature).expect("valid"))];
    Primitives { x25519, p256, rsa }
}

impl Primitives {
    /// What one end of a handshake cannot do without: one key exchange, and with certificates one signature and
    /// two verifications (the peer's certificate and its AUTH payload).
    pub fn floor(&self, auth: Auth) -> Duration {
        let signatures = match auth {
            Auth::Psk => Duration::ZERO,
            Auth::EcdsaP256 => self.p256[0] + self.p256[1] * 2,
            Auth::Rsa2048 => self.rsa[0] + self.rsa[1] * 2,
        };
        self.x25519 + signatures
    }

    pub fn json(&self) -> Value {
        let us = |time| round(us(time), 1);
        json!({
            "x25519_generate_and_agree": us(self.x25519),
            "ecdsa_p256_sign": us(self.p256[0]),
            "ecdsa_p256_verify": us(self.p256[1]),
            "rsa_2048_sign": us(self.rsa[0]),
            "rsa_2048_verify": us(self.rsa[1]),
        })
    }
}
