//! The SPD: configured children in order, each with its live SAs before the entry that catches what
//! has none ([RFC 4301 section 4.4.1](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1)).

use std::sync::Arc;

use super::PeerSettings;
use super::sad::Sad;
use crate::esp::{SaSelectors, SpdAction, SpdEntry};
use crate::ike::StartPolicy;

/// The entries of each child of a peer with the outbound SAs in `sad`, one group a child.
///
/// A child whose negotiated selectors are narrower than configured keeps an entry for the rest: such
/// packets are refused (or raise another SA under `trap`), never sent in clear.
pub(super) fn groups<'a>(
    settings: &'a PeerSettings,
    sad: &'a Sad,
) -> impl Iterator<Item = Vec<SpdEntry>> + use<'a> {
    let peer = settings.ike.name.shared();
    settings.ike.children.iter().map(move |child| {
        let name = child.name.shared();
        let entry = |selectors, outbound| SpdEntry {
            peer: Arc::clone(&peer),
            child: Arc::clone(&name),
            selectors,
            action: SpdAction::Protect { outbound, trap: child.start == StartPolicy::Trap },
        };
        let live = sad.outbound_of(&settings.ike.name, &child.name);
        let mut entries: Vec<_> =
            live.map(|(selectors, outbound)| entry(selectors, Some(outbound))).collect();
        let rest = SaSelectors { local: child.local.clone(), remote: child.remote.clone() };
        entries.push(entry(rest, None));
        entries
    })
}
