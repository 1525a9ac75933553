//! How full connection tracking is.

use std::{fmt, fs};

/// How full connection tracking is, and what it had to refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections known now.
    pub count: u64,
    /// How many may be known.
    pub max: u64,
    /// Packets dropped because no connection could be made for them, since the machine started.
    pub drop: u64,
    /// Connections given up early to make room for others.
    pub early_drop: u64,
    /// Connections that could not be entered, mostly because of a clash.
    pub insert_failed: u64,
}

/// How urgent the use is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fill {
    /// Below three quarters.
    Calm,
    /// From 75 %.
    High,
    /// From 90 %.
    Critical,
}

impl Usage {
    /// Reads it, for the network namespace of this thread. `None` where the kernel tracks no connections (yet).
    #[must_use]
    pub fn read() -> Option<Self> {
        let number = |leaf: &str| {
            let text = fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{leaf}")).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let (count, max) = (number("count")?, number("max")?);
        let stat = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap_or_default();
        let sum = |name: &str| column(&stat, name).unwrap_or(0);
        Some(Self {
            count,
            max,
            drop: sum("drop"),
            early_drop: sum("early_drop"),
            insert_failed: sum("insert_failed"),
        })
    }

    /// How urgent it is.
    #[must_use]
    pub fn fill(&self) -> Fill {
        match self.count.saturating_mul(100).checked_div(self.max) {
            Some(90..) => Fill::Critical,
            Some(75..) => Fill::High,
            Some(_) => Fill::Calm,
            // The kernel takes 0 for no limit.
            None => Fill::Calm,
        }
    }

    /// What the operator should know, compared with an earlier look: how full it is from three quarters on, and what
    /// has been lost since. `None` if all is well.
    #[must_use]
    pub fn alarm(&self, earlier: Option<&Self>) -> Option<String> {
        let since = |pick: fn(&Self) -> u64| pick(self).saturating_sub(earlier.map_or(pick(self), pick));
        let (lost, early) = (since(|usage| usage.drop), since(|usage| usage.early_drop));
        if self.fill() == Fill::Calm && lost + early == 0 {
            return None;
        }
        let mut text = format!("connection tracking is used to {self}");
        if lost + early > 0 {
            text += &format!(
                "; since the last look {lost} packets were dropped and {early} connections given up for lack of room"
            );
        }
        Some(text)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.count.saturating_mul(100).checked_div(self.max).unwrap_or(0);
        write!(f, "{percent} % ({} of {} connections)", self.count, self.max)
    }
}

/// The sum of a column of hexadecimal numbers, one line for each processor.
fn column(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let place = lines.next()?.split_whitespace().position(|column| column == name)?;
    let values = lines.filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(place)?, 16).ok());
    Some(values.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(count: u64, max: u64) -> Usage {
        Usage { count, max, ..Usage::default() }
    }

    #[test]
    fn it_is_high_from_three_quarters_and_critical_from_nine_tenths() {
        let fills = [0, 74, 75, 89, 90, 101].map(|count| usage(count, 100).fill());
        assert_eq!(fills, [Fill::Calm, Fill::Calm, Fill::High, Fill::High, Fill::Critical, Fill::Critical]);
        assert_eq!(usage(5, 0).fill(), Fill::Calm);
    }

    #[test]
    fn the_alarm_names_how_full_it_is_and_what_was_lost() {
        assert_eq!(usage(10, 100).alarm(None), None);
        assert!(
            usage(80, 100).alarm(None).unwrap().starts_with("connection tracking is used to 80 % (80 of 100")
        );
        let (before, after) = (Usage { drop: 3, ..usage(10, 100) }, Usage { drop: 5, ..usage(10, 100) });
        assert!(after.alarm(Some(&before)).unwrap().contains("2 packets were dropped"));
        assert_eq!(after.alarm(Some(&after)), None);
        assert_eq!(after.alarm(None), None, "what was lost before the daemon started is no news");
    }

    #[test]
    fn counters_of_all_processors_are_added() {
        let text = "entries  drop early_drop\n0000000a  00000001 00000000\n0000000a  0000000f 00000002\n";
        assert_eq!(column(text, "drop"), Some(16));
        assert_eq!(column(text, "early_drop"), Some(2));
        assert_eq!(column(text, "gone"), None);
    }
}
