//! IKE_SA_INIT ([RFC 7296 section 1.2](https://www.rfc-editor.org/rfc/rfc7296#section-1.2)), with COOKIE and
//! INVALID_KE_PAYLOAD in either order ([section 2.6.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.6.1)).

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::{Group, IkeKeys, IkeSuite, KeyExchange};
use crate::ike::auth;
use crate::ike::channel::Channel;
use crate::ike::config::PeerConfig;
use crate::ike::contents::Contents;
use crate::ike::context::Context;
use crate::ike::event::{Datagram, DownReason, Event};
use crate::ike::nat;
use crate::ike::rekey::lower;
use crate::ike::retransmit::{Expired, Schedule};
use crate::ike::sa::{Core, State};
use crate::ike::window::Window;
use crate::policy::{offer, verify_ike};
use crate::wire::ike::registry::{ExchangeType, GroupId, HashAlgorithmId, NotifyType};
use crate::wire::ike::{Flags, Header, IkeSpi, Message, Notify, Payload};

use super::auth::Authenticating;

/// Restarts of one attempt by COOKIE and INVALID_KE_PAYLOAD together.
const MAX_RESTARTS: u8 = 6;

/// What both ends know after IKE_SA_INIT.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) suite: IkeSuite,
    pub(crate) keys: IkeKeys,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
    pub(crate) peer_hashes: Option<Vec<HashAlgorithmId>>,
}

impl Agreed {
    pub(crate) fn lowest(&self) -> Vec<u8> {
        lower(&self.ni, &self.nr)
    }
}

/// Initiator: IKE_SA_INIT is out.
pub(crate) struct Starting {
    peer: Arc<PeerConfig>,
    request: Vec<u8>,
    nonce: Vec<u8>,
    ke: Box<dyn KeyExchange>,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    schedule: Schedule,
    /// An error that anybody on the path could have sent; believed only if nothing better comes.
    refused: Option<String>,
    /// What IKE_AUTH will need.
    pub(crate) plan: super::auth::Intention,
}

impl std::fmt::Debug for Starting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Starting({})", self.peer.name)
    }
}

impl Starting {
    /// Begins an attempt.
    pub(crate) fn begin(
        core: &Core,
        ctx: &mut Context<'_>,
        peer: Arc<PeerConfig>,
        plan: super::auth::Intention,
    ) -> Result<Self, String> {
        let group = peer.ike.iter().flat_map(|proposal| proposal.groups()).next().copied();
        let group = group.ok_or("the IKE proposals name no key exchange group")?;
        let ke = ctx.random.key_exchange(group).map_err(|error| error.to_string())?;
        let schedule = Schedule::new(ctx.now.mono, &peer.timing);
        let nonce = ctx.nonce();
        let mut starting = Self {
            peer,
            request: Vec::new(),
            nonce,
            ke,
            cookie: None,
            restarts: 0,
            schedule,
            refused: None,
            plan,
        };
        starting.send(core, ctx);
        Ok(starting)
    }

    fn send(&mut self, core: &Core, ctx: &mut Context<'_>) {
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.clone())));
        }
        payloads.push(Payload::SecurityAssociation(offer(&self.peer.ike, &[])));
        payloads.push(Payload::KeyExchange {
            group: self.ke.group().id(),
            data: self.ke.public_value().to_vec(),
        });
        payloads.push(Payload::Nonce(self.nonce.clone()));
        payloads.extend(nat::detection_payloads(core.local_spi, IkeSpi::ZERO, core.path.remote));
        payloads.extend(capabilities());
        let flags = Flags { initiator: true, ..Flags::default() };
        let header = Header::new(core.local_spi, IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0);
        self.request = Message { header, payloads }.encode();
        self.schedule = Schedule::new(ctx.now.mono, &self.peer.timing);
        core.send(ctx, std::slice::from_ref(&self.request), false);
    }

    pub(crate) fn due(&self) -> Instant {
        self.schedule.due()
    }

    /// A retransmission is due.
    pub(crate) fn expire(mut self: Box<Self>, core: &mut Core, ctx: &mut Context<'_>) -> State {
        if let Some(reason) = self.refused {
            return fail(core, reason);
        }
        match self.schedule.expire(ctx.now.mono) {
            Expired::Again => {
                ctx.counters.retransmits += 1;
                core.send(ctx, std::slice::from_ref(&self.request), false);
                State::Starting(self)
            }
            Expired::GiveUp => {
                ctx.counters.request_timeouts += 1;
                let reason = format!("{} does not answer IKE_SA_INIT", core.path.remote);
                ctx.event(Event::Refused {
                    peer: Some(self.peer.name.clone()),
                    remote: core.path.remote,
                    reason: reason.clone(),
                });
                fail(core, reason)
            }
        }
    }

    /// Handles what may be the response.
    pub(crate) fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        datagram: &Datagram<'_>,
        message: Message,
    ) -> State {
        let header = message.header;
        if header.exchange != ExchangeType::IKE_SA_INIT || header.message_id != 0 || header.flags.initiator {
            ctx.counters.bad_exchange += 1;
            return State::Starting(self);
        }
        let Ok(contents) = Contents::sort(message.payloads) else {
            ctx.counters.malformed += 1;
            return State::Starting(self);
        };
        if contents.sa.is_none() {
            self.handle_notify(core, ctx, &contents);
            return State::Starting(self);
        }
        match self.check(core, &header, &contents, datagram) {
            Ok(checked) => self.finish(core, ctx, datagram, checked),
            Err(reason) => {
                // Not authenticated: whoever sent it, the true response may still come.
                self.refuse(core, ctx, reason);
                State::Starting(self)
            }
        }
    }

    fn refuse(&mut self, core: &Core, ctx: &mut Context<'_>, reason: String) {
        if self.refused.is_none() {
            ctx.event(Event::Refused {
                peer: Some(self.peer.name.clone()),
                remote: core.path.remote,
                reason: reason.clone(),
            });
            self.refused = Some(reason);
        }
    }

    fn handle_notify(&mut self, core: &Core, ctx: &mut Context<'_>, contents: &Contents) {
        if let Some(cookie) = contents.notify(NotifyType::COOKIE) {
            let length_fits = (1..=64).contains(&cookie.data.len());
            if length_fits && self.restarts < MAX_RESTARTS && self.cookie.as_ref() != Some(&cookie.data) {
                ctx.counters.cookies_received += 1;
                self.restarts += 1;
                self.cookie = Some(cookie.data.clone());
                self.send(core, ctx);
            }
        } else if let Some(notify) = contents.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let group = <[u8; 2]>::try_from(notify.data.as_slice())
                .ok()
                .and_then(|id| Group::from_id(GroupId(u16::from_be_bytes(id))));
            let offered =
                group.filter(|group| self.peer.ike.iter().any(|proposal| proposal.groups().contains(group)));
            match offered {
                Some(group) if group != self.ke.group() && self.restarts < MAX_RESTARTS => {
                    let Ok(ke) = ctx.random.key_exchange(group) else { return };
                    ctx.counters.invalid_ke_received += 1;
                    self.restarts += 1;
                    self.ke = ke;
                    self.send(core, ctx);
                }
                // Said twice: it is what we do already.
                Some(group) if group == self.ke.group() => {}
                _ => self.refuse(core, ctx, format!("the peer wants a key exchange group that is not in our offer (INVALID_KE_PAYLOAD {:?})", notify.data)),
            }
        } else if let Some(error) = contents.error() {
            let ours = self.peer.ike.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.refuse(
                core,
                ctx,
                format!("the peer refused IKE_SA_INIT: {}; we offered {ours}", error.kind),
            );
        }
    }

    fn check(
        &self,
        core: &Core,
        header: &Header,
        contents: &Contents,
        datagram: &Datagram<'_>,
    ) -> Result<Checked, String> {
        let offered = offer(&self.peer.ike, &[]);
        let answer = contents.sa.as_deref().unwrap_or_default();
        let suite = verify_ike(&offered, answer).map_err(|error| error.to_string())?;
        let (group, public) =
            contents.ke.clone().ok_or("the peer's IKE_SA_INIT response has no KE payload")?;
        let nonce = contents.nonce.clone().ok_or("the peer's IKE_SA_INIT response has no nonce")?;
        if header.responder_spi.is_zero() {
            return Err("the peer's IKE_SA_INIT response has no SPI".to_owned());
        }
        if group != suite.group.id() || suite.group != self.ke.group() {
            return Err(format!("the peer chose group {} but we sent {}", suite.group, self.ke.group()));
        }
        let view =
            nat::detect(contents, core.local_spi, header.responder_spi, datagram.local, datagram.remote)
                .ok_or("the peer does not support NAT traversal, and ESP is sent in UDP only")?;
        Ok(Checked {
            suite,
            public,
            nonce,
            spi: header.responder_spi,
            view,
            fragmentation: contents.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED),
            kin: is_kin(contents),
            hashes: contents
                .notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)
                .map(|notify| auth::announced_hashes(&notify.data)),
        })
    }

    fn finish(
        self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        datagram: &Datagram<'_>,
        checked: Checked,
    ) -> State {
        let Self { peer, request, nonce, ke, plan, .. } = *self;
        let shared = match ke.agree(&checked.public) {
            Ok(shared) => shared,
            Err(error) => return fail(core, error.to_string()),
        };
        let suite = checked.suite;
        let keyed = IkeKeys::derive(&suite, &shared, &nonce, &checked.nonce, core.local_spi, checked.spi)
            .and_then(|keys| {
                Ok((
                    Channel::new(
                        &suite,
                        &keys,
                        (core.local_spi, checked.spi),
                        true,
                        Window::after_init(true),
                    )?,
                    keys,
                ))
            });
        let (mut channel, keys) = match keyed {
            Ok(keyed) => keyed,
            Err(error) => return fail(core, error.to_string()),
        };
        channel.fragmentation = checked.fragmentation;
        channel.kin = checked.kin;
        core.remote_spi = checked.spi;
        core.path.nat = checked.view;
        if !core.path.encapsulated {
            core.path.encapsulated = true;
            core.path.remote.set_port(peer.remote_natt_port);
        }
        crate::ike::sa::log_keys(ctx, suite, &keys, core.local_spi, checked.spi);
        let agreed = Agreed {
            suite,
            keys,
            request,
            response: datagram.octets.to_vec(),
            ni: nonce,
            nr: checked.nonce,
            peer_hashes: checked.hashes,
        };
        Authenticating::begin(core, ctx, peer, plan, channel, agreed)
    }
}

/// A response that may be the true one.
struct Checked {
    suite: IkeSuite,
    public: Vec<u8>,
    nonce: Vec<u8>,
    spi: IkeSpi,
    view: nat::NatView,
    fragmentation: bool,
    kin: bool,
    hashes: Option<Vec<HashAlgorithmId>>,
}

/// Names the product to a peer that is the same one
/// ([RFC 7296 section 3.12](https://www.rfc-editor.org/rfc/rfc7296#section-3.12)).
const VENDOR_ID: &[u8] = b"Skybridge IKEv2 1";

/// Whether the peer is the same product.
pub(crate) fn is_kin(contents: &Contents) -> bool {
    contents.vendors.iter().any(|vendor| vendor == VENDOR_ID)
}

/// What we are and can do, told in both roles.
pub(crate) fn capabilities() -> [Payload; 3] {
    [
        Payload::VendorId(VENDOR_ID.to_vec()),
        Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())),
        Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, auth::our_hashes())),
    ]
}

fn fail(core: &mut Core, reason: String) -> State {
    core.ended = Some(DownReason::Failed(reason));
    State::Gone
}
