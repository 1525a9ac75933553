use super::model::{Family, Probe};
use super::*;

fn probe<'a>(from: &'a str, to: &'a str) -> Probe<'a> {
    Probe {
        from: Some(from),
        to: Some(to),
        source: Some("10.7.0.0/16".parse().unwrap()),
        destination: Some("192.168.10.0/24".parse().unwrap()),
        udp_port: None,
    }
}

fn forward(ruleset: &Ruleset, probe: &Probe<'_>) -> Outcome {
    let chain = ruleset.base_chains(Hook::Forward, Family::V4).next().unwrap();
    ruleset.walk(chain, probe)
}

const DOCKER: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

#[test]
fn dockers_forward_policy_drops_the_tunnels_packets() {
    let ruleset = iptables::parse(DOCKER, Family::V4);
    assert_eq!(forward(&ruleset, &probe("sky0", "lan")), Outcome::Drop("its policy".into()));
    assert_eq!(forward(&ruleset, &probe("docker0", "lan")), Outcome::Accept);
}

#[test]
fn a_rule_in_docker_user_lets_them_pass() {
    let fixed = DOCKER.replace(
        "-A DOCKER-USER -j RETURN",
        "-A DOCKER-USER -i sky+ -m comment --comment \"the tunnel\" -j ACCEPT\n-A DOCKER-USER -j RETURN",
    );
    let ruleset = iptables::parse(&fixed, Family::V4);
    assert_eq!(forward(&ruleset, &probe("sky0", "lan")), Outcome::Accept);
}

#[test]
fn what_the_model_does_not_know_is_uncertain() {
    let rules = ":FORWARD DROP [0:0]\n-A FORWARD -m set --match-set office src -j ACCEPT\n";
    let ruleset = iptables::parse(rules, Family::V4);
    assert_eq!(forward(&ruleset, &probe("sky0", "lan")), Outcome::MaybeDrop("its policy".into()));
}

fn nft_forward(policy: &str, rules: &str) -> Ruleset {
    let json = format!(
        r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},
        {{"table":{{"family":"inet","name":"fw","handle":1}}}},
        {{"chain":{{"family":"inet","table":"fw","name":"fwd","handle":1,"type":"filter","hook":"forward","prio":0,"policy":"{policy}"}}}}
        {rules}]}}"#
    );
    nft::parse(json.as_bytes()).unwrap()
}

fn nft_rule(handle: u32, expressions: &str) -> String {
    format!(
        r#",{{"rule":{{"family":"inet","table":"fw","chain":"fwd","handle":{handle},"expr":[{expressions}]}}}}"#
    )
}

#[test]
fn a_state_rule_alone_does_not_let_new_connections_pass() {
    let state = nft_rule(
        4,
        r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#,
    );
    assert_eq!(
        forward(&nft_forward("drop", &state), &probe("sky0", "lan")),
        Outcome::Drop("its policy".into())
    );
}

#[test]
fn interfaces_prefixes_and_negations_are_understood() {
    let iif = |op: &str, right: &str, verdict: &str| {
        format!(
            r#"{{"match":{{"op":"{op}","left":{{"meta":{{"key":"iifname"}}}},"right":{right}}}}},{{"counter":{{"packets":0,"bytes":0}}}},{{"{verdict}":null}}"#
        )
    };
    let accepts = nft_forward("drop", &nft_rule(4, &iif("==", r#"{"set":["sky0","lan"]}"#, "accept")));
    assert_eq!(forward(&accepts, &probe("sky0", "lan")), Outcome::Accept);
    let drops = nft_forward("accept", &nft_rule(9, &iif("!=", r#""lan""#, "drop")));
    assert_eq!(forward(&drops, &probe("sky0", "lan")), Outcome::Drop("the rule with handle 9".into()));
    let source = |address: &str, len: u8| {
        nft_forward(
            "drop",
            &nft_rule(
                4,
                &format!(
                    r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"ip","field":"saddr"}}}},"right":{{"prefix":{{"addr":"{address}","len":{len}}}}}}}}},{{"accept":null}}"#
                ),
            ),
        )
    };
    assert_eq!(forward(&source("10.0.0.0", 8), &probe("sky0", "lan")), Outcome::Accept);
    assert_eq!(
        forward(&source("10.7.1.0", 24), &probe("sky0", "lan")),
        Outcome::MaybeDrop("its policy".into())
    );
    assert_eq!(forward(&source("10.9.0.0", 16), &probe("sky0", "lan")), Outcome::Drop("its policy".into()));
}

#[test]
fn a_loop_of_jumps_ends() {
    let rules = ":FORWARD DROP [0:0]\n:A - [0:0]\n-A FORWARD -j A\n-A A -j A\n-A A -j A\n";
    let ruleset = iptables::parse(rules, Family::V4);
    assert!(matches!(forward(&ruleset, &probe("sky0", "lan")), Outcome::MaybeDrop(_)));
}

#[test]
fn garbage_is_an_error_or_nothing() {
    assert!(nft::parse(b"{").is_err());
    assert!(nft::parse(b"[]").is_err());
    assert!(nft::parse(br#"{"nftables":[{"chain":1},{"rule":{"expr":[1]}}, 5]}"#).unwrap().chains.is_empty());
    assert!(iptables::parse(":\n-A \n-A FORWARD\n-A X -i", Family::V6).chains.is_empty());
}

/// What the kernel lists of the table of Services, as far as this machine's own packets pass it.
const SERVICES: &str = r#"{"nftables": [
{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "skybridge", "handle": 1}},
{"set": {"family": "inet", "name": "ranges4", "table": "skybridge", "type": "ipv4_addr", "handle": 1, "comment": "What is no Service here is refused", "flags": ["interval"]}},
{"chain": {"family": "inet", "table": "skybridge", "name": "refusal", "handle": 3}},
{"chain": {"family": "inet", "table": "skybridge", "name": "remember", "handle": 4}},
{"chain": {"family": "inet", "table": "skybridge", "name": "sent", "handle": 5, "type": "filter", "hook": "output", "prio": -99, "policy": "accept"}},
{"rule": {"family": "inet", "table": "skybridge", "chain": "refusal", "handle": 6, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"reject": {"type": "tcp reset"}}]}},
{"rule": {"family": "inet", "table": "skybridge", "chain": "refusal", "handle": 8, "expr": [{"reject": {"type": "icmpx", "expr": "port-unreachable"}}]}},
{"rule": {"family": "inet", "table": "skybridge", "chain": "sent", "handle": 9, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@ranges4"}}, {"goto": {"target": "refusal"}}]}},
{"rule": {"family": "inet", "table": "skybridge", "chain": "sent", "handle": 11, "expr": [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"jump": {"target": "remember"}}]}}
]}"#;

/// Verdicts on the uplink's IKE packets, by chain.
fn of_ike(ruleset: &Ruleset) -> Vec<Outcome> {
    let ike = Probe { from: None, to: Some("eth0"), source: None, destination: None, udp_port: Some(500) };
    ruleset.base_chains(Hook::Output, Family::V4).map(|chain| ruleset.walk(chain, &ike)).collect()
}

#[test]
fn our_own_table_is_no_firewall() {
    assert_eq!(of_ike(&nft::parse(SERVICES.as_bytes()).unwrap()), []);
    let someones = SERVICES.replace("skybridge", "theirs");
    assert!(matches!(of_ike(&nft::parse(someones.as_bytes()).unwrap())[..], [Outcome::MaybeDrop(_)]));
}
