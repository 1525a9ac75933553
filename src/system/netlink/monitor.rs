//! The notification socket.

use futures_util::StreamExt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket;

use super::{AbortOnDrop, Link, Route, decode, failed};
use crate::system::SystemError;

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
const RECEIVE_BUFFER: usize = 4 << 20;

/// What the kernel reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::system) enum Change {
    /// A device is new or changed.
    Link(Link),
    /// A device is gone.
    LinkGone(Link),
    /// Some address is new, changed or gone.
    Address,
    /// A route is new or changed.
    Route(Route),
    /// A route is gone.
    RouteGone(Route),
    /// Reports were lost.
    Overrun,
}

type Messages =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send>>;

/// Yields changes; forgets what this layer does not use.
pub(in crate::system) struct Monitor {
    messages: Messages,
    _task: AbortOnDrop,
}

impl Monitor {
    pub(in crate::system) fn open() -> Result<Self, SystemError> {
        let (mut connection, _, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(|e| failed("watch for changes", e))?;
        enlarge(connection.socket_mut().socket_mut());
        let task = AbortOnDrop(tokio::spawn(connection));
        Ok(Self { messages: Box::pin(messages.map(|(message, _)| message)), _task: task })
    }

    /// The next change; `None` if the socket is dead.
    pub(in crate::system) async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = translate(self.messages.next().await?) {
                return Some(change);
            }
        }
    }
}

/// Privileged where allowed, else as far as the limit goes: a small buffer only means overruns.
fn enlarge(socket: &rtnetlink::sys::Socket) {
    if nix::sys::socket::setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = nix::sys::socket::setsockopt(socket, RcvBuf, &RECEIVE_BUFFER);
    }
}

fn translate(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    match message.payload {
        NetlinkPayload::Overrun(_) => Some(Change::Overrun),
        NetlinkPayload::InnerMessage(inner) => match inner {
            RouteNetlinkMessage::NewLink(link) => Some(Change::Link(decode::link(&link))),
            RouteNetlinkMessage::DelLink(link) => Some(Change::LinkGone(decode::link(&link))),
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Change::Address),
            RouteNetlinkMessage::NewRoute(route) => decode::route(&route).map(Change::Route),
            RouteNetlinkMessage::DelRoute(route) => decode::route(&route).map(Change::RouteGone),
            _ => None,
        },
        _ => None,
    }
}
