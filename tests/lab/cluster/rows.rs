//! Plain routing to the Services' range: what works and what does not, for each way that a cluster can be set.
//!
//! None of these is what the daemon does for Services: it only carries packets here. The rows say what it has to
//! cope with, and that the lab is like the world.

use std::thread;

use skybridge::lab::{
    cluster::{Fabric, Masquerade, Operator, Proxy, ServiceRoute},
    topology::{CLOUD, CLOUD6},
};

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("cluster::each_way_that_a_cluster_is_set_has_its_own_answers", every_row),
    ("cluster::a_client_stays_with_one_pod_where_the_service_wants_it", affinity),
];

/// As whom a Pod sees a visitor, or that there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    AsClient,
    AsNode1,
    AsCloudEndpoint,
    Never,
}

/// What becomes of a ping to a cluster address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Silence,
    Reply,
    Loops,
    Refused,
}

struct Row {
    name: &'static str,
    scenario: Scenario,
    /// The Pod is on the node that the VPC routes Services to.
    nginx: Seen,
    /// The Pod is on the other node.
    mysql: Seen,
    /// As whom the Pods of a Service with one on each node see the office; never means that some visits fail.
    both: Seen,
    ping: Ping,
    /// Whether a Pod sees another Pod's own address.
    pod_as_pod: bool,
}

fn rows() -> Vec<Row> {
    let unfixed = || Row {
        name: "iptables, nothing masqueraded",
        scenario: Scenario::default(),
        nginx: Seen::AsClient,
        mysql: Seen::Never,
        both: Seen::Never,
        ping: Ping::Silence,
        pod_as_pod: true,
    };
    let scenario = Scenario::default();
    let fixed = |seen, row| Row { nginx: seen, mysql: seen, both: seen, ..row };
    let cidr = Masquerade::ClusterCidr;
    vec![
        unfixed(),
        Row {
            name: "the VPC passes replies without a request",
            scenario: Scenario { fabric: Fabric { stateful: false, ..Fabric::default() }, ..scenario },
            ..unfixed()
        },
        Row {
            name: "cluster addresses are the node's own",
            scenario: Scenario { proxy: Proxy::IptablesLocalAddresses, ..scenario },
            ping: Ping::Reply,
            ..unfixed()
        },
        Row {
            name: "every route table has the Services' range",
            scenario: Scenario {
                fabric: Fabric { service_route: ServiceRoute::Everywhere, ..Fabric::default() },
                ..scenario
            },
            ping: Ping::Loops,
            ..unfixed()
        },
        Row {
            name: "nftables, nothing masqueraded",
            scenario: Scenario { proxy: Proxy::Nftables, ..scenario },
            ping: Ping::Refused,
            ..unfixed()
        },
        Row {
            name: "iptables, masqueradeAll",
            scenario: Scenario { masquerade: Masquerade::All, ..scenario },
            pod_as_pod: false,
            ..fixed(Seen::AsNode1, unfixed())
        },
        Row {
            name: "nftables, masqueradeAll",
            scenario: Scenario { proxy: Proxy::Nftables, masquerade: Masquerade::All, ..scenario },
            pod_as_pod: false,
            ping: Ping::Refused,
            ..fixed(Seen::AsNode1, unfixed())
        },
        Row {
            name: "iptables, clusterCIDR",
            scenario: Scenario { masquerade: cidr, ..scenario },
            ..fixed(Seen::AsNode1, unfixed())
        },
        Row {
            name: "nftables, clusterCIDR",
            scenario: Scenario { proxy: Proxy::Nftables, masquerade: cidr, ..scenario },
            ping: Ping::Refused,
            ..fixed(Seen::AsNode1, unfixed())
        },
        Row {
            name: "the cloud endpoint masquerades, and no more",
            scenario: Scenario { operator: Operator::Snat, ..scenario },
            nginx: Seen::AsCloudEndpoint,
            ..unfixed()
        },
        Row {
            name: "the cloud endpoint translates",
            scenario: Scenario { operator: Operator::Dnat, ..scenario },
            ..fixed(Seen::AsClient, unfixed())
        },
        Row {
            name: "the cloud endpoint translates and masquerades, no route in the VPC",
            scenario: Scenario {
                operator: Operator::DnatAndSnat,
                fabric: Fabric {
                    service_route: ServiceRoute::Nowhere,
                    office_route: false,
                    ..Fabric::default()
                },
                ..scenario
            },
            ..fixed(Seen::AsCloudEndpoint, unfixed())
        },
    ]
}

fn every_row(inside: &Entered) -> Result<(), LabError> {
    let mut joined = Joined::up_with(inside, Scenario::default(), "route")?;
    let mut wrong = Vec::new();
    for row in rows() {
        joined.cluster.set(row.scenario)?;
        let resets = || joined.cluster.underlay.client.snmp("Tcp", "OutRsts");
        let before = resets()?;
        let (v4, v6) = thread::scope(|scope| {
            let (joined, row) = (&joined, &row);
            let v6 = scope.spawn(move || measure(joined, row, true));
            (measure(joined, row, false), v6.join().unwrap())
        });
        let said = v4?.into_iter().chain(v6?.into_iter().map(|said| format!("IPv6: {said}")));
        wrong.extend(said.map(|said| format!("{}: {said}", row.name)));
        // A reply without a request that gets as far as the client is refused there. Where all answer, what a Pod
        // still holds of a row before may be refused, too.
        let orphans = resets()? - before;
        if row.mysql == Seen::Never && (orphans > 0) == row.scenario.fabric.stateful {
            wrong.push(format!("{}: {orphans} replies without a request", row.name));
        }
    }
    ensure(wrong.is_empty(), format!("{}\n{}", wrong.join("\n"), joined.last_words()))
}

/// So many visits to a Service with a Pod on each node: that all take the same way happens once in a thousand million.
const MANY: usize = 32;

/// Returns what is not as it should be.
fn measure(joined: &Joined, row: &Row, v6: bool) -> Result<Vec<String>, LabError> {
    let cluster = &joined.cluster;
    let office = &cluster.underlay.client;
    let to = |name: &str| cluster.service(name, v6).map(Visit::tcp);
    let dns = Visit::udp(cluster.service("dns", v6)?);
    let direct = Visit::tcp(at(Host::Pod2, 3_306, v6)?);
    let patience = |seen| if seen == Seen::Never { GIVEN_UP } else { PATIENCE };
    // What must fail shall not keep waiting what must not.
    let (mysql, both, inner, echo) =
        (to("mysql")?, vec![to("both")?; MANY], to("mysql")?, to("nginx")?.to.ip());
    let steady = [to("nginx")?, direct, to("empty")?];
    let (steady, remote, both, inner, echo) = thread::scope(|scope| {
        let remote = scope.spawn(move || visit::all(office, &[mysql, dns], patience(row.mysql)));
        let both = scope.spawn(move || visit::all(office, &both, patience(row.both)));
        let inner = scope.spawn(move || visit::once(cluster.namespace(Host::Pod1), inner, PATIENCE));
        let echo = scope.spawn(move || {
            let patience = if row.ping == Ping::Silence { GIVEN_UP } else { PATIENCE };
            ping::once(office, echo, 56, patience)
        });
        let steady = visit::all(office, &steady, PATIENCE);
        (steady, remote.join().unwrap(), both.join().unwrap(), inner.join().unwrap(), echo.join().unwrap())
    });
    let (steady, remote, both, inner, echo) = (steady?, remote?, both?, inner?, echo?);
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let seen = |outcome: &Outcome| seen(outcome, v6);
    expect(seen(&steady[0]) == Some(row.nginx), format!("nginx: {}", steady[0]));
    // Whether Services are masqueraded or not, who knows a Pod's address reaches it.
    let masqueraded = matches!(row.scenario.operator, Operator::Snat | Operator::DnatAndSnat);
    let plain = if masqueraded { Seen::AsCloudEndpoint } else { Seen::AsClient };
    expect(seen(&steady[1]) == Some(plain), format!("Pod direct: {}", steady[1]));
    expect(steady[2] == Outcome::Refused, format!("no endpoints: {}", steady[2]));
    expect(seen(&remote[0]) == Some(row.mysql), format!("mysql: {}", remote[0]));
    // UDP comes from the Pod's own address, which nobody asked.
    expect(seen(&remote[1]) == Some(row.mysql), format!("DNS: {}", remote[1]));
    let answered = both.iter().filter(|outcome| outcome.answer().is_some()).count();
    if row.both == Seen::Never {
        expect(answered > 0 && answered < MANY, format!("both: {answered} of {MANY}"));
        let local = both.iter().filter_map(Outcome::answer).all(|answer| answer.who == "pod1");
        expect(local, "both: answered by the other node's Pod".to_owned());
    } else {
        let other = both.iter().find(|outcome| seen(outcome) != Some(row.both));
        expect(
            other.is_none(),
            format!("both: {answered} of {MANY}, {}", other.map_or_else(String::new, ToString::to_string)),
        );
        let first = both.iter().filter_map(Outcome::answer).filter(|answer| answer.who == "pod1").count();
        expect(first > 0 && first < MANY, format!("both: {first} of {MANY} by pod1"));
    }
    let pinged = match &echo {
        Ok(_) => Ping::Reply,
        Err(why) if why.starts_with("time to live") => Ping::Loops,
        Err(why) if why.starts_with("destination unreachable") => Ping::Refused,
        Err(_) => Ping::Silence,
    };
    expect(pinged == row.ping, format!("ping: {echo:?}"));
    let from = if row.pod_as_pod { Host::Pod1 } else { Host::Node1 };
    let as_whom = inner.answer().map(|answer| answer.saw);
    let fits = as_whom.is_some_and(|saw| from.all_addresses().iter().any(|address| ip(address) == saw));
    expect(fits, format!("Pod to mysql: {inner}"));
    Ok(wrong)
}

/// As whom the visitor was seen; nothing if neither.
fn seen(outcome: &Outcome, v6: bool) -> Option<Seen> {
    let Some(answer) = outcome.answer() else {
        return (*outcome == Outcome::Silence).then_some(Seen::Never);
    };
    let node = Host::Node1.all_addresses().iter().any(|address| ip(address) == answer.saw);
    match answer.saw {
        saw if saw == client(v6) => Some(Seen::AsClient),
        saw if saw == ip(if v6 { CLOUD6 } else { CLOUD }) => Some(Seen::AsCloudEndpoint),
        _ if node => Some(Seen::AsNode1),
        _ => None,
    }
}

fn affinity(inside: &Entered) -> Result<(), LabError> {
    let scenario = Scenario { masquerade: Masquerade::ClusterCidr, ..Scenario::default() };
    let mut joined = Joined::up_with(inside, scenario, "route")?;
    for proxy in [Proxy::Iptables, Proxy::Nftables] {
        joined.cluster.set(Scenario { proxy, ..scenario })?;
        for v6 in [false, true] {
            let first = joined.visit("sticky", v6, PATIENCE)?;
            let many = vec![Visit::tcp(joined.cluster.service("sticky", v6)?); MANY];
            let more = visit::all(&joined.cluster.underlay.client, &many, PATIENCE)?;
            let who = |outcome: &Outcome| outcome.answer().map(|answer| answer.who.clone());
            let same = first.answer().is_some() && more.iter().all(|outcome| who(outcome) == who(&first));
            ensure(same, format!("{proxy:?}: {first}, then {more:?}"))?;
        }
    }
    Ok(())
}
