use std::time::Duration;

use super::{image::Frame, *};
use crate::cluster::{
    model::ServiceId,
    plan::{Backend, Frontend},
};

const PORT: u16 = 8080;

fn target(n: u8) -> Target {
    (IpAddr::from([10, 0, 2, n]), PORT)
}

/// A Service with these endpoints, whose clients stay for so many seconds.
fn image(affinity: Option<u64>, endpoints: &[u8]) -> Image {
    let frontend = Frontend {
        service: ServiceId { namespace: "shop".to_owned(), name: "nginx".to_owned() },
        port_name: String::new(),
        vip: IpAddr::from([172, 16, 0, 2]),
        port: 80,
        protocol: Protocol::Tcp,
        affinity: affinity.map(Duration::from_secs),
        backends: endpoints
            .iter()
            .map(|n| Backend { address: target(*n).0, port: PORT, node: None, pod: None })
            .collect(),
    };
    let cluster = WantedCluster {
        name: "prod".to_owned(),
        mode: Mode::Translate,
        ping: false,
        direct: Vec::new(),
        plan: Arc::new(Plan { service_cidrs: Vec::new(), frontends: vec![frontend] }),
    };
    Image::new("sky0", &Wanted { clusters: vec![cluster] }, None, |_| None)
}

fn targets_gone(former: &Image, now: &Image) -> Vec<Target> {
    gone(Some(former), now).into_iter().map(|(_, target)| target).collect()
}

#[test]
fn clients_are_forgotten_with_their_endpoint() {
    let former = image(Some(60), &[1, 2, 3]);
    assert_eq!(targets_gone(&former, &image(Some(60), &[1, 3])), [target(2)]);
    assert_eq!(targets_gone(&former, &image(Some(90), &[1, 2, 3])), []);
    assert_eq!(targets_gone(&image(None, &[1, 2]), &image(None, &[1])), []);
}

/// Otherwise those who come back once it is on again would go to an endpoint that went meanwhile.
#[test]
fn clients_are_forgotten_when_affinity_is_switched_off() {
    let former = image(Some(60), &[1, 2]);
    assert_eq!(targets_gone(&former, &image(None, &[1, 2])), [target(1), target(2)]);
}

#[test]
fn a_timeout_that_comes_back_replaces_the_rules_it_left() {
    let mut text = String::new();
    let after = Frame { sticky: [60].into(), ..Frame::default() };
    frame::difference(&mut text, &Frame::default(), &after);
    let lines: Vec<&str> = text.lines().collect();
    let chain = format!("chain {} remember_60", frame::TABLE);
    assert!(lines[0].starts_with(&format!("add {chain} ")), "{text}");
    assert_eq!(lines[1], format!("flush {chain}"));
    assert_eq!(lines.len(), 5);
}
