//! Detection at run time: packets that the tunnel gave to the kernel and that went nowhere.

use std::fs;

use crate::system::{Finding, Severity};

/// Fewer packets than this say nothing.
const ENOUGH: u64 = 50;

/// The data plane's counters, as totals. A super-packet is one, as it is for the kernel's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficSample {
    /// Packets that came out of the tunnel and were given to the kernel.
    pub to_kernel: u64,
    /// UDP datagrams sent to peers, which the kernel counts as its own transmissions.
    pub outer_sent: u64,
    /// UDP datagrams received from peers, which the kernel counts as delivered.
    pub outer_received: u64,
}

/// The kernel's counters of the network namespace, as totals over both IP versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kernel {
    /// Packets handed to an interface; on kernels that do not count these, packets forwarded.
    sent: u64,
    delivered: u64,
    reverse_path: u64,
    no_route: u64,
}

/// Compares two looks at the counters.
#[derive(Debug, Default)]
pub struct TrafficWatch {
    last: Option<(TrafficSample, Kernel)>,
}

impl TrafficWatch {
    /// A watch without a first look.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks again, some seconds after the last time, from a thread in the tunnel's network namespace.
    pub fn observe(&mut self, sample: TrafficSample) -> Vec<Finding> {
        let now = (sample, Kernel::read());
        let findings = self.last.map(|last| judge(last, now)).unwrap_or_default();
        // Few packets are gathered until they say something.
        if self.last.is_none_or(|(last, _)| sample.to_kernel.wrapping_sub(last.to_kernel) >= ENOUGH) {
            self.last = Some(now);
        }
        findings
    }
}

impl Kernel {
    fn read() -> Self {
        let file =
            |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        Self::parse(&file("snmp"), &file("snmp6"), &file("netstat"))
    }

    fn parse(snmp: &str, snmp6: &str, netstat: &str) -> Self {
        let v4 = |name: &str| pair(snmp, "Ip:", name).unwrap_or(0);
        let v6 = |name: &str| -> u64 {
            snmp6
                .lines()
                .filter_map(|line| line.split_once(char::is_whitespace))
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0)
        };
        let sent = pair(snmp, "Ip:", "OutTransmits").map_or_else(
            || v4("ForwDatagrams").saturating_add(v6("Ip6OutForwDatagrams")),
            |sent| sent.saturating_add(v6("Ip6OutTransmits")),
        );
        Self {
            sent,
            delivered: v4("InDelivers").saturating_add(v6("Ip6InDelivers")),
            reverse_path: pair(netstat, "TcpExt:", "IPReversePathFilter").unwrap_or(0),
            no_route: v4("OutNoRoutes").saturating_add(v6("Ip6InNoRoutes")),
        }
    }
}

/// A value of a table of two lines: names, values.
fn pair(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (lines.next()?, lines.next()?);
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
}

fn judge((before, old): (TrafficSample, Kernel), (after, new): (TrafficSample, Kernel)) -> Vec<Finding> {
    let given = after.to_kernel.saturating_sub(before.to_kernel);
    if given < ENOUGH {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let reverse_path = new.reverse_path.saturating_sub(old.reverse_path);
    if reverse_path * 10 > given {
        findings.push(Finding {
            code: "eaten-rp-filter",
            severity: Severity::Error,
            what: format!(
                "{reverse_path} packets were dropped by reverse path checks, of {given} from the tunnel"
            ),
            where_: "net.ipv4.conf.*.rp_filter".into(),
            remedy: "Set rp_filter to 2 on the tunnel device and the interfaces that its traffic crosses."
                .into(),
        });
    }
    let outer_sent = after.outer_sent.saturating_sub(before.outer_sent);
    let outer_received = after.outer_received.saturating_sub(before.outer_received);
    let sent = new.sent.saturating_sub(old.sent).saturating_sub(outer_sent);
    let delivered = new.delivered.saturating_sub(old.delivered).saturating_sub(outer_received);
    let passed = sent.saturating_add(delivered);
    if findings.is_empty() && passed * 10 < given {
        findings.push(Finding {
            code: "eaten",
            severity: Severity::Warning,
            what: format!("of {given} packets from the tunnel the kernel passed on {passed}"),
            where_: if new.no_route > old.no_route { "routing (no route)" } else { "netfilter or routing" }
                .into(),
            remedy:
                "A firewall or a missing route takes them: see the other findings of `skybridge status`, and \
                     `nft monitor trace`."
                    .into(),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding DefaultTTL InReceives ForwDatagrams InDelivers OutNoRoutes\n\
                        Ip: 1 64 900 700 100 3\nIcmp: InMsgs\nIcmp: 4\n";

    #[test]
    fn counters_are_read_by_name() {
        let kernel = Kernel::parse(
            SNMP,
            "Ip6OutForwDatagrams             \t20\nIp6InDelivers \t1\n",
            "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 7\nIpExt: A\nIpExt: 1\n",
        );
        assert_eq!(kernel, Kernel { sent: 720, delivered: 101, reverse_path: 7, no_route: 3 });
        assert_eq!(Kernel::parse("", "", "TcpExt: A"), Kernel::default());
        let transmits = "Ip: ForwDatagrams OutTransmits\nIp: 700 650\n";
        assert_eq!(Kernel::parse(transmits, "Ip6OutTransmits 5\n", "").sent, 655);
    }

    fn codes(given: u64, new: Kernel) -> Vec<&'static str> {
        let found = judge(
            (TrafficSample::default(), Kernel::default()),
            (TrafficSample { to_kernel: given, ..TrafficSample::default() }, new),
        );
        found.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn packets_that_go_nowhere_are_told_of() {
        assert_eq!(codes(100, Kernel::default()), ["eaten"]);
        assert_eq!(codes(100, Kernel { reverse_path: 90, ..Kernel::default() }), ["eaten-rp-filter"]);
        assert!(codes(100, Kernel { sent: 95, ..Kernel::default() }).is_empty());
        assert!(codes(10, Kernel::default()).is_empty());
    }
}
