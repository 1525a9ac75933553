//! From the JSON of `nft -j list ruleset` to the model.

use ipnet::IpNet;
use serde_json::Value;

use super::model::{Chain, Family, Hook, Match, Rule, Ruleset, Verdict};

/// The table of Services. It refuses nothing but what goes to cluster addresses, by sets that are not looked into.
const OWN_TABLE: (Family, &str) = (Family::Inet, "skybridge");

pub(super) fn parse(octets: &[u8]) -> Result<Ruleset, String> {
    let value: Value = serde_json::from_slice(octets).map_err(|error| format!("nft's output: {error}"))?;
    let items = value.get("nftables").and_then(Value::as_array).ok_or("nft's output has no rules")?;
    let mut ruleset = Ruleset { tool: "nftables", chains: Vec::new() };
    for item in items {
        if let Some(chain) = item.get("chain") {
            let chain = parse_chain(chain);
            ruleset.chains.extend(chain.filter(|chain| (chain.family, &*chain.table) != OWN_TABLE));
        }
    }
    for item in items {
        let Some(rule) = item.get("rule") else { continue };
        let (Some(family), Some(table), Some(name)) =
            (family(rule), text(rule, "table"), text(rule, "chain"))
        else {
            continue;
        };
        if let Some(chain) = ruleset
            .chains
            .iter_mut()
            .find(|chain| chain.family == family && chain.table == table && chain.name == name)
        {
            chain.rules.push(parse_rule(rule));
        }
    }
    Ok(ruleset)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn family(value: &Value) -> Option<Family> {
    match text(value, "family")? {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        "inet" => Some(Family::Inet),
        _ => None,
    }
}

fn parse_chain(value: &Value) -> Option<Chain> {
    let hook = match text(value, "hook") {
        Some("forward") => Some(Hook::Forward),
        Some("input") => Some(Hook::Input),
        Some("output") => Some(Hook::Output),
        _ => None,
    };
    // Nat chains see packets but pass them on whatever their policy is named.
    let filters = text(value, "type").is_none_or(|kind| kind == "filter");
    Some(Chain {
        family: family(value)?,
        table: text(value, "table")?.to_owned(),
        name: text(value, "name")?.to_owned(),
        base: hook.filter(|_| filters).map(|hook| (hook, text(value, "policy") == Some("drop"))),
        rules: Vec::new(),
    })
}

fn parse_rule(value: &Value) -> Rule {
    let handle = value.get("handle").and_then(Value::as_u64).unwrap_or_default();
    let comment = text(value, "comment").map(|comment| format!(" \"{comment}\"")).unwrap_or_default();
    let mut rule =
        Rule { matches: Vec::new(), verdict: None, text: format!("the rule with handle {handle}{comment}") };
    let expressions = value.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for expression in expressions {
        let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
            rule.matches.push(Match::Unknown);
            continue;
        };
        let target = || text(body, "target").unwrap_or_default().to_owned();
        match kind.as_str() {
            "match" => {
                let found = parse_match(body);
                // A field of a transport header says the protocol, whatever else it says.
                if found == Match::Unknown
                    && let Some(transport) = body
                        .get("left")
                        .and_then(|left| text(left.get("payload")?, "protocol"))
                        .filter(|name| matches!(*name, "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "esp"))
                {
                    rule.matches.push(Match::Protocol(vec![transport.to_owned()]));
                }
                rule.matches.push(found);
            }
            "accept" => rule.verdict = Some(Verdict::Accept),
            "drop" | "reject" => rule.verdict = Some(Verdict::Drop),
            "return" => rule.verdict = Some(Verdict::Return),
            "jump" => rule.verdict = Some(Verdict::Jump(target())),
            "goto" => rule.verdict = Some(Verdict::Goto(target())),
            "vmap" | "queue" => rule.verdict = Some(Verdict::Unknown),
            "counter" | "log" | "mangle" | "notrack" | "flow" | "snat" | "dnat" | "masquerade"
            | "redirect" => {}
            "xt" => parse_xt(body, &mut rule),
            _ => rule.matches.push(Match::Unknown),
        }
    }
    rule
}

/// Rules by iptables' nft variant: matches and targets that nft itself cannot print.
fn parse_xt(body: &Value, rule: &mut Rule) {
    match text(body, "type") {
        Some("target") => rule.verdict = Some(Verdict::Unknown),
        _ => rule.matches.push(Match::Unknown),
    }
}

fn parse_match(body: &Value) -> Match {
    let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else { return Match::Unknown };
    let found = known(left, right).unwrap_or(Match::Unknown);
    match (text(body, "op"), found) {
        (_, Match::Unknown) => Match::Unknown,
        (Some("==" | "in") | None, found) => found,
        (Some("!="), found) => Match::Not(Box::new(found)),
        _ => Match::Unknown,
    }
}

fn known(left: &Value, right: &Value) -> Option<Match> {
    if let Some(key) = left.get("meta").and_then(|meta| text(meta, "key")) {
        return match key {
            "iifname" | "iif" => Some(Match::From(words(right)?)),
            "oifname" | "oif" => Some(Match::To(words(right)?)),
            "l4proto" => Some(Match::Protocol(words(right)?)),
            _ => None,
        };
    }
    if left.get("ct").and_then(|ct| text(ct, "key")) == Some("state") {
        return Some(Match::States(words(right)?));
    }
    let payload = left.get("payload")?;
    match (text(payload, "protocol")?, text(payload, "field")?) {
        ("ip" | "ip6", "saddr") => Some(Match::Source(nets(right)?)),
        ("ip" | "ip6", "daddr") => Some(Match::Destination(nets(right)?)),
        ("ip", "protocol") | ("ip6", "nexthdr") => Some(Match::Protocol(words(right)?)),
        ("udp", "dport") => Some(Match::UdpPort(ports(right)?)),
        _ => None,
    }
}

/// The elements of a set, a list, or the single value. Named sets are not looked into.
fn elements(value: &Value) -> Vec<&Value> {
    if let Some(set) = value.get("set").and_then(Value::as_array).or_else(|| value.as_array()) {
        return set.iter().collect();
    }
    vec![value]
}

fn words(value: &Value) -> Option<Vec<String>> {
    elements(value)
        .into_iter()
        .map(|element| match element {
            Value::String(word) if word.starts_with('@') => None,
            Value::String(word) => Some(word.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect()
}

fn nets(value: &Value) -> Option<Vec<IpNet>> {
    elements(value)
        .into_iter()
        .map(|element| {
            if let Some(prefix) = element.get("prefix") {
                let length = prefix.get("len").and_then(Value::as_u64)?;
                return IpNet::new(text(prefix, "addr")?.parse().ok()?, u8::try_from(length).ok()?).ok();
            }
            element.as_str()?.parse::<std::net::IpAddr>().ok().map(IpNet::from)
        })
        .collect()
}

fn ports(value: &Value) -> Option<Vec<(u16, u16)>> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    elements(value)
        .into_iter()
        .map(|element| match element.get("range").and_then(Value::as_array).map(Vec::as_slice) {
            Some([first, last]) => Some((port(first)?, port(last)?)),
            Some(_) => None,
            None => port(element).map(|port| (port, port)),
        })
        .collect()
}
