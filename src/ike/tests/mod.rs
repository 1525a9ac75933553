//! Behaviour of two endpoints on a virtual clock and a scripted link.

mod adversity;
mod credentials;
mod establish;
mod hostile;
mod manners;
mod pair;
mod paths;
mod rekeying;
mod restart;
mod storm;
mod tap;
mod wide;
