//! strongSwan with its userspace ESP (kernel-libipsec).
//!
//! Its device keeps the MTU that it gives it, 1400: it reads packets into buffers of that size.

use std::net::IpAddr;

use skybridge::lab::{
    LabError, Namespace,
    path::{FAR, FAR_NET, NEAR, NEAR_NET, Path},
    traffic::ping,
    wait::until,
};

use super::{Life, PATIENCE, Running};
use crate::strongswan::Swan;

const DAEMON: &str = "/usr/sbin/charon-systemd";
const DEVICE: &str = "ipsec0";

struct Pair {
    near: Swan,
    far: Swan,
}

impl Life for Pair {
    fn words(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
        };
        format!("--- near:\n{}\n--- far:\n{}", tail(self.near.log()), tail(self.far.log()))
    }
}

/// Whether it is installed. Its version is known once it runs.
pub fn probe() -> Result<String, String> {
    let there = [
        "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so",
        "/usr/lib/ipsec/plugins/libstrongswan-curve25519.so",
        DAEMON,
    ]
    .iter()
    .all(|file| std::path::Path::new(file).exists());
    if !there {
        return Err("not installed".to_owned());
    }
    let output =
        std::process::Command::new("dpkg-query").args(["-W", "-f=${Version}", "charon-systemd"]).output();
    Ok(output.map_or_else(
        |_| "of unknown version".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    ))
}

pub fn start(path: &Path) -> Result<Running, LabError> {
    path.forward()?;
    let swan = |namespace: &Namespace, own, other, ids, nets| {
        Swan::prepare(namespace, "", &connections(own, other, ids, nets), &[])
    };
    let near = swan(&path.near, NEAR, FAR, ["near", "far"], [NEAR_NET, FAR_NET])?;
    let far = swan(&path.far, FAR, NEAR, ["far", "near"], [FAR_NET, NEAR_NET])?;
    let mut pair = Pair { near, far };
    pair.far.start()?;
    pair.near.start()?;
    pair.near.initiate()?;
    // It routes only what has a source inside its own network, and its device appears with the SA.
    let target: IpAddr = super::server();
    ping::until_answered(&path.client, target, PATIENCE)
        .map_err(|error| LabError::check(format!("{error}\n{}", pair.words())))?;
    until("strongSwan's processes are found", PATIENCE, || {
        Ok(if pair.near.pid().is_some() { Ok(()) } else { Err(String::new()) })
    })?;
    let daemons = [pair.near.pid(), pair.far.pid()].into_iter().flatten().collect();
    Ok(Running::new(pair, daemons).with_devices(path, DEVICE, DEVICE))
}

fn connections(own: &str, other: &str, ids: [&str; 2], nets: [&str; 2]) -> String {
    let ([own_id, other_id], [own_net, other_net]) = (ids, nets);
    format!(
        "connections {{\n  t {{\n    local_addrs = {own}\n    remote_addrs = {other}\n    version = 2\n    \
         proposals = aes256gcm16-prfsha384-x25519\n    local {{\n      auth = psk\n      id = {own_id}.example.com\n    }}\n    \
         remote {{\n      auth = psk\n      id = {other_id}.example.com\n    }}\n    children {{\n      c {{\n        \
         local_ts = {own_net}\n        remote_ts = {other_net}\n        esp_proposals = aes256gcm16-x25519\n      }}\n    \
         }}\n  }}\n}}\nsecrets {{\n  ike-1 {{\n    secret = \"guards nothing but a benchmark's zeroes\"\n  }}\n}}\n"
    )
}
