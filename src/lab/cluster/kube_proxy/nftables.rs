//! The nftables shape: one lookup for all Services, then a chain for each Service port and each of its endpoints.

use std::fmt::Write;

use super::{Family, Frontend, Masquerade};
use crate::lab::cluster::services::{SERVICES, SERVICES6};

/// Takes every rule back.
pub(super) const CLEAR: &str = "table ip kube-proxy {}\ndelete table ip kube-proxy\n\
     table ip6 kube-proxy {}\ndelete table ip6 kube-proxy\n";

/// One family's table.
pub(super) fn rules(family: Family, masquerade: Masquerade, frontends: &[Frontend<'_>]) -> String {
    let (ip, kind, range) = match family {
        Family::V4 => ("ip", "ipv4_addr", SERVICES),
        Family::V6 => ("ip6", "ipv6_addr", SERVICES6),
    };
    let (mut chains, mut served, mut refused) = (String::new(), Vec::new(), Vec::new());
    for frontend in frontends {
        let key =
            format!("{} . {} . {}", frontend.address, frontend.port.protocol.as_str(), frontend.port.port);
        if frontend.backends.is_empty() {
            let fate = if frontend.elsewhere { "drop" } else { "goto reject-chain" };
            refused.push(format!("{key} : {fate}"));
        } else {
            served.push(format!("{key} : goto service-{}", frontend.chain));
            service(family, masquerade, frontend, &mut chains);
        }
    }
    let mut addresses: Vec<&str> = frontends.iter().map(|frontend| frontend.address.as_str()).collect();
    addresses.dedup();
    let elements = |values: &[String]| match values.is_empty() {
        true => String::new(),
        false => format!("elements = {{ {} }};", values.join(", ")),
    };
    let portal = format!("type {kind} . inet_proto . inet_service : verdict;");
    let (served, refused, addresses) = (elements(&served), elements(&refused), addresses.join(", "));
    format!(
        "table {ip} kube-proxy {{\n\
         set cluster-ips {{ type {kind}; elements = {{ {addresses} }}; }}\n\
         chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}\n\
         chain reject-chain {{ reject; }}\n\
         {chains}\
         map service-ips {{ {portal} {served} }}\n\
         map no-endpoint-services {{ {portal} {refused} }}\n\
         chain services {{ {ip} daddr . meta l4proto . th dport vmap @service-ips; }}\n\
         chain masquerading {{ meta mark and 0x4000 == 0 return; meta mark set meta mark xor 0x4000; \
         masquerade fully-random; }}\n\
         chain service-endpoints-check {{ {ip} daddr . meta l4proto . th dport vmap @no-endpoint-services; }}\n\
         chain cluster-ips-check {{ {ip} daddr @cluster-ips reject; {ip} daddr {range} drop; }}\n\
         chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}\n\
         chain nat-output {{ type nat hook output priority -100; jump services; }}\n\
         chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}\n\
         chain filter-forward {{ type filter hook forward priority -110; ct state new \
         jump service-endpoints-check; ct state new jump cluster-ips-check; }}\n\
         chain filter-output {{ type filter hook output priority -110; ct state new \
         jump service-endpoints-check; }}\n\
         chain filter-output-post-dnat {{ type filter hook output priority -90; ct state new \
         jump cluster-ips-check; }}\n\
         }}\n"
    )
}

fn service(family: Family, masquerade: Masquerade, frontend: &Frontend<'_>, chains: &mut String) {
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let kind = if family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
    let name = &frontend.chain;
    let (address, protocol) = (&frontend.address, frontend.port.protocol.as_str());
    let portal = format!("{ip} daddr {address} {protocol} dport {}", frontend.port.port);
    let mut entry = match masquerade {
        Masquerade::None => String::new(),
        Masquerade::All => format!("{portal} jump mark-for-masquerade; "),
        Masquerade::ClusterCidr => {
            format!("{portal} {ip} saddr != {} jump mark-for-masquerade; ", family.pods())
        }
    };
    let mut choices = Vec::new();
    for (number, (host, port)) in frontend.backends.iter().enumerate() {
        let chain = format!("endpoint-{name}-{number}");
        let mut remember = String::new();
        if let Some(seconds) = frontend.service.affinity {
            let set = format!("affinity-{name}-{number}");
            let _ = writeln!(
                chains,
                "set {set} {{ type {kind}; size 65536; flags dynamic,timeout; timeout {seconds}s; }}"
            );
            let _ = write!(entry, "{ip} saddr @{set} goto {chain}; ");
            remember = format!("update @{set} {{ {ip} saddr }}; ");
        }
        let _ = writeln!(
            chains,
            "chain {chain} {{ {ip} saddr {} jump mark-for-masquerade; {remember}\
             meta l4proto {protocol} dnat to {}; }}",
            family.of(*host),
            family.destination(*host, *port),
        );
        choices.push(format!("{number} : goto {chain}"));
    }
    let (count, choices) = (choices.len(), choices.join(", "));
    let _ =
        writeln!(chains, "chain service-{name} {{ {entry}numgen random mod {count} vmap {{ {choices} }}; }}");
}
