//! A client behind the tunnel device, the appliance, and Pods: `client ── sky0 gate vpc0 ── pods`.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use skybridge::{
    cluster::{
        model::{Protocol, ServiceId},
        plan::{Backend, Frontend, Plan},
        table::{Applied, Mode, Table, TableError, TableSettings, Wanted, WantedCluster},
    },
    lab::{
        LabError, Namespace,
        link::{End, wire},
        wait::until,
    },
};
use socket2::{Domain, Socket, Type};

pub(crate) const CLIENT: &str = "192.168.10.10";
pub(crate) const CLIENT2: &str = "192.168.10.11";
pub(crate) const CLIENT6: &str = "fd00:10::10";
/// How long something that comes at once may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// How long nothing is waited for.
const NOTHING: Duration = Duration::from_millis(300);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `172.16.0.N` or `fd00:16::N`.
pub(crate) fn vip(n: u8, v4: bool) -> IpAddr {
    if v4 { IpAddr::from([172, 16, 0, n]) } else { format!("fd00:16::{n}").parse().unwrap() }
}

/// `10.0.2.N` or `fd00:2::N`: there are Pods 21 to 24.
pub(crate) fn pod(n: u8, v4: bool) -> IpAddr {
    if v4 { IpAddr::from([10, 0, 2, n]) } else { format!("fd00:2::{n}").parse().unwrap() }
}

/// A Service's port at a cluster address, and the Pods and the port there that answer.
pub(crate) fn frontend(vip: IpAddr, protocol: Protocol, port: u16, pods: &[u8], target: u16) -> Frontend {
    let backend = |n: &u8| Backend { address: pod(*n, vip.is_ipv4()), port: target, node: None, pod: None };
    Frontend {
        service: ServiceId { namespace: "default".into(), name: format!("s{port}") },
        port_name: String::new(),
        vip,
        port,
        protocol,
        affinity: None,
        backends: pods.iter().map(backend).collect(),
    }
}

pub(crate) fn tcp(n: u8, pods: &[u8]) -> Frontend {
    frontend(vip(n, true), Protocol::Tcp, 80, pods, 8080)
}

pub(crate) fn udp(n: u8, pods: &[u8]) -> Frontend {
    frontend(vip(n, true), Protocol::Udp, 53, pods, 5353)
}

pub(crate) fn wanted(mode: Mode, frontends: Vec<Frontend>) -> Wanted {
    let nets = |text: &[&str]| text.iter().map(|net| net.parse::<IpNet>().unwrap()).collect::<Vec<_>>();
    let plan = Plan { service_cidrs: nets(&["172.16.0.0/16", "fd00:16::/64"]), frontends };
    Wanted {
        clusters: vec![WantedCluster {
            name: "prod".into(),
            mode,
            ping: true,
            direct: nets(&["10.0.2.0/24", "fd00:2::/64"]),
            plan: Arc::new(plan),
        }],
    }
}

pub(crate) struct World {
    pub(crate) client: Namespace,
    pub(crate) gate: Namespace,
    pub(crate) pods: Namespace,
    pub(crate) table: Table,
}

impl World {
    pub(crate) fn new() -> Result<Self, LabError> {
        let world = Self::silent()?;
        for port in [8080, 8081] {
            world.serve_tcp(port)?;
        }
        for n in 21..=24 {
            world.serve_udp(SocketAddr::new(pod(n, true), 5353))?;
            world.serve_udp(SocketAddr::new(pod(n, false), 5353))?;
        }
        Ok(world)
    }

    /// Without servers.
    pub(crate) fn silent() -> Result<Self, LabError> {
        let [client, gate, pods] = ["t-client", "t-gate", "t-pods"].map(Namespace::create);
        let (client, gate, pods) = (client?, gate?, pods?);
        wire(
            End {
                namespace: &client,
                link: "eth0",
                addresses: &["192.168.10.10/24", "192.168.10.11/24", "fd00:10::10/64"],
            },
            End { namespace: &gate, link: "sky0", addresses: &["192.168.10.1/24", "fd00:10::1/64"] },
        )?;
        wire(
            End { namespace: &gate, link: "vpc0", addresses: &["10.0.2.1/24", "fd00:2::1/64"] },
            End {
                namespace: &pods,
                link: "eth0",
                addresses: &[
                    "10.0.2.21/24",
                    "10.0.2.22/24",
                    "10.0.2.23/24",
                    "10.0.2.24/24",
                    "fd00:2::21/64",
                    "fd00:2::22/64",
                    "fd00:2::23/64",
                    "fd00:2::24/64",
                ],
            },
        )?;
        gate.sysctl("net/ipv4/ip_forward", "1")?;
        gate.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        for key in ["all", "default"] {
            gate.sysctl(&format!("net/ipv4/conf/{key}/send_redirects"), "0")?;
        }
        let routes = [
            (&client, "192.168.10.1", "fd00:10::1"),
            (&gate, "10.0.2.21", "fd00:2::21"),
            (&pods, "10.0.2.1", "fd00:2::1"),
        ];
        for (namespace, v4, v6) in routes {
            namespace.route("0.0.0.0/0", v4)?;
            namespace.route("::/0", v6)?;
        }
        let own = |n: u8| if n == 10 { ip(CLIENT6) } else { pod(n, false) };
        for (namespace, n) in [(&client, 10), (&pods, 21), (&pods, 22), (&pods, 23), (&pods, 24), (&gate, 1)]
        {
            // IPv6 addresses become usable in their own time.
            until("an address is usable", SOON, || {
                namespace
                    .run(|| Ok(UdpSocket::bind((own(n), 0)).map(drop).map_err(|error| error.to_string())))
            })?;
        }
        let settings = TableSettings { device: "sky0".into(), nft: None, patience: Duration::from_secs(60) };
        Ok(Self { client, gate, pods, table: Table::new(settings) })
    }

    /// Each connection is told which Pod took it and from whom.
    fn serve_tcp(&self, port: u16) -> Result<(), LabError> {
        self.pods.run(|| {
            let listener = listen(port).map_err(LabError::io("listen"))?;
            self.pods.thread(move || {
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { continue };
                    std::thread::spawn(move || {
                        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
                        let text = format!("{} {}\n", local.ip().to_canonical(), peer.ip().to_canonical());
                        let mut octet = [0];
                        let _ = stream.write_all(text.as_bytes());
                        while matches!(stream.read(&mut octet), Ok(1)) {
                            let _ = stream.write_all(&octet);
                        }
                    });
                }
                Ok(())
            })?;
            Ok(())
        })
    }

    /// Each datagram is answered with the Pod's address, the sender's, and as many octets as came.
    fn serve_udp(&self, at: SocketAddr) -> Result<(), LabError> {
        self.pods.run(|| {
            let socket = UdpSocket::bind(at).map_err(LabError::io("bind"))?;
            self.pods.thread(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let mut answer = format!("{} {} ", at.ip(), from.ip()).into_bytes();
                    answer.resize(answer.len().max(length), b'.');
                    let _ = socket.send_to(&answer, from);
                }
                Ok(())
            })?;
            Ok(())
        })
    }

    pub(crate) fn apply(&mut self, wanted: &Wanted) -> Result<Applied, LabError> {
        let gate = self.gate.clone();
        gate.run(|| block(self.table.apply(wanted)))
    }

    pub(crate) fn verify(&mut self) -> Result<bool, LabError> {
        let gate = self.gate.clone();
        gate.run(|| block(self.table.verify()))
    }

    pub(crate) fn remove(&mut self) -> Result<(), LabError> {
        let gate = self.gate.clone();
        gate.run(|| block(self.table.remove()))
    }

    /// Every element and every rule, in an order of their own; without the generation, which grows with every load,
    /// and without what is left of times that no Service has any more.
    pub(crate) fn contents(&self) -> Result<BTreeSet<String>, LabError> {
        let mut command = std::process::Command::new("nft");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(["-s", "-j", "list", "ruleset"]);
        let listed: serde_json::Value = serde_json::from_str(&self.gate.output(command, "")?).unwrap();
        let mut all = BTreeSet::new();
        for object in listed["nftables"].as_array().unwrap() {
            for (kind, body) in object.as_object().unwrap() {
                let name = body["name"].as_str().or(body["chain"].as_str()).unwrap_or_default();
                if name == "generation" || name.starts_with("remember_") || kind == "metainfo" {
                    continue;
                }
                if let Some(elements) = body["elem"].as_array() {
                    all.extend(elements.iter().map(|element| format!("{name} {element}")));
                }
                if kind == "rule" {
                    all.insert(format!("{name} {}", body["expr"]));
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn list(&self) -> Result<String, LabError> {
        self.gate.nft_list()
    }

    /// Connects from the client: who answered and as whom the client was seen.
    pub(crate) fn tcp(&self, to: IpAddr, port: u16) -> Result<String, LabError> {
        let from = if to.is_ipv4() { CLIENT } else { CLIENT6 };
        self.client.run(|| Ok(Flow::open(SocketAddr::new(ip(from), 0), SocketAddr::new(to, port)).said()))
    }

    /// Connects and stays.
    pub(crate) fn flow(&self, from: SocketAddr, to: SocketAddr) -> Result<Flow, LabError> {
        self.client.run(|| Ok(Flow::open(from, to)))
    }

    /// Sends a datagram from a connected socket and waits for the answer.
    pub(crate) fn ask(&self, socket: &UdpSocket, length: usize) -> String {
        ask(socket, length)
    }

    pub(crate) fn udp(&self, to: IpAddr, port: u16) -> Result<UdpSocket, LabError> {
        let from = if to.is_ipv4() { CLIENT } else { CLIENT6 };
        self.client.run(|| {
            let socket = UdpSocket::bind((ip(from), 0)).map_err(LabError::io("bind"))?;
            socket.connect((to, port)).map_err(LabError::io("connect"))?;
            socket.set_read_timeout(Some(SOON)).map_err(LabError::io("set a timeout"))?;
            Ok(socket)
        })
    }
}

pub(crate) fn ask(socket: &UdpSocket, length: usize) -> String {
    let mut buffer = vec![0; 65_536];
    match socket.send(&vec![b'.'; length]).and_then(|_| socket.recv(&mut buffer)) {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).trim_end_matches(['.', ' ']).to_owned(),
        Err(error) => word(&error).into(),
    }
}

pub(crate) fn block<T>(work: impl Future<Output = Result<T, TableError>>) -> Result<T, LabError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work).map_err(|error| LabError::check(error.to_string()))
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([0u16; 8], port)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn word(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "silence",
        ErrorKind::HostUnreachable => "no host",
        // What the kernel tells a sender of its own machine whose datagram was rejected.
        ErrorKind::PermissionDenied => "not permitted",
        _ => "failed",
    }
}

/// A connection from the client, or why there is none.
pub(crate) struct Flow {
    stream: Result<TcpStream, &'static str>,
    said: String,
}

impl Flow {
    pub(crate) fn open(from: SocketAddr, to: SocketAddr) -> Self {
        let mut flow = Self { stream: connect(from, to), said: String::new() };
        if let Ok(stream) = &mut flow.stream {
            let mut octet = [0];
            while matches!(stream.read(&mut octet), Ok(1)) && octet[0] != b'\n' {
                flow.said.push(octet[0].into());
            }
        }
        flow
    }

    /// The Pod's address and the client's as it was seen, or what went wrong.
    pub(crate) fn said(&self) -> String {
        match &self.stream {
            Ok(_) => self.said.clone(),
            Err(word) => (*word).to_owned(),
        }
    }

    /// Whether an octet comes back.
    pub(crate) fn lives(&mut self) -> bool {
        let Ok(stream) = &mut self.stream else { return false };
        let mut octet = [0];
        stream.write_all(b"x").is_ok() && stream.read(&mut octet).is_ok_and(|length| length == 1)
    }
}

fn connect(from: SocketAddr, to: SocketAddr) -> Result<TcpStream, &'static str> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap();
    let patience = if to.port() == SILENT { NOTHING } else { SOON };
    let began = Instant::now();
    socket.connect_timeout(&to.into(), patience).map_err(|error| word(&error))?;
    assert!(began.elapsed() <= patience);
    // The port may be used again at once by another test.
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(SOON)).unwrap();
    Ok(stream)
}

/// A port where nobody answers, so that nobody waits long for it.
pub(crate) const SILENT: u16 = 4711;

pub(crate) fn ensure(holds: bool, what: impl Into<String>) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::check(what)) }
}

pub(crate) fn same(have: &str, want: &str) -> Result<(), LabError> {
    ensure(have == want, format!("`{have}` where `{want}` was expected"))
}
