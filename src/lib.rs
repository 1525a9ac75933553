//! Skybridge joins an office LAN and a Kubernetes cluster's VPC by IPsec: IKEv2 and ESP in UDP, in
//! userspace, over a TUN device.
//!
//! The layers, each importing only from those to its left:
//!
//! ```text
//! wire → crypto → pki, policy → ike, esp → engine → config
//!      → dataplane, system, cluster, control, peer_config → daemon → lab → cli
//! ```
//!
//! Everything up to and including [`engine`] is pure: time, randomness and datagrams come in as
//! arguments, transmits, timers and events go out as values. `tests/layers.rs` rejects an upward
//! import.
#![forbid(unsafe_code)]

pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod crypto;
pub mod daemon;
pub mod dataplane;
pub mod engine;
pub mod esp;
pub mod ike;
pub mod lab;
pub mod peer_config;
pub mod pki;
pub mod policy;
pub mod system;
pub mod wire;
