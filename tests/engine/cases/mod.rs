//! Cases by name.

mod child_rekey;
mod connect;
mod delete;
mod ike_rekey;
mod lifetimes;
mod liveness;
mod retransmit;
