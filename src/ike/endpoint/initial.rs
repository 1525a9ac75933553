//! IKE_SA_INIT as responder. Until a valid cookie has come, or the threshold is far, nothing is kept of a
//! request ([RFC 7296 section 2.6](https://www.rfc-editor.org/rfc/rfc7296#section-2.6)).

use std::sync::Arc;

use crate::crypto::{Group, IkeKeys};
use crate::ike::auth;
use crate::ike::channel::Channel;
use crate::ike::contents::Contents;
use crate::ike::context::jitter;
use crate::ike::event::{Datagram, Event};
use crate::ike::exchange::auth::HalfOpen;
use crate::ike::exchange::init::{Agreed, capabilities, is_kin};
use crate::ike::nat::{self, Path};
use crate::ike::roster::Roster;
use crate::ike::sa::{Core, IkeSa, State};
use crate::ike::time::Now;
use crate::ike::window::Window;
use crate::policy::{SelectedIke, Selection};
use crate::wire::ike::registry::{ExchangeType, NotifyType};
use crate::wire::ike::{Flags, Header, IkeSpi, Message, Notify, Payload};

use super::{Endpoint, reply};

impl Endpoint {
    pub(super) fn handle_init_request(&mut self, now: Now, datagram: &Datagram<'_>, message: Message) {
        let header = message.header;
        let impossible = header.flags.response
            || header.message_id != 0
            || !header.responder_spi.is_zero()
            || header.initiator_spi.is_zero();
        if impossible || self.shutting_down {
            self.counters.bad_init += 1;
            return;
        }
        if let Some(id) = self.half_open.get(header.initiator_spi, datagram.remote) {
            if let Some(IkeSa { state: State::HalfOpen(half_open), .. }) = self.sas.get(id)
                && half_open.agreed.request == datagram.octets
            {
                self.counters.retransmit_answered += 1;
                let response = half_open.agreed.response.clone();
                self.out.transmits.push_back(reply(datagram, response));
            } else {
                self.counters.bad_init += 1;
            }
            return;
        }
        let Ok(contents) = Contents::sort(message.payloads) else {
            self.counters.malformed += 1;
            return;
        };
        let (Some(proposals), Some((group, public)), Some(ni)) =
            (&contents.sa, &contents.ke, &contents.nonce)
        else {
            self.counters.malformed += 1;
            self.answer_unauthenticated(now, datagram, &header, NotifyType::INVALID_SYNTAX, Vec::new());
            return;
        };
        if !self.admit(now, datagram, &header, &contents, ni) {
            return;
        }
        let roster = self.peers.roster();
        let sent_group = Group::from_id(*group);
        let selection = Selection { sent_group, ..Selection::default() };
        let selected = match roster.choose(datagram.remote.ip(), proposals, selection) {
            Ok(selected) => selected,
            Err(reason) => {
                self.counters.no_proposal_sent += 1;
                if self.limiter.allow(now.mono, self.settings.unauthenticated_answers_per_second) {
                    self.out.events.push_back(Event::Refused { peer: None, remote: datagram.remote, reason });
                    self.answer(
                        datagram,
                        &header,
                        &[Payload::Notify(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()))],
                    );
                }
                return;
            }
        };
        let wanted = selected.suite.group.id();
        if *group != wanted {
            self.counters.invalid_ke_sent += 1;
            let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted.0.to_be_bytes().to_vec());
            self.answer(datagram, &header, &[Payload::Notify(notify)]);
            return;
        }
        let agreed = self.agree(now, datagram, &header, &contents, roster, selected, (public, ni));
        if let Err(reason) = agreed {
            self.counters.malformed += 1;
            if self.limiter.allow(now.mono, self.settings.unauthenticated_answers_per_second) {
                self.out.events.push_back(Event::Refused { peer: None, remote: datagram.remote, reason });
                self.answer(
                    datagram,
                    &header,
                    &[Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))],
                );
            }
        }
    }

    /// Whether the request may cost us anything; answers with COOKIE where it must prove its address.
    fn admit(
        &mut self,
        now: Now,
        datagram: &Datagram<'_>,
        header: &Header,
        contents: &Contents,
        ni: &[u8],
    ) -> bool {
        let from = datagram.remote.ip();
        let total = self.half_open.len();
        let here = self.half_open.of_address(from);
        if total >= self.settings.block_threshold {
            self.counters.half_open_dropped += 1;
            return false;
        }
        let suspicious =
            total >= self.settings.cookie_threshold || here >= self.settings.cookie_threshold_per_address;
        if suspicious {
            let cookie = contents.notify(NotifyType::COOKIE).map(|notify| notify.data.as_slice());
            if !cookie
                .is_some_and(|cookie| self.cookies.check(now.mono, from, header.initiator_spi, ni, cookie))
            {
                if cookie.is_some() {
                    self.counters.bad_cookie += 1;
                }
                self.counters.cookies_sent += 1;
                let cookie = self.cookies.bake(now.mono, &mut *self.random, from, header.initiator_spi, ni);
                self.answer(datagram, header, &[Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))]);
                return false;
            }
        }
        if here >= self.settings.block_threshold_per_address {
            self.counters.half_open_dropped += 1;
            return false;
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "all that the exchange brought")]
    fn agree(
        &mut self,
        now: Now,
        datagram: &Datagram<'_>,
        header: &Header,
        contents: &Contents,
        roster: Arc<Roster>,
        selected: SelectedIke,
        (public, ni): (&Vec<u8>, &Vec<u8>),
    ) -> Result<(), String> {
        let suite = selected.suite;
        let peer_spi = header.initiator_spi;
        let view = nat::detect(contents, peer_spi, IkeSpi::ZERO, datagram.local, datagram.remote)
            .ok_or("the initiator does not support NAT traversal, and ESP is sent in UDP only")?;
        let ke = self.random.key_exchange(suite.group).map_err(|error| error.to_string())?;
        let own_public = ke.public_value().to_vec();
        let shared = ke.agree(public).map_err(|error| error.to_string())?;
        let mut nr = vec![0; 32];
        self.random.fill(&mut nr);
        let id = self.registry.ike_id();
        let spi = self.registry.ike_spi(&mut *self.random, id);
        let keyed = IkeKeys::derive(&suite, &shared, ni, &nr, peer_spi, spi).and_then(|keys| {
            Ok((Channel::new(&suite, &keys, (peer_spi, spi), false, Window::after_init(false))?, keys))
        });
        let (mut channel, keys) = match keyed {
            Ok(keyed) => keyed,
            Err(error) => {
                self.registry.ike_spis.remove(&spi);
                return Err(error.to_string());
            }
        };
        channel.fragmentation = contents.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        channel.kin = is_kin(contents);
        let mut payloads = vec![
            Payload::SecurityAssociation(vec![selected.answer(Vec::new())]),
            Payload::KeyExchange { group: suite.group.id(), data: own_public },
            Payload::Nonce(nr.clone()),
        ];
        payloads.extend(nat::detection_payloads(peer_spi, spi, datagram.remote));
        payloads.extend(roster.certificate_request().cloned());
        payloads.extend(capabilities());
        let flags = Flags { initiator: false, version: false, response: true };
        let response =
            Message { header: Header::new(peer_spi, spi, ExchangeType::IKE_SA_INIT, flags, 0), payloads }
                .encode();
        if self.settings.key_log {
            self.log_ike_keys(suite, &keys, peer_spi, spi);
        }
        self.out.transmits.push_back(reply(datagram, response.clone()));
        let agreed = Agreed {
            suite,
            keys,
            request: datagram.octets.to_vec(),
            response,
            ni: ni.clone(),
            nr,
            peer_hashes: contents
                .notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)
                .map(|notify| auth::announced_hashes(&notify.data)),
        };
        let until = now.mono
            + self.settings.half_open_timeout
            + jitter(&mut *self.random, std::time::Duration::from_secs(1));
        let core = Core {
            id,
            local_spi: spi,
            remote_spi: peer_spi,
            initiator: false,
            path: Path {
                local: Some(datagram.local.ip()).filter(|local| !local.is_unspecified()),
                remote: datagram.remote,
                encapsulated: datagram.encapsulated,
                nat: view,
            },
            peer: None,
            started: now.mono,
            announced: false,
            ended: None,
            auth_refused: false,
        };
        let half_open = HalfOpen { channel, agreed, roster, from: datagram.remote.ip(), until };
        self.half_open.insert(peer_spi, datagram.remote, id);
        self.sas.put(IkeSa { core, state: State::HalfOpen(Box::new(half_open)) });
        Ok(())
    }

    fn log_ike_keys(
        &mut self,
        suite: crate::crypto::IkeSuite,
        keys: &IkeKeys,
        initiator: IkeSpi,
        responder: IkeSpi,
    ) {
        self.out.events.push_back(Event::KeyLog(crate::ike::KeyLog::Ike {
            initiator_spi: initiator.0,
            responder_spi: responder.0,
            sk_ei: keys.sk_ei.clone(),
            sk_er: keys.sk_er.clone(),
            sk_ai: keys.sk_ai.clone(),
            sk_ar: keys.sk_ar.clone(),
            suite,
        }));
    }
}
