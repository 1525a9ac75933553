//! Services translated by the cloud endpoint: every one answers, whatever the cluster does not know.

use std::thread;

use skybridge::lab::{
    cluster::{Fabric, Masquerade, Proxy, ServiceRoute},
    topology::{CLOUD, CLOUD6},
};

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("cluster::translated_every_service_answers_whatever_kube_proxy_does", whatever_kube_proxy_does),
    ("cluster::translated_and_masqueraded_it_needs_no_route_in_the_vpc", no_routes),
    ("cluster::the_cloud_endpoint_itself_reaches_services", from_the_endpoint),
    ("cluster::two_pods_share_visits_and_a_client_stays_where_the_service_wants_it", balance),
    ("cluster::a_service_that_is_local_to_nodes_answers_or_is_refused_as_configured", internal_local),
];

/// Visits to a Service with two endpoints: that one has them all happens once in a thousand million.
const MANY: usize = 32;

fn up(inside: &Entered, services: &str, scenario: Scenario) -> Result<Joined, LabError> {
    let joined = Joined::up_with(inside, scenario, services)?;
    joined.wait_translated()?;
    Ok(joined)
}

/// The world in which nothing helps: kube-proxy masquerades nothing, and the VPC routes no Services.
pub(super) fn unaided() -> Scenario {
    let fabric = Fabric { service_route: ServiceRoute::Nowhere, ..Fabric::default() };
    Scenario { fabric, ..Scenario::default() }
}

pub(super) fn translated(inside: &Entered) -> Result<Joined, LabError> {
    up(inside, "translate", unaided())
}

/// Every Service answers and shows the address; what has no endpoint refuses.
fn all_answer(joined: &Joined, seen: fn(bool) -> std::net::IpAddr) -> Result<(), LabError> {
    thread::scope(|scope| {
        let v6 = scope.spawn(|| family_answers(joined, seen(true), true));
        family_answers(joined, seen(false), false)?;
        v6.join().unwrap()
    })
}

fn family_answers(joined: &Joined, seen: std::net::IpAddr, v6: bool) -> Result<(), LabError> {
    let cluster = &joined.cluster;
    let tcp = |name: &str| cluster.service(name, v6).map(Visit::tcp);
    let dns = cluster.service("dns", v6)?;
    let named = [("nginx", "pod1", 8_080), ("mysql", "pod2", 3_306), ("twin", "pod2", 3_306)];
    let mut visits = vec![Visit::udp(dns), Visit::tcp(dns), Visit::tcp(at(Host::Pod2, 8_080, v6)?)];
    for (name, _, _) in named {
        visits.push(tcp(name)?);
    }
    let single = visits.len();
    for name in ["both", "named", "host"] {
        visits.extend(vec![tcp(name)?; MANY]);
    }
    visits.push(tcp("empty")?);
    let mut outcomes = visit::all(&cluster.underlay.client, &visits, PATIENCE)?;
    let empty = outcomes.pop();
    ensure(empty == Some(Outcome::Refused), format!("no endpoints, IPv6 {v6}: {empty:?}"))?;
    for (visit, outcome) in visits.iter().zip(&outcomes) {
        let fits = outcome.answer().is_some_and(|answer| answer.saw == seen);
        ensure(fits, format!("{} {}: {outcome}", visit.protocol, visit.to))?;
    }
    for ((name, who, port), outcome) in named.into_iter().zip(&outcomes[3..single]) {
        let fits = outcome.answer().is_some_and(|answer| answer.who == who && answer.port == port);
        ensure(fits, format!("{name}: {outcome:?}"))?;
    }
    for (name, outcomes) in ["both", "named", "host"].into_iter().zip(outcomes[single..].chunks(MANY)) {
        let first = outcomes.iter().filter_map(Outcome::answer).filter(|answer| answer.who.ends_with('1'));
        let first = first.count();
        ensure(first > 0 && first < MANY, format!("{name}, IPv6 {v6}: {first} of {MANY} by the first"))?;
    }
    // Pods may have a port of the same name at different numbers.
    for answer in outcomes[single + MANY..single + 2 * MANY].iter().filter_map(Outcome::answer) {
        let port = if answer.who == "pod1" { 8_080 } else { 8_081 };
        ensure(answer.port == port, format!("a named port: {answer:?}"))?;
    }
    Ok(())
}

fn whatever_kube_proxy_does(inside: &Entered) -> Result<(), LabError> {
    let mut joined = up(inside, "translate", unaided())?;
    all_answer(&joined, client)?;
    let everywhere = Fabric { service_route: ServiceRoute::Everywhere, ..Fabric::default() };
    for (proxy, masquerade, fabric) in [
        (Proxy::Iptables, Masquerade::None, Fabric::default()),
        (Proxy::Iptables, Masquerade::All, everywhere),
        (Proxy::IptablesLocalAddresses, Masquerade::None, Fabric::default()),
        (Proxy::Nftables, Masquerade::None, Fabric::default()),
        (Proxy::Nftables, Masquerade::ClusterCidr, everywhere),
    ] {
        joined.cluster.set(Scenario { proxy, masquerade, fabric, ..unaided() })?;
        all_answer(&joined, client)
            .map_err(|error| LabError::check(format!("{proxy:?}, {masquerade:?}: {error}")))?;
    }
    Ok(())
}

fn no_routes(inside: &Entered) -> Result<(), LabError> {
    let nowhere = Fabric { office_route: false, service_route: ServiceRoute::Nowhere, ..Fabric::default() };
    let joined = up(inside, "translate-and-masquerade", Scenario { fabric: nowhere, ..Scenario::default() })?;
    all_answer(&joined, |v6| ip(if v6 { CLOUD6 } else { CLOUD }))
}

fn from_the_endpoint(inside: &Entered) -> Result<(), LabError> {
    let joined = translated(inside)?;
    for v6 in [false, true] {
        let visits = [joined.cluster.service("nginx", v6)?, joined.cluster.service("mysql", v6)?];
        let visits: Vec<Visit> = visits.into_iter().map(Visit::tcp).collect();
        for outcome in visit::all(&joined.cluster.underlay.cloud, &visits, PATIENCE)? {
            ensure(outcome.answer().is_some(), format!("IPv6 {v6}: {outcome}"))?;
        }
    }
    Ok(())
}

fn balance(inside: &Entered) -> Result<(), LabError> {
    let mut joined = translated(inside)?;
    let office = joined.cluster.underlay.client.clone();
    for v6 in [false, true] {
        let many = vec![Visit::tcp(joined.cluster.service("sticky", v6)?); MANY];
        let who = |outcomes: Vec<Outcome>| -> Vec<Option<String>> {
            outcomes.iter().map(|outcome| outcome.answer().map(|answer| answer.who.clone())).collect()
        };
        let answered = who(visit::all(&office, &many, PATIENCE)?);
        let first = answered[0].clone();
        ensure(first.is_some() && answered.iter().all(|who| *who == first), format!("{answered:?}"))?;
    }
    // Where its Pod is gone, the other takes over.
    let first = joined.visit("sticky", false, PATIENCE)?;
    let who = first.answer().map(|answer| answer.who.clone()).unwrap_or_default();
    joined.cluster.change(|catalogue| {
        let sticky = catalogue.get_mut("sticky").unwrap();
        sticky.endpoints.retain(|endpoint| endpoint.host.name() != who);
    })?;
    until("another Pod answers", PATIENCE, || {
        let now = joined.visit("sticky", false, GIVEN_UP)?;
        let other = now.answer().is_some_and(|answer| answer.who != who);
        Ok(if other { Ok(()) } else { Err(now.to_string()) })
    })
}

fn internal_local(inside: &Entered) -> Result<(), LabError> {
    for (setting, answers) in [("cluster", true), ("refuse", false)] {
        let mut cluster = Cluster::build(inside, unaided())?;
        cluster.change(|catalogue| catalogue.get_mut("both").unwrap().local = true)?;
        let mut plan = cluster.plan_with("translate");
        plan.cloud_tables += &format!("internal_local = \"{setting}\"\n");
        let mut joined = Joined::prepare(cluster, &plan)?;
        joined.start()?;
        joined.wait_translated()?;
        for v6 in [false, true] {
            let outcome = joined.visit("both", v6, PATIENCE)?;
            let fits = if answers { outcome.answer().is_some() } else { outcome == Outcome::Refused };
            ensure(fits, format!("{setting}, IPv6 {v6}: {outcome}"))?;
        }
    }
    Ok(())
}
