//! Commands against two daemons with a tunnel between them.

use std::fs;

use skybridge::lab::{Daemon, Entered, LabError, Plan, daemon::Keys, wait::until};

use crate::pair::{PATIENCE, Pair};
use crate::program::ask;
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("tunnel::up_waits_until_it_is_up_and_down_keeps_it_down", up_and_down),
    ("tunnel::status_of_a_tunnel_has_every_key_of_its_json", json),
    ("tunnel::rekey_replaces_what_it_was_asked_to", rekey),
    ("tunnel::a_wrong_key_is_the_reason_that_up_gives", wrong_key),
    ("tunnel::a_broken_file_harms_no_tunnel", broken),
];

fn waiting() -> Plan {
    Plan { office_start: "wait", ..Plan::default() }
}

fn started(inside: &Entered, plan: &Plan) -> Result<Pair, LabError> {
    let mut pair = Pair::prepare(inside, plan)?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    Ok(pair)
}

fn up_and_down(inside: &Entered) -> Result<(), LabError> {
    let mut pair = started(inside, &waiting())?;
    ask(&pair.office, &["up", "cloud"])?.answers(&["cloud is up after ", " ms\n"])?;
    pair.wait_up(PATIENCE)?;
    ask(&pair.office, &["up", "cloud"])?.answers(&["cloud is up"])?;
    let table = ask(&pair.office, &["status"])?;
    table.answers(&["203.0.113.10:4500", "10.0.2.0/24"])?;
    let rows = table.stdout.lines().filter(|line| line.split_whitespace().nth(2) == Some("up"));
    ensure(rows.count() == 2, format!("not two children up\n{table}"))?;
    ask(&pair.office, &["status", "cloud"])?.answers(&[
        "cloud: up (start = wait)",
        "identity     cloud.example.com",
        "IKE SA ",
        "initiator",
        "aes256gcm16-prfsha384-x25519",
        "rekey in ",
        "NAT          both",
        "child vpc: up",
        "SPI in/out",
        "packets",
    ])?;
    ask(&pair.office, &["down", "cloud", "vpc"])?.answers(&["closed cloud/vpc"])?;
    let vpc_down = |daemon: &Daemon| -> Result<_, LabError> {
        let peer = daemon.peer("cloud")?;
        let down = peer.children.iter().all(|child| child.up == (child.name != "vpc"));
        Ok(if down { Ok(()) } else { Err(format!("{peer:?}")) })
    };
    until("only one child is down", PATIENCE, || vpc_down(&pair.office))?;
    ask(&pair.office, &["rekey", "cloud", "vpc"])?.fails(&[
        "vpc",
        "not up",
        "`skybridge up cloud vpc` raises it",
    ])?;
    ask(&pair.office, &["up", "cloud", "vpc"])?.answers(&["cloud/vpc is up after "])?;
    ask(&pair.office, &["down", "cloud"])?
        .answers(&["closed cloud; it stays down until `skybridge up cloud`"])?;
    until("both ends are down", PATIENCE, || {
        let states = [pair.office.peer("cloud")?, pair.cloud.peer("office")?];
        let down =
            states.iter().all(|peer| peer.ike.is_none() && peer.children.iter().all(|child| !child.up));
        Ok(if down { Ok(()) } else { Err(format!("{states:?}")) })
    })
}

/// The paths of all keys, those of free maps aside.
fn keys(value: &serde_json::Value, path: &str, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(entries) if !["drops", "refused"].contains(&path) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                into.push(path.clone());
                keys(value, &path, into);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, path, into)),
        _ => {}
    }
}

/// What programs read; keys are added, never renamed or removed.
const KEYS: &str = "version name pid uptime_seconds config device findings drops refused \
    traffic traffic.packets_in traffic.bytes_in traffic.packets_out traffic.bytes_out \
    peers peers.name peers.state peers.start peers.remote peers.local peers.remote_id \
    peers.path_mtu peers.inner_mtu peers.last_failure peers.warnings \
    peers.ike peers.ike.initiator_spi peers.ike.responder_spi peers.ike.suite peers.ike.role \
    peers.ike.age_seconds peers.ike.rekey_in_seconds peers.ike.nat \
    peers.children peers.children.name peers.children.up peers.children.local peers.children.remote \
    peers.children.suite peers.children.spi_in peers.children.spi_out peers.children.age_seconds \
    peers.children.rekey_in_seconds peers.children.last_in_seconds peers.children.traffic \
    peers.children.traffic.packets_in peers.children.traffic.bytes_in \
    peers.children.traffic.packets_out peers.children.traffic.bytes_out";

fn json(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let said = ask(&pair.office, &["status", "--json"])?;
    said.answers(&[])?;
    let status: serde_json::Value =
        serde_json::from_str(&said.stdout).map_err(|error| LabError::check(format!("{error}\n{said}")))?;
    let mut there = Vec::new();
    keys(&status, "", &mut there);
    let missing: Vec<&str> =
        KEYS.split_whitespace().filter(|key| !there.iter().any(|there| there == key)).collect();
    ensure(missing.is_empty(), format!("{missing:?} are gone\n{said}"))?;
    let peer = &status["peers"][0];
    ensure(
        peer["state"] == "up" && peer["ike"]["role"] == "initiator" && peer["ike"]["nat"] == "both",
        said.to_string(),
    )?;
    let spi = peer["children"][0]["spi_in"].as_str().unwrap_or_default();
    ensure(spi.len() == 8 && u32::from_str_radix(spi, 16).is_ok(), format!("{spi} is no SPI"))
}

fn rekey(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let cases: [(&[&str], &str); 4] = [
        (&["rekey", "cloud", "--ike"], "rekeying the IKE SA of cloud"),
        (&["rekey", "cloud", "--children"], "rekeying child vpc, child vpc6 of cloud"),
        (&["rekey", "cloud", "vpc"], "rekeying child vpc of cloud"),
        (&["rekey", "cloud"], "rekeying the IKE SA, child vpc, child vpc6 of cloud"),
    ];
    for (arguments, text) in cases {
        let before = Keys::of(&pair.office.peer("cloud")?);
        ask(&pair.office, arguments)?.answers(&[text])?;
        until("there are new keys", PATIENCE, || {
            let now = Keys::of(&pair.office.peer("cloud")?);
            Ok(if now == before { Err(format!("{now:?}")) } else { Ok(()) })
        })?;
        pair.reach(PATIENCE)?;
    }
    Ok(())
}

fn wrong_key(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::prepare(inside, &waiting())?;
    fs::write(pair.office.config().with_file_name("office.psk"), "a key that the cloud does not have\n")
        .unwrap();
    let mut pair = pair;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    let said = ask(&pair.office, &["up", "cloud"])?;
    said.fails(&["cloud did not come up: ", "AUTHENTICATION_FAILED", "key"])?;
    ask(&pair.office, &["status"])?.answers(&["AUTHENTICATION_FAILED", " in a row)"])?;
    // The other end knows more, and says it to its own operator.
    until("the cloud tells of it", PATIENCE, || {
        let said = ask(&pair.cloud, &["status"])?;
        let told = said.stdout.contains("pre-shared key");
        Ok(if told { Ok(()) } else { Err(said.to_string()) })
    })
}

fn broken(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let before = pair.ike()?;
    let stream = pair.stream(200)?;
    let text = fs::read_to_string(pair.office.config()).unwrap();
    fs::write(pair.office.config(), text.replace("remote_id", "remote_di")).unwrap();
    ask(&pair.office, &["reload"])?.refuses(&[
        "the running one is kept",
        "error[unknown-key]",
        "did you mean `remote_id`?",
    ])?;
    fs::write(pair.office.config(), &text).unwrap();
    ask(&pair.office, &["reload"])?.answers(&["reloaded: nothing changed"])?;
    crate::pair::flows(&stream, 100, PATIENCE)?;
    let report = stream.stop()?;
    ensure(report.lost() == 0, format!("{report:?}"))?;
    ensure(pair.ike()? == before, "the IKE SA did not stay")
}
