//! The devices' statements against a small grammar of those that are documented.

use std::collections::BTreeSet;

use super::{
    EVERY, PAIRS, PLAIN, SEVERAL, seen, seen_with_key, statements, with_children, with_ids, written,
};
use crate::peer_config::{Document, Target};

/// Every tunnel of which a device writes something.
fn documents(target: Target) -> Vec<Document> {
    let over_ipv6 = PLAIN
        .replace("198.51.100.7", "2001:db8:1::7")
        .replace("203.0.113.10", "2001:db8:2::10")
        .replace("172.16.0.0/16", "2001:db8:20::/48")
        .replace("192.168.10.0/24", "2001:db8:10::/48");
    let inside_ipv6 =
        PLAIN.replace("172.16.0.0/16", "2001:db8:20::/48").replace("192.168.10.0/24", "2001:db8:10::/48");
    let certificates = with_ids("cloud.example.com", "me@example.com").replace(
        "auth = { psk_file = \"office.psk\" }",
        "auth = { certificate = \"cloud.pem\", key = \"cloud.key\", ca = [\"ca.pem\"] }",
    );
    let cbc = PLAIN.replace("\"aes256gcm16-prfsha384-ecp384\", ", "").replace("\"aes256gcm16-ecp384\", ", "");
    let views = [
        seen(PLAIN),
        seen_with_key(PLAIN, super::KEY),
        seen(&with_children(EVERY)),
        seen(&with_children(SEVERAL)),
        seen(&with_children(PAIRS)),
        seen(&over_ipv6),
        seen(&inside_ipv6),
        seen(&certificates),
        seen(&cbc.replace("aes256-sha256-modp2048\"]\nstart", "aes256-sha256\"]\nstart")),
        seen(&PLAIN.replace("start = \"wait\"", "start = \"trap\"\ndpd = { delay = \"off\" }")),
    ];
    let written: Vec<_> = views.iter().filter_map(|view| written(target, view).ok()).collect();
    assert!(written.len() >= 7, "{target}: {} of {}", written.len(), views.len());
    written
}

/// Whether a line is one of the forms: `*` stands for any one word, `...` for the rest, which there must be.
fn fits(line: &str, forms: &[&str]) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    forms.iter().any(|form| {
        let form: Vec<&str> = form.split_whitespace().collect();
        let (form, open) = match form.split_last() {
            Some((&"...", form)) => (form, true),
            _ => (form.as_slice(), false),
        };
        let long_enough = if open { words.len() > form.len() } else { words.len() == form.len() };
        long_enough && form.iter().zip(&words).all(|(form, word)| *form == "*" || form == word)
    })
}

#[test]
fn forms_fit_words_for_word() {
    assert!(fits(" set pfs group20", &["set pfs *"]));
    assert!(!fits(" set pfs group20 more", &["set pfs *"]));
    assert!(fits("description a b", &["description ..."]));
    assert!(!fits("description", &["description ..."]));
}

/// Headers of IOS XE and the statements below each.
const IOS: &[(&str, &[&str])] = &[
    ("crypto ikev2 proposal *", &["encryption *", "integrity *", "prf *", "group *"]),
    ("crypto ikev2 policy *", &["proposal *"]),
    ("crypto ikev2 keyring *", &["peer *", "address * 255.255.255.255", "address *", "pre-shared-key *"]),
    (
        "crypto ikev2 profile *",
        &[
            "match identity remote address * 255.255.255.255",
            "match identity remote address *",
            "match identity remote fqdn *",
            "match identity remote email *",
            "identity local address *",
            "identity local fqdn *",
            "identity local email *",
            "authentication remote pre-share",
            "authentication local pre-share",
            "authentication remote rsa-sig",
            "authentication local rsa-sig",
            "keyring local *",
            "pki trustpoint *",
            "lifetime *",
            "dpd * * periodic",
        ],
    ),
    ("crypto ikev2 fragmentation mtu *", &[]),
    ("crypto ipsec transform-set * ...", &["mode tunnel"]),
    (
        "crypto ipsec profile *",
        &[
            "set security-association lifetime seconds *",
            "set security-association lifetime kilobytes disable",
            "set security-association replay window-size 1024",
            "set transform-set *",
            "set pfs *",
            "set ikev2-profile *",
        ],
    ),
    ("ip access-list extended *", &["remark *", "permit ip * * * *"]),
    ("ipv6 access-list *", &["remark *", "permit ipv6 * *"]),
    (
        "interface *",
        &[
            "description ...",
            "ip unnumbered *",
            "ip mtu *",
            "ip tcp adjust-mss *",
            "ipv6 enable",
            "ipv6 mtu *",
            "ipv6 tcp adjust-mss *",
            "tunnel source *",
            "tunnel mode ipsec ipv4",
            "tunnel mode ipsec ipv6",
            "tunnel mode ipsec ipv4 v6-overlay",
            "tunnel mode ipsec ipv6 v4-overlay",
            "tunnel destination *",
            "tunnel protection ipsec policy ipv4 *",
            "tunnel protection ipsec policy ipv6 *",
            "tunnel protection ipsec profile *",
        ],
    ),
    ("ip route * * *", &[]),
    ("ipv6 route * *", &[]),
];

#[test]
fn cisco_statements_stand_below_their_headers() {
    for document in documents(Target::Cisco) {
        let mut below: &[&str] = &[];
        for line in statements(&document) {
            if line.starts_with(' ') {
                assert!(fits(line, below), "{line}\n{}", document.text);
            } else {
                let header = IOS.iter().find(|(header, _)| fits(line, &[header]));
                below = header.unwrap_or_else(|| panic!("{line}\n{}", document.text)).1;
            }
        }
    }
}

#[test]
fn what_cisco_refers_to_is_defined() {
    for document in documents(Target::Cisco) {
        let lines = statements(&document);
        for header in ["crypto ikev2 proposal", "crypto ikev2 profile", "crypto ipsec profile"] {
            assert!(lines.contains(&format!("{header} cloud").as_str()), "{header}");
        }
        let uses = lines.iter().any(|line| line.contains("ipsec policy ipv"));
        let has = lines.iter().any(|line| line.contains("access-list"));
        assert_eq!(uses, has, "{}", document.text);
    }
}

/// Tables of FortiOS and what may be set in an entry of each.
const FORTIOS: &[(&str, &[&str])] = &[
    (
        "vpn ipsec phase1-interface",
        &[
            "type",
            "ip-version",
            "remote-gw",
            "remote-gw6",
            "remotegw-ddns",
            "interface",
            "ike-version",
            "proposal",
            "dhgrp",
            "keylife",
            "localid-type",
            "localid",
            "net-device",
            "nattraversal",
            "fragmentation",
            "dpd",
            "dpd-retryinterval",
            "dpd-retrycount",
            "authmethod",
            "psksecret",
            "peertype",
            "peerid",
            "digital-signature-auth",
            "rsa-signature-format",
            "certificate",
        ],
    ),
    (
        "vpn ipsec phase2-interface",
        &[
            "phase1name",
            "proposal",
            "pfs",
            "dhgrp",
            "replay",
            "keylife-type",
            "keylifeseconds",
            "auto-negotiate",
            "src-addr-type",
            "src-subnet",
            "src-subnet6",
            "dst-addr-type",
            "dst-subnet",
            "dst-subnet6",
        ],
    ),
    ("router static", &["dst", "device", "blackhole", "distance"]),
    ("router static6", &["dst", "device", "blackhole", "distance"]),
    (
        "firewall policy",
        &[
            "name",
            "srcintf",
            "dstintf",
            "action",
            "srcaddr",
            "dstaddr",
            "srcaddr6",
            "dstaddr6",
            "schedule",
            "service",
            "tcp-mss-sender",
            "tcp-mss-receiver",
        ],
    ),
];

#[test]
fn fortigate_sets_documented_keys_within_entries_of_tables() {
    for document in documents(Target::Fortigate) {
        let (mut table, mut entry): (Option<&[&str]>, Option<BTreeSet<&str>>) = (None, None);
        for line in statements(&document) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words[0], table, &mut entry) {
                ("config", None, None) => {
                    let known = FORTIOS.iter().find(|(name, _)| *name == words[1..].join(" "));
                    table = Some(known.unwrap_or_else(|| panic!("{line}")).1);
                }
                ("edit", Some(_), None) => {
                    assert!(words.len() == 2 && words[1].trim_matches('"').len() <= 35, "{line}");
                    entry = Some(BTreeSet::new());
                }
                ("set", Some(known), Some(set)) => {
                    assert!(known.contains(&words[1]) && words.len() > 2, "{line}");
                    assert!(set.insert(words[1]), "{line} is set twice");
                    assert!(line.matches('"').count() % 2 == 0, "{line}");
                }
                ("next", Some(_), Some(_)) => entry = None,
                ("end", Some(_), None) => table = None,
                _ => panic!("{line} is out of place in\n{}", document.text),
            }
        }
        assert!(table.is_none() && entry.is_none());
    }
}

#[test]
fn a_fortigate_interface_has_a_name_that_fits() {
    let config = PLAIN.replace("name = \"cloud\"", "name = \"a-rather-long-name-of-an-endpoint\"");
    let document = written(Target::Fortigate, &seen(&config)).unwrap();
    assert!(document.text.contains("edit \"a-rather-long-n\"\n"), "{}", document.text);
    assert!(document.text.contains("set device \"a-rather-long-n\"\n"));
}

/// Menus of RouterOS and the properties that are given there.
const ROUTEROS: &[(&str, &[&str])] = &[
    (
        "/ip ipsec profile",
        &[
            "name",
            "enc-algorithm",
            "hash-algorithm",
            "prf-algorithm",
            "dh-group",
            "lifetime",
            "dpd-interval",
            "nat-traversal",
        ],
    ),
    ("/ip ipsec peer", &["name", "address", "exchange-mode", "profile", "passive", "send-initial-contact"]),
    (
        "/ip ipsec identity",
        &[
            "peer",
            "auth-method",
            "secret",
            "certificate",
            "remote-certificate",
            "my-id",
            "remote-id",
            "generate-policy",
        ],
    ),
    ("/ip ipsec proposal", &["name", "enc-algorithms", "auth-algorithms", "pfs-group", "lifetime"]),
    (
        "/ip ipsec policy",
        &[
            "peer",
            "tunnel",
            "src-address",
            "dst-address",
            "protocol",
            "action",
            "level",
            "ipsec-protocols",
            "proposal",
        ],
    ),
    (
        "firewall filter",
        &["chain", "action", "protocol", "dst-port", "src-address", "ipsec-policy", "comment"],
    ),
    (
        "firewall mangle",
        &[
            "chain",
            "action",
            "protocol",
            "tcp-flags",
            "src-address",
            "dst-address",
            "tcp-mss",
            "new-mss",
            "comment",
        ],
    ),
    ("firewall nat", &["chain", "action", "src-address", "dst-address", "comment"]),
];

#[test]
fn mikrotik_adds_documented_properties_in_their_menus() {
    for document in documents(Target::Mikrotik) {
        let mut menu: Option<&[&str]> = None;
        for line in statements(&document) {
            if line.starts_with('/') {
                let name = line.strip_prefix("/ip ").or(line.strip_prefix("/ipv6 ")).unwrap();
                let known = ROUTEROS.iter().find(|(known, _)| *known == line || *known == name);
                menu = Some(known.unwrap_or_else(|| panic!("{line}")).1);
                continue;
            }
            let properties = line.strip_prefix("add ").unwrap_or_else(|| panic!("{line}"));
            for property in properties.split(' ') {
                let (key, value) = property.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(menu.unwrap().contains(&key) && !value.is_empty(), "{property} in {line}");
                assert!(value.matches('"').count() % 2 == 0 && !value.contains(['$', '\\', '?']), "{line}");
            }
        }
    }
}

/// What may follow `set`.
const VYOS: &[&str] = &[
    "vpn ipsec ike-group * key-exchange *",
    "vpn ipsec ike-group * lifetime *",
    "vpn ipsec ike-group * dead-peer-detection action *",
    "vpn ipsec ike-group * dead-peer-detection interval *",
    "vpn ipsec ike-group * close-action *",
    "vpn ipsec ike-group * disable-mobike",
    "vpn ipsec ike-group * proposal 1 encryption *",
    "vpn ipsec ike-group * proposal 1 hash *",
    "vpn ipsec ike-group * proposal 1 prf *",
    "vpn ipsec ike-group * proposal 1 dh-group *",
    "vpn ipsec esp-group * mode 'tunnel'",
    "vpn ipsec esp-group * lifetime *",
    "vpn ipsec esp-group * pfs *",
    "vpn ipsec esp-group * proposal 1 encryption *",
    "vpn ipsec esp-group * proposal 1 hash *",
    "vpn ipsec interface *",
    "vpn ipsec options disable-route-autoinstall",
    "vpn ipsec authentication psk * id *",
    "vpn ipsec authentication psk * secret *",
    "vpn ipsec site-to-site peer * authentication mode *",
    "vpn ipsec site-to-site peer * authentication x509 certificate *",
    "vpn ipsec site-to-site peer * authentication x509 ca-certificate *",
    "vpn ipsec site-to-site peer * authentication local-id *",
    "vpn ipsec site-to-site peer * authentication remote-id *",
    "vpn ipsec site-to-site peer * connection-type *",
    "vpn ipsec site-to-site peer * ike-group *",
    "vpn ipsec site-to-site peer * force-udp-encapsulation",
    "vpn ipsec site-to-site peer * local-address *",
    "vpn ipsec site-to-site peer * remote-address *",
    "vpn ipsec site-to-site peer * tunnel * esp-group *",
    "vpn ipsec site-to-site peer * tunnel * local prefix *",
    "vpn ipsec site-to-site peer * tunnel * remote prefix *",
    "vpn ipsec site-to-site peer * vti bind *",
    "vpn ipsec site-to-site peer * vti esp-group *",
    "interfaces vti * description *",
    "interfaces vti * mtu *",
    "interfaces vti * ip adjust-mss *",
    "protocols static route * interface *",
    "protocols static route6 * interface *",
];

#[test]
fn vyos_has_documented_set_commands_alone() {
    for document in documents(Target::Vyos) {
        for line in statements(&document) {
            let path = line.strip_prefix("set ").unwrap_or_else(|| panic!("{line}"));
            assert!(fits(path, VYOS), "{line}");
            assert!(path.matches('\'').count() % 2 == 0 && !path.contains(['$', '\\', '"']), "{line}");
        }
    }
}
