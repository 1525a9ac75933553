//! Certificates, keys and identities: parse, validate, match, and the AUTH signatures made with them.
//!
//! What it does: [`Identity`] (the ID payload's content) and its patterns, private keys from PEM, the
//! endpoint's own [`LocalCertificate`], the [`TrustStore`] that judges a peer's certificate (path,
//! revocation, usage, identity), the AUTH data of RFC 7427 and of the older methods, and the small CA
//! behind `skybridge genkey`.
//!
//! What it does not do: read files, look at the clock (the time is an argument, Unix seconds), fetch
//! anything a certificate points at, or decide which peer may use which identity.

pub mod auth;
mod binding;
pub mod certificate;
mod der;
pub mod dn;
pub mod error;
pub mod identity;
pub mod issue;
pub mod key;
pub mod local;
mod path;
mod public_key;
#[cfg(test)]
mod testing;
pub mod trust;

pub use auth::SignaturePolicy;
pub use certificate::{CertificateInfo, SubjectAltName};
pub use error::PkiError;
pub use identity::{Identity, IdentityError, IdentityPattern};
pub use key::{KeyKind, PrivateKey};
pub use local::{ExpiryWarning, LocalCertificate, RsaPadding, certificate_identity};
pub use trust::{PeerCertificate, RevocationPolicy, TrustStore};
