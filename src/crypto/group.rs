//! Key exchange groups (Diffie-Hellman groups, transform type 4) and the lengths of their values.

use std::{fmt, str::FromStr};

use super::UnknownAlgorithm;
use crate::wire::ike::registry::GroupId;

/// A key exchange group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Curve25519, group 31 ([RFC 8031](https://www.rfc-editor.org/rfc/rfc8031)).
    Curve25519,
    /// NIST P-256, group 19 ([RFC 5903](https://www.rfc-editor.org/rfc/rfc5903)).
    Ecp256,
    /// NIST P-384, group 20 (RFC 5903).
    Ecp384,
    /// NIST P-521, group 21 (RFC 5903).
    Ecp521,
    /// 2048-bit MODP, group 14 ([RFC 3526](https://www.rfc-editor.org/rfc/rfc3526)).
    Modp2048,
    /// 3072-bit MODP, group 15 (RFC 3526).
    Modp3072,
    /// 4096-bit MODP, group 16 (RFC 3526).
    Modp4096,
}

impl Group {
    /// Every group, the preferred one first.
    pub const ALL: [Self; 7] = [
        Self::Curve25519,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
    ];

    /// The group's number at IANA.
    pub const fn id(self) -> GroupId {
        match self {
            Self::Curve25519 => GroupId(31),
            Self::Ecp256 => GroupId(19),
            Self::Ecp384 => GroupId(20),
            Self::Ecp521 => GroupId(21),
            Self::Modp2048 => GroupId(14),
            Self::Modp3072 => GroupId(15),
            Self::Modp4096 => GroupId(16),
        }
    }

    /// The group with this number, if it is implemented.
    pub fn from_id(id: GroupId) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.id() == id)
    }

    /// Exact length in octets of a public value in the KE payload.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Curve25519 => 32,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
        }
    }

    /// Length in octets of the shared secret g^ir.
    pub const fn shared_len(self) -> usize {
        match self {
            Self::Ecp256 | Self::Ecp384 | Self::Ecp521 => self.public_len() / 2,
            _ => self.public_len(),
        }
    }

    /// The keyword of a proposal: `x25519`, `ecp256`, `modp2048`, …
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Curve25519 => "x25519",
            Self::Ecp256 => "ecp256",
            Self::Ecp384 => "ecp384",
            Self::Ecp521 => "ecp521",
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

impl FromStr for Group {
    type Err = UnknownAlgorithm;

    /// Reads a keyword; `curve25519` is another name of `x25519`.
    fn from_str(word: &str) -> Result<Self, UnknownAlgorithm> {
        if word == "curve25519" {
            return Ok(Self::Curve25519);
        }
        Self::ALL
            .into_iter()
            .find(|group| group.keyword() == word)
            .ok_or_else(|| UnknownAlgorithm::new("key exchange group", word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_keywords_read_back() {
        for group in Group::ALL {
            assert_eq!(Group::from_id(group.id()), Some(group));
            assert_eq!(group.to_string().parse(), Ok(group));
        }
        assert_eq!("curve25519".parse(), Ok(Group::Curve25519));
    }

    #[test]
    fn weak_and_unknown_groups_are_not_found() {
        for id in [0, 1, 2, 5, 22, 1025] {
            assert_eq!(Group::from_id(GroupId(id)), None);
        }
        assert!("modp1024".parse::<Group>().is_err());
    }
}
