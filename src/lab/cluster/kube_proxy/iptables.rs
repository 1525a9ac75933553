//! The iptables shape: a chain for each Service port and one for each of its endpoints.

use std::fmt::Write;

use super::{Family, Frontend, Masquerade};

/// Takes every rule back.
pub(super) const CLEAR: &str = "*nat\nCOMMIT\n*filter\nCOMMIT\n";

/// Input of `iptables-restore` that replaces both tables. `local` says that cluster addresses are the node's own, so
/// that packets to them which nobody translates are input.
pub(super) fn rules(
    family: Family,
    masquerade: Masquerade,
    local: bool,
    frontends: &[Frontend<'_>],
) -> String {
    let mut chains = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         :KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n",
    );
    let mut nat = String::from(
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
         -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" \
         -j MASQUERADE --random-fully\n",
    );
    let mut filter = String::from(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         :KUBE-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n\
         -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n\
         -A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" \
         -j KUBE-SERVICES\n\
         -A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" \
         -j KUBE-SERVICES\n\
         -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
    );
    if local {
        filter += "-A INPUT -m conntrack --ctstate NEW -j KUBE-SERVICES\n";
    }
    for frontend in frontends {
        let protocol = frontend.port.protocol.as_str();
        let matched =
            format!("-m {protocol} -p {protocol} -d {} --dport {}", frontend.address, frontend.port.port);
        if frontend.backends.is_empty() {
            let fate = if frontend.elsewhere { "DROP" } else { "REJECT" };
            let _ = writeln!(filter, "-A KUBE-SERVICES {matched} -j {fate}");
            continue;
        }
        let name = frontend.chain.to_ascii_uppercase();
        let _ = writeln!(chains, ":KUBE-SVC-{name} - [0:0]");
        let _ = writeln!(nat, "-A KUBE-SERVICES {matched} -j KUBE-SVC-{name}");
        match masquerade {
            Masquerade::None => {}
            Masquerade::All => {
                let _ = writeln!(nat, "-A KUBE-SVC-{name} {matched} -j KUBE-MARK-MASQ");
            }
            Masquerade::ClusterCidr => {
                let _ =
                    writeln!(nat, "-A KUBE-SVC-{name} {matched} ! -s {} -j KUBE-MARK-MASQ", family.pods());
            }
        }
        endpoints(family, frontend, protocol, &name, &mut chains, &mut nat);
    }
    format!("{chains}{nat}COMMIT\n{filter}COMMIT\n")
}

fn endpoints(
    family: Family,
    frontend: &Frontend<'_>,
    protocol: &str,
    name: &str,
    chains: &mut String,
    nat: &mut String,
) {
    let chain = |number: usize| format!("KUBE-SEP-{name}-{number}");
    if let Some(seconds) = frontend.service.affinity {
        for number in 0..frontend.backends.len() {
            let chain = chain(number);
            let _ = writeln!(
                nat,
                "-A KUBE-SVC-{name} -m recent --name {chain} --rcheck --seconds {seconds} --reap -j {chain}"
            );
        }
    }
    for (number, (host, port)) in frontend.backends.iter().enumerate() {
        let chain = chain(number);
        let left = frontend.backends.len() - number;
        let chance = if left > 1 {
            format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64)
        } else {
            String::new()
        };
        let remember = match frontend.service.affinity {
            Some(_) => format!("-m recent --name {chain} --set "),
            None => String::new(),
        };
        let destination = family.destination(*host, *port);
        let _ = writeln!(chains, ":{chain} - [0:0]");
        let _ = writeln!(nat, "-A KUBE-SVC-{name} {chance}-j {chain}");
        let _ = writeln!(nat, "-A {chain} -s {} -j KUBE-MARK-MASQ", family.of(*host));
        let _ = writeln!(
            nat,
            "-A {chain} {remember}-m {protocol} -p {protocol} -j DNAT --to-destination {destination}"
        );
    }
}
