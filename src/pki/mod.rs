//! Certificates, keys and identities: parse, validate, match, and the AUTH signatures made with them.
