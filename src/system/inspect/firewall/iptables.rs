//! From the text of `iptables-save -t filter` to the model.

use super::model::{Chain, Family, Hook, Match, Rule, Ruleset, Verdict};

pub(super) fn parse(text: &str, family: Family) -> Ruleset {
    let mut ruleset = Ruleset { tool: "iptables", chains: Vec::new() };
    for line in text.lines() {
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let Some(name) = words.next() else { continue };
            let drops = words.next() == Some("DROP");
            let hook = match name {
                "FORWARD" => Some(Hook::Forward),
                "INPUT" => Some(Hook::Input),
                "OUTPUT" => Some(Hook::Output),
                _ => None,
            };
            ruleset.chains.push(Chain {
                family,
                table: "filter".into(),
                name: name.to_owned(),
                base: hook.map(|hook| (hook, drops)),
                rules: Vec::new(),
            });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let mut words = rule.split_whitespace();
            let Some(name) = words.next() else { continue };
            let parsed = parse_rule(words.collect(), line);
            if let Some(chain) = ruleset.chains.iter_mut().find(|chain| chain.name == name) {
                chain.rules.push(parsed);
            }
        }
    }
    ruleset
}

fn parse_rule(words: Vec<&str>, line: &str) -> Rule {
    let mut rule = Rule { matches: Vec::new(), verdict: None, text: format!("the rule `{line}`") };
    let mut words = words.into_iter();
    let mut negated = false;
    while let Some(word) = words.next() {
        let found = match word {
            "!" => {
                negated = true;
                continue;
            }
            "-i" | "-o" | "-p" | "-s" | "-d" | "--dport" | "--ctstate" | "--state" => {
                known(word, words.next().unwrap_or_default())
            }
            "-j" | "-g" => {
                let target = words.next().unwrap_or_default().to_owned();
                rule.verdict = Some(match (word, target.as_str()) {
                    ("-j", "ACCEPT") => Verdict::Accept,
                    ("-j", "DROP" | "REJECT") => Verdict::Drop,
                    ("-j", "RETURN") => Verdict::Return,
                    ("-j", "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "TRACE") => {
                        rule.verdict = None;
                        break;
                    }
                    ("-g", _) => Verdict::Goto(target),
                    _ => Verdict::Jump(target),
                });
                break;
            }
            // The names of match modules, whose options follow.
            "-m" => {
                let module = words.next().unwrap_or_default();
                if matches!(module, "conntrack" | "state" | "udp" | "tcp" | "comment") {
                    continue;
                }
                Match::Unknown
            }
            "--comment" => {
                skip_quoted(&mut words);
                continue;
            }
            _ => Match::Unknown,
        };
        rule.matches.push(if negated { Match::Not(Box::new(found)) } else { found });
        negated = false;
    }
    rule
}

fn skip_quoted<'a>(words: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = words.next() else { return };
    if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
        for word in words {
            if word.ends_with('"') {
                break;
            }
        }
    }
}

fn known(option: &str, value: &str) -> Match {
    let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
    match option {
        "-i" => Match::From(list()),
        "-o" => Match::To(list()),
        "-p" => Match::Protocol(list()),
        "--ctstate" | "--state" => Match::States(list()),
        "-s" | "-d" => {
            let net =
                value.parse().ok().or_else(|| value.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from));
            match (option, net) {
                ("-s", Some(net)) => Match::Source(vec![net]),
                (_, Some(net)) => Match::Destination(vec![net]),
                _ => Match::Unknown,
            }
        }
        "--dport" => {
            let (first, last) = value.split_once(':').unwrap_or((value, value));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) => Match::UdpPort(vec![(first, last)]),
                _ => Match::Unknown,
            }
        }
        _ => Match::Unknown,
    }
}
