//! Requests on their way out, and responses to the peer's.

use crate::ike::channel::Cut;
use crate::ike::context::Context;
use crate::ike::retransmit::Schedule;
use crate::ike::window::Outbound;
use crate::wire::ike::Payload;
use crate::wire::ike::registry::ExchangeType;

use super::Core;
use super::established::{Established, Outstanding};

impl Established {
    /// Sends a request and remembers what its response needs.
    pub(crate) fn request(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        payloads: &[Payload],
        outstanding: Outstanding,
    ) {
        let schedule = match outstanding {
            Outstanding::Probe if self.urgent => Schedule::urgent(ctx.now.mono, &self.peer.timing),
            Outstanding::DeleteIke => Schedule::urgent(ctx.now.mono, &self.peer.timing),
            _ => Schedule::new(ctx.now.mono, &self.peer.timing),
        };
        let id = self.channel.window.next_id();
        let cut = Cut::At(self.peer.fragment_size);
        let packets = self.channel.encode(exchange, id, false, payloads, cut, ctx.random).unwrap_or_default();
        self.last_sent = ctx.now.mono;
        core.send(ctx, &packets, false);
        self.channel.window.sent(Outbound { id, packets, schedule, dont_fragment: false, fallback: None });
        self.outstanding = Some(outstanding);
    }

    /// Answers the expected request.
    pub(crate) fn respond(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) {
        let id = self.channel.window.expected();
        let cut = Cut::At(self.peer.fragment_size);
        let packets = self.channel.encode(exchange, id, true, payloads, cut, ctx.random).unwrap_or_default();
        self.last_sent = ctx.now.mono;
        core.send(ctx, &packets, false);
        self.channel.window.answered(packets);
    }
}
