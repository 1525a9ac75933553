//! Our key tables open a capture of the tunnel.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use skybridge::lab::{LabError, wait::until};

use super::{BOTH, Case, ensure, tunnel};
use crate::world::{PATIENCE, Role, Setup, World};

pub const CASES: &[Case] = &[Case {
    name: "keylog",
    title: "A capture of the tunnel, opened by tshark with our key tables",
    checked: "IKE_AUTH and the pings are readable with the tables, and not without",
    roles: BOTH,
    setup: |role| Setup { sky_keylog: Some(folder(role)), ..Setup::default() },
    run: opened,
}];

fn folder(role: Role) -> &'static str {
    match role {
        Role::Initiator => "/run/keylog-i",
        Role::Responder => "/run/keylog-r",
    }
}

fn opened(world: &mut World) -> Result<(), LabError> {
    let tables = Path::new(folder(world.role));
    fs::create_dir_all(tables).map_err(LabError::io("make a folder"))?;
    let capture = tables.join("capture.pcap");
    let mut command = Command::new("dumpcap");
    command.args(["-q", "-P", "-i", "sky0", "-w"]).arg(&capture).stderr(std::process::Stdio::null());
    let mut listening = world.middle.spawn(command)?;
    until("the capture begins", PATIENCE, || {
        let begun = fs::metadata(&capture).is_ok_and(|file| file.len() > 0);
        Ok(if begun { Ok(()) } else { Err("no file".to_owned()) })
    })?;
    tunnel(world)?;
    listening.signal(Signal::SIGINT)?;
    listening.wait(PATIENCE)?;
    let empty = tables.join("none");
    fs::create_dir_all(&empty).map_err(LabError::io("make a folder"))?;
    for filter in ["isakmp.auth.method", "esp && icmp"] {
        let with = packets(world, &capture, tables, filter)?;
        let without = packets(world, &capture, &empty, filter)?;
        ensure(with >= 2 && without == 0, format!("{filter}: {with} packets, {without} without keys"))?;
    }
    Ok(())
}

/// How many packets of the capture match, with the tables of a folder.
fn packets(world: &World, capture: &Path, tables: &Path, filter: &str) -> Result<usize, LabError> {
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", tables).arg("-r").arg(capture);
    command.args(["-o", "esp.enable_encryption_decode:TRUE", "-Y", filter]);
    Ok(world.middle.output(command, "")?.lines().count())
}
