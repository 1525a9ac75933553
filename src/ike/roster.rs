//! Everybody who may knock: which configured peers an initiator may turn out to be, first by its address and then
//! by its identity. Made once for a configuration and shared by all half-open IKE SAs.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::pki::{Identity, IdentityPattern};
use crate::policy::{NoProposal, Proposal, SelectedIke, Selection, select_ike_with};
use crate::wire::ike::registry::IdType;
use crate::wire::ike::{Payload, ProposalBody};

use super::auth;
use super::config::{PeerConfig, RemoteAddress};

#[derive(Debug)]
struct Member {
    peer: Arc<PeerConfig>,
    addresses: Vec<IpAddr>,
}

/// Type and content of an identity, so that identities that match fall into one bucket; others may too.
type Bucket = (IdType, Vec<u8>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: Vec<Member>,
    by_address: BTreeMap<IpAddr, Vec<usize>>,
    by_identity: BTreeMap<Bucket, Vec<usize>>,
    /// Those that may have many identities.
    by_pattern: Vec<usize>,
    /// One member for every different list of proposals; peers that may be anywhere come first.
    offers: Vec<usize>,
    request: Option<Payload>,
}

fn bucket(identity: &Identity) -> Bucket {
    match identity.kind {
        // Distinguished names that are written differently may match.
        IdType::DER_ASN1_DN => (identity.kind, Vec::new()),
        kind => (kind, identity.data.to_ascii_lowercase()),
    }
}

impl Roster {
    /// The peers in order of precedence, each with the addresses that it is known to have.
    pub(crate) fn new(peers: impl IntoIterator<Item = (Arc<PeerConfig>, Vec<IpAddr>)>) -> Self {
        let mut roster = Self::default();
        for (peer, addresses) in peers {
            let index = roster.members.len();
            for address in &addresses {
                let at = roster.by_address.entry(*address).or_default();
                if !at.contains(&index) {
                    at.push(index);
                }
            }
            match &peer.remote_id {
                IdentityPattern::Exact(identity) => {
                    roster.by_identity.entry(bucket(identity)).or_default().push(index);
                }
                IdentityPattern::Any | IdentityPattern::Subdomain(_) => roster.by_pattern.push(index),
            }
            roster.members.push(Member { peer, addresses });
        }
        let (anywhere, somewhere): (Vec<usize>, Vec<usize>) = (0..roster.members.len()).partition(|index| {
            roster.members.get(*index).is_some_and(|member| member.peer.remote == RemoteAddress::Any)
        });
        let mut seen: HashSet<&[Proposal]> = HashSet::new();
        roster.offers = anywhere
            .into_iter()
            .chain(somewhere)
            .filter(|index| roster.members.get(*index).is_some_and(|member| seen.insert(&member.peer.ike)))
            .collect();
        roster.request = auth::certificate_request(roster.members.iter().map(|member| &*member.peer));
        roster
    }

    fn at(&self, from: IpAddr) -> &[usize] {
        self.by_address.get(&from).map(Vec::as_slice).unwrap_or_default()
    }

    /// The choice among an initiator's proposals of the likeliest peer that finds one acceptable: those that are
    /// known at the address, then those that may be anywhere, then the others. Who it really is, and whether the
    /// suite suits it, IKE_AUTH shows.
    ///
    /// # Errors
    /// Words for the operator.
    pub(crate) fn choose(
        &self,
        from: IpAddr,
        proposals: &[ProposalBody],
        selection: Selection,
    ) -> Result<SelectedIke, String> {
        let mut refusal: Option<NoProposal> = None;
        for index in self.at(from).iter().chain(&self.offers) {
            let Some(member) = self.members.get(*index) else { continue };
            match select_ike_with(&member.peer.ike, proposals, selection) {
                Ok(selected) => return Ok(selected),
                Err(none) => refusal = refusal.or(Some(none)),
            }
        }
        Err(refusal.map_or_else(|| "no peer is configured".to_owned(), |none| none.to_string()))
    }

    /// The peers that may have this identity, the likeliest at this address first.
    pub(crate) fn claimants(&self, from: IpAddr, identity: &Identity) -> Vec<&Arc<PeerConfig>> {
        let named = self.by_identity.get(&bucket(identity)).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<(u8, usize, &Arc<PeerConfig>)> = named
            .iter()
            .chain(&self.by_pattern)
            .filter_map(|index| Some((*index, self.members.get(*index)?)))
            .filter(|(_, member)| member.peer.remote_id.matches(identity))
            .map(|(index, member)| (member.rank(from), index, &member.peer))
            .collect();
        found.sort_unstable_by_key(|(rank, index, _)| (*rank, *index));
        found.into_iter().map(|(.., peer)| peer).collect()
    }

    /// The CERTREQ payload for all of them.
    pub(crate) fn certificate_request(&self) -> Option<&Payload> {
        self.request.as_ref()
    }
}

impl Member {
    fn rank(&self, from: IpAddr) -> u8 {
        if self.addresses.contains(&from) {
            0
        } else if self.peer.remote == RemoteAddress::Any {
            1
        } else {
            2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::config::{LocalAuth, RemoteAuth};
    use crate::policy::offer;

    fn peer(name: &str, remote: RemoteAddress, remote_id: &str, ike: &str) -> Arc<PeerConfig> {
        let mut peer = PeerConfig::new(
            name.into(),
            remote,
            Identity::parse("hub.example.com").unwrap(),
            IdentityPattern::parse(remote_id).unwrap(),
            LocalAuth::Psk(Vec::new()),
            RemoteAuth::Psk(Vec::new()),
        );
        peer.ike = vec![Proposal::parse_ike(ike).unwrap()];
        Arc::new(peer)
    }

    const SUITE: &str = "aes256gcm16-prfsha384-x25519";
    const OTHER: &str = "aes128gcm16-prfsha256-ecp256";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn names(found: &[&Arc<PeerConfig>]) -> Vec<String> {
        found.iter().map(|peer| peer.name.to_string()).collect()
    }

    #[test]
    fn of_ten_thousand_peers_only_those_with_the_identity_are_claimants() {
        let exact = (0..10_000).map(|number| {
            let name = format!("site{number:05}");
            (peer(&name, RemoteAddress::Any, &format!("{name}.example.com"), SUITE), Vec::new())
        });
        let known = RemoteAddress::Addresses(vec![ip("192.0.2.7")]);
        let patterns = [
            (peer("x-any", RemoteAddress::Any, "any", SUITE), Vec::new()),
            (peer("y-domain", known, "*.example.com", SUITE), vec![ip("192.0.2.7")]),
            (peer("z-domain", RemoteAddress::Any, "*.example.net", SUITE), Vec::new()),
        ];
        let roster = Roster::new(exact.chain(patterns));
        let claimed = Identity::parse("SITE04711.example.com").unwrap();
        let far = roster.claimants(ip("198.51.100.1"), &claimed);
        assert_eq!(names(&far), ["site04711", "x-any", "y-domain"]);
        let near = roster.claimants(ip("192.0.2.7"), &claimed);
        assert_eq!(names(&near), ["y-domain", "site04711", "x-any"]);
        assert_eq!(roster.offers.len(), 1);
    }

    #[test]
    fn a_peer_that_is_known_at_the_address_chooses_first() {
        let known = RemoteAddress::Addresses(vec![ip("192.0.2.7")]);
        let roster = Roster::new([
            (peer("a", RemoteAddress::Any, "any", SUITE), Vec::new()),
            (peer("b", known, "any", OTHER), vec![ip("192.0.2.7")]),
        ]);
        let both = [Proposal::parse_ike(SUITE).unwrap(), Proposal::parse_ike(OTHER).unwrap()];
        let offered = offer(&both, &[]);
        let chosen =
            |from: &str| roster.choose(ip(from), &offered, Selection::default()).unwrap().suite.to_string();
        assert_eq!(chosen("192.0.2.7"), OTHER);
        assert_eq!(chosen("198.51.100.1"), SUITE);
        let foreign = offer(&[Proposal::parse_ike("aes256-sha512-modp2048").unwrap()], &[]);
        let refusal = roster.choose(ip("198.51.100.1"), &foreign, Selection::default()).unwrap_err();
        assert!(refusal.contains(SUITE), "{refusal}");
    }

    #[test]
    fn nobody_is_found_in_an_empty_roster() {
        let roster = Roster::default();
        let refusal = roster.choose(ip("192.0.2.7"), &[], Selection::default()).unwrap_err();
        assert_eq!(refusal, "no peer is configured");
        assert!(roster.claimants(ip("192.0.2.7"), &Identity::parse("a.example.com").unwrap()).is_empty());
    }
}
