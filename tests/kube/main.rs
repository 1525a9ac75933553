//! The Kubernetes source against an HTTPS server that behaves as a recorded one did, and worse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod access;
mod faults;
mod follow;
mod recorded;
mod server;
