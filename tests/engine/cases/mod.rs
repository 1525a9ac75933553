//! Cases by name.

mod child_rekey;
