//! Address translation, loss and filters: nftables text, and forgetting connections.

use std::io::Read;

use socket2::{Domain, Protocol, Socket, Type};

use super::{LabError, namespace::Namespace};

/// A carrier's NAT: everything from shared address space that leaves by `link` gets the link's address, and a
/// source port from `ports` where given.
pub fn masquerade(link: &str, ports: Option<(u16, u16)>) -> String {
    let to = ports.map_or_else(|| "fully-random".to_owned(), |(first, last)| format!("to :{first}-{last}"));
    format!(
        "table ip nat {{}}\ndelete table ip nat\ntable ip nat {{\n  chain postrouting {{\n    \
         type nat hook postrouting priority srcnat;\n    \
         oifname \"{link}\" ip saddr 100.64.0.0/10 meta l4proto {{ tcp, udp }} masquerade {to}\n    \
         oifname \"{link}\" ip saddr 100.64.0.0/10 masquerade\n  }}\n}}\n"
    )
}

/// A cloud's NAT: `public` on `link` stands for `private` inside, both ways, every port.
pub fn one_to_one(link: &str, public: &str, private: &str) -> String {
    format!(
        "table ip nat {{}}\ndelete table ip nat\ntable ip nat {{\n  chain prerouting {{\n    \
         type nat hook prerouting priority dstnat;\n    iifname \"{link}\" ip daddr {public} dnat to {private}\n  }}\n  \
         chain postrouting {{\n    type nat hook postrouting priority srcnat;\n    \
         oifname \"{link}\" ip saddr {private} snat to {public}\n  }}\n}}\n"
    )
}

/// Loses this many of a hundred forwarded packets, at random.
pub fn loss(percent: u8) -> String {
    filter(&format!("numgen random mod 100 < {percent} drop"))
}

/// Drops forwarded packets that match an nftables expression, such as `udp dport 4500`.
pub fn block(expression: &str) -> String {
    filter(&format!("{expression} drop"))
}

/// Takes back [`loss`] or [`block`].
pub const CLEAR: &str = "table inet faults {}\ndelete table inet faults\n";

/// A router that says nothing when a packet is too big for the next link.
pub const SWALLOW_TOO_BIG: &str = "table inet silence {\n  chain output {\n    type filter hook output priority 0;\n    \
     icmp type destination-unreachable drop\n    icmpv6 type packet-too-big drop\n  }\n}\n";

fn filter(rule: &str) -> String {
    format!(
        "{CLEAR}table inet faults {{\n  chain forward {{\n    type filter hook forward priority 0;\n    {rule}\n  }}\n}}\n"
    )
}

/// Makes a NAT forget every connection, as a reboot or an idle timeout does: what comes next from inside
/// gets a new port.
///
/// # Errors
/// The kernel has no connection tracking by netlink.
pub fn forget_connections(namespace: &Namespace) -> Result<(), LabError> {
    const NETFILTER: i32 = 12;
    let step = || format!("forget the connections of {}", namespace.name());
    namespace.run(|| {
        let socket = Socket::new(Domain::from(16), Type::RAW, Some(Protocol::from(NETFILTER)))
            .map_err(LabError::io(step()))?;
        // nlmsghdr: length, IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK, REQUEST | ACK, sequence, port;
        // then nfgenmsg for every family.
        let mut message = Vec::with_capacity(20);
        message.extend_from_slice(&20_u32.to_ne_bytes());
        message.extend_from_slice(&0x0102_u16.to_ne_bytes());
        message.extend_from_slice(&0x0005_u16.to_ne_bytes());
        message.extend_from_slice(&1_u32.to_ne_bytes());
        message.extend_from_slice(&0_u32.to_ne_bytes());
        message.extend_from_slice(&[0, 0, 0, 0]);
        socket.send(&message).map_err(LabError::io(step()))?;
        let mut answer = [0_u8; 64];
        let length = (&socket).read(&mut answer).map_err(LabError::io(step()))?;
        let code = answer.get(16..20).filter(|_| length >= 20).and_then(|code| code.try_into().ok());
        match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(LabError::io(step())(std::io::Error::from_raw_os_error(-code))),
            None => Err(LabError::check(format!("{}: a short answer", step()))),
        }
    })
}
