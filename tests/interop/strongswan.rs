//! A strongSwan in a namespace: its files, and the ways to start, stop, kill and ask it.
//!
//! It runs with its userspace ESP (kernel-libipsec), which is always encapsulated in UDP and wants an address of
//! its own inside its local selectors.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use skybridge::lab::{Child, LabError, Namespace, wait::until};

use crate::vici::{self, IkeSa};

const DAEMON: &str = "/usr/sbin/charon-systemd";
const PLUGINS: &str = "nonce random openssl curve25519 chapoly aes gcm sha1 sha2 hmac kdf mgf1 pem pkcs1 pkcs8 \
    x509 pubkey constraints revocation kernel-libipsec kernel-netlink socket-default vici";
const PATIENCE: Duration = Duration::from_secs(30);

/// A file below the daemon's `swanctl` folder, such as `x509ca/ca.pem`.
pub type SwanFile = (String, String);

/// strongSwan's daemon. Dropping it kills the process.
#[derive(Debug)]
pub struct Swan {
    namespace: Namespace,
    folder: PathBuf,
    child: Option<Child>,
}

impl Swan {
    /// Writes the daemon's files: `charon` is more text for its own section of strongswan.conf, `connections` is
    /// the swanctl.conf.
    pub fn prepare(
        namespace: &Namespace,
        charon: &str,
        connections: &str,
        files: &[SwanFile],
    ) -> Result<Self, LabError> {
        let folder = PathBuf::from("/run/strongswan-lab").join(namespace.name());
        let _ = fs::remove_dir_all(&folder);
        let swan = Self { namespace: namespace.clone(), folder, child: None };
        let (uri, log) = (swan.uri(), swan.log_path().display().to_string());
        swan.write(
            "strongswan.conf",
            &format!(
                "charon-systemd {{\n  load = {PLUGINS}\n  retransmit_timeout = 1.0\n  retransmit_base = 1.4\n  \
                 retransmit_tries = 4\n  {charon}\n  filelog {{\n    main {{\n      path = {log}\n      append = yes\n      default = 1\n      \
                 flush_line = yes\n    }}\n  }}\n  plugins {{\n    vici {{\n      socket = {uri}\n    }}\n  }}\n}}\n\
                 swanctl {{\n  load = pem pkcs1 pkcs8 x509 random openssl\n}}\n"
            ),
        )?;
        swan.write("swanctl/swanctl.conf", connections)?;
        for (name, text) in files {
            swan.write(&format!("swanctl/{name}"), text)?;
        }
        Ok(swan)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(LabError::io(format!("make {}", parent.display())))?;
        }
        fs::write(&path, text).map_err(LabError::io(format!("write {}", path.display())))
    }

    fn uri(&self) -> String {
        format!("unix://{}/charon.vici", self.folder.display())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Everything it wrote, over all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// How often its log has a text.
    pub fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Its process ID, while it runs.
    #[allow(dead_code)] // The benchmark asks; the cases do not.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its version, as the daemon prints it.
    pub fn version(&self) -> Option<String> {
        let answer = self.swanctl(&["--version", "--daemon"]).ok()?;
        answer.strip_prefix("strongSwan ")?.split_whitespace().next().map(str::to_owned)
    }

    /// Starts it, waits until it answers, and loads its connections.
    pub fn start(&mut self) -> Result<(), LabError> {
        if !Path::new(DAEMON).exists() {
            return Err(LabError::check(format!(
                "{DAEMON} is missing: install charon-systemd, strongswan-swanctl, libcharon-extra-plugins and \
                 libstrongswan-extra-plugins"
            )));
        }
        let _ = fs::remove_file(self.folder.join("charon.vici"));
        let console = File::create(self.folder.join("console")).map_err(LabError::io("open a file"))?;
        let errors = console.try_clone().map_err(LabError::io("open a file"))?;
        let mut command = Command::new(DAEMON);
        command
            .env("STRONGSWAN_CONF", self.folder.join("strongswan.conf"))
            .stdin(std::process::Stdio::null())
            .stdout(console)
            .stderr(errors);
        self.child = Some(self.namespace.spawn(command)?);
        let socket = self.folder.join("charon.vici");
        until("strongSwan listens", PATIENCE, || {
            if let Some(status) = self.child.as_mut().map(Child::ended).transpose()?.flatten() {
                return Err(LabError::check(format!("strongSwan ended: {status}\n{}", self.log())));
            }
            Ok(if socket.exists() { Ok(()) } else { Err("no socket") }.map_err(str::to_owned))
        })?;
        until("strongSwan loads its connections", PATIENCE, || {
            Ok(self.swanctl(&["--load-all"]).map(drop).map_err(|error| error.to_string()))
        })
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<(), LabError> {
        match self.child.take() {
            Some(mut child) => child.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Runs `swanctl` with these arguments.
    pub fn swanctl(&self, arguments: &[&str]) -> Result<String, LabError> {
        let mut command = Command::new("swanctl");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("STRONGSWAN_CONF", self.folder.join("strongswan.conf"))
            .env("SWANCTL_DIR", self.folder.join("swanctl"))
            .args(arguments)
            .args(["--uri", &self.uri()]);
        self.namespace.output(command, "")
    }

    /// Asks for the connection's child, and does not wait for it.
    pub fn initiate(&self) -> Result<(), LabError> {
        self.swanctl(&["--initiate", "--child", "c", "--timeout", "-1"]).map(drop)
    }

    /// Its IKE SAs.
    pub fn sas(&self) -> Result<Vec<IkeSa>, LabError> {
        Ok(vici::parse(&self.swanctl(&["--list-sas", "--pretty"])?))
    }

    /// Waits until its log contains a text.
    pub fn wait_log(&self, text: &str) -> Result<(), LabError> {
        self.wait_count(text, 1)
    }

    /// Waits until its log contains a text so many times.
    pub fn wait_count(&self, text: &str, times: usize) -> Result<(), LabError> {
        until(&format!("strongSwan says {text}"), PATIENCE, || {
            let count = self.count(text);
            Ok(if count >= times { Ok(()) } else { Err(format!("{count} times")) })
        })
    }
}
