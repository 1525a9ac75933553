//! Cases by name.

mod child_rekey;
mod connect;
mod delete;
mod ike_rekey;
