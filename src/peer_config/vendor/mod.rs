//! Devices and clouds whose configuration is written after their makers' documentation, one file each.
//!
//! Every file opens with the names that its product has for algorithms: a suite that has no name there is not offered
//! to it. What they share stands in [`names`], [`networks`], [`ends`] and [`shell`].

pub(super) mod alibaba;
pub(super) mod aws;
pub(super) mod azure;
pub(super) mod cisco;
pub(super) mod fortigate;
pub(super) mod gcp;
pub(super) mod mikrotik;
pub(super) mod opnsense;
pub(super) mod vyos;

mod ends;
mod names;
mod networks;
mod shell;

#[cfg(test)]
mod tests;
