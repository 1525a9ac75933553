//! Chains, rules and the walk of a packet through them.

use ipnet::IpNet;

/// Jumps deeper than this end the walk as uncertain.
const DEEPEST: usize = 16;
/// Rules looked at in one walk.
const MOST_RULES: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Inet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Forward,
    Input,
    Output,
}

/// A condition, reduced to what is known of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// One of these interfaces (`+` or `*` at the end: any that begin so).
    From(Vec<String>),
    To(Vec<String>),
    Source(Vec<IpNet>),
    Destination(Vec<IpNet>),
    /// Connection tracking states by name; probes are the first packet of their connection.
    States(Vec<String>),
    /// UDP destination ports.
    UdpPort(Vec<(u16, u16)>),
    /// Layer 4 protocol by name or number.
    Protocol(Vec<String>),
    Not(Box<Match>),
    /// Something this model does not know.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// A verdict this model does not know, or one from a map.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Option<Verdict>,
    /// How the operator finds it.
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) name: String,
    /// Hook and whether the policy is drop.
    pub(super) base: Option<(Hook, bool)>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// `nftables` or `iptables`, as findings name it.
    pub(super) tool: &'static str,
    pub(super) chains: Vec<Chain>,
}

/// The first packet of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
    pub(super) source: Option<IpNet>,
    pub(super) destination: Option<IpNet>,
    pub(super) udp_port: Option<u16>,
}

/// What becomes of a probe; the text says by which rule or policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Accept,
    Drop(String),
    MaybeDrop(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    fn of(known: bool) -> Self {
        if known { Self::Yes } else { Self::No }
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn interface(patterns: &[String], name: Option<&str>) -> Truth {
    name.map_or(Truth::Maybe, |name| Truth::of(patterns.iter().any(|pattern| name_matches(pattern, name))))
}

fn prefix(nets: &[IpNet], probe: Option<IpNet>) -> Truth {
    let Some(probe) = probe else { return Truth::Maybe };
    if nets.iter().any(|net| net.contains(&probe)) {
        Truth::Yes
    } else if nets.iter().any(|net| probe.contains(net)) {
        Truth::Maybe
    } else {
        Truth::No
    }
}

impl Match {
    fn test(&self, probe: &Probe<'_>) -> Truth {
        match self {
            Self::From(names) => interface(names, probe.from),
            Self::To(names) => interface(names, probe.to),
            Self::Source(nets) => prefix(nets, probe.source),
            Self::Destination(nets) => prefix(nets, probe.destination),
            Self::States(states) => Truth::of(states.iter().any(|state| state.eq_ignore_ascii_case("new"))),
            Self::UdpPort(ranges) => probe.udp_port.map_or(Truth::Maybe, |port| {
                Truth::of(ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
            }),
            Self::Protocol(names) => match probe.udp_port {
                Some(_) => Truth::of(names.iter().any(|name| name == "udp" || name == "17" || name == "all")),
                None if names.iter().any(|name| name == "all") => Truth::Yes,
                None => Truth::Maybe,
            },
            Self::Not(inner) => inner.test(probe).not(),
            Self::Unknown => Truth::Maybe,
        }
    }
}

/// Where a chain ended.
enum End {
    Accept,
    Drop(String),
    Fell,
}

struct Walk<'a> {
    probe: &'a Probe<'a>,
    /// A rule that may have decided otherwise: `true` if it would have dropped.
    uncertain: Option<String>,
    maybe_accepted: bool,
    rules: usize,
}

impl Ruleset {
    pub(super) fn base_chains(&self, hook: Hook, family: Family) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(move |chain| {
            chain.base.is_some_and(|(have, _)| have == hook)
                && (chain.family == family || chain.family == Family::Inet || family == Family::Inet)
        })
    }

    /// The chain as findings name it.
    pub(super) fn place(&self, chain: &Chain) -> String {
        let family = match chain.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
            Family::Inet => "inet",
        };
        format!("{}: table {family} {}, chain {}", self.tool, chain.table, chain.name)
    }

    pub(super) fn walk(&self, chain: &Chain, probe: &Probe<'_>) -> Outcome {
        let mut walk = Walk { probe, uncertain: None, maybe_accepted: false, rules: 0 };
        let drops = chain.base.is_some_and(|(_, drops)| drops);
        let end = match self.follow(chain, &mut walk, 0) {
            End::Fell if drops => End::Drop("its policy".into()),
            End::Fell => End::Accept,
            end => end,
        };
        match (end, walk.uncertain, walk.maybe_accepted) {
            (End::Drop(rule), None, false) => Outcome::Drop(rule),
            (End::Drop(rule), _, _) => Outcome::MaybeDrop(rule),
            (_, Some(rule), _) => Outcome::MaybeDrop(rule),
            (_, None, _) => Outcome::Accept,
        }
    }

    fn follow(&self, chain: &Chain, walk: &mut Walk<'_>, depth: usize) -> End {
        for rule in &chain.rules {
            walk.rules += 1;
            if depth > DEEPEST || walk.rules > MOST_RULES {
                walk.maybe_accepted = true;
                return End::Fell;
            }
            let truth = rule.matches.iter().fold(Truth::Yes, |all, one| match (all, one.test(walk.probe)) {
                (Truth::No, _) | (_, Truth::No) => Truth::No,
                (Truth::Yes, Truth::Yes) => Truth::Yes,
                _ => Truth::Maybe,
            });
            if truth == Truth::No {
                continue;
            }
            let certain = truth == Truth::Yes;
            match &rule.verdict {
                None => {}
                Some(Verdict::Accept) if certain => return End::Accept,
                Some(Verdict::Drop) if certain => return End::Drop(rule.text.clone()),
                Some(Verdict::Return) if certain => return End::Fell,
                Some(Verdict::Drop) => {
                    walk.uncertain.get_or_insert_with(|| rule.text.clone());
                }
                Some(Verdict::Accept | Verdict::Return | Verdict::Unknown) => walk.maybe_accepted = true,
                Some(Verdict::Jump(target) | Verdict::Goto(target)) => {
                    let next = self.chains.iter().find(|have| {
                        have.name == *target && have.table == chain.table && have.family == chain.family
                    });
                    let Some(next) = next else {
                        walk.maybe_accepted = true;
                        continue;
                    };
                    match (self.follow(next, walk, depth + 1), certain) {
                        (End::Fell, true) if matches!(rule.verdict, Some(Verdict::Goto(_))) => {
                            return End::Fell;
                        }
                        (End::Fell, _) => {}
                        (end, true) => return end,
                        (End::Accept, false) => walk.maybe_accepted = true,
                        (End::Drop(text), false) => {
                            walk.uncertain.get_or_insert(text);
                        }
                    }
                }
            }
        }
        End::Fell
    }
}
