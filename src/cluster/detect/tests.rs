//! The detector in a world of two nodes: nginx has its Pod on node1, to which the VPC routes the Service range, mysql on
//! node2, `both` on each.

mod faults;
mod healthy;
mod random;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    cluster::model::ServiceId,
    wire::ip::{
        Sighting,
        sighting::{ErrorKind, ErrorSighting, Quoted, Segment, Sighted, TcpSighting, Way},
    },
};

const NGINX: &str = "172.16.0.32:80";
const MYSQL: &str = "172.16.0.33:3306";
const BOTH: &str = "172.16.0.34:80";
const EMPTY: &str = "172.16.0.35:80";
const DNS: &str = "172.16.0.10:53";
const POD1: &str = "10.0.2.21";
const POD2: &str = "10.0.2.22";
const NODE1: &str = "10.0.1.11";

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn backend(pod: &str, port: u16) -> Backend {
    let on = |node: &str, pod: &str| (Some(node.to_owned()), Some(pod.to_owned()));
    let (node, name) = if pod == POD1 { on("node1", "pod1") } else { on("node2", "pod2") };
    Backend { address: pod.parse().unwrap(), port, node, pod: name }
}

fn frontend(name: &str, at: &str, protocol: Protocol, backends: Vec<Backend>) -> Frontend {
    let at = end(at);
    Frontend {
        service: ServiceId { namespace: "shop".to_owned(), name: name.to_owned() },
        port_name: String::new(),
        vip: at.ip(),
        port: at.port(),
        protocol,
        affinity: None,
        backends,
    }
}

fn watched(mode: ServiceMode) -> Watched {
    let tcp = Protocol::Tcp;
    Watched {
        name: "prod".into(),
        mode,
        plan: Arc::new(Plan {
            service_cidrs: vec!["172.16.0.0/16".parse().unwrap()],
            frontends: vec![
                frontend("dns", DNS, Protocol::Udp, vec![backend(POD2, 53)]),
                frontend("nginx", NGINX, tcp, vec![backend(POD1, 8080)]),
                frontend("mysql", MYSQL, tcp, vec![backend(POD2, 3306)]),
                frontend("both", BOTH, tcp, vec![backend(POD1, 8080), backend(POD2, 8080)]),
                frontend("empty", EMPTY, tcp, vec![]),
            ],
        }),
        pod_cidrs: vec!["10.0.2.0/24".parse().unwrap()],
        nodes: vec![
            ("node1".to_owned(), NODE1.parse().unwrap()),
            ("node2".to_owned(), "10.0.1.12".parse().unwrap()),
        ],
    }
}

/// What a probe of this address comes to, at the n-th time.
type Answers = Box<dyn Fn(SocketAddr, usize) -> ProbeOutcome>;

struct World {
    detector: Detector,
    now: Instant,
    port: u16,
    answers: Answers,
    probes: Vec<SocketAddr>,
    events: Vec<Arc<Verdict>>,
    recovered: Vec<Code>,
}

const OK: ProbeOutcome = ProbeOutcome::Answered(Duration::from_millis(1));

impl World {
    fn new(mode: ServiceMode, answers: impl Fn(SocketAddr, usize) -> ProbeOutcome + 'static) -> Self {
        let mut detector = Detector::new();
        let now = Instant::now();
        detector.set_plan(now, vec![watched(mode)]);
        Self {
            detector,
            now,
            port: 40_000,
            answers: Box::new(answers),
            probes: Vec::new(),
            events: Vec::new(),
            recovered: Vec::new(),
        }
    }

    /// kube-proxy without a fix: node1 answers for its own Pods, and for `both` every other time.
    fn routed_without_fix() -> Self {
        Self::new(ServiceMode::Route, |to, count| {
            let service = to.ip().to_string().starts_with("172.16.");
            match service {
                false => OK,
                true if to == end(MYSQL) || to == end(BOTH) && count % 2 == 1 => ProbeOutcome::TimedOut,
                true => OK,
            }
        })
    }

    fn drain(&mut self) {
        while let Some(action) = self.detector.poll(self.now) {
            match action {
                Action::Probe(probe) => {
                    let count = self.probes.iter().filter(|to| **to == probe.to).count();
                    self.probes.push(probe.to);
                    let outcome = (self.answers)(probe.to, count);
                    self.detector.probed(self.now, &ProbeResult { id: probe.id, outcome });
                }
                Action::Event(verdict) => self.events.push(verdict),
                Action::Recovered(verdict) => self.recovered.push(verdict.code),
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.detector.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.drain();
        }
        self.now = until;
        self.drain();
    }

    fn seconds(&mut self, seconds: f64) {
        self.wait(Duration::from_secs_f64(seconds));
    }

    fn see(&mut self, sighting: Sighting) {
        self.detector.sighted(&sighting);
        self.drain();
    }

    fn client(&mut self) -> SocketAddr {
        self.port += 1;
        SocketAddr::new("192.168.10.10".parse().unwrap(), self.port)
    }

    fn tcp(
        &self,
        way: Way,
        from: SocketAddr,
        to: SocketAddr,
        kind: Segment,
        numbers: (u32, u32),
    ) -> Sighting {
        let timestamps = match kind {
            Segment::Syn => Some((numbers.0 ^ 0x55, 0)),
            Segment::SynAck => Some((9, (numbers.1.wrapping_sub(1)) ^ 0x55)),
            Segment::Reset => None,
        };
        let what = Sighted::Tcp(TcpSighting {
            src_port: from.port(),
            dst_port: to.port(),
            kind,
            sequence: numbers.0,
            acknowledgment: numbers.1,
            timestamps,
        });
        Sighting { at: self.now, way, refused: false, src: from.ip(), dst: to.ip(), ttl: 62, what }
    }

    fn udp(&self, way: Way, from: SocketAddr, to: SocketAddr) -> Sighting {
        let what = Sighted::Udp { src_port: from.port(), dst_port: to.port() };
        Sighting { at: self.now, way, refused: false, src: from.ip(), dst: to.ip(), ttl: 62, what }
    }

    fn error(
        &self,
        way: Way,
        by: &str,
        kind: ErrorKind,
        protocol: u8,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Sighting {
        let quoted = Quoted {
            src: from.ip(),
            dst: to.ip(),
            protocol,
            ports: Some((from.port(), to.port())),
            sequence: (protocol == 6).then(|| isn(from)),
        };
        let what = Sighted::Error(ErrorSighting { kind, icmp: (3, 3), quoted });
        let dst = if way == Way::IntoTunnel { from.ip() } else { to.ip() };
        let src: IpAddr = by.parse().unwrap();
        Sighting { at: self.now, way, refused: false, src, dst, ttl: 62, what }
    }

    fn syn(&mut self, client: SocketAddr, to: &str) {
        let sighting = self.tcp(Way::FromTunnel, client, end(to), Segment::Syn, (isn(client), 0));
        self.see(sighting);
    }

    fn syn_ack(&mut self, from: SocketAddr, client: SocketAddr) {
        let numbers = (77, isn(client).wrapping_add(1));
        let sighting = self.tcp(Way::IntoTunnel, from, client, Segment::SynAck, numbers);
        self.see(sighting);
    }

    fn reset(&mut self, from: SocketAddr, client: SocketAddr) {
        let numbers = (0, isn(client).wrapping_add(1));
        let sighting = self.tcp(Way::IntoTunnel, from, client, Segment::Reset, numbers);
        self.see(sighting);
    }

    /// A connect that is answered after a millisecond.
    fn connect(&mut self, to: &str) {
        let client = self.client();
        self.syn(client, to);
        self.seconds(0.001);
        self.syn_ack(end(to), client);
    }

    /// A connect that gives up after five seconds: three SYNs.
    fn connect_in_vain(&mut self, to: &str) {
        let client = self.client();
        self.syn(client, to);
        self.seconds(1.0);
        self.syn(client, to);
        self.seconds(2.0);
        self.syn(client, to);
        self.seconds(2.0);
    }

    fn codes(&self) -> Vec<(String, Code)> {
        let name = |verdict: &Verdict| verdict.subject.service.as_ref().unwrap().name.clone();
        self.events.iter().map(|verdict| (name(verdict), verdict.code)).collect()
    }

    fn only(&self) -> &Verdict {
        match &self.events[..] {
            [only] => only,
            others => panic!("{others:#?}"),
        }
    }

    fn state(&self, at: &str) -> Health {
        let found =
            |health: &Health| health.subject.vip == end(at).ip() && health.subject.port == end(at).port();
        self.detector.services().into_iter().find(found).unwrap()
    }
}

fn isn(client: SocketAddr) -> u32 {
    u32::from(client.port()).wrapping_mul(0x9e37_79b9)
}
