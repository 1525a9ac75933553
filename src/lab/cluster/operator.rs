//! What an operator could write into the cloud endpoint's own firewall by hand: rules beside the daemon's.

use std::fmt::Write;

use super::services::Catalogue;
use crate::{
    cluster::model::Protocol,
    lab::topology::{CLOUD, CLOUD6, OFFICE, OFFICE6},
};

/// Which rules there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Operator {
    /// None.
    #[default]
    Nothing,
    /// The office goes out with the cloud endpoint's address.
    Snat,
    /// Cluster addresses become endpoints.
    Dnat,
    /// Both.
    DnatAndSnat,
}

/// Takes the rules back.
pub(super) const CLEAR: &str = "table inet operator {}\ndelete table inet operator\n";

/// The rules, replacing those of before.
pub(super) fn rules(operator: Operator, catalogue: &Catalogue) -> String {
    let (mut dnat, mut refuse, mut snat) = (String::new(), String::new(), String::new());
    if matches!(operator, Operator::Dnat | Operator::DnatAndSnat) {
        translations(catalogue, &mut dnat, &mut refuse);
    }
    if matches!(operator, Operator::Snat | Operator::DnatAndSnat) {
        snat = format!(
            "oifname \"eth0\" ip saddr {OFFICE} snat ip to {CLOUD}\noifname \"eth0\" ip6 saddr {OFFICE6} snat ip6 to {CLOUD6}\n"
        );
    }
    if operator == Operator::Nothing {
        return CLEAR.to_owned();
    }
    format!(
        "{CLEAR}table inet operator {{\n\
         chain before {{ type nat hook prerouting priority dstnat;\n{dnat}}}\n\
         chain across {{ type filter hook forward priority filter;\n{refuse}}}\n\
         chain after {{ type nat hook postrouting priority srcnat;\n{snat}}}\n}}\n"
    )
}

fn translations(catalogue: &Catalogue, dnat: &mut String, refuse: &mut String) {
    for service in &catalogue.0 {
        let hosts = service.usable();
        for (address, port) in service
            .addresses()
            .into_iter()
            .flat_map(|address| service.ports.iter().map(move |port| (address, port)))
        {
            let (ip, office, family) =
                if address.is_ipv4() { ("ip", OFFICE, 0) } else { ("ip6", OFFICE6, 1) };
            let protocol = port.protocol.as_str();
            let portal = format!("{ip} saddr {office} {ip} daddr {address} {protocol} dport {}", port.port);
            if hosts.is_empty() {
                let reset = if port.protocol == Protocol::Tcp { " with tcp reset" } else { "" };
                let _ = writeln!(refuse, "{portal} reject{reset}");
            }
            for (number, host) in hosts.iter().enumerate() {
                let Some((to, at)) = host.addresses().get(family).copied().zip(port.at(*host)) else {
                    continue;
                };
                let to = if family == 0 { to.to_owned() } else { format!("[{to}]") };
                let left = hosts.len() - number;
                let _ = writeln!(dnat, "{portal} numgen random mod {left} 0 dnat {ip} to {to}:{at}");
            }
        }
    }
}
