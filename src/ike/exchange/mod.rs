//! The exchanges, one module each, both roles side by side.

pub(crate) mod auth;
pub(crate) mod create_child;
pub(crate) mod informational;
pub(crate) mod init;
pub(crate) mod negotiate;
pub(crate) mod rekey_ike;
