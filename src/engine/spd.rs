//! The SPD: configured children in order, each with its live SAs before the entry that catches what
//! has none ([RFC 4301 section 4.4.1](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1)).

use std::sync::Arc;

use super::PeerSettings;
use super::sad::Sad;
use crate::esp::{SaSelectors, SpdAction, SpdEntry};
use crate::ike::StartPolicy;

/// The entries for `peers` with the outbound SAs in `sad`.
///
/// A child whose negotiated selectors are narrower than configured keeps an entry for the rest: such
/// packets are refused (or raise another SA under `trap`), never sent in clear.
pub(super) fn entries<'a>(peers: impl Iterator<Item = &'a PeerSettings>, sad: &Sad) -> Vec<SpdEntry> {
    let mut entries = Vec::new();
    for settings in peers {
        let peer = settings.ike.name.shared();
        for child in &settings.ike.children {
            let name = child.name.shared();
            let mut add = |selectors, outbound| {
                entries.push(SpdEntry {
                    peer: Arc::clone(&peer),
                    child: Arc::clone(&name),
                    selectors,
                    action: SpdAction::Protect { outbound, trap: child.start == StartPolicy::Trap },
                });
            };
            for (selectors, outbound) in sad.outbound_of(&settings.ike.name, &child.name) {
                add(selectors, Some(outbound));
            }
            add(SaSelectors { local: child.local.clone(), remote: child.remote.clone() }, None);
        }
    }
    entries
}
