//! Behaviour of two endpoints on a virtual clock and a scripted link.

mod establish;
mod pair;
mod rekeying;
mod storm;
