//! Two engines and a virtual clock over a link that loses, delays, duplicates and reorders by seed: every
//! crossing of exchanges by name, and seeded random runs of all of them together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod cases;
mod host;
mod net;
mod pair;
mod random;
mod seeds;
mod sim;
