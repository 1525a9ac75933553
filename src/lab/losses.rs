//! Where packets were lost: what the kernels and the daemons count.

use std::{collections::BTreeMap, fs};

use super::{Daemon, LabError, Namespace, namespace::paired_value};

/// Counters of dropped packets by place, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    counters: BTreeMap<String, u64>,
}

impl Losses {
    /// Reads the counters of some namespaces and of the daemons that run.
    ///
    /// # Errors
    /// A namespace cannot be entered.
    pub fn count<'a>(
        namespaces: impl IntoIterator<Item = &'a Namespace>,
        daemons: impl IntoIterator<Item = &'a Daemon>,
    ) -> Result<Self, LabError> {
        let mut counters = BTreeMap::new();
        for namespace in namespaces {
            let (snmp, snmp6, dev) = namespace.run(|| {
                let read = |name: &str| {
                    fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
                };
                Ok((read("snmp"), read("snmp6"), read("dev")))
            })?;
            let mut note = |what: String, count: u64| {
                counters.insert(format!("{} {what}", namespace.name()), count);
            };
            for counter in ["RcvbufErrors", "SndbufErrors"] {
                note(format!("UDP {counter}"), paired_value(&snmp, "Udp", counter).unwrap_or(0));
                note(format!("UDP6 {counter}"), line(&snmp6, &format!("Udp6{counter}")).unwrap_or(0));
            }
            for (link, received, sent) in link_drops(&dev) {
                note(format!("{link} receive drops"), received);
                note(format!("{link} send drops"), sent);
            }
        }
        for daemon in daemons {
            // A daemon that does not run has no counters.
            if let Ok(status) = daemon.status() {
                let name = daemon.namespace().name();
                counters.extend(
                    status.drops.into_iter().map(|(why, count)| (format!("{name} daemon {why}"), count)),
                );
            }
        }
        Ok(Self { counters })
    }

    /// What has grown since `earlier`, in words; empty if nothing.
    pub fn since(&self, earlier: &Self) -> Vec<String> {
        let grown = |(place, now): (&String, &u64)| {
            let more = now.saturating_sub(earlier.counters.get(place).copied().unwrap_or(0));
            (more > 0).then(|| format!("{place} {more}"))
        };
        self.counters.iter().filter_map(grown).collect()
    }
}

/// A counter of `/proc/net/snmp6`, one a line.
fn line(text: &str, counter: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok())
}

/// Links of `/proc/net/dev` with their drops when receiving and sending.
fn link_drops(text: &str) -> Vec<(&str, u64, u64)> {
    let parse = |line| -> Option<(&str, u64, u64)> {
        let (link, counters) = str::split_once(line, ':')?;
        let mut counters = counters.split_whitespace();
        let received = counters.nth(3)?.parse().ok()?;
        let sent = counters.nth(7)?.parse().ok()?;
        Some((link.trim(), received, sent))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_and_column() {
        let snmp =
            "Udp: InDatagrams RcvbufErrors\nUdp: 7 3\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 9\n";
        assert_eq!(paired_value(snmp, "Udp", "RcvbufErrors"), Some(3));
        assert_eq!(line("Udp6RcvbufErrors   \t4\n", "Udp6RcvbufErrors"), Some(4));
        let dev = "face |bytes packets errs drop fifo\n  eth0: 1 2 0 5 0 0 0 0 3 4 0 6 0 0 0 0\n";
        assert_eq!(link_drops(dev), [("eth0", 5, 6)]);
    }

    #[test]
    fn only_what_has_grown_is_told() {
        let at = |count| Losses { counters: [("pod eth0".to_owned(), count)].into() };
        assert!(at(2).since(&at(2)).is_empty());
        assert_eq!(at(5).since(&at(2)), ["pod eth0 3"]);
    }
}
