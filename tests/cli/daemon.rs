//! Commands against one daemon whose peers never answer.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use skybridge::lab::{Daemon, Entered, LabError, Namespace};

use crate::pair::program;
use crate::program::{Said, ask, command, finish};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("daemon::a_busy_port_is_named_with_what_to_do", busy_port),
    ("daemon::an_address_of_nobody_is_named", foreign_address),
    ("daemon::a_second_daemon_is_told_what_the_first_one_holds", second),
    ("daemon::status_is_a_table_a_detail_or_json", status),
    ("daemon::an_unknown_peer_or_child_is_told_where_they_are_listed", unknown),
    ("daemon::what_is_not_up_cannot_be_rekeyed", not_up),
    ("daemon::up_gives_up_after_its_time_and_says_why", up),
    ("daemon::reload_tells_what_changed", reload),
    ("daemon::a_broken_file_leaves_the_running_configuration", broken),
    ("daemon::cleanup_removes_what_a_daemon_left_and_no_more", cleanup),
];

const KEY: (&str, &str) = ("key", "correct horse battery staple 123\n");

/// A peer that never answers and one that must come by itself.
fn text(folder: &str) -> String {
    let peer = |name: &str, remote: &str| {
        format!(
            "[peers.{name}]\nremote = \"{remote}\"\nlocal_id = \"solo.example.com\"\n\
             remote_id = \"{name}.example.com\"\nauth = {{ psk_file = \"{folder}/key\" }}\nstart = \"wait\"\n\
             retransmit = {{ base = \"500ms\" }}\n"
        )
    };
    format!(
        "[endpoint]\nname = \"solo\"\ncontrol_socket = \"{folder}/control.sock\"\nstate_dir = \"{folder}/state\"\n\
         {}[peers.cloud.children.lan]\nlocal = [\"10.1.0.0/16\"]\nremote = [\"10.2.0.0/16\"]\n\
         [peers.cloud.children.dmz]\nlocal = [\"10.1.0.0/16\"]\nremote = [\"10.3.0.0/16\"]\n\
         {}[peers.branch.children.lan]\nlocal = [\"10.1.0.0/16\"]\nremote = [\"10.4.0.0/16\"]\n",
        peer("cloud", "192.0.2.9"),
        peer("branch", "any")
    )
}

fn prepare() -> Result<Daemon, LabError> {
    let namespace = Namespace::create("solo")?;
    Daemon::prepare(&namespace, &program(), |folder| {
        vec![("skybridge.toml", text(folder)), (KEY.0, KEY.1.to_owned())]
    })
}

fn started() -> Result<Daemon, LabError> {
    let mut daemon = prepare()?;
    daemon.start_and_wait()?;
    Ok(daemon)
}

fn change(daemon: &Daemon, from: &str, to: &str) {
    let text = fs::read_to_string(daemon.config()).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(daemon.config(), text.replace(from, to)).unwrap();
}

/// Runs `skybridge run` to its end with another file in the daemon's folder.
fn run(daemon: &Daemon, name: &str, changes: &[(&str, &str)]) -> Result<Said, LabError> {
    let mut text = fs::read_to_string(daemon.config()).unwrap();
    for (from, to) in changes {
        text = text.replace(from, to);
    }
    let file = daemon.config().with_file_name(name);
    fs::write(&file, text).unwrap();
    let mut run = command(&["run", "--config"]);
    run.arg(&file);
    daemon.namespace().run(|| finish(run))
}

fn hold(namespace: &Namespace, port: u16) -> Result<UdpSocket, LabError> {
    namespace.run(|| UdpSocket::bind(("0.0.0.0", port)).map_err(LabError::io("bind")))
}

fn busy_port(_: &Entered) -> Result<(), LabError> {
    let mut daemon = prepare()?;
    for port in [500, 4500] {
        let held = hold(daemon.namespace(), port)?;
        run(&daemon, "skybridge.toml", &[])?.fails(&[
            &format!("cannot open UDP port {port}: another program has it"),
            "ss -ulpn",
            "endpoint.ike_port",
            "endpoint.natt_port",
        ])?;
        ensure(!daemon.control().exists(), "the control socket was left behind")?;
        drop(held);
    }
    daemon.start_and_wait()?;
    daemon.stop()
}

fn foreign_address(_: &Entered) -> Result<(), LabError> {
    let daemon = prepare()?;
    let listen = ("[endpoint]", "[endpoint]\nlisten = [\"192.0.2.77\"]");
    run(&daemon, "other.toml", &[listen])?.fails(&["UDP port 500", "no such address", "endpoint.listen"])
}

fn second(_: &Entered) -> Result<(), LabError> {
    let mut daemon = started()?;
    let socket = ("control.sock", "second.sock");
    let state = ("/state", "/second");
    let ports = ("[endpoint]", "[endpoint]\nike_port = 1500\nnatt_port = 14500");
    let device = ("[endpoint]", "[endpoint]\ndevice = \"second0\"");
    let say = |changes: &[(&str, &str)], parts: &[&str]| run(&daemon, "second.toml", changes)?.fails(parts);
    say(&[], &["control.sock: another daemon answers there: stop it first", "endpoint.control_socket"])?;
    say(&[socket, device, ports], &["/state is held by a running daemon: stop it first"])?;
    say(&[socket, state], &["UDP port 500", "another program has it"])?;
    say(&[socket, state, ports], &["tunnel device skybridge0: another program has it", "endpoint.device"])?;
    let left = daemon.control().with_file_name("second.sock");
    ensure(!left.exists(), "the second one's socket was left behind")?;
    // The first one did not notice, and neither did its routes.
    daemon.alive()?;
    ask(&daemon, &["status"])?.answers(&["solo: skybridge"])?;
    daemon.stop()?;
    // A socket that a dead daemon left is no daemon.
    daemon.start_and_wait()?;
    daemon.kill()?;
    ensure(daemon.control().exists(), "no socket was left by the killed daemon")?;
    ask(&daemon, &["status"])?.fails(&["no daemon answers on"])?;
    daemon.start_and_wait()?;
    daemon.stop()
}

fn status(_: &Entered) -> Result<(), LabError> {
    let daemon = started()?;
    let table = ask(&daemon, &["status"])?;
    table.answers(&[
        &format!("solo: skybridge {}, up for ", env!("CARGO_PKG_VERSION")),
        "device skybridge0",
        "PEER",
        "REMOTE NET",
    ])?;
    for (peer, child, net) in
        [("cloud", "lan", "10.2.0.0/16"), ("cloud", "dmz", "10.3.0.0/16"), ("branch", "lan", "10.4.0.0/16")]
    {
        let row = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&[peer, child, "down"]) && words.contains(&net)
        };
        ensure(table.stdout.lines().filter(row).count() == 1, format!("no row of {peer}/{child}\n{table}"))?;
    }
    ensure(table.stdout.lines().all(|line| line.len() < 160), format!("too wide\n{table}"))?;
    let detail = ask(&daemon, &["status", "cloud"])?;
    detail.answers(&["cloud: down (start = wait)", "child lan: down", "10.2.0.0/16"])?;
    ensure(!detail.stdout.contains("branch"), format!("another peer's state\n{detail}"))?;
    let json = |arguments: &[&str]| -> Result<serde_json::Value, LabError> {
        let said = ask(&daemon, arguments)?;
        said.answers(&[])?;
        serde_json::from_str(&said.stdout).map_err(|error| LabError::check(format!("{error}\n{said}")))
    };
    ensure(json(&["status", "--json"])?["peers"].as_array().unwrap().len() == 2, "not two peers")?;
    let one = json(&["status", "cloud", "--json"])?;
    ensure(one["peers"].as_array().unwrap().len() == 1 && one["peers"][0]["name"] == "cloud", one.to_string())
}

fn unknown(_: &Entered) -> Result<(), LabError> {
    let daemon = started()?;
    for command in [
        &["status", "nobody"][..],
        &["up", "nobody"],
        &["down", "nobody"],
        &["rekey", "nobody"],
        &["rekey", "nobody", "--ike"],
    ] {
        ask(&daemon, command)?.fails(&["nobody", "`skybridge status` lists them"])?;
    }
    for command in ["up", "down", "rekey"] {
        ask(&daemon, &[command, "cloud", "wan"])?.fails(&[
            "cloud",
            "wan",
            "`skybridge status cloud` lists them",
        ])?;
    }
    // A name is never a path.
    ask(&daemon, &["up", "../../etc?x=%2f#"])?.fails(&["../../etc?x=%2f#", "lists them"])
}

fn not_up(_: &Entered) -> Result<(), LabError> {
    let daemon = started()?;
    for command in [
        &["rekey", "cloud"][..],
        &["rekey", "cloud", "lan"],
        &["rekey", "cloud", "--ike"],
        &["rekey", "cloud", "--children"],
    ] {
        ask(&daemon, command)?.fails(&["peer cloud is not up", "`skybridge up cloud` raises it"])?;
    }
    // What is down already may be closed: it stays down.
    ask(&daemon, &["down", "cloud"])?.answers(&["closed cloud", "stays down until `skybridge up cloud`"])?;
    ask(&daemon, &["down", "cloud", "lan"])?.answers(&["closed cloud/lan", "until `skybridge up cloud lan`"])
}

fn up(_: &Entered) -> Result<(), LabError> {
    let daemon = started()?;
    ask(&daemon, &["up", "cloud", "--timeout", "0"])?.answers(&["bringing up cloud"])?;
    ask(&daemon, &["up", "cloud", "lan", "--timeout", "1"])?
        .fails(&["cloud/lan is still connecting after 1 s", "skybridge status cloud"])?;
    ask(&daemon, &["up", "branch", "--timeout", "1"])?.fails(&[
        "branch",
        "remote = \"any\"",
        "it has to initiate",
    ])
}

fn reload(_: &Entered) -> Result<(), LabError> {
    let daemon = started()?;
    ask(&daemon, &["reload"])?.answers(&["reloaded: nothing changed"])?;
    change(&daemon, "10.3.0.0/16", "10.33.0.0/16");
    ask(&daemon, &["reload"])?.answers(&["reloaded: changed cloud\n"])?;
    ask(&daemon, &["status"])?.answers(&["10.33.0.0/16"])?;
    let third = "[peers.third]\nremote = \"any\"\nlocal_id = \"solo.example.com\"\nremote_id = \"third.example.com\"\n";
    let third = format!(
        "{third}auth = {{ psk_file = \"{}\" }}\nstart = \"wait\"\n",
        daemon.config().with_file_name("key").display()
    );
    let nets = "[peers.third.children.lan]\nlocal = [\"10.1.0.0/16\"]\nremote = [\"10.5.0.0/16\"]\n";
    change(&daemon, "[endpoint]", &format!("{third}{nets}[endpoint]"));
    ask(&daemon, &["reload"])?.answers(&["reloaded: added third\n"])?;
    change(&daemon, "name = \"solo\"", "name = \"renamed\"");
    change(&daemon, nets, &nets.replace("10.5", "10.6"));
    ask(&daemon, &["reload"])?.answers(&["reloaded: changed third; applied endpoint.name\n"])?;
    ask(&daemon, &["status"])?.answers(&["renamed: skybridge"])?;
    change(&daemon, "[endpoint]", "[endpoint]\nike_port = 1500");
    ask(&daemon, &["reload"])?.answers(&["reloaded: not before a restart: endpoint.ike_port\n"])?;
    ensure(daemon.last_words(5).contains("not before a restart: endpoint.ike_port"), daemon.last_words(5))
}

fn broken(_: &Entered) -> Result<(), LabError> {
    let mut daemon = started()?;
    change(&daemon, "[endpoint]\n", "[endpoint]\nnane = \"x\"\n");
    let said = ask(&daemon, &["reload"])?;
    said.refuses(&[
        "skybridge: the configuration has errors and the running one is kept:\n",
        "error[unknown-key]",
        "skybridge.toml:2:1",
        "did you mean `name`?",
        "1 error in the configuration",
    ])?;
    daemon.alive()?;
    ask(&daemon, &["status"])?.answers(&["10.3.0.0/16"])?;
    ensure(
        daemon.last_words(20).contains("skybridge.toml:2:1"),
        format!("not in the log\n{}", daemon.last_words(20)),
    )?;
    change(&daemon, "nane = \"x\"\n", "");
    ask(&daemon, &["reload"])?.answers(&["nothing changed"])?;
    daemon.stop()
}

fn cleanup(_: &Entered) -> Result<(), LabError> {
    let mut daemon = started()?;
    let cleanup = |arguments: &[&str], config: Option<&Path>| {
        let mut cleanup = command(arguments);
        cleanup.args(config.map(Path::as_os_str));
        daemon.namespace().run(|| finish(cleanup))
    };
    let config = daemon.config();
    cleanup(&["cleanup", "--config"], Some(&config))?
        .fails(&["/state is held by a running daemon: stop it first"])?;
    let state = daemon.config().with_file_name("state");
    let folder = daemon.config().with_file_name("elsewhere");
    daemon.kill()?;
    let cleanup = |arguments: &[&str], path: &Path| {
        let mut cleanup = command(arguments);
        cleanup.arg(path);
        daemon.namespace().run(|| finish(cleanup))
    };
    cleanup(&["cleanup", "--state-dir"], &state)?.answers(&[
        "removed route unreachable 10.2.0.0/16",
        "10.3.0.0/16",
        "10.4.0.0/16",
    ])?;
    cleanup(&["cleanup", "--config"], &config)?.answers(&["nothing was left to remove"])?;
    cleanup(&["cleanup", "--state-dir"], &folder)?.answers(&["nothing was left to remove"])?;
    let said = cleanup(&["cleanup", "--config"], &folder)?;
    ensure(
        said.status == Some(0) && said.stderr.contains("taking the usual state folder /var/lib/skybridge"),
        said.to_string(),
    )
}
