//! The names that a product's documentation gives to algorithms, and the first of our suites that has one for each.

use crate::crypto::{Cipher, EspSuite, Group, IkeSuite, Integrity, Prf};
use crate::peer_config::choice::{esp_suites, ike_suites};
use crate::peer_config::{Child, RenderError, Target, View};
use crate::policy::ProposalKind;

pub(super) const GCM128: Cipher = Cipher::AesGcm { key_bits: 128, icv_len: 16 };
pub(super) const GCM192: Cipher = Cipher::AesGcm { key_bits: 192, icv_len: 16 };
pub(super) const GCM256: Cipher = Cipher::AesGcm { key_bits: 256, icv_len: 16 };
pub(super) const CBC128: Cipher = Cipher::AesCbc { key_bits: 128 };
pub(super) const CBC192: Cipher = Cipher::AesCbc { key_bits: 192 };
pub(super) const CBC256: Cipher = Cipher::AesCbc { key_bits: 256 };
pub(super) const SHA256: Integrity = Integrity::HmacSha256_128;
pub(super) const SHA384: Integrity = Integrity::HmacSha384_192;
pub(super) const SHA512: Integrity = Integrity::HmacSha512_256;

/// Algorithms with their names.
pub(super) type Named<T> = &'static [(T, &'static str)];

/// PRFs where a product calls them by their hash.
pub(super) const PRF_BY_HASH: Named<Prf> =
    &[(Prf::HmacSha256, "sha256"), (Prf::HmacSha384, "sha384"), (Prf::HmacSha512, "sha512")];

/// Groups where a product calls them by their number, but for those that not every product has.
pub(super) const GROUPS_BY_NUMBER: Named<Group> = &[
    (Group::Ecp256, "19"),
    (Group::Ecp384, "20"),
    (Group::Ecp521, "21"),
    (Group::Modp2048, "14"),
    (Group::Modp3072, "15"),
    (Group::Modp4096, "16"),
];

/// What a product can do, in its own words.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) target: Target,
    pub(super) ike_ciphers: Named<Cipher>,
    pub(super) ike_integrity: Named<Integrity>,
    pub(super) prfs: Named<Prf>,
    pub(super) groups: Named<Group>,
    /// Whether a PRF cannot be said beside an integrity algorithm and is that of the same hash.
    pub(super) prf_follows: bool,
    pub(super) esp_ciphers: Named<Cipher>,
    pub(super) esp_integrity: Named<Integrity>,
    pub(super) pfs: Named<Group>,
    /// Whether Child SAs can be rekeyed without a fresh key exchange.
    pub(super) without_pfs: bool,
    /// An IKE and an ESP proposal that the product knows, as they are written in our configuration.
    pub(super) such_as: (&'static str, &'static str),
}

/// An IKE suite in a product's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct IkeWords {
    pub(super) suite: IkeSuite,
    pub(super) cipher: &'static str,
    /// None if the cipher authenticates.
    pub(super) integrity: Option<&'static str>,
    pub(super) prf: &'static str,
    pub(super) group: &'static str,
}

/// An ESP suite in a product's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct EspWords {
    pub(super) suite: EspSuite,
    pub(super) cipher: &'static str,
    /// None if the cipher authenticates.
    pub(super) integrity: Option<&'static str>,
    /// None without PFS.
    pub(super) pfs: Option<&'static str>,
}

/// The name of an algorithm, if it has one.
pub(super) fn name<T: PartialEq>(names: Named<T>, algorithm: &T) -> Option<&'static str> {
    names.iter().find(|(known, _)| known == algorithm).map(|(_, name)| *name)
}

/// The name of what may be absent: none if it is, and no answer at all if it is there and has no name.
fn name_if_any<T: PartialEq>(names: Named<T>, algorithm: Option<T>) -> Option<Option<&'static str>> {
    match algorithm {
        None => Some(None),
        Some(algorithm) => name(names, &algorithm).map(Some),
    }
}

impl Names {
    fn ike_words(&self, suite: IkeSuite) -> Option<IkeWords> {
        if self.prf_follows && suite.integrity.is_some_and(|integrity| integrity.default_prf() != suite.prf) {
            return None;
        }
        Some(IkeWords {
            suite,
            cipher: name(self.ike_ciphers, &suite.cipher)?,
            integrity: name_if_any(self.ike_integrity, suite.integrity)?,
            prf: name(self.prfs, &suite.prf)?,
            group: name(self.groups, &suite.group)?,
        })
    }

    fn esp_words(&self, suite: EspSuite) -> Option<EspWords> {
        // None of these products is told to use extended sequence numbers.
        if suite.esn || (suite.group.is_none() && !self.without_pfs) {
            return None;
        }
        Some(EspWords {
            suite,
            cipher: name(self.esp_ciphers, &suite.cipher)?,
            integrity: name_if_any(self.esp_integrity, suite.integrity)?,
            pfs: name_if_any(self.pfs, suite.group)?,
        })
    }

    fn no_suite(&self, kind: ProposalKind, at: String) -> RenderError {
        let such_as = match kind {
            ProposalKind::Ike => self.such_as.0,
            ProposalKind::Esp => self.such_as.1,
        };
        RenderError::NoSuite { target: self.target, kind, at, such_as }
    }

    /// The first IKE suite that the product can do.
    pub(super) fn ike(&self, view: &View) -> Result<IkeWords, RenderError> {
        let found = ike_suites(&view.ike).find_map(|suite| self.ike_words(suite));
        found.ok_or_else(|| self.no_suite(ProposalKind::Ike, view.peer.clone()))
    }

    /// The first ESP suite of a child that the product can do.
    pub(super) fn esp(&self, view: &View, child: &Child) -> Result<EspWords, RenderError> {
        let found = esp_suites(&child.esp).find_map(|suite| self.esp_words(suite));
        found.ok_or_else(|| self.no_suite(ProposalKind::Esp, format!("{}/{}", view.peer, child.name)))
    }

    /// The first ESP suite that every child admits, for products that have one for the whole tunnel.
    pub(super) fn esp_of_all(&self, view: &View) -> Result<EspWords, RenderError> {
        let in_all = |suite: &EspSuite| {
            view.children.iter().all(|child| esp_suites(&child.esp).any(|other| other == *suite))
        };
        let first = view.children.first().map(|child| child.esp.as_slice()).unwrap_or_default();
        let found = esp_suites(first).filter(in_all).find_map(|suite| self.esp_words(suite));
        found.ok_or_else(|| self.no_suite(ProposalKind::Esp, view.peer.clone()))
    }
}

/// What to write in our configuration so that only the chosen suites are left, if more are: a peer that chooses among
/// several may choose another one at each rekey.
pub(super) fn only(view: &View, ike: &IkeWords, esp: &EspWords) -> Option<String> {
    let several = ike_suites(&view.ike).nth(1).is_some()
        || view.children.iter().any(|child| esp_suites(&child.esp).any(|suite| suite != esp.suite));
    several.then(|| {
        format!(
            "On the Skybridge endpoint, offer this one suite alone, or another one may be chosen at a rekey: \
             ike = [\"{}\"] and esp = [\"{}-noesn\"].",
            ike.suite, esp.suite
        )
    })
}
