//! A directory with credentials to point at, and the ways to load a text.

mod clusters;
mod diagnostics;
mod documents;
mod layers;
mod presets;
mod reload;
mod secrecy;
mod values;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// 20 November 2026.
const NOW: i64 = 1_795_132_800;

const PSK: &str = "correct horse battery staple 123";

struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        lab.write("office.psk", PSK, 0o600);
        lab.write("old.psk", "another pre-shared key, older", 0o600);
        lab
    }

    fn base(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) {
        let path = self.base().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, text: &str) -> Result<Config, Diagnostics> {
        load_text("skybridge.toml", text, self.base(), NOW)
    }

    fn good(&self, text: &str) -> Config {
        self.load(text).unwrap_or_else(|found| panic!("{found}"))
    }

    fn bad(&self, text: &str) -> Diagnostics {
        self.load(text).expect_err("this configuration is wrong")
    }

    fn load_files(&self, environment: &[(&str, &str)]) -> Result<Config, Diagnostics> {
        load(&Inputs {
            discovered: BTreeMap::new(),
            file: self.base().join("skybridge.toml"),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            unix_now: NOW,
        })
    }
}

/// A whole peer, of which a test replaces lines.
const PEER: &str = r#"[peers.office]
remote = "203.0.113.7"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_file = "./office.psk" }
ike = ["aes256gcm16-prfsha384-x25519"]
esp = ["aes256gcm16-x25519"]
start = "wait"
[peers.office.children.lan]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"#;
