//! Certificates in use that expire soon: told in the status and, at 30, 7 and 1 days, in the log.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::core::Daemon;
use crate::ike::{self, LocalAuth, PeerConfig, RemoteAuth};
use crate::pki::ExpiryWarning;

/// What of a peer's certificates expires soon: our own, those that it is judged by, and the one that it
/// showed.
pub(super) fn expiring(
    peer: &PeerConfig,
    status: Option<&ike::PeerStatus>,
    unix_now: i64,
) -> Vec<ExpiryWarning> {
    let mut warnings = Vec::new();
    if let LocalAuth::Certificate(certificate) = &peer.local_auth {
        warnings.extend(certificate.expiry_warning(unix_now));
    }
    if let RemoteAuth::Certificate { trust, .. } = &peer.remote_auth {
        warnings.extend(trust.expiry_warnings(unix_now));
    }
    let shown = status.and_then(|status| status.remote_certificate_not_after);
    let subject = format!("the certificate of peer {}", peer.name);
    warnings.extend(shown.and_then(|not_after| ExpiryWarning::check(&subject, not_after, unix_now)));
    warnings
}

/// What the log has told already.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(String, i64, u8)>);

impl Told {
    /// Whether this is the first time; each threshold of each certificate counts once.
    fn first(&mut self, warning: &ExpiryWarning) -> bool {
        self.0.insert((warning.subject.clone(), warning.not_after, warning.threshold_days))
    }
}

impl Daemon {
    /// Writes to the log what has come near since the last look.
    pub(super) fn warn_of_expiry(&mut self) {
        let now = self.now();
        let status: BTreeMap<_, _> =
            self.engine.endpoint().status(now).into_iter().map(|peer| (peer.peer.clone(), peer)).collect();
        let mut warnings = Vec::new();
        for peer in self.engine.peers() {
            warnings.extend(expiring(&peer.ike, status.get(&peer.ike.name), now.unix));
        }
        for warning in warnings {
            if self.told.first(&warning) {
                warn!("{warning}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_is_told_once() {
        const DAY: i64 = 86_400;
        let mut told = Told::default();
        let at = |left: i64| ExpiryWarning::check("CN=office", 1_000 * DAY, 1_000 * DAY - left);
        let mut tellings = Vec::new();
        for left in (-DAY..40 * DAY).rev().step_by(3_600) {
            if let Some(warning) = at(left)
                && told.first(&warning)
            {
                tellings.push(warning.threshold_days);
            }
        }
        assert_eq!(tellings, [30, 7, 1, 0]);
    }
}
