//! ESP against an implementation from outside: scapy's, in both directions, with and without extended
//! sequence numbers, over a wrap of their low half. `make test` installs it. (It gets shortened GCM tags wrong,
//! so those have only the published vectors.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use skybridge::{
    crypto::{DirectionKeys, EspSuite, Secret},
    esp::{
        ChildId, InboundConfig, InboundSa, Limits, OutboundConfig, OutboundSa, Path, PathState, SaSelectors,
        Treatment,
    },
    policy::{SelectorSet, TrafficSelector},
    wire::ip::{Ecn, checksum},
};

const SPI: u32 = 0xbeef_0001;
const SUITES: [&str; 8] = [
    "aes128gcm16",
    "aes192gcm16",
    "aes256gcm16",
    "chacha20poly1305",
    "aes128-sha256",
    "aes192-sha256",
    "aes256-sha384",
    "aes256-sha512",
];

struct Scapy(Child);

impl Scapy {
    fn start() -> Self {
        let python = std::env::var("SKYBRIDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let has_scapy = Command::new(&python)
            .args(["-c", "import scapy.layers.ipsec, cryptography"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        assert!(
            has_scapy,
            "{python} has no scapy with cryptography: run `make test`, which installs it, or set \
             SKYBRIDGE_PYTHON to a Python that has both"
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/esp_scapy.py");
        let child =
            Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self(child)
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.0.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        // One line a request, so nothing is left in a buffer.
        BufReader::with_capacity(1 << 20, self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("an answer");
        assert!(answer.get("error").is_none(), "scapy: {answer} to {request}");
        answer
    }
}

impl Drop for Scapy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn suite(name: &str, esn: bool) -> EspSuite {
    let (cipher, integrity) =
        name.split_once('-').map_or((name, None), |(cipher, rest)| (cipher, Some(rest)));
    EspSuite {
        cipher: cipher.parse().unwrap(),
        integrity: integrity.map(|integrity| integrity.parse().unwrap()),
        group: None,
        esn,
    }
}

fn keys(suite: &EspSuite) -> DirectionKeys {
    let octets = |len: usize, from: u8| (0..len).map(|n| from.wrapping_add(n as u8)).collect::<Vec<_>>();
    DirectionKeys {
        encryption: Secret::from_slice(&octets(suite.cipher.key_len(), 0x31)),
        integrity: Secret::from_slice(&octets(
            suite.integrity.map_or(0, |integrity| integrity.key_len()),
            0x77,
        )),
    }
}

fn path() -> std::sync::Arc<Path> {
    Path::new(PathState { local: None, remote: "192.0.2.2:4500".parse().unwrap(), outer_mtu: 1_500 })
}

fn inbound(suite: EspSuite) -> InboundSa {
    let everything =
        || SelectorSet::new(["0.0.0.0/0", "::/0"].map(|prefix| TrafficSelector::parse(prefix).unwrap()));
    InboundSa::new(InboundConfig {
        child: ChildId(1),
        spi: SPI,
        suite,
        keys: &keys(&suite),
        path: path(),
        limits: Limits::default(),
        selectors: SaSelectors { local: everything(), remote: everything() },
        replay_window: 4_096,
        treatment: Treatment::default(),
    })
    .unwrap()
}

fn outbound(suite: EspSuite) -> OutboundSa {
    OutboundSa::new(OutboundConfig {
        child: ChildId(1),
        spi: SPI,
        suite,
        keys: &keys(&suite),
        path: path(),
        limits: Limits::default(),
        treatment: Treatment::default(),
    })
    .unwrap()
}

/// A UDP packet with correct checksums, since scapy computes them anew.
fn inner(v6: bool, len: usize) -> Vec<u8> {
    let udp_len = u16::try_from(8 + len).unwrap();
    let mut packet = if v6 {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(udp_len.to_be_bytes());
        header.extend([17, 64]);
        header.extend([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        header.extend([0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        header
    } else {
        let mut header = vec![0x45, 0];
        header.extend((20 + udp_len).to_be_bytes());
        header.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2]);
        header
    };
    packet.extend([0x13, 0x88, 0x13, 0x89]);
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend((0..len).map(|n| n as u8));
    checksum::fill_ipv4_header(&mut packet);
    assert!(checksum::fill_transport(&mut packet));
    packet
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn request(op: &str, name: &str, suite: &EspSuite, sequence: u64) -> Value {
    let keys = keys(suite);
    json!({
        "op": op, "suite": name, "spi": SPI, "sequence": sequence, "esn": suite.esn,
        "key": hex(keys.encryption.expose()), "auth_key": hex(keys.integrity.expose()),
    })
}

/// Numbers around a wrap of the low half, or at the start without extended numbers.
fn start(esn: bool) -> u64 {
    if esn { 0x3_ffff_fffd } else { 41 }
}

#[test]
fn scapy_opens_what_is_sealed_here() {
    let mut scapy = Scapy::start();
    for name in SUITES {
        for esn in [false, true] {
            let suite = suite(name, esn);
            let sa = outbound(suite).continuing(start(esn));
            for (len, v6) in [(0, false), (1, true), (33, false), (46, true), (1_300, false), (1_301, true)] {
                let packet = inner(v6, len);
                let sequence = sa.reserve(1, packet.len() as u64).unwrap().sequences.start;
                let mut sealed = vec![0; sa.sealed_len(packet.len())];
                let next_header = if v6 { 41 } else { 4 };
                sa.seal(sequence, next_header, &packet, &[0x42; 16], 1, &mut sealed).unwrap();
                let mut request = request("open", name, &suite, sequence);
                request["esp"] = hex(&sealed).into();
                let answer = scapy.ask(&request);
                assert_eq!(answer["inner"], hex(&packet), "{suite} {sequence:x}");
            }
        }
    }
}

#[test]
fn what_scapy_seals_is_opened_here() {
    let mut scapy = Scapy::start();
    for name in SUITES {
        for esn in [false, true] {
            let suite = suite(name, esn);
            let sa = inbound(suite).continuing(start(esn));
            for (sequence, (len, v6)) in (start(esn) + 1..).zip([
                (0, false),
                (1, true),
                (33, false),
                (46, true),
                (1_300, false),
                (1_301, true),
            ]) {
                let packet = inner(v6, len);
                let mut request = request("seal", name, &suite, sequence);
                request["inner"] = hex(&packet).into();
                let mut sealed = unhex(scapy.ask(&request)["esp"].as_str().unwrap());
                let opened = sa.open(&mut sealed, Ecn::NotEct, 1).unwrap_or_else(|refused| {
                    panic!("{suite} {sequence:x}: {}", refused.reason);
                });
                assert_eq!(opened.sequence, sequence);
                assert_eq!(sealed[opened.inner.unwrap()], packet);
            }
        }
    }
}
