//! Behaviour of two endpoints on a virtual clock and a scripted link.

mod adversity;
mod establish;
mod pair;
mod rekeying;
mod storm;
mod wide;
