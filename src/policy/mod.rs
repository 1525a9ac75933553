//! Pure algebra of negotiation policy: traffic selectors and proposals, with no keys, sockets or clock.
//!
//! [`selector`] and [`selector_set`] hold what a Child SA may carry, [`mod@narrow`] decides what a peer's request
//! leaves of it, [`proposal`] reads and writes suites as operators write them, [`transforms`] as they stand in an
//! SA payload, [`select`] chooses among a peer's offers and [`verify`] checks what a peer chose of ours.
//!
//! It does not decide which peer or Child SA a request belongs to, and it never looks at a packet's
//! octets: a [`PacketSummary`] is all it is told.

pub mod narrow;
pub mod packet;
pub mod proposal;
pub mod select;
pub mod selector;
pub mod selector_set;
pub mod transforms;
pub mod verify;
mod wire_selectors;
mod words;

pub use narrow::{NarrowError, Narrowed, accept_answer, choose, narrow, single_pair};
pub use packet::PacketSummary;
pub use proposal::{Proposal, ProposalError, ProposalKind};
pub use select::{
    NoProposal, Pfs, Preference, SelectedEsp, SelectedIke, Selection, select_esp, select_esp_with,
    select_ike, select_ike_with,
};
pub use selector::{PortRange, SelectorError, TrafficSelector};
pub use selector_set::SelectorSet;
pub use transforms::{describe, offer};
pub use verify::{ChoiceError, verify_esp, verify_ike};
pub use words::nearest as nearest_word;
