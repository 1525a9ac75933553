use super::testing::{CLOUD, PSK, one, view, view_with};
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
    let view = view(CLOUD);
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
    let config = CLOUD;
    let secret = view_with(config, &Options { with_secrets: true, ..Options::default() });
    for target in Target::ALL {
        let all = target.render(&secret).unwrap();
        assert!(all.iter().any(|document| document.text.contains(PSK) && document.secret), "{target}");
        assert!(!format!("{all:?}").contains(PSK), "{target}");
        let none = target.render(&view(config)).unwrap();
        assert!(none.iter().all(|document| !document.text.contains(PSK)), "{target}");
    }
}

#[test]
fn strongswan_has_one_child_with_every_selector() {
    let document = one(Target::Strongswan, &view(CLOUD));
    assert!(document.text.contains("remote_ts = 172.16.0.0/16,10.0.2.0/24\n"), "{}", document.text);
}
