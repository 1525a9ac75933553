//! Two hosts with a router or a NAT between them: Skybridge on one, strongSwan on the other.
//!
//! ```text
//! sky ── middle ── swan
//! ```

use std::{fmt::Write, net::IpAddr, path::Path, time::Duration};

use skybridge::{
    control::api::PeerStatus,
    lab::{
        Daemon, LabError, Namespace,
        capture::{Clear, Scope, Tap},
        link::{End, wire},
        traffic::{datagram, http, ping},
        wait::until,
    },
};

use crate::{
    certificates::{Certificates, Kind, certificates},
    strongswan::{Swan, SwanFile},
    vici::IkeSa,
};

pub const SKY_ID: &str = "sky.example.org";
pub const SWAN_ID: &str = "swan.example.org";
/// The peer's name in our configuration.
pub const PEER: &str = "swan";
pub const SKY_INNER: &str = "10.1.0.1";
pub const SWAN_INNER: &str = "10.2.0.1";
pub const SKY_INNER6: &str = "fd00:1::1";
pub const SWAN_INNER6: &str = "fd00:2::1";
/// How long anything may take that the two ends do without being told.
pub const PATIENCE: Duration = Duration::from_secs(40);
const TRANSFER: u64 = 256 << 10;

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Initiator,
    Responder,
}

/// Who is behind NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    Nobody,
    Sky,
    Swan,
}

/// How an end proves its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Psk,
    Certificate(Kind),
}

/// Everything that a case may change; the default is a plain tunnel with a pre-shared key.
#[derive(Debug, Clone)]
pub struct Setup {
    pub outer6: bool,
    pub nat: Nat,
    pub sky_proof: Proof,
    pub swan_proof: Proof,
    pub sky_psk: &'static str,
    /// Who we are, and who the peer must be.
    pub sky_id: &'static str,
    pub sky_remote_id: &'static str,
    /// Whether strongSwan runs with what `skybridge peer-config` writes, byte for byte.
    pub by_peer_config: bool,
    /// The identity that strongSwan uses.
    pub swan_id: &'static str,
    pub sky_ike: &'static str,
    pub swan_ike: &'static str,
    pub sky_esp: &'static str,
    pub swan_esp: &'static str,
    /// Our selectors, ours and the peer's; then strongSwan's own and ours as it sees them.
    pub sky_selectors: [&'static str; 2],
    pub swan_selectors: [&'static str; 2],
    /// More lines of our `[endpoint]`.
    pub sky_endpoint: &'static str,
    /// The folder of our key tables for Wireshark.
    pub sky_keylog: Option<&'static str>,
    /// More lines of our peer's table.
    pub sky_peer: &'static str,
    /// More text for strongSwan's daemon, connection and child.
    pub swan_daemon: &'static str,
    pub swan_connection: &'static str,
    pub swan_child: &'static str,
    /// Inner addresses to check, ours and the peer's.
    pub inner: Vec<[&'static str; 2]>,
}

pub const SUITE_IKE: &str = "aes256gcm16-prfsha384-x25519";
pub const SUITE_ESP: &str = "aes256gcm16-x25519";

impl Default for Setup {
    fn default() -> Self {
        Self {
            outer6: false,
            nat: Nat::Nobody,
            sky_proof: Proof::Psk,
            swan_proof: Proof::Psk,
            sky_psk: "between the two ends of this test",
            sky_id: SKY_ID,
            sky_remote_id: SWAN_ID,
            by_peer_config: false,
            swan_id: SWAN_ID,
            sky_ike: SUITE_IKE,
            swan_ike: SUITE_IKE,
            sky_esp: SUITE_ESP,
            swan_esp: SUITE_ESP,
            sky_selectors: ["10.1.0.0/16", "10.2.0.0/16"],
            swan_selectors: ["10.2.0.0/16", "10.1.0.0/16"],
            sky_endpoint: "",
            sky_keylog: None,
            sky_peer: "",
            swan_daemon: "",
            swan_connection: "",
            swan_child: "",
            inner: vec![[SKY_INNER, SWAN_INNER]],
        }
    }
}

/// Two hosts, ready to be started.
#[derive(Debug)]
pub struct World {
    pub role: Role,
    pub setup: Setup,
    pub sky_host: Namespace,
    pub middle: Namespace,
    pub swan_host: Namespace,
    pub sky: Daemon,
    pub swan: Swan,
    tap: Option<Tap>,
}

impl World {
    /// Builds the hosts and writes the files of both ends.
    pub fn build(name: &str, role: Role, setup: Setup) -> Result<Self, LabError> {
        let create = |host: &str| {
            let role = if role == Role::Initiator { "i" } else { "r" };
            // Names live as long as the process, as the cases do.
            Namespace::create(Box::leak(format!("{host}-{role}-{name}").into_boxed_str()))
        };
        let (sky_host, middle, swan_host) = (create("sky")?, create("middle")?, create("swan")?);
        join(&sky_host, &middle, &swan_host)?;
        translate(&middle, setup.nat)?;
        let program = Path::new(env!("CARGO_BIN_EXE_skybridge"));
        let sky = Daemon::prepare(&sky_host, program, |folder| {
            // An unreadable set shows as a daemon that does not start.
            setup.sky_files(role, folder).unwrap_or_default()
        })?;
        let (connections, files) = match setup.by_peer_config {
            true => setup.peer_config(program, &sky)?,
            false => setup.swan_files(role)?,
        };
        let swan = Swan::prepare(&swan_host, setup.swan_daemon, &connections, &files)?;
        let protected = ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/32", "fd00:2::/32"];
        let tap = Tap::start(&middle, "sky0", Scope::Everything, Clear::Anything, &protected)?;
        Ok(Self { role, setup, sky_host, middle, swan_host, sky, swan, tap: Some(tap) })
    }

    /// Starts both ends, the responder first, and lets the initiator begin.
    pub fn start(&mut self) -> Result<(), LabError> {
        match self.role {
            Role::Initiator => {
                self.swan.start()?;
                self.sky.start_and_wait()
            }
            Role::Responder => {
                self.sky.start_and_wait()?;
                self.swan.start()?;
                match self.setup.by_peer_config {
                    true => Ok(()), // It begins by itself.
                    false => self.swan.initiate(),
                }
            }
        }
    }

    /// Writes our files anew and has our daemon read them.
    pub fn reload(&self) -> Result<(), LabError> {
        self.sky.write(|folder| self.setup.sky_files(self.role, folder).unwrap_or_default())?;
        self.sky.cli(&["reload"]).map(drop)
    }

    /// Our peer's state.
    pub fn peer(&self) -> Result<PeerStatus, LabError> {
        self.sky.peer(PEER)
    }

    /// Waits until both ends have the same SAs and nothing else. Returns strongSwan's.
    pub fn agree(&mut self) -> Result<IkeSa, LabError> {
        self.sky.wait_up(PEER, PATIENCE)?;
        until("both ends have the same SAs and no others", PATIENCE, || {
            let (sas, peer) = (self.swan.sas()?, self.peer()?);
            let ours = peer.ike.as_ref().map(|ike| (number(&ike.initiator_spi), number(&ike.responder_spi)));
            let mut our_children: Vec<_> = peer
                .children
                .iter()
                .map(|child| {
                    (
                        number(child.spi_out.as_deref().unwrap_or("")),
                        number(child.spi_in.as_deref().unwrap_or("")),
                    )
                })
                .collect();
            our_children.sort_unstable();
            let [sa] = sas.as_slice() else { return Ok(Err(format!("{sas:?}; ours {ours:?}"))) };
            let mut children: Vec<_> =
                sa.children.iter().map(|child| (number(&child.spi_in), number(&child.spi_out))).collect();
            children.sort_unstable();
            let installed = sa.children.iter().all(|child| child.state == "INSTALLED");
            let same = sa.state == "ESTABLISHED"
                && installed
                && ours == Some((number(&sa.initiator_spi), number(&sa.responder_spi)))
                && our_children == children;
            Ok(if same { Ok(sa.clone()) } else { Err(format!("{sa:?}; ours {ours:?} {our_children:?}")) })
        })
    }

    /// Sends every kind of traffic through the tunnel, both ways.
    pub fn carries_traffic(&self) -> Result<(), LabError> {
        for &[sky, swan] in &self.setup.inner {
            let ways = [(&self.sky_host, &self.swan_host, swan), (&self.swan_host, &self.sky_host, sky)];
            for (from, to, target) in ways {
                let target = address(target)?;
                ping::until_answered(from, target, PATIENCE)?;
                let echo = datagram::Echo::start(to, target)?;
                datagram::exchange(from, echo.address(), 1_300, PATIENCE)?;
                let server = http::Server::start(to, http::any_port(target), 7)?;
                let fetched = http::fetch(from, server.address(), TRANSFER, PATIENCE)?;
                if fetched.sha256 != http::sha256(7, TRANSFER) {
                    return Err(LabError::check(format!("{} octets arrived changed", fetched.length)));
                }
            }
        }
        Ok(())
    }

    /// Nothing on the wire was clear.
    pub fn nothing_was_clear(&mut self) -> Result<(), LabError> {
        let Some(tap) = self.tap.take() else { return Ok(()) };
        let seen = tap.stop();
        if seen.clear + seen.other == 0 && seen.esp > 0 {
            return Ok(());
        }
        Err(LabError::check(format!("on the wire: {seen:?}")))
    }

    /// What both ends said, for whoever has to find out why a case failed.
    pub fn words(&self) -> String {
        let tail = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
        };
        format!("── Skybridge:\n{}\n── strongSwan:\n{}", self.sky.last_words(60), tail(&self.swan.log()))
    }
}

/// The number behind a hexadecimal SPI, however it is written.
fn number(spi: &str) -> u64 {
    u64::from_str_radix(spi.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
}

pub fn address(text: &str) -> Result<IpAddr, LabError> {
    text.parse().map_err(|_| LabError::check(format!("not an address: {text}")))
}

fn join(sky: &Namespace, middle: &Namespace, swan: &Namespace) -> Result<(), LabError> {
    middle.sysctl("net/ipv4/ip_forward", "1")?;
    middle.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    wire(
        End { namespace: sky, link: "wan0", addresses: &["192.0.2.2/24", "2001:db8:1::2/64"] },
        End { namespace: middle, link: "sky0", addresses: &["192.0.2.1/24", "2001:db8:1::1/64"] },
    )?;
    wire(
        End { namespace: swan, link: "wan0", addresses: &["198.51.100.2/24", "2001:db8:2::2/64"] },
        End { namespace: middle, link: "swan0", addresses: &["198.51.100.1/24", "2001:db8:2::1/64"] },
    )?;
    for (host, via, via6, inner) in [
        (sky, "192.0.2.1", "2001:db8:1::1", ["10.1.0.1/32", "10.1.128.1/32", "fd00:1::1/128"]),
        (swan, "198.51.100.1", "2001:db8:2::1", ["10.2.0.1/32", "10.2.128.1/32", "fd00:2::1/128"]),
    ] {
        host.route("default", via)?;
        host.route("default6", via6)?;
        for address in inner {
            host.add_address("lo", address)?;
        }
    }
    Ok(())
}

/// Puts one end behind the middle's address there, reachable at the two ports.
fn translate(middle: &Namespace, nat: Nat) -> Result<(), LabError> {
    let (private, inside, outside) = match nat {
        Nat::Nobody => return Ok(()),
        Nat::Sky => ("192.0.2.2", "sky0", "swan0"),
        Nat::Swan => ("198.51.100.2", "swan0", "sky0"),
    };
    middle.nft(&format!(
        "table ip nat {{\n  chain prerouting {{\n    type nat hook prerouting priority dstnat;\n    \
         iifname \"{outside}\" udp dport {{ 500, 4500 }} dnat to {private}\n  }}\n  chain postrouting {{\n    \
         type nat hook postrouting priority srcnat;\n    \
         iifname \"{inside}\" oifname \"{outside}\" meta l4proto udp masquerade to :20000-40000 fully-random\n  \
         }}\n}}\n"
    ))
}

impl Setup {
    /// Where strongSwan finds us.
    fn address_of_sky(&self) -> &'static str {
        match (self.outer6, self.nat) {
            (true, _) => "2001:db8:1::2",
            (false, Nat::Sky) => "198.51.100.1",
            (false, Nat::Nobody | Nat::Swan) => "192.0.2.2",
        }
    }

    /// Where we find strongSwan.
    fn address_of_swan(&self) -> &'static str {
        match (self.outer6, self.nat) {
            (true, _) => "2001:db8:2::2",
            (false, Nat::Swan) => "192.0.2.1",
            (false, Nat::Nobody | Nat::Sky) => "198.51.100.2",
        }
    }

    fn sky_files(&self, role: Role, folder: &str) -> Result<Vec<(&'static str, String)>, LabError> {
        let start = if role == Role::Initiator { "connect" } else { "wait" };
        let keylog = self.sky_keylog.map(|folder| format!("keylog = \"{folder}\"\n")).unwrap_or_default();
        let mut text = format!(
            "[endpoint]\nname = \"sky\"\ncontrol_socket = \"{folder}/control.sock\"\nstate_dir = \"{folder}/state\"\n\
             {}\n[endpoint.log]\nlevel = \"debug\"\n{keylog}\n[peers.{PEER}]\nremote = \"{}\"\nlocal_id = \"{}\"\n\
             remote_id = \"{}\"\nike = [{}]\nesp = [{}]\nstart = \"{start}\"\n",
            self.sky_endpoint,
            self.address_of_swan(),
            self.sky_id,
            self.sky_remote_id,
            quoted(self.sky_ike),
            quoted(self.sky_esp),
        );
        let mut files = Vec::new();
        match self.sky_proof {
            Proof::Psk => {
                let _ = writeln!(text, "local_auth = {{ psk_file = \"{folder}/psk\" }}");
                files.push(("psk", format!("{}\n", self.sky_psk)));
            }
            Proof::Certificate(kind) => {
                let made = certificates(kind)?;
                let _ = writeln!(
                    text,
                    "local_auth = {{ certificate = \"{folder}/own.pem\", key = \"{folder}/own.key\" }}"
                );
                let chain = made.sky.certificate.clone() + &made.intermediates.concat();
                files.extend([("own.pem", chain), ("own.key", made.sky.key.clone())]);
            }
        }
        match self.swan_proof {
            Proof::Psk => {
                let _ = writeln!(text, "remote_auth = {{ psk_file = \"{folder}/psk\" }}");
                files.retain(|(name, _)| *name != "psk");
                files.push(("psk", format!("{}\n", self.sky_psk)));
            }
            Proof::Certificate(kind) => {
                let made = certificates(kind)?;
                let crl = if let Some(crl) = &made.crl {
                    files.push(("crl.pem", crl.clone()));
                    format!(", crl = [\"{folder}/crl.pem\"]")
                } else {
                    String::new()
                };
                let _ = writeln!(text, "remote_auth = {{ ca = [\"{folder}/ca.pem\"]{crl} }}");
                files.push(("ca.pem", made.ca.clone()));
            }
        }
        let quick = [
            ("dpd", "{ delay = \"2s\" }"),
            ("retransmit", "{ base = \"500ms\", factor = 1.5, tries = 4 }"),
            ("retry", "{ base = \"500ms\", cap = \"2s\" }"),
        ];
        for (key, value) in quick {
            let _ = writeln!(text, "{key} = {value}");
        }
        let _ = write!(
            text,
            "{}\n[peers.{PEER}.children.net]\nlocal = [{}]\nremote = [{}]\n",
            self.sky_peer,
            quoted(self.sky_selectors[0]),
            quoted(self.sky_selectors[1])
        );
        files.push(("skybridge.toml", text));
        Ok(files)
    }

    fn swan_files(&self, _role: Role) -> Result<(String, Vec<SwanFile>), LabError> {
        let mut files = Vec::new();
        let mut local = format!("id = {}\n", self.swan_id);
        local += match self.swan_proof {
            Proof::Psk => "auth = psk\n",
            Proof::Certificate(kind) => {
                let made = certificates(kind)?;
                files.push(("x509/own.pem".to_owned(), made.swan.certificate.clone()));
                files.push(("private/own.pem".to_owned(), made.swan.key.clone()));
                trusted(made, &mut files);
                "auth = pubkey\ncerts = own.pem\n"
            }
        };
        let mut remote = format!("id = {}\n", self.sky_id);
        remote += match self.sky_proof {
            Proof::Psk => "auth = psk\n",
            Proof::Certificate(kind) => {
                trusted(certificates(kind)?, &mut files);
                "auth = pubkey\n"
            }
        };
        let addresses = if self.outer6 { "2001:db8:2::2" } else { "198.51.100.2" };
        let text = format!(
            "connections {{\n t {{\n  local_addrs = {addresses}\n  remote_addrs = {}\n  version = 2\n  \
             proposals = {}\n  dpd_delay = 2s\n  {}\n  local {{\n{local}  }}\n  remote {{\n{remote}  }}\n  \
             children {{\n   c {{\n    local_ts = {}\n    remote_ts = {}\n    esp_proposals = {}\n    {}\n   }}\n  \
             }}\n }}\n}}\nsecrets {{\n ike-1 {{\n  secret = \"between the two ends of this test\"\n }}\n}}\n",
            self.address_of_sky(),
            self.swan_ike,
            self.swan_connection,
            self.swan_selectors[0],
            self.swan_selectors[1],
            self.swan_esp,
            self.swan_child,
        );
        Ok((text, files))
    }
}

impl Setup {
    /// What `skybridge peer-config` makes of our configuration, and the certificates that its head asks for.
    fn peer_config(&self, program: &Path, sky: &Daemon) -> Result<(String, Vec<SwanFile>), LabError> {
        let mut command = std::process::Command::new(program);
        command.args(["peer-config", PEER, "--for", "strongswan", "--with-secrets"]);
        command.args(["--address", self.address_of_sky()]).arg("--config").arg(sky.config());
        let text = sky.namespace().output(command, "")?;
        let mut files = Vec::new();
        if let Proof::Certificate(kind) = self.swan_proof {
            let made = certificates(kind)?;
            files.push((format!("x509/{PEER}.pem"), made.swan.certificate.clone()));
            files.push((format!("private/{PEER}.pem"), made.swan.key.clone()));
        }
        if let Proof::Certificate(kind) = self.sky_proof {
            files.push(("x509ca/skybridge-ca.pem".to_owned(), certificates(kind)?.ca.clone()));
        }
        Ok((text, files))
    }
}

fn trusted(made: &Certificates, files: &mut Vec<SwanFile>) {
    files.push(("x509ca/ca.pem".to_owned(), made.ca.clone()));
    for (number, intermediate) in made.intermediates.iter().enumerate() {
        files.push((format!("x509ca/intermediate{number}.pem"), intermediate.clone()));
    }
}

/// A list separated by commas as a list of TOML strings.
fn quoted(list: &str) -> String {
    list.split(',').map(|item| format!("\"{}\"", item.trim())).collect::<Vec<_>>().join(", ")
}
