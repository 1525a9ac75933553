//! What goes wrong with translation where it is done carelessly, through two daemons.

use skybridge::{
    cluster::model::Protocol,
    lab::{
        Namespace,
        cluster::services::Endpoint,
        dump::Dump,
        traffic::visit::{Flow, Stay},
    },
};

use super::{translate::translated, *};

pub(super) const TESTS: &[Test] = &[
    ("cluster::what_has_no_endpoint_is_refused_at_once", refused),
    ("cluster::a_removed_endpoint_keeps_its_connections_and_loses_its_datagrams", removed),
    ("cluster::a_stopping_endpoint_answers_only_while_no_other_is_ready", stopping),
    ("cluster::a_cluster_address_answers_a_ping_while_its_service_has_an_endpoint", pinged),
    ("cluster::datagrams_larger_than_a_packet_reach_a_service_and_come_back", fragments),
    ("cluster::a_router_that_needs_smaller_packets_is_heard_through_the_translation", too_big),
    ("cluster::one_client_port_reaches_one_pod_by_two_services_at_once", same_tuple),
    ("cluster::rules_that_somebody_flushed_come_back", flushed),
    ("cluster::nothing_of_the_translation_outlives_stop_or_cleanup", gone),
    ("cluster::pods_open_connections_to_the_office_with_and_without_a_nodes_address", to_the_office),
];

fn refused(inside: &Entered) -> Result<(), LabError> {
    let mut joined = translated(inside)?;
    joined.cluster.change(|catalogue| catalogue.get_mut("dns").unwrap().endpoints.clear())?;
    let office = joined.cluster.underlay.client.clone();
    for v6 in [false, true] {
        let (dns, nginx) = (joined.cluster.service("dns", v6)?, joined.cluster.service("nginx", v6)?);
        let mut nobody = nginx;
        nobody.set_ip(ip(if v6 { "fd00:172:16::dead" } else { "172.16.200.200" }));
        let mut other = nginx;
        other.set_port(81);
        until("DNS is refused", PATIENCE, || {
            let outcome = visit::once(&office, Visit::udp(dns), GIVEN_UP)?;
            Ok(if outcome == Outcome::Refused { Ok(()) } else { Err(outcome.to_string()) })
        })?;
        let visits = [
            Visit::udp(dns),
            Visit::tcp(dns),
            Visit::tcp(joined.cluster.service("empty", v6)?),
            Visit::tcp(other),
            Visit::udp(other),
            Visit::tcp(nobody),
        ];
        for (visit, outcome) in visits.iter().zip(visit::all(&office, &visits, PATIENCE)?) {
            let what = format!("{} {}: {outcome}", visit.protocol, visit.to);
            ensure(outcome == Outcome::Refused, what)?;
        }
        let outcome = visit::once(&office, Visit::tcp(nginx), PATIENCE)?;
        ensure(outcome.answer().is_some(), format!("beside them: {outcome}"))?;
    }
    Ok(())
}

fn removed(inside: &Entered) -> Result<(), LabError> {
    let mut joined = translated(inside)?;
    let office = joined.cluster.underlay.client.clone();
    joined.cluster.change(|catalogue| {
        catalogue.get_mut("dns").unwrap().endpoints.push(Endpoint::ready(Host::Pod1));
    })?;
    // Until flows go to either Pod, one is not in use yet.
    let dns = joined.cluster.service("dns", false)?;
    let mut flows = Vec::new();
    until("flows go to both Pods", PATIENCE, || {
        let flow = Flow::open(&office, dns)?;
        let who = flow.ask().answer().map(|answer| answer.who.clone());
        let who = who.unwrap_or_default();
        flows.push((flow, who));
        let both = ["pod1", "pod2"].iter().all(|pod| flows.iter().any(|(_, who)| who == pod));
        Ok(if both { Ok(()) } else { Err(format!("{} flows", flows.len())) })
    })?;
    let both = joined.cluster.service("both", false)?;
    let mut stays = Vec::new();
    until("connections go to both Pods", PATIENCE, || {
        stays.push(Stay::begin(&office, 0, both, PATIENCE)?);
        let served = |pod: &str| stays.iter().any(|stay| stay.answer.who == pod);
        Ok(if served("pod1") && served("pod2") { Ok(()) } else { Err(format!("{} made", stays.len())) })
    })?;
    joined.cluster.change(|catalogue| {
        for name in ["dns", "both"] {
            let service = catalogue.get_mut(name).unwrap();
            service.endpoints.retain(|endpoint| endpoint.host != Host::Pod1);
        }
    })?;
    for (flow, _) in &flows {
        until("datagrams of the same port go to the Pod that is left", PATIENCE, || {
            let outcome = flow.ask();
            let moved = outcome.answer().is_some_and(|answer| answer.who == "pod2");
            Ok(if moved { Ok(()) } else { Err(outcome.to_string()) })
        })?;
    }
    let many = vec![Visit::tcp(both); 16];
    for outcome in visit::all(&office, &many, PATIENCE)? {
        ensure(outcome.answer().is_some_and(|answer| answer.who == "pod2"), format!("new: {outcome}"))?;
    }
    for stay in &mut stays {
        stay.talk("still there?")?;
    }
    Ok(())
}

fn stopping(inside: &Entered) -> Result<(), LabError> {
    let mut joined = translated(inside)?;
    let leaving = |host| Endpoint { host, ready: false, terminating: true };
    let wait = |joined: &Joined, pod: &str| {
        until(&format!("{pod} answers alone"), PATIENCE, || {
            let many = vec![Visit::tcp(joined.cluster.service("both", false)?); 16];
            let outcomes = visit::all(&joined.cluster.underlay.client, &many, PATIENCE)?;
            let alone =
                outcomes.iter().all(|outcome| outcome.answer().is_some_and(|answer| answer.who == pod));
            Ok(if alone { Ok(()) } else { Err(format!("{outcomes:?}")) })
        })
    };
    joined
        .cluster
        .change(|catalogue| catalogue.get_mut("both").unwrap().endpoints[0] = leaving(Host::Pod1))?;
    wait(&joined, "pod2")?;
    joined.cluster.change(|catalogue| {
        catalogue.get_mut("both").unwrap().endpoints = vec![leaving(Host::Pod1)];
    })?;
    wait(&joined, "pod1")
}

fn pinged(inside: &Entered) -> Result<(), LabError> {
    let mut joined = translated(inside)?;
    let office = joined.cluster.underlay.client.clone();
    for v6 in [false, true] {
        let (nginx, empty) =
            (joined.cluster.service("nginx", v6)?.ip(), joined.cluster.service("empty", v6)?.ip());
        ping::until_answered(&office, nginx, PATIENCE)?;
        let unanswered = ping::once(&office, empty, 56, GIVEN_UP)?;
        ensure(unanswered.is_err(), format!("{empty} answered without an endpoint"))?;
    }
    joined.cluster.change(|catalogue| {
        catalogue.get_mut("nginx").unwrap().endpoints.clear();
        catalogue.get_mut("empty").unwrap().endpoints.push(Endpoint::ready(Host::Pod1));
    })?;
    for v6 in [false, true] {
        let (nginx, empty) =
            (joined.cluster.service("nginx", v6)?.ip(), joined.cluster.service("empty", v6)?.ip());
        ping::until_answered(&office, empty, PATIENCE)?;
        let unanswered = ping::once(&office, nginx, 56, GIVEN_UP)?;
        ensure(unanswered.is_err(), format!("{nginx} answered without an endpoint"))?;
    }
    Ok(())
}

fn fragments(inside: &Entered) -> Result<(), LabError> {
    let joined = translated(inside)?;
    for v6 in [false, true] {
        let dns = joined.cluster.service("dns", v6)?;
        // Through the tunnel's MTU, just above it, and in many fragments, there and back.
        let visits: Vec<Visit> = [1_200, 1_450, 2_900, 9_000]
            .iter()
            .map(|length| Visit { length: *length, ..Visit::udp(dns) })
            .collect();
        for (visit, outcome) in
            visits.iter().zip(visit::all(&joined.cluster.underlay.client, &visits, PATIENCE)?)
        {
            let answered = outcome.answer().is_some_and(|answer| answer.saw == client(v6));
            ensure(answered, format!("{} octets, IPv6 {v6}: {outcome}", visit.length))?;
        }
    }
    Ok(())
}

fn too_big(inside: &Entered) -> Result<(), LabError> {
    const NARROW: u32 = 1_300;
    let joined = translated(inside)?;
    let node = joined.cluster.namespace(Host::Node2);
    node.narrow("10.0.2.22/32", "pod0", NARROW)?;
    node.narrow("fd00:c:2::22/128", "pod0", NARROW)?;
    for v6 in [false, true] {
        let dns = joined.cluster.service("dns", v6)?;
        let office = &joined.cluster.underlay.client;
        let outcome = visit::once(office, Visit { length: 1_350, ..Visit::udp(dns) }, PATIENCE)?;
        ensure(outcome.answer().is_some(), format!("IPv6 {v6}: {outcome}"))?;
        // TCP learns it for itself: the Pod's own MTU does not tell.
        let mut stay = Stay::begin(office, 0, joined.cluster.service("mysql", v6)?, PATIENCE)?;
        stay.talk(&"to and fro ".repeat(3_000))?;
        let needed = if v6 { ("Icmp6OutPktTooBigs", "snmp6") } else { ("OutDestUnreachs", "snmp") };
        let told = match v6 {
            false => node.snmp("Icmp", needed.0)?,
            true => node.snmp6(needed.0)?,
        };
        ensure(told > 0, format!("nobody was told, IPv6 {v6}"))?;
    }
    Ok(())
}

fn same_tuple(inside: &Entered) -> Result<(), LabError> {
    let joined = translated(inside)?;
    let office = &joined.cluster.underlay.client;
    for v6 in [false, true] {
        let to = [
            joined.cluster.service("mysql", v6)?,
            joined.cluster.service("twin", v6)?,
            at(Host::Pod2, 3_306, v6)?,
        ];
        let mut stays = Vec::new();
        for to in to {
            stays.push(Stay::begin(office, 45_678, to, PATIENCE)?);
        }
        for stay in &mut stays {
            stay.talk("each by itself")?;
            ensure(stay.answer.saw == client(v6) && stay.answer.who == "pod2", format!("{:?}", stay.answer))?;
        }
        let mut ports: Vec<u16> = stays.iter().map(|stay| stay.answer.saw_port).collect();
        ports.sort_unstable();
        ports.dedup();
        ensure(ports.len() == stays.len(), format!("the Pod saw {ports:?}"))?;
    }
    Ok(())
}

fn flushed(inside: &Entered) -> Result<(), LabError> {
    let joined = translated(inside)?;
    let both = joined.cluster.service("both", false)?;
    let office = &joined.cluster.underlay.client;
    let mut stay = Stay::begin(office, 0, both, PATIENCE)?;
    joined.cluster.underlay.cloud.nft("flush ruleset\n")?;
    joined.wait_translated()?;
    stay.talk("still there?")?;
    joined.cluster.underlay.cloud.nft("flush table inet skybridge\n")?;
    joined.wait_translated()
}

fn has_table(namespace: &Namespace) -> Result<bool, LabError> {
    Ok(namespace.nft_list()?.contains("table inet skybridge"))
}

fn gone(inside: &Entered) -> Result<(), LabError> {
    let mut joined = Joined::prepare_with(inside, translate::unaided(), "translate")?;
    let cloud = joined.cluster.underlay.cloud.clone();
    let before = Dump::take(&cloud)?;
    joined.start()?;
    joined.wait_translated()?;
    ensure(has_table(&cloud)?, "no table")?;
    joined.cloud.stop()?;
    ensure(!has_table(&cloud)?, "a table after stop")?;
    joined.cloud.start_and_wait()?;
    joined.cloud.wait_up("office", PATIENCE)?;
    joined.wait_translated()?;
    joined.cloud.kill()?;
    joined.cloud.cleanup()?;
    let after = Dump::take(&cloud)?;
    let left = before.difference(&after);
    ensure(left.is_empty(), format!("left behind: {left:?}"))
}

fn to_the_office(inside: &Entered) -> Result<(), LabError> {
    let joined = translated(inside)?;
    let office = &joined.cluster.underlay.client;
    for v6 in [false, true] {
        let here = std::net::SocketAddr::new(client(v6), 7_000);
        let _server = skybridge::lab::cluster::Server::start(office, &[(Protocol::Tcp, here)])?;
        for (pod, node) in [(Host::Pod1, Host::Node1), (Host::Pod2, Host::Node2)] {
            joined.cluster.masquerade_pods(false)?;
            let outcome = visit::once(joined.cluster.namespace(pod), Visit::tcp(here), PATIENCE)?;
            let saw = outcome.answer().map(|answer| answer.saw);
            let own = pod.all_addresses().iter().any(|address| saw == Some(ip(address)));
            ensure(own, format!("{} with its own address: {outcome}", pod.name()))?;
            joined.cluster.masquerade_pods(true)?;
            let outcome = visit::once(joined.cluster.namespace(pod), Visit::tcp(here), PATIENCE)?;
            let saw = outcome.answer().map(|answer| answer.saw);
            let nodes = node.all_addresses().iter().any(|address| saw == Some(ip(address)));
            ensure(nodes, format!("{} with its node's address: {outcome}", pod.name()))?;
        }
        joined.cluster.masquerade_pods(false)?;
        // Neither changes what the office gets of Services.
        joined.cluster.masquerade_pods(true)?;
        for service in ["nginx", "mysql"] {
            let outcome = joined.visit(service, v6, PATIENCE)?;
            let fits = outcome.answer().is_some_and(|answer| answer.saw == client(v6));
            ensure(fits, format!("{service}: {outcome}"))?;
        }
        joined.cluster.masquerade_pods(false)?;
    }
    Ok(())
}
