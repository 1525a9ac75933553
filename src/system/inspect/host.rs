//! Sysctls, the clock and MTUs.

use super::Scene;
use crate::system::sysctl;
use crate::system::{Finding, Severity};

/// 1 January 2026: no clock of a machine that runs this can be earlier.
const EARLIEST: u64 = 1_767_225_600;
/// The least MTU of IPv6, <https://www.rfc-editor.org/rfc/rfc8200#section-5>.
const LEAST_V6: u32 = 1280;

pub(super) fn inspect(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    forwarding(scene, &mut findings);
    rp_filter(scene, &mut findings);
    mtu(scene, &mut findings);
    findings.extend(clock(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    ));
    findings
}

fn forwarding(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    if !scene.desired.forwarding {
        return;
    }
    for (v4, path) in [(true, sysctl::FORWARD_V4), (false, sysctl::FORWARD_V6)] {
        let used = scene.desired.routes.iter().any(|route| route.prefix.addr().is_ipv4() == v4);
        if used && sysctl::number(path) == Some(0) {
            let name = path.replace('/', ".");
            findings.push(Finding {
                code: "forwarding-off",
                severity: Severity::Error,
                what: format!("{name} is 0: nothing passes between the tunnel and other machines"),
                where_: format!("/proc/sys/{path}"),
                remedy: format!(
                    "Put `{name} = 1` into /etc/sysctl.d/60-skybridge.conf; run `sysctl --system`."
                ),
            });
        }
    }
}

fn rp_filter(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let all = sysctl::number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
    let strict = |name: &str| {
        sysctl::number(&format!("net/ipv4/conf/{name}/rp_filter")).is_some_and(|own| own.max(all) == 1)
    };
    // One interface cannot be asymmetric.
    let others =
        scene.links.iter().filter(|link| link.up && !link.loopback && link.name != scene.desired.tun);
    if others.count() > 1 {
        for (name, _) in scene.uplinks.iter().filter(|(name, _)| strict(name)) {
            findings.push(Finding {
                code: "rp-filter-strict",
                severity: Severity::Info,
                what: format!("{name} drops packets whose way back is another interface"),
                where_: format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"),
                remedy: format!(
                    "If the peer's packets come in on {name} but leave by another interface (two uplinks), set \
                     net.ipv4.conf.{name}.rp_filter = 2."
                ),
            });
        }
    }
    if strict(&scene.desired.tun) {
        findings.push(Finding {
            code: "rp-filter-tun",
            severity: Severity::Warning,
            what: format!("{} drops packets whose way back is another interface", scene.desired.tun),
            where_: format!("/proc/sys/net/ipv4/conf/{}/rp_filter", scene.desired.tun),
            remedy: format!("Set net.ipv4.conf.{}.rp_filter = 2.", scene.desired.tun),
        });
    }
}

fn mtu(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(tun) = scene.links.iter().find(|link| link.name == scene.desired.tun) else { return };
    if tun.mtu < LEAST_V6 && scene.desired.routes.iter().any(|route| route.prefix.addr().is_ipv6()) {
        findings.push(Finding {
            code: "mtu-below-ipv6",
            severity: Severity::Error,
            what: format!("the MTU of {} is {}, and IPv6 needs {LEAST_V6}", tun.name, tun.mtu),
            where_: format!("interface {}", tun.name),
            remedy: "Raise the tunnel's MTU, or leave IPv6 out of its selectors.".into(),
        });
    }
    for (name, mtu) in &scene.uplinks {
        if *mtu < LEAST_V6 {
            findings.push(Finding {
                code: "mtu-uplink-small",
                severity: Severity::Warning,
                what: format!("the path to the peer by {name} carries packets of {mtu} octets only"),
                where_: format!("interface {name}"),
                remedy: "Check the interface's MTU; inner packets will be small.".into(),
            });
        }
        if tun.mtu > *mtu {
            findings.push(Finding {
                code: "mtu-tun-large",
                severity: Severity::Info,
                what: format!("{} has the MTU {}, more than {name} with {mtu}", tun.name, tun.mtu),
                where_: format!("interface {}", tun.name),
                remedy: "Large packets are answered with ICMP or fragmented; leave the MTU to be computed."
                    .into(),
            });
        }
    }
}

fn clock(now: u64) -> Option<Finding> {
    (now < EARLIEST).then(|| Finding {
        code: "clock-wrong",
        severity: Severity::Error,
        what: format!("the clock says {now} seconds after 1970, which is in the past"),
        where_: "system clock".into(),
        remedy: "Set the time (timedatectl, NTP): certificates cannot be checked without it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_program_was_written_is_wrong() {
        assert_eq!(clock(0).unwrap().code, "clock-wrong");
        assert!(clock(EARLIEST).is_none());
    }
}
