//! Cases by name.

mod child_rekey;
mod delete;
mod ike_rekey;
