//! What came of every case, and the table of it in the documentation.

use std::{
    fmt::Write,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{cases::Case, world::Role};

/// The results of a run.
#[derive(Debug, Default)]
pub struct Report {
    passed: Mutex<Vec<(&'static str, Role)>>,
    version: Mutex<Option<String>>,
    libreswan: Mutex<Option<String>>,
}

impl Report {
    pub fn pass(&self, case: &'static str, role: Role) {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).push((case, role));
    }

    pub fn version(&self, version: Option<String>) {
        let mut known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        *known = version.or(known.take());
    }

    pub fn read_by_libreswan(&self, version: String) {
        *self.libreswan.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }

    /// Writes the table if told so by `SKYBRIDGE_WRITE_DOCS=1`, and compares it otherwise.
    pub fn publish(&self, cases: &[Case]) -> Result<(), String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interoperability.md");
        let text = self.table(cases);
        if std::env::var("SKYBRIDGE_WRITE_DOCS").is_ok_and(|value| value == "1") {
            return fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()));
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let differs = text.lines().zip(committed.lines()).find(|(new, old)| new != old);
        match differs {
            Some((new, old)) => Err(format!("says\n  {old}\nand the run says\n  {new}")),
            None if text != committed => Err("has more or fewer lines than the run".to_owned()),
            None => Ok(()),
        }
        .map_err(|how| {
            format!("docs/interoperability.md differs: it {how}\nSKYBRIDGE_WRITE_DOCS=1 writes it anew")
        })
    }

    fn table(&self, cases: &[Case]) -> String {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!(
            "# Interoperability\n\nThis table is written by the test run (`cargo test --test interop`), which starts \
             both daemons in network\nnamespaces for each case and each role. The peer is strongSwan {} with its \
             userspace ESP.\n\nWhere a tunnel comes up, both daemons must tell of the same SPIs, and ping, a UDP \
             datagram of 1,300 octets and\na TCP transfer of 256 KiB must pass in both directions, with no clear \
             packet on the wire between them.\n\n| Case | Skybridge initiates | Skybridge responds | Checked \
             besides |\n|-|-|-|-|\n",
            version.as_deref().unwrap_or("(unknown version)")
        );
        for case in cases {
            let cell = |role: Role| {
                if !case.roles.contains(&role) {
                    "–"
                } else if passed.contains(&(case.name, role)) {
                    "passed"
                } else {
                    "**failed**"
                }
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                case.title,
                cell(Role::Initiator),
                cell(Role::Responder),
                case.checked
            );
        }
        let _ = write!(
            text,
            "\nThe cases `peer-config` run strongSwan with what `skybridge peer-config --for strongswan` writes, unchanged. \
             What it writes\nfor libreswan is read by the checkers of libreswan {} (`addconn --checkconfig`, \
             `readwriteconf`, `algparse`) without a\ncomplaint; no tunnel is brought up with it.\n",
            self.libreswan.lock().unwrap_or_else(PoisonError::into_inner).as_deref().unwrap_or("(not run)")
        );
        text
    }
}
