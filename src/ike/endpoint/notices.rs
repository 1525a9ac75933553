//! One-way notices about ESP packets that nobody here can open.
//!
//! An endpoint that restarted has lost its SAs, while its peer goes on sending into them. It says so with an
//! INVALID_SPI notification outside of any IKE SA
//! ([RFC 7296 section 1.5](https://www.rfc-editor.org/rfc/rfc7296#section-1.5)). Nothing protects such a
//! notice, so that it leads to a probe of the IKE SA and to nothing else, and it is never answered.

use std::net::SocketAddr;

use crate::ike::event::{Datagram, Transmit, TransmitKind};
use crate::ike::time::Now;
use crate::wire::ike::registry::{ExchangeType, NotifyType};
use crate::wire::ike::{Flags, Header, IkeSpi, Message, Notify, Payload};

use super::Endpoint;

/// The ESP SPI of an INVALID_SPI notice, if `message` is one.
pub(super) fn invalid_spi(message: &Message) -> Option<u32> {
    if message.header.exchange != ExchangeType::INFORMATIONAL || message.header.flags.response {
        return None;
    }
    message.payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::INVALID_SPI => {
            Some(u32::from_be_bytes(notify.data.as_slice().try_into().ok()?))
        }
        _ => None,
    })
}

impl Endpoint {
    /// Tells a sender that we have no SA with the SPI of its packet, rate-limited.
    pub(super) fn notify_unknown_spi(&mut self, now: Now, spi: u32, local: SocketAddr, remote: SocketAddr) {
        if !self.limiter.allow(now.mono, self.settings.unauthenticated_answers_per_second) {
            self.counters.unauthenticated_answers_limited += 1;
            return;
        }
        self.counters.unauthenticated_answers += 1;
        let flags = Flags { initiator: true, version: false, response: false };
        let header = Header::new(IkeSpi([0; 8]), IkeSpi([0; 8]), ExchangeType::INFORMATIONAL, flags, 0);
        let notify = Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec());
        let octets = Message { header, payloads: vec![Payload::Notify(notify)] }.encode();
        self.out.transmits.push_back(Transmit {
            local: Some(local.ip()).filter(|local| !local.is_unspecified()),
            remote,
            encapsulated: true,
            kind: TransmitKind::Ike,
            octets,
            dont_fragment: false,
        });
    }

    /// Probes the IKE SA whose packets a peer says it cannot open, if the notice comes from where it is.
    pub(super) fn take_unknown_spi_notice(&mut self, now: Now, datagram: &Datagram<'_>, spi: u32) {
        let owner = self.sas.with_outbound_spi(spi).find(|sa| sa.core.path.remote == datagram.remote);
        let Some(id) = owner.map(|sa| sa.core.id) else {
            self.counters.unknown_spi += 1;
            return;
        };
        self.with_sa(now, id, |sa, ctx| {
            if let crate::ike::sa::State::Established(established) = &mut sa.state {
                established.hint(&mut sa.core, ctx);
            }
        });
        self.settle(now);
    }
}
