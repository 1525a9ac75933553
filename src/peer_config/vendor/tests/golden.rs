//! What each target writes of the same few tunnels, kept in tests/data/peer_config. `SKYBRIDGE_WRITE_GOLDEN=1` writes
//! the files anew; read the difference before it is kept.

use std::path::Path;

use super::{EVERY, PAIRS, PLAIN, SEVERAL, TARGETS, seen, seen_with_key, with_children, with_ids, written};
use crate::peer_config::{Target, View};

fn cases() -> Vec<(&'static str, View)> {
    let over_ipv6 = PLAIN
        .replace("198.51.100.7", "2001:db8:1::7")
        .replace("203.0.113.10", "2001:db8:2::10")
        .replace("172.16.0.0/16", "2001:db8:20::/48")
        .replace("192.168.10.0/24", "2001:db8:10::/48");
    let lacking = PLAIN.replace(
        "\"aes256gcm16-prfsha384-ecp384\", \"aes256-sha256-modp2048\"",
        "\"aes256gcm8-prfsha512-x25519\"",
    );
    vec![
        ("a pre-shared key, one pair of networks", seen(PLAIN)),
        ("the key is written", seen_with_key(PLAIN, super::KEY)),
        (
            "host names, this end waits, another suite",
            seen(
                &with_ids("cloud.example.com", "branch.example.com")
                    .replace("\"wait\"", "\"connect\"")
                    .replace("\"aes256gcm16-prfsha384-ecp384\", ", "")
                    .replace("\"aes256gcm16-ecp384\", ", ""),
            ),
        ),
        ("a child for each pair of networks", seen(&with_children(PAIRS))),
        ("several networks in a child", seen(&with_children(SEVERAL))),
        ("every address at both ends", seen(&with_children(EVERY))),
        ("IPv6", seen(&over_ipv6)),
        ("an IKE suite that few have", seen(&lacking)),
    ]
}

fn all(target: Target) -> String {
    let mut text = String::new();
    for (case, view) in cases() {
        text.push_str(&format!("######## {case}\n"));
        match written(target, &view) {
            Ok(document) => text.push_str(&document.text.replace(env!("CARGO_PKG_VERSION"), "VERSION")),
            Err(error) => text.push_str(&format!("error: {error}\n")),
        }
    }
    text
}

#[test]
fn every_target_writes_what_it_wrote() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/peer_config");
    for target in TARGETS {
        let file = folder.join(format!("{target}.txt"));
        let text = all(target);
        if std::env::var_os("SKYBRIDGE_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let kept =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (number, (now, then)) in text.lines().zip(kept.lines()).enumerate() {
            assert_eq!(now, then, "{target}, line {} of {}", number + 1, file.display());
        }
        assert_eq!(text, kept, "{target}: {}", file.display());
    }
}

#[test]
fn every_line_is_short_enough_to_be_read() {
    for target in TARGETS {
        let text = all(target);
        let long = text.lines().find(|line| line.chars().count() > 240 && !line.starts_with("error: "));
        assert_eq!(long, None, "{target}");
    }
}
