use super::testing::{CLOUD, KEY, PLAIN, PSK, one, view, view_with, view_with_key};
use super::*;
use crate::config::Proof;

#[test]
fn the_sides_are_swapped() {
    let view = view(CLOUD);
    let id = |end: &End| end.id.as_ref().unwrap().to_string();
    assert_eq!(
        (id(&view.local).as_str(), id(&view.remote).as_str()),
        ("office.example.com", "cloud.example.com")
    );
    assert_eq!(view.local.address.to_string(), "198.51.100.7");
    assert_eq!(view.remote.address.to_string(), "203.0.113.10");
    let child = &view.children[0];
    let texts = |set: &crate::policy::SelectorSet| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&child.local), ["192.168.10.0/24"]);
    assert_eq!(texts(&child.remote), ["172.16.0.0/16", "10.0.2.0/24"]);
    assert_eq!(child.routes.len(), 2);
    assert_eq!((view.local.proof, view.remote.proof, view.same_psk), (Proof::Psk, Proof::Psk, true));
}

#[test]
fn who_waits_here_connects_there() {
    let of = |start: &str| view(&CLOUD.replace("\"wait\"", start)).children[0].start;
    assert_eq!(of("\"wait\""), Start::Connect);
    assert_eq!(of("\"connect\""), Start::Wait);
    assert_eq!(of("\"trap\""), Start::Trap);
}

#[test]
fn a_view_without_secrets_has_none_and_needs_none() {
    let view = view(&CLOUD.replace("office.psk", "no-such-file"));
    assert_eq!((view.local.psk, view.remote.psk), (None, None));
    let options = Options { with_secrets: true, ..Options::default() };
    let view = view_with(CLOUD, &options);
    assert_eq!(view.local.psk.as_ref().and_then(Psk::text), Some(PSK));
    assert!(!format!("{view:?}").contains("between"));
}

#[test]
fn the_largest_suite_on_offer_decides_on_the_mtu() {
    let view = view(CLOUD);
    assert_eq!((view.inner_mtu, view.mss), (1422, 1382));
    let gcm =
        view_with(&CLOUD.replace(", \"aes256-sha256-modp2048\"]\nstart", "]\nstart"), &Options::default());
    assert_eq!((gcm.inner_mtu, gcm.mss), (1438, 1398));
}

#[test]
fn every_word_of_a_target_is_read_back() {
    for target in Target::ALL {
        assert_eq!(target.word().parse(), Ok(target));
    }
    assert!("netscreen".parse::<Target>().unwrap_err().contains("strongswan"));
}

#[test]
fn every_target_says_in_its_head_what_was_proven() {
    let view = view(PLAIN);
    for target in Target::ALL {
        for document in target.render(&view).unwrap() {
            let head: Vec<&str> =
                document.text.lines().take_while(|line| line.starts_with(document.comment)).collect();
            let words = head.join(" ").replace(document.comment, "");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(target.product()), "{target}: {words}");
            assert!(words.contains(&target.proven().to_string()), "{target}: {words}");
            assert!(!document.secret, "{target}");
        }
    }
}

#[test]
fn no_target_writes_a_secret_unless_asked() {
    let options = Options { with_secrets: true, ..Options::default() };
    let secret = view_with_key(PLAIN, &options, KEY);
    for target in Target::ALL {
        let all = target.render(&secret).unwrap();
        assert!(all.iter().any(|document| document.text.contains(KEY) && document.secret), "{target}");
        assert!(!format!("{all:?}").contains(KEY), "{target}");
        let none = target.render(&view(PLAIN)).unwrap();
        assert!(none.iter().all(|document| !document.text.contains(KEY)), "{target}");
    }
}

#[test]
fn strongswan_has_one_child_with_every_selector() {
    let document = one(Target::Strongswan, &view(CLOUD));
    assert!(document.text.contains("remote_ts = 172.16.0.0/16,10.0.2.0/24\n"), "{}", document.text);
}

/// What stands in `tests/data/peer_config`; written anew with `SKYBRIDGE_WRITE_GOLDEN=1`.
fn golden(target: Target, views: &[View]) {
    let mut text = String::new();
    for document in views.iter().flat_map(|view| target.render(view).unwrap()) {
        text += &format!("==== {} → {}\n{}", document.name, document.place, document.text);
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/data/peer_config/{}.txt", target.word()));
    if std::env::var_os("SKYBRIDGE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

/// A certificate at each end, proposals without a fresh key exchange, a tunnel raised by traffic, ports of our own.
const OTHERWISE: &str = r#"[endpoint]
name = "Cloud, second"
ike_port = 1500
natt_port = 14500
[peers.branch]
remote = "branch.example.com"
local_address = "10.0.0.4"
local_id = "C=CH, O=Example, CN=cloud"
remote_id = "*.example.com"
auth = { certificate = "own.pem", key = "own.key", ca = ["ca.pem"] }
esp = ["chacha20poly1305-aes256gcm8-esn", "aes128-sha512-sha256"]
start = "trap"
dpd = { delay = "off" }
lifetimes = { ike = "36h", child = "2h", child_bytes = "100GiB", child_packets = 1000000 }
[peers.branch.children.web]
local = ["fd00:1::/64[tcp/443]"]
remote = ["fd00:2::/64[tcp]"]
"#;

#[test]
fn strongswan_and_libreswan_write_what_is_kept() {
    let options = Options { with_secrets: true, ..Options::default() };
    let with_quotes = view_with_key(PLAIN, &options, "\"quoted\" and \\ more");
    let connecting = view(&PLAIN.replace("\"wait\"", "\"connect\""));
    let views = [view_with_key(PLAIN, &options, KEY), with_quotes, connecting, view(OTHERWISE)];
    golden(Target::Strongswan, &views);
    golden(Target::Libreswan, &views);
}

#[test]
fn a_product_with_one_child_sa_a_pair_is_told_by_which_children() {
    let error = Target::Libreswan.render(&view(CLOUD)).unwrap_err();
    let RenderError::ManyPairs { child, split, .. } = &error else { panic!("{error}") };
    assert_eq!(child, "lan");
    let head = CLOUD.split("[peers.office.children").next().unwrap();
    let documents = Target::Libreswan.render(&view(&format!("{head}{split}\n"))).unwrap();
    assert_eq!(documents[0].text.matches("rightsubnet=").count(), 2);
}

#[test]
fn different_keys_for_the_two_directions_are_refused() {
    let asymmetric = CLOUD.replace(
        "auth = { psk_file = \"office.psk\" }",
        "local_auth = { psk_file = \"office.psk\" }\nremote_auth = { psk_file = \"other.psk\" }",
    );
    for target in [Target::Strongswan, Target::Libreswan] {
        let text = asymmetric.replace("\"172.16.0.0/16\", ", "");
        let error = target.render(&view(&text)).unwrap_err();
        assert!(matches!(error, RenderError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn texts_that_would_end_a_quotation_are_refused() {
    for id in ["a\\\"b@example.com", "C=CH, O=Ex$ample, CN=x"] {
        let text = PLAIN.replace("local_id = \"203.0.113.10\"", &format!("local_id = \"{id}\""));
        let error = Target::Libreswan.render(&view(&text)).unwrap_err();
        assert!(matches!(error, RenderError::Unwritable { .. }), "{id}: {error}");
    }
}

#[test]
fn a_name_for_the_connection_is_made_of_any_endpoints_name() {
    for (name, expected) in [("cloud", "cloud"), ("Zürich 2", "z-rich-2"), ("--", "skybridge"), ("7", "s7")]
    {
        assert_eq!(view(&PLAIN.replace("\"cloud\"", &format!("\"{name}\""))).connection, expected);
    }
}
