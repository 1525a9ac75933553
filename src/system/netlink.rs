//! The only user of `rtnetlink`, whose interface changes often: plain values in and out.
//!
//! Two sockets, both opened in the calling thread's network namespace: one for requests, with the
//! kernel's strict checks on so that dumps are filtered there, one for notifications.

mod decode;
mod monitor;

pub(super) use monitor::{Change, Monitor};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use tokio::task::JoinHandle;

use super::SystemError;

/// The main routing table.
pub(super) const MAIN_TABLE: u32 = 254;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before a list is asked for again while the kernel is busy with another.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const DUMP_TRIES: usize = 5;
const NLM_F_DUMP_INTR: u16 = 0x10;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Answers "host unreachable".
    Unreachable,
    /// Something that this layer neither makes nor uses.
    Other(u8),
}

/// A route, reduced to what is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Route {
    pub(super) prefix: IpNet,
    pub(super) metric: u32,
    pub(super) kind: RouteKind,
    pub(super) table: u32,
    pub(super) protocol: u8,
    pub(super) oif: Option<u32>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) mtu: Option<u32>,
    pub(super) advmss: Option<u32>,
}

impl Route {
    /// As `ip route` prints it, with the interface by index.
    pub(super) fn describe(&self, name_of: impl Fn(u32) -> Option<String>) -> String {
        use std::fmt::Write;
        let mut out = match self.kind {
            RouteKind::Unicast => String::new(),
            RouteKind::Unreachable => "unreachable ".into(),
            RouteKind::Other(kind) => format!("type-{kind} "),
        };
        let _ = write!(out, "{}", self.prefix);
        if let Some(gateway) = self.gateway {
            let _ = write!(out, " via {gateway}");
        }
        if let Some(oif) = self.oif {
            let _ = write!(out, " dev {}", name_of(oif).unwrap_or_else(|| format!("if{oif}")));
        }
        if let Some(source) = self.source {
            let _ = write!(out, " src {source}");
        }
        let _ = write!(out, " metric {}", self.metric);
        if let Some(mtu) = self.mtu {
            let _ = write!(out, " mtu {mtu}");
        }
        if let Some(advmss) = self.advmss {
            let _ = write!(out, " advmss {advmss}");
        }
        out
    }
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) loopback: bool,
    pub(super) mtu: u32,
    pub(super) kind: Option<String>,
}

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
    /// Neither tentative nor failed, and of a scope that others can reach.
    pub(super) usable: bool,
    /// Of limited life, not to be preferred.
    pub(super) temporary: bool,
}

/// What a route lookup answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) oif: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) mtu: Option<u32>,
}

/// The request socket; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Netlink {
    handle: rtnetlink::Handle,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(what: impl Into<String>, reason: impl ToString) -> SystemError {
    SystemError::Netlink { what: what.into(), reason: reason.to_string() }
}

fn code_of(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn text_of(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Netlink {
    pub(super) fn open() -> Result<Self, SystemError> {
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(|e| failed("open the socket", e))?;
        let task = tokio::spawn(connection);
        Ok(Self { handle, _task: Arc::new(AbortOnDrop(task)) })
    }

    async fn bounded<T>(
        what: &str,
        work: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<Result<T, rtnetlink::Error>, SystemError> {
        tokio::time::timeout(REQUEST_TIMEOUT, work).await.map_err(|_| failed(what, "no answer"))
    }

    async fn dump<T>(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, SystemError> {
        let mut reason = "interrupted";
        for _ in 0..DUMP_TRIES {
            let mut message = NetlinkMessage::from(request.clone());
            message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut handle = self.handle.clone();
            let stream = handle.request(message).map_err(|e| failed(what, e))?;
            let collected = tokio::time::timeout(REQUEST_TIMEOUT, collect(stream, &pick))
                .await
                .map_err(|_| failed(what, "no answer"))?;
            match collected {
                Ok(Some(items)) => return Ok(items),
                Ok(None) => reason = "the tables kept changing",
                // The kernel makes one list at a time a socket; one that nobody waits for any more ends by itself.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    reason = "another list is under way";
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) if error.raw_os_error() == Some(ENOENT) => return Ok(Vec::new()),
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(Vec::new()),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
                Err(error) => return Err(failed(what, error)),
            }
        }
        Err(failed(what, reason))
    }

    pub(super) async fn links(&self) -> Result<Vec<Link>, SystemError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("list links", request, |message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(decode::link(&link)),
            _ => None,
        })
        .await
    }

    pub(super) async fn addresses(&self) -> Result<Vec<Address>, SystemError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump("list addresses", request, |message| match message {
            RouteNetlinkMessage::NewAddress(address) => decode::address(&address),
            _ => None,
        })
        .await
    }

    /// Routes of both families, filtered by the kernel.
    pub(super) async fn routes(
        &self,
        protocol: Option<u8>,
        table: Option<u32>,
    ) -> Result<Vec<Route>, SystemError> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            if let Some(protocol) = protocol {
                request.header.protocol = RouteProtocol::from(protocol);
            }
            if let Some(table) = table {
                request.header.table = u8::try_from(table).unwrap_or_default();
            }
            let routes = self
                .dump("list routes", RouteNetlinkMessage::GetRoute(request), |message| match message {
                    RouteNetlinkMessage::NewRoute(route) => decode::route(&route),
                    _ => None,
                })
                .await?;
            all.extend(routes.into_iter().filter(|route| {
                protocol.is_none_or(|protocol| route.protocol == protocol)
                    && table.is_none_or(|table| route.table == table)
            }));
        }
        Ok(all)
    }

    /// The kernel's own choice for `peer`; `None` if there is no route.
    pub(super) async fn lookup(&self, peer: IpAddr) -> Result<Option<Lookup>, SystemError> {
        let what = format!("look up {peer}");
        let mut request = RouteMessage::default();
        request.header.address_family = family_of(peer);
        request.header.destination_prefix_length = if peer.is_ipv4() { 32 } else { 128 };
        request.attributes.push(RouteAttribute::Destination(RouteAddress::from(peer)));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(request));
        message.header.flags = NLM_F_REQUEST;
        let mut handle = self.handle.clone();
        let stream = handle.request(message).map_err(|e| failed(&what, e))?;
        let pick = |message| match message {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, collect(stream, &pick))
            .await
            .map_err(|_| failed(&what, "no answer"))?;
        match answer {
            Ok(Some(routes)) => Ok(routes.first().and_then(decode::lookup)),
            Ok(None) => Ok(None),
            // What each kind of route without a way answers; EINVAL is a blackhole's.
            Err(error) => match error.raw_os_error() {
                Some(
                    libc::ENETUNREACH
                    | libc::EHOSTUNREACH
                    | libc::EACCES
                    | libc::EINVAL
                    | libc::ENETDOWN
                    | libc::EAFNOSUPPORT
                    | libc::EOPNOTSUPP,
                ) => Ok(None),
                _ => Err(failed(what, error)),
            },
        }
    }

    /// Adds a route; `replace` puts it in the place of one with the same prefix and metric. `false`:
    /// another route has that place.
    pub(super) async fn add_route(&self, route: &Route, replace: bool) -> Result<bool, SystemError> {
        let what = format!("add route {}", route.describe(|_| None));
        let mut request = self.handle.route().add(encode(route));
        if replace {
            request = request.replace();
        }
        match Self::bounded(&what, request.execute()).await? {
            Ok(()) => Ok(true),
            Err(error) if code_of(&error) == Some(EEXIST) => Ok(false),
            Err(error) => Err(failed(what, text_of(&error))),
        }
    }

    /// Removes a route; one that is gone already is no error.
    pub(super) async fn delete_route(&self, route: &Route) -> Result<(), SystemError> {
        let what = format!("remove route {}", route.describe(|_| None));
        match Self::bounded(&what, self.handle.route().del(encode(route)).execute()).await? {
            Ok(()) => Ok(()),
            Err(error) if matches!(code_of(&error), Some(ESRCH | ENOENT | libc::ENODEV)) => Ok(()),
            Err(error) => Err(failed(what, text_of(&error))),
        }
    }

    async fn change_link(&self, what: &str, message: LinkMessage) -> Result<(), SystemError> {
        Self::bounded(what, self.handle.link().change(message).execute())
            .await?
            .map_err(|e| failed(what, text_of(&e)))
    }

    pub(super) async fn set_up(&self, index: u32) -> Result<(), SystemError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.change_link("set the link up", message).await
    }

    pub(super) async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), SystemError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.change_link(&format!("set the MTU to {mtu}"), message).await
    }

    pub(super) async fn delete_link(&self, index: u32) -> Result<(), SystemError> {
        let what = "delete the link";
        match Self::bounded(what, self.handle.link().del(index).execute()).await? {
            Ok(()) => Ok(()),
            Err(error) if code_of(&error) == Some(libc::ENODEV) => Ok(()),
            Err(error) => Err(failed(what, text_of(&error))),
        }
    }

    pub(super) async fn add_address(&self, index: u32, address: IpNet) -> Result<(), SystemError> {
        let what = format!("add address {address}");
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        match Self::bounded(&what, request.execute()).await? {
            Ok(()) => Ok(()),
            Err(error) if code_of(&error) == Some(EEXIST) => Ok(()),
            Err(error) => Err(failed(what, text_of(&error))),
        }
    }

    pub(super) async fn delete_address(&self, index: u32, address: IpNet) -> Result<(), SystemError> {
        let what = format!("remove address {address}");
        let mut message = AddressMessage::default();
        message.header.family = family_of(address.addr());
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.attributes.push(rtnetlink::packet_route::address::AddressAttribute::Local(address.addr()));
        match Self::bounded(&what, self.handle.address().del(message).execute()).await? {
            Ok(()) => Ok(()),
            Err(error) if matches!(code_of(&error), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            Err(error) => Err(failed(what, text_of(&error))),
        }
    }
}

/// `None`: the dump was interrupted by a change.
async fn collect<T>(
    stream: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
    pick: &impl Fn(RouteNetlinkMessage) -> Option<T>,
) -> std::io::Result<Option<Vec<T>>> {
    let mut items = Vec::new();
    let mut whole = true;
    let mut stream = std::pin::pin!(stream);
    while let Some(message) = stream.next().await {
        whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => items.extend(pick(inner)),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Overrun(_) => whole = false,
            _ => {}
        }
    }
    Ok(whole.then_some(items))
}

fn encode(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let direct = route.kind == RouteKind::Unicast && route.gateway.is_none() && route.prefix.addr().is_ipv4();
    message.header = RouteHeader {
        address_family: family_of(route.prefix.addr()),
        destination_prefix_length: route.prefix.prefix_len(),
        source_prefix_length: 0,
        tos: 0,
        table: u8::try_from(route.table).unwrap_or_default(),
        protocol: RouteProtocol::from(route.protocol),
        scope: if direct { RouteScope::Link } else { RouteScope::Universe },
        kind: match route.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Other(kind) => RouteType::from(kind),
        },
        flags: if route.gateway.is_some() { RouteFlags::Onlink } else { RouteFlags::empty() },
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(RouteAddress::from(route.prefix.network())));
    attributes.push(RouteAttribute::Priority(route.metric));
    if u8::try_from(route.table).is_err() {
        attributes.push(RouteAttribute::Table(route.table));
    }
    if let Some(oif) = route.oif {
        attributes.push(RouteAttribute::Oif(oif));
    }
    if let Some(gateway) = route.gateway {
        if gateway.is_ipv6() && route.prefix.addr().is_ipv4() {
            attributes.push(RouteAttribute::Via(gateway.into()));
        } else {
            attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        }
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(RouteAddress::from(source)));
    }
    let mut metrics = Vec::new();
    metrics.extend(route.mtu.map(RouteMetric::Mtu));
    metrics.extend(route.advmss.map(RouteMetric::Advmss));
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}
