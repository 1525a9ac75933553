//! Texts made to end a word, a quotation or a line: they are refused, or arrive as they are.

use super::{KEY, PLAIN, TARGETS, seen, seen_with_key, statements, with_ids, written};
use crate::peer_config::{RenderError, Target};

/// Mail addresses that a configuration may have.
const MAILS: &[&str] = &[
    "a'b@example.com",
    "a;reboot@example.com",
    "$(reboot)@example.com",
    "`reboot`@example.com",
    "a&&reboot@example.com",
    "a|reboot@example.com",
    "a?@example.com",
    "!a@example.com",
    "a#b@example.com",
    "{a}@example.com",
    "a%s@example.com",
    "a<b>c@example.com",
];

#[test]
fn no_hostile_mail_address_is_written() {
    for mail in MAILS {
        for config in [with_ids(mail, "198.51.100.7"), with_ids("203.0.113.10", mail)] {
            for target in TARGETS {
                match written(target, &seen(&config)) {
                    // Those that know ends by their addresses write neither.
                    Ok(document) => assert!(!document.text.contains(mail), "{target} wrote {mail}"),
                    Err(RenderError::Unwritable { text, .. }) => {
                        assert_eq!(text, mail.escape_default().to_string())
                    }
                    Err(error) => assert!(error.to_string().contains("local_id"), "{target}: {error}"),
                }
            }
        }
    }
}

#[test]
fn distinguished_names_and_key_ids_are_refused() {
    for id in ["C=CH, O=$(reboot), CN=x", "keyid:0a0d3b", "CN=a'b`reboot`"] {
        let config = with_ids(id, "198.51.100.7");
        for target in TARGETS {
            if target == Target::Aws {
                continue;
            }
            assert!(written(target, &seen(&config)).is_err(), "{target}: {id}");
        }
    }
}

#[test]
fn the_endpoints_name_stays_in_its_comment() {
    for name in ["$(reboot)", "a'; reboot; '", "a\\\" reboot", "`reboot`", "x -->", "a ! b"] {
        let config = PLAIN.replace("name = \"cloud\"", &format!("name = \"{name}\""));
        for target in TARGETS {
            let document = written(target, &seen(&config)).unwrap();
            let leaked = statements(&document).into_iter().find(|line| line.contains(name));
            assert_eq!(leaked, None, "{target}");
        }
    }
}

#[test]
fn devices_get_hexadecimal_where_a_key_could_be_misread() {
    let key = "it's \"$(reboot)\"; \\ `x` {?} #";
    let hexadecimal: String = key.bytes().map(|octet| format!("{octet:02x}")).collect();
    let view = seen_with_key(PLAIN, key);
    for target in [Target::Fortigate, Target::Mikrotik] {
        let document = written(target, &view).unwrap();
        assert!(document.secret);
        assert!(document.text.contains(&format!("\"0x{hexadecimal}\"")), "{target}");
    }
    for target in [Target::Cisco, Target::Vyos, Target::Aws] {
        assert!(written(target, &view).is_err(), "{target}");
    }
}

#[test]
fn a_key_is_never_in_what_is_printed_for_debugging() {
    let view = seen_with_key(PLAIN, KEY);
    for target in TARGETS {
        let document = written(target, &view).unwrap();
        assert!(document.secret && document.text.contains(KEY), "{target}");
        assert!(!format!("{document:?}").contains(KEY), "{target}");
    }
}
