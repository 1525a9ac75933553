//! Behaviour of two endpoints on a virtual clock and a scripted link.

mod adversity;
mod establish;
mod pair;
mod rekeying;
mod restart;
mod storm;
mod wide;
