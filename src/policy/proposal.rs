//! Proposals as operators write them: `aes256gcm16-prfsha384-x25519`.
//!
//! The words are those of strongSwan. A proposal may name several algorithms of one kind, in order of
//! preference. Ciphers that authenticate (AES-GCM, ChaCha20-Poly1305) and ciphers that need an integrity
//! algorithm cannot stand in one proposal
//! ([RFC 7296 3.3](https://www.rfc-editor.org/rfc/rfc7296#section-3.3)): write two.

use std::fmt;
use std::ops::Range;

use super::words::{self, Refused};
use crate::crypto::{Cipher, EspSuite, Group, IkeSuite, Integrity, Prf};

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProposalKind {
    /// An IKE SA.
    Ike,
    /// A Child SA with ESP.
    Esp,
}

impl fmt::Display for ProposalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ike => "IKE",
            Self::Esp => "ESP",
        })
    }
}

/// One proposal: for every kind of transform the algorithms in order of preference.
///
/// Read by [`Proposal::parse_ike`] and [`Proposal::parse_esp`], which admit only what can be negotiated: at
/// least one cipher, an integrity algorithm exactly where the ciphers need one, a PRF and a group for IKE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposal {
    kind: ProposalKind,
    ciphers: Vec<Cipher>,
    integrity: Vec<Integrity>,
    prfs: Vec<Prf>,
    groups: Vec<Group>,
    esn: Vec<bool>,
}

/// What is wrong with a written proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalError {
    /// What it was read as.
    pub kind: ProposalKind,
    /// Octets of the text that are wrong; the whole where something is missing.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for ProposalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ProposalError {}

enum Word {
    Cipher(Cipher),
    Integrity(Integrity),
    Prf(Prf),
    Group(Group),
    Esn(bool),
}

fn read_word(word: &str) -> Option<Word> {
    match word {
        "esn" => return Some(Word::Esn(true)),
        "noesn" => return Some(Word::Esn(false)),
        "aes" => return Some(Word::Cipher(Cipher::AesCbc { key_bits: 128 })),
        _ => {}
    }
    if let Ok(cipher) = word.parse() {
        return Some(Word::Cipher(cipher));
    }
    if let Ok(integrity) = word.parse() {
        return Some(Word::Integrity(integrity));
    }
    if let Ok(prf) = word.parse() {
        return Some(Word::Prf(prf));
    }
    word.parse().ok().map(Word::Group)
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) -> bool {
    if list.contains(&value) {
        return false;
    }
    list.push(value);
    true
}

impl Proposal {
    /// Reads an IKE proposal. Without a PRF, that of the integrity algorithm's hash is meant.
    ///
    /// # Errors
    /// A [`ProposalError`] that points at the word.
    pub fn parse_ike(text: &str) -> Result<Self, ProposalError> {
        Self::parse(ProposalKind::Ike, text)
    }

    /// Reads an ESP proposal. With groups, a rekey makes a fresh key exchange (PFS). Without `esn` or `noesn`,
    /// both are offered, extended sequence numbers first.
    ///
    /// # Errors
    /// A [`ProposalError`] that points at the word.
    pub fn parse_esp(text: &str) -> Result<Self, ProposalError> {
        Self::parse(ProposalKind::Esp, text)
    }

    fn parse(kind: ProposalKind, text: &str) -> Result<Self, ProposalError> {
        let fail = |span: Range<usize>, message: String, hint: Option<&str>| {
            Err(ProposalError { kind, span, message, hint: hint.map(str::to_owned) })
        };
        let whole = 0..text.len();
        if text.trim().is_empty() {
            return fail(whole, format!("the {kind} proposal is empty"), None);
        }
        let mut proposal = Self {
            kind,
            ciphers: Vec::new(),
            integrity: Vec::new(),
            prfs: Vec::new(),
            groups: Vec::new(),
            esn: Vec::new(),
        };
        let mut first_integrity = None;
        let mut offset = 0;
        for raw in text.split('-') {
            let span = offset..offset + raw.len();
            offset = span.end + 1;
            let word = raw.to_ascii_lowercase();
            if let Some(Refused { reason, instead }) = words::refused(&word) {
                return fail(span, format!("`{raw}` is not supported: {reason}"), Some(instead));
            }
            let new = match read_word(&word) {
                None => return Err(unknown_word(kind, raw, span)),
                Some(Word::Cipher(cipher)) => push_new(&mut proposal.ciphers, cipher),
                Some(Word::Integrity(integrity)) => {
                    first_integrity.get_or_insert_with(|| span.clone());
                    push_new(&mut proposal.integrity, integrity)
                }
                Some(Word::Group(group)) => push_new(&mut proposal.groups, group),
                Some(Word::Prf(_)) if kind == ProposalKind::Esp => {
                    let hint = "leave it out; a PRF belongs to the IKE proposal";
                    return fail(
                        span,
                        format!("`{raw}` is a PRF, which an ESP proposal has none of"),
                        Some(hint),
                    );
                }
                Some(Word::Prf(prf)) => push_new(&mut proposal.prfs, prf),
                Some(Word::Esn(_)) if kind == ProposalKind::Ike => {
                    let hint = "leave it out; extended sequence numbers belong to the ESP proposal";
                    return fail(span, format!("`{raw}` does not belong into an IKE proposal"), Some(hint));
                }
                Some(Word::Esn(esn)) => push_new(&mut proposal.esn, esn),
            };
            if !new {
                return fail(span, format!("`{raw}` is named twice"), Some("leave one out"));
            }
        }
        proposal.check(text, first_integrity)?;
        Ok(proposal)
    }

    fn check(&mut self, text: &str, first_integrity: Option<Range<usize>>) -> Result<(), ProposalError> {
        let kind = self.kind;
        let fail = |span: Range<usize>, message: String, hint: String| {
            Err(ProposalError { kind, span, message, hint: Some(hint) })
        };
        let whole = 0..text.len();
        let aead = self.ciphers.iter().find(|cipher| cipher.is_aead());
        let plain = self.ciphers.iter().find(|cipher| !cipher.is_aead());
        match (aead, plain) {
            (None, None) => {
                return fail(
                    whole,
                    format!("the {kind} proposal `{text}` names no cipher"),
                    "begin with one, such as aes256gcm16".to_owned(),
                );
            }
            (Some(aead), Some(plain)) => {
                return fail(
                    whole,
                    format!(
                        "`{aead}` authenticates by itself and `{plain}` does not: they cannot share a proposal"
                    ),
                    "write two proposals".to_owned(),
                );
            }
            (Some(aead), None) => {
                if let (Some(span), Some(integrity)) = (first_integrity, self.integrity.first()) {
                    let hint = match kind {
                        ProposalKind::Ike => {
                            format!("leave it out, or write {} if a PRF is meant", integrity.default_prf())
                        }
                        ProposalKind::Esp => "leave it out".to_owned(),
                    };
                    return fail(
                        span,
                        format!("`{aead}` authenticates by itself, `{integrity}` cannot go with it"),
                        hint,
                    );
                }
            }
            (None, Some(plain)) if self.integrity.is_empty() => {
                return fail(
                    whole,
                    format!("`{plain}` needs an integrity algorithm"),
                    format!("add one, such as {plain}-sha256, or use aes256gcm16"),
                );
            }
            (None, Some(_)) => {}
        }
        if kind == ProposalKind::Esp {
            if self.esn.is_empty() {
                self.esn = vec![true, false];
            }
            return Ok(());
        }
        if self.prfs.is_empty() {
            self.prfs = self.integrity.iter().map(|integrity| integrity.default_prf()).collect();
        }
        if self.prfs.is_empty() {
            return fail(
                whole,
                format!("the IKE proposal `{text}` names no PRF"),
                "add one, such as prfsha384".to_owned(),
            );
        }
        if self.groups.is_empty() {
            return fail(
                whole,
                format!("the IKE proposal `{text}` names no key exchange group"),
                "add one, such as x25519, ecp256 or modp2048".to_owned(),
            );
        }
        Ok(())
    }

    /// What it is for.
    pub fn kind(&self) -> ProposalKind {
        self.kind
    }

    /// Ciphers, the preferred one first; all of them authenticate or none does.
    pub fn ciphers(&self) -> &[Cipher] {
        &self.ciphers
    }

    /// Integrity algorithms, none if the ciphers authenticate.
    pub fn integrity(&self) -> &[Integrity] {
        &self.integrity
    }

    /// PRFs, for IKE only.
    pub fn prfs(&self) -> &[Prf] {
        &self.prfs
    }

    /// Key exchange groups; none in an ESP proposal means no PFS.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether sequence numbers are extended, for ESP only, in order of preference.
    pub fn esn(&self) -> &[bool] {
        &self.esn
    }

    /// The same proposal without key exchange groups: what IKE_AUTH may carry.
    #[must_use]
    pub fn without_groups(&self) -> Self {
        Self { groups: Vec::new(), ..self.clone() }
    }

    /// What an IKE SA is offered by default, the preferred ones first.
    pub fn default_ike() -> Vec<Self> {
        let groups = Group::ALL.to_vec();
        let prfs = vec![Prf::HmacSha384, Prf::HmacSha256, Prf::HmacSha512];
        let of = |ciphers: Vec<Cipher>, integrity: Vec<Integrity>| Self {
            kind: ProposalKind::Ike,
            ciphers,
            integrity,
            prfs: prfs.clone(),
            groups: groups.clone(),
            esn: Vec::new(),
        };
        vec![of(default_aead(), Vec::new()), of(default_cbc(), Integrity::ALL.to_vec())]
    }

    /// What a Child SA is offered by default, the preferred ones first; without PFS groups if `pfs` is not set.
    pub fn default_esp(pfs: bool) -> Vec<Self> {
        let groups = if pfs { Group::ALL.to_vec() } else { Vec::new() };
        let of = |ciphers: Vec<Cipher>, integrity: Vec<Integrity>| Self {
            kind: ProposalKind::Esp,
            ciphers,
            integrity,
            prfs: Vec::new(),
            groups: groups.clone(),
            esn: vec![true, false],
        };
        vec![of(default_aead(), Vec::new()), of(default_cbc(), Integrity::ALL.to_vec())]
    }
}

fn default_aead() -> Vec<Cipher> {
    vec![
        Cipher::AesGcm { key_bits: 256, icv_len: 16 },
        Cipher::AesGcm { key_bits: 128, icv_len: 16 },
        Cipher::ChaCha20Poly1305,
    ]
}

fn default_cbc() -> Vec<Cipher> {
    vec![Cipher::AesCbc { key_bits: 256 }, Cipher::AesCbc { key_bits: 128 }]
}

fn unknown_word(kind: ProposalKind, raw: &str, span: Range<usize>) -> ProposalError {
    let known = words::known(kind);
    let near = words::nearest(&raw.to_ascii_lowercase(), known.iter().copied());
    let hint = match near {
        Some(word) => format!("did you mean {word}?"),
        None => format!("known are {}", known.join(", ")),
    };
    ProposalError {
        kind,
        span,
        message: format!("`{raw}` is no algorithm of an {kind} proposal"),
        hint: Some(hint),
    }
}

impl From<IkeSuite> for Proposal {
    fn from(suite: IkeSuite) -> Self {
        Self {
            kind: ProposalKind::Ike,
            ciphers: vec![suite.cipher],
            integrity: suite.integrity.into_iter().collect(),
            prfs: vec![suite.prf],
            groups: vec![suite.group],
            esn: Vec::new(),
        }
    }
}

impl From<EspSuite> for Proposal {
    fn from(suite: EspSuite) -> Self {
        Self {
            kind: ProposalKind::Esp,
            ciphers: vec![suite.cipher],
            integrity: suite.integrity.into_iter().collect(),
            prfs: Vec::new(),
            groups: suite.group.into_iter().collect(),
            esn: vec![suite.esn],
        }
    }
}

/// As [`Proposal::parse_ike`] and [`Proposal::parse_esp`] read it, with every word said.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = (self.ciphers.iter().map(ToString::to_string))
            .chain(self.integrity.iter().map(ToString::to_string))
            .chain(self.prfs.iter().map(ToString::to_string))
            .chain(self.groups.iter().map(ToString::to_string))
            .chain(self.esn.iter().map(|esn| if *esn { "esn" } else { "noesn" }.to_owned()));
        f.write_str(&words.collect::<Vec<_>>().join("-"))
    }
}

#[cfg(test)]
mod tests;
