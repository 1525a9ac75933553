//! The only user of the cryptographic libraries: suites, key schedule, key exchange, AEAD, signatures, secrets.
