//! The words of proposals that are refused with a reason, and the nearest known word to a mistyped one.

use super::proposal::ProposalKind;
use crate::crypto::{Cipher, Group, Integrity, Prf};

/// Why a word that others know is refused.
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) instead: &'static str,
}

const WEAK_GROUP: Refused =
    Refused { reason: "the group is too weak (RFC 8247)", instead: "use x25519, ecp256 or modp2048" };
const WEAK_CIPHER: Refused = Refused {
    reason: "the cipher's blocks or keys are too short (RFC 8221)",
    instead: "use aes256gcm16, aes128gcm16 or aes256-sha256",
};
const WEAK_HASH: Refused = Refused {
    reason: "the hash is broken or truncated too far (RFC 8247)",
    instead: "use sha256, sha384 or sha512 (as a PRF: prfsha256, prfsha384 or prfsha512)",
};
const NO_ENCRYPTION: Refused =
    Refused { reason: "it does not encrypt", instead: "use aes256gcm16 or aes128gcm16" };
const OTHER_CIPHER: Refused = Refused {
    reason: "the cipher is not supported",
    instead: "use aes256gcm16, aes128gcm16, chacha20poly1305 or aes256-sha256",
};
const OTHER_HASH: Refused = Refused {
    reason: "the algorithm is not supported",
    instead: "use sha256, sha384 or sha512 (as a PRF: prfsha256, prfsha384 or prfsha512)",
};
const OTHER_GROUP: Refused = Refused {
    reason: "the group is not supported",
    instead: "use x25519, ecp256, ecp384, ecp521, modp2048, modp3072 or modp4096",
};
const UNSAFE_GROUP: Refused = Refused {
    reason: "the group's small subgroups need checks that peers leave out (RFC 8247)",
    instead: "use modp2048",
};

/// The reason why a lower-case word is refused, if it is one that others know.
pub(crate) fn refused(word: &str) -> Option<Refused> {
    Some(match word {
        "modp768" | "modp1024" | "modp1536" | "ecp192" => WEAK_GROUP,
        "modp1024s160" | "modp2048s224" | "modp2048s256" => UNSAFE_GROUP,
        "3des" | "des" | "idea" | "blowfish" | "blowfish128" | "blowfish192" | "blowfish256" | "cast128" => {
            WEAK_CIPHER
        }
        "md5" | "md5_128" | "sha" | "sha1" | "sha1_160" | "prfmd5" | "prfsha1" | "sha256_96"
        | "sha2_256_96" => WEAK_HASH,
        "null" | "aes128gmac" | "aes192gmac" | "aes256gmac" => NO_ENCRYPTION,
        "aesxcbc" | "aescmac" | "prfaesxcbc" | "prfaescmac" => OTHER_HASH,
        "modp6144" | "modp8192" | "ecp224" | "ecp224bp" | "ecp256bp" | "ecp384bp" | "ecp512bp" | "x448"
        | "curve448" | "ntru112" | "ntru128" | "ntru192" | "ntru256" | "newhope128" | "mlkem512"
        | "mlkem768" | "mlkem1024" => OTHER_GROUP,
        _ if word.starts_with("camellia") || word.starts_with("serpent") || word.starts_with("twofish") => {
            OTHER_CIPHER
        }
        _ if word.starts_with("aes") && (word.contains("ctr") || word.contains("ccm")) => OTHER_CIPHER,
        _ if word.starts_with("ke1_") || word.starts_with("ke2_") => OTHER_GROUP,
        _ => return None,
    })
}

/// Every word that a proposal of a kind may have, as it is printed.
pub(crate) fn known(kind: ProposalKind) -> Vec<&'static str> {
    let common = (Cipher::ALL.iter().map(|cipher| cipher.keyword()))
        .chain(Integrity::ALL.iter().map(|integrity| integrity.keyword()));
    let groups = Group::ALL.iter().map(|group| group.keyword());
    match kind {
        ProposalKind::Ike => common.chain(Prf::ALL.iter().map(|prf| prf.keyword())).chain(groups).collect(),
        ProposalKind::Esp => common.chain(groups).chain(["esn", "noesn"]).collect(),
    }
}

/// The candidate nearest to a word, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let most = 1 + word.len() / 4;
    (candidates.into_iter())
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) that lead from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let width = other.len() + 1;
    let mut table: Vec<usize> = vec![0; (one.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let get = |table: &[usize], row, column| table.get(at(row, column)).copied().unwrap_or(usize::MAX / 2);
    for row in 0..=one.len() {
        for column in 0..=other.len() {
            let cost = if row == 0 {
                column
            } else if column == 0 {
                row
            } else {
                let same = one.get(row - 1) == other.get(column - 1);
                let mut best = (get(&table, row - 1, column) + 1)
                    .min(get(&table, row, column - 1) + 1)
                    .min(get(&table, row - 1, column - 1) + usize::from(!same));
                if row > 1
                    && column > 1
                    && one.get(row - 1) == other.get(column - 2)
                    && one.get(row - 2) == other.get(column - 1)
                {
                    best = best.min(get(&table, row - 2, column - 2) + 1);
                }
                best
            };
            if let Some(cell) = table.get_mut(at(row, column)) {
                *cell = cost;
            }
        }
    }
    get(&table, one.len(), other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_word() {
        assert_eq!(nearest("x25591", known(ProposalKind::Ike)), Some("x25519"));
        assert_eq!(nearest("aes256gmc16", known(ProposalKind::Esp)), Some("aes256gcm16"));
        assert_eq!(nearest("prfsha348", known(ProposalKind::Ike)), Some("prfsha384"));
    }

    #[test]
    fn a_strange_word_finds_none() {
        assert_eq!(nearest("rot13", known(ProposalKind::Ike)), None);
        assert_eq!(nearest(&"a".repeat(100_000), known(ProposalKind::Ike)), None);
    }

    #[test]
    fn no_refused_word_is_a_known_one() {
        for word in known(ProposalKind::Ike).into_iter().chain(known(ProposalKind::Esp)) {
            assert!(refused(word).is_none(), "{word}");
        }
    }
}
