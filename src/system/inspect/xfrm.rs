//! IPsec policies of the kernel (another IPsec daemon's) for the same prefixes: they would take the
//! tunnel's packets before or after it.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::system::{Desired, Finding, Severity};

const NETLINK_XFRM: isize = 6;
const XFRM_MSG_NEWPOLICY: u16 = 0x13;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Offset of the direction behind selector, limits, counters, priority and index.
const DIRECTION: usize = 160;
const MOST_DATAGRAMS: usize = 1024;

pub(super) fn inspect(desired: &Desired) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (source, destination, direction) in policies().unwrap_or_default() {
        let meets = |net: &IpNet| {
            net.prefix_len() > 0 && desired.routes.iter().any(|route| overlap(net, &route.prefix))
        };
        if !meets(&source) && !meets(&destination) {
            continue;
        }
        let direction = ["in", "out", "forward"].get(usize::from(direction)).copied().unwrap_or("socket");
        findings.push(Finding {
            code: "xfrm-policy",
            severity: Severity::Error,
            what: format!("the kernel has an IPsec policy ({direction}) from {source} to {destination}"),
            where_: "kernel IPsec policies (`ip xfrm policy`)".into(),
            remedy: "Another IPsec daemon handles the same prefixes: stop it or take them out of its configuration."
                .into(),
        });
    }
    findings
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

type Policy = (IpNet, IpNet, u8);

/// `None` if the kernel has no IPsec or does not let us look.
fn policies() -> Option<Vec<Policy>> {
    let socket = Socket::new(NETLINK_XFRM).ok()?;
    socket.set_non_blocking(true).ok()?;
    socket.connect(&SocketAddr::new(0, 0)).ok()?;
    let mut request = Vec::with_capacity(HEADER);
    request.extend_from_slice(&(HEADER as u32).to_ne_bytes());
    request.extend_from_slice(&XFRM_MSG_GETPOLICY.to_ne_bytes());
    // NLM_F_REQUEST | NLM_F_DUMP
    request.extend_from_slice(&0x301_u16.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    socket.send(&request, 0).ok()?;
    let mut out = Vec::new();
    // The kernel fills the dump in as it is read, so that "would block" means its end.
    for _ in 0..MOST_DATAGRAMS {
        let Ok((octets, _)) = socket.recv_from_full() else { break };
        if !read(&octets, &mut out) {
            break;
        }
    }
    Some(out)
}

/// `false`: that was the last datagram.
fn read(mut octets: &[u8], out: &mut Vec<Policy>) -> bool {
    while let Some(header) = octets.first_chunk::<HEADER>() {
        let [a, b, c, d, kind_low, kind_high, ..] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let kind = u16::from_ne_bytes([kind_low, kind_high]);
        let Some(body) = octets.get(HEADER..length) else { return false };
        match kind {
            XFRM_MSG_NEWPOLICY => out.extend(policy(body)),
            NLMSG_DONE => return false,
            2 => return false,
            _ => {}
        }
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

fn policy(body: &[u8]) -> Option<Policy> {
    let family = u16::from_ne_bytes(*body.get(40..)?.first_chunk()?);
    let address = |at: usize| -> Option<IpAddr> {
        match i32::from(family) {
            libc::AF_INET => Some(IpAddr::from(*body.get(at..)?.first_chunk::<4>()?)),
            libc::AF_INET6 => Some(IpAddr::from(*body.get(at..)?.first_chunk::<16>()?)),
            _ => None,
        }
    };
    let destination = IpNet::new(address(0)?, *body.get(42)?).ok()?.trunc();
    let source = IpNet::new(address(16)?, *body.get(43)?).ok()?.trunc();
    Some((source, destination, *body.get(DIRECTION)?))
}
