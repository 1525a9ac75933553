//! Views for the renderers' tests, read from configurations as users write them.

use super::{Document, Options, Target, View};
use crate::config::{Inputs, describe, load};

/// The cloud's side of a plain tunnel with a pre-shared key, which is "between the two of us 2026"; a test replaces lines.
pub(crate) const CLOUD: &str = r#"[endpoint]
name = "cloud"
[peers.office]
remote = "198.51.100.7"
local_address = "203.0.113.10"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_file = "office.psk" }
ike = ["aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"]
esp = ["aes256gcm16-ecp384", "aes256-sha256-modp2048"]
start = "wait"
[peers.office.children.lan]
local = ["172.16.0.0/16", "10.0.2.0/24"]
remote = ["192.168.10.0/24"]
"#;

/// The key of [`CLOUD`].
pub(crate) const PSK: &str = "between the two of us 2026";

/// Both ends known by their addresses, one pair of networks: what every target can do.
pub(crate) const PLAIN: &str = r#"[endpoint]
name = "cloud"
[peers.branch]
remote = "198.51.100.7"
local_address = "203.0.113.10"
local_id = "203.0.113.10"
remote_id = "198.51.100.7"
auth = { psk_file = "office.psk" }
ike = ["aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"]
esp = ["aes256gcm16-ecp384", "aes256-sha256-modp2048"]
start = "wait"
[peers.branch.children.lan]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"#;

/// A key that every target takes.
pub(crate) const KEY: &str = "Between.the_two_of_us.2026";

/// The view of the first peer of a configuration, without secrets.
pub(crate) fn view(text: &str) -> View {
    view_with(text, &Options::default())
}

/// The view of the first peer of a configuration.
pub(crate) fn view_with(text: &str, options: &Options) -> View {
    view_with_key(text, options, PSK)
}

/// The view of the first peer of a configuration, whose key is in `office.psk`.
pub(crate) fn view_with_key(text: &str, options: &Options, key: &str) -> View {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skybridge.toml");
    std::fs::write(&file, text).unwrap();
    let psk = folder.path().join("office.psk");
    std::fs::write(&psk, format!("{key}\n")).unwrap();
    std::os::unix::fs::chown(&psk, None, None).unwrap();
    std::fs::set_permissions(&psk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let inputs = Inputs { environment: Vec::new(), ..Inputs::from_process(&file) };
    if options.with_secrets {
        let config = load(&inputs).unwrap_or_else(|found| panic!("{found}"));
        View::new(&config.endpoint, &config.peers[0], options).unwrap()
    } else {
        let config = describe(&inputs).unwrap_or_else(|found| panic!("{found}"));
        View::new(config.endpoint(), &config.peers()[0], options).unwrap()
    }
}

/// The one document that a target writes of a view.
pub(crate) fn one(target: Target, view: &View) -> Document {
    let mut documents = target.render(view).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}
