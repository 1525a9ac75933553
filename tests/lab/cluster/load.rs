//! A crowd at the Services: thousands of connections held, hundreds of new ones a second, endpoints that come and go.

use std::time::{Duration, Instant};

use skybridge::cluster::model::Protocol;
use skybridge::lab::{
    Entered, Lab, LabError,
    cluster::{Host, Scenario, Server, services::Endpoint},
    topology::{CLIENT, POD},
    traffic::crowd::{Crowd, Outcome, Target, Visitors},
    wait::until,
};

use super::{Joined, client};
use crate::{Test, ensure, pair::ip};

pub(super) const TESTS: &[Test] = &[(
    "cluster::two_thousand_connections_and_two_hundred_a_second_lose_nothing_while_endpoints_change",
    crowd,
)];

/// So many connections are held.
const HELD: usize = 2_000;
/// So many come a second.
const PER_SECOND: u32 = 200;
/// A client's patience: SYNs that a full queue of a server drops come again after one, three and seven seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the crowd comes: a minute where there is time for it.
fn long() -> Duration {
    let whole = std::env::var_os("SKYBRIDGE_LONG").is_some();
    Duration::from_secs(if whole { 60 } else { 10 })
}

fn crowd(inside: &Entered) -> Result<(), LabError> {
    let mut joined = Joined::up_with(inside, Scenario::default(), "translate")?;
    joined.wait_translated()?;
    let targets = targets(&joined)?;
    let started = Instant::now();
    let visitors = Visitors::start(
        &joined.cluster.underlay.client,
        Crowd { targets, held: HELD, per_second: PER_SECOND, patience: PATIENCE },
    )?;
    let all_hold = until("everybody holds a connection", Duration::from_secs(60), || {
        let holding = visitors.holding();
        Ok(if holding == HELD { Ok(()) } else { Err(format!("{holding} do")) })
    });
    if let Err(error) = all_hold {
        return Err(LabError::check(format!("{error}\n{}", visitors.finish()?)));
    }
    let (begun, mut changes) = (Instant::now(), 0_u32);
    while begun.elapsed() < long() {
        // Each change takes effect before the next, as the daemon says.
        changes += 1;
        let only = [Some(Host::Pod1), None, Some(Host::Pod2), None][changes as usize % 4];
        joined.cluster.change(|catalogue| {
            for name in ["both", "sticky"] {
                if let Some(service) = catalogue.get_mut(name) {
                    service.endpoints = [Host::Pod1, Host::Pod2]
                        .into_iter()
                        .filter(|host| only.is_none_or(|one| one == *host))
                        .map(Endpoint::ready)
                        .collect();
                }
            }
        })?;
        // Of each family.
        let wanted = if only.is_some() { 2 } else { 4 };
        until("the daemon knows the endpoints", PATIENCE, || {
            let known = joined.cloud.services()?;
            let both =
                known.clusters.iter().flat_map(|cluster| &cluster.services).find(|one| one.name == "both");
            let endpoints = both.and_then(|both| both.ports.first()).map_or(0, |port| port.endpoints.len());
            Ok(if endpoints == wanted { Ok(()) } else { Err(format!("{endpoints} endpoints")) })
        })?;
    }
    let came_for = started.elapsed();
    let outcome = visitors.finish()?;
    println!("through the tunnel, translated, {changes} changes of endpoints: {outcome}");
    ensure(outcome.failed == 0, format!("{outcome}\n{}", joined.last_words()))?;
    ensure(outcome.held == HELD, outcome.to_string())?;
    let new = outcome.connects.len();
    let least = f64::from(PER_SECOND) * came_for.as_secs_f64() * 0.95;
    ensure(new as f64 >= least, format!("only {new} came and went in {came_for:.1?}"))?;
    drop(joined);
    println!("plain routing to a Pod, nobody holding: {}", plainly(inside)?);
    Ok(())
}

/// Services of one Pod, of the other and of both, and who may answer there.
fn targets(joined: &Joined) -> Result<Vec<Target>, LabError> {
    const POD1: (&str, u16) = ("pod1", 8080);
    const POD2: (&str, u16) = ("pod2", 8080);
    let target = |name: &str, allowed: &[(&'static str, u16)]| {
        let to = joined.cluster.service(name, false)?;
        Ok(Target { to, allowed: allowed.to_vec(), seen_as: client(false) })
    };
    Ok(vec![
        target("nginx", &[POD1])?,
        target("mysql", &[("pod2", 3306)])?,
        target("both", &[POD1, POD2])?,
        target("sticky", &[POD1, POD2])?,
        target("named", &[POD1, ("pod2", 8081)])?,
    ])
}

/// The same number a second without tunnel and translation, to compare with.
fn plainly(inside: &Entered) -> Result<Outcome, LabError> {
    let lab = Lab::build(inside)?;
    lab.add_plain_routes()?;
    let to = std::net::SocketAddr::new(ip(POD), 8080);
    let _server = Server::start(&lab.pod, &[(Protocol::Tcp, to)])?;
    let target = Target { to, allowed: vec![("pod", 8080)], seen_as: ip(CLIENT) };
    let crowd = Crowd { targets: vec![target], held: 0, per_second: PER_SECOND, patience: PATIENCE };
    let visitors = Visitors::start(&lab.client, crowd)?;
    until("so many have come", PATIENCE, || {
        let made = visitors.made();
        Ok(if made >= 5 * PER_SECOND as usize { Ok(()) } else { Err(format!("{made} came")) })
    })?;
    visitors.finish()
}
