//! The configuration files of the lab's endpoints, as an operator would write them.

use std::fmt::Write;

use super::topology::{BRANCH, BRANCH_NET, CLOUD_PUBLIC, CLOUD6, EDGE6, NODES, OFFICE, OFFICE6, PODS, PODS6};

/// The key of the office's tunnel.
const OFFICE_KEY: &str = "office.psk";
/// The key of the second site's tunnel.
const BRANCH_KEY: &str = "branch.psk";

/// Which network the tunnel's own packets take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outer {
    /// IPv4, through the carrier's NAT and the cloud's 1:1 NAT.
    #[default]
    V4,
    /// IPv6, without any NAT.
    V6,
}

/// What a lab's tunnel is like; the default is what the demo shows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network underneath.
    pub outer: Outer,
    /// When the office begins: `connect`, `trap` or `wait`.
    pub office_start: &'static str,
    /// When the cloud begins.
    pub cloud_start: &'static str,
    /// What the office reaches in the cloud, IPv4.
    pub cloud_networks: &'static [&'static str],
    /// The same, IPv6.
    pub cloud_networks6: &'static [&'static str],
    /// Whether the cloud knows the second site.
    pub branch: bool,
    /// IKE proposals, as users write them.
    pub ike: &'static str,
    /// ESP proposals.
    pub esp: &'static str,
    /// How silence, loss and failure are met, of every peer.
    pub timing: &'static str,
    /// More lines for the office's `[endpoint]`.
    pub office_endpoint: String,
    /// More lines for the cloud's `[endpoint]`.
    pub cloud_endpoint: String,
    /// More lines for the office's table of the cloud peer.
    pub office_extra: String,
    /// More lines for the cloud's table of the office peer.
    pub cloud_extra: String,
    /// More tables for the cloud, such as `[clusters.prod]`.
    pub cloud_tables: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            outer: Outer::V4,
            office_start: "connect",
            cloud_start: "wait",
            cloud_networks: &[NODES, PODS],
            cloud_networks6: &[PODS6],
            branch: false,
            ike: "aes256gcm16-prfsha384-x25519",
            esp: "aes256gcm16-x25519",
            // A lab's round trips are short, and nobody wants to watch the usual minute.
            timing: "dpd = { delay = \"2s\" }\nretransmit = { base = \"300ms\", factor = 1.5, tries = 5 }\n\
                     retry = { base = \"500ms\", cap = \"2s\" }\n",
            office_endpoint: String::new(),
            cloud_endpoint: String::new(),
            office_extra: String::new(),
            cloud_extra: String::new(),
            cloud_tables: String::new(),
        }
    }
}

/// A file of an endpoint: its name in the endpoint's folder, and its text.
pub type File = (&'static str, String);

impl Plan {
    /// The office endpoint's files; `folder` is where they will be.
    pub fn office(&self, folder: &str) -> Vec<File> {
        let remote = if self.outer == Outer::V4 { CLOUD_PUBLIC } else { CLOUD6 };
        let mut text = endpoint("office", folder) + &self.office_endpoint;
        text += &self.peer(folder, "cloud", remote, ["office", "cloud"], OFFICE_KEY, self.office_start);
        text += &self.office_extra;
        text += &child("cloud", "vpc", &[OFFICE], self.cloud_networks);
        text += &child("cloud", "vpc6", &[OFFICE6], self.cloud_networks6);
        vec![("skybridge.toml", text), (OFFICE_KEY, key(1))]
    }

    /// The cloud endpoint's files.
    pub fn cloud(&self, folder: &str) -> Vec<File> {
        let remote = if self.outer == Outer::V4 || self.cloud_start == "wait" { "any" } else { EDGE6 };
        let mut text = endpoint("cloud", folder) + &self.cloud_endpoint;
        text += &self.peer(folder, "office", remote, ["cloud", "office"], OFFICE_KEY, self.cloud_start);
        text += &self.cloud_extra;
        text += &child("office", "lan", self.cloud_networks, &[OFFICE]);
        text += &child("office", "lan6", self.cloud_networks6, &[OFFICE6]);
        if self.branch {
            text += &self.peer(folder, "branch", BRANCH, ["cloud", "branch"], BRANCH_KEY, "wait");
            text += &child("branch", "lan", &[PODS], &[BRANCH_NET]);
        }
        text += &self.cloud_tables;
        vec![("skybridge.toml", text), (OFFICE_KEY, key(1)), (BRANCH_KEY, key(2))]
    }

    /// The second site's files.
    pub fn branch(&self, folder: &str) -> Vec<File> {
        let mut text = endpoint("branch", folder);
        text += &self.peer(folder, "cloud", CLOUD_PUBLIC, ["branch", "cloud"], BRANCH_KEY, "connect");
        text += &child("cloud", "vpc", &[BRANCH_NET], &[PODS]);
        vec![("skybridge.toml", text), (BRANCH_KEY, key(2))]
    }

    fn peer(
        &self,
        folder: &str,
        name: &str,
        remote: &str,
        [own, other]: [&str; 2],
        key: &str,
        start: &str,
    ) -> String {
        format!(
            "\n[peers.{name}]\nremote = \"{remote}\"\nlocal_id = \"{own}.example.com\"\n\
             remote_id = \"{other}.example.com\"\nauth = {{ psk_file = \"{folder}/{key}\" }}\n\
             ike = [\"{}\"]\nesp = [\"{}\"]\nstart = \"{start}\"\n{}",
            self.ike, self.esp, self.timing
        )
    }
}

fn endpoint(name: &str, folder: &str) -> String {
    format!(
        "[endpoint]\nname = \"{name}\"\ncontrol_socket = \"{folder}/control.sock\"\nstate_dir = \"{folder}/state\"\n"
    )
}

fn child(peer: &str, name: &str, local: &[&str], remote: &[&str]) -> String {
    let mut text = format!("\n[peers.{peer}.children.{name}]\n");
    for (side, networks) in [("local", local), ("remote", remote)] {
        let quoted: Vec<String> = networks.iter().map(|network| format!("\"{network}\"")).collect();
        let _ = writeln!(text, "{side} = [{}]", quoted.join(", "));
    }
    text
}

/// A key for the lab alone: it guards made-up traffic between namespaces.
fn key(number: u8) -> String {
    format!("the lab's tunnel number {number} guards nothing but made-up traffic\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_toml_with_a_peer_and_its_children() {
        let plan = Plan { branch: true, ..Plan::default() };
        for files in [plan.office("/x"), plan.cloud("/x"), plan.branch("/x")] {
            let table: toml::Table = toml::from_str(&files[0].1).unwrap();
            assert!(table["peers"].as_table().unwrap().values().all(|peer| peer.get("children").is_some()));
        }
    }
}
