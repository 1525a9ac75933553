//! The record of what was changed, written before the change: `system.json` in the state directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::SystemError;

const RECORD: &str = "system.json";
const LOCK: &str = "system.lock";
const VERSION: u32 = 1;
const LARGEST_RECORD: u64 = 1 << 20;

/// A sysctl that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    /// Below `/proc/sys`.
    pub(super) path: String,
    /// The value to put back.
    pub(super) before: String,
    /// What was written; `None` for a value that the kernel changes along with another.
    pub(super) set: Option<String>,
}

/// The record of one machine run and one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    boot: String,
    netns: u64,
    /// The TUN's name while a daemon runs.
    pub(super) tun: Option<String>,
    /// In the order in which they were changed.
    pub(super) sysctls: Vec<Changed>,
}

/// The state directory, held by a lock as long as this lives.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    lock: Flock<File>,
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> SystemError + use<> {
    let path = path.to_path_buf();
    move |source| SystemError::File { path, source }
}

impl StateDir {
    /// Makes the directory if it is missing and locks it.
    pub(super) fn hold(path: &Path) -> Result<Self, SystemError> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(file_error(path))?;
        let lock_path = path.join(LOCK);
        let file = open(&lock_path).and_then(|file| give(path, file)).map_err(file_error(&lock_path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_path_buf(), lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(SystemError::Busy(path.to_path_buf())),
            Err((_, error)) => Err(file_error(&lock_path)(error.into())),
        }
    }

    /// The record of this boot and this network namespace; an older or unreadable one is empty, and
    /// the flag says that there was one.
    pub(super) fn load(&self) -> Result<(Record, bool), SystemError> {
        let fresh = Record { version: VERSION, boot: boot_id(), netns: netns_inode(), ..Record::default() };
        let path = self.path.join(RECORD);
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > LARGEST_RECORD => return Ok((fresh, true)),
            Ok(_) => fs::read_to_string(&path).map_err(file_error(&path))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((fresh, false)),
            Err(error) => return Err(file_error(&path)(error)),
        };
        match serde_json::from_str::<Record>(&text) {
            Ok(record)
                if record.version == VERSION && record.boot == fresh.boot && record.netns == fresh.netns =>
            {
                Ok((record, true))
            }
            Ok(_) => Ok((fresh, true)),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the record of changes is unreadable");
                Ok((fresh, true))
            }
        }
    }

    /// Atomic, and on disk when it returns. An empty record is no file.
    pub(super) fn save(&self, record: &Record) -> Result<(), SystemError> {
        let path = self.path.join(RECORD);
        if record.tun.is_none() && record.sysctls.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error(&path)(error)),
                _ => Ok(()),
            };
        }
        let fresh = self.path.join(format!("{RECORD}.new"));
        let write = || -> std::io::Result<()> {
            let mut file = give(&self.path, open(&fresh)?)?;
            file.set_len(0)?;
            file.write_all(serde_json::to_string_pretty(record)?.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(file_error(&path))
    }

    /// Removes the lock file too; for cleanup.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(self.path.join(LOCK));
        drop(self.lock);
        let _ = fs::remove_dir(&self.path);
    }
}

/// For writing, made if missing; no link is followed, since the folder may belong to another user than the one that opens.
fn open(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
        .open(path)
}

/// Gives the file to the folder's owner: one that root made would keep the service's user out.
fn give(folder: &Path, file: File) -> std::io::Result<File> {
    let (owner, own) = (fs::metadata(folder)?, file.metadata()?);
    if owner.uid() != own.uid() && geteuid().is_root() && own.is_file() && own.nlink() == 1 {
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn netns_inode() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map(|meta| meta.ino()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another user's folder where the test may make one, else its own.
    fn folder() -> (tempfile::TempDir, u32) {
        let folder = tempfile::tempdir().unwrap();
        let owner = if geteuid().is_root() { 12_345 } else { geteuid().as_raw() };
        std::os::unix::fs::chown(folder.path(), Some(owner), None).unwrap();
        (folder, owner)
    }

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_folder() {
        let (folder, owner) = folder();
        let state = StateDir::hold(folder.path()).unwrap();
        let (record, _) = state.load().unwrap();
        state.save(&Record { tun: Some("skybridge0".to_owned()), ..record }).unwrap();
        for name in [LOCK, RECORD] {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().uid(), owner, "{name}");
        }
        assert_eq!(state.load().unwrap().0.tun.as_deref(), Some("skybridge0"));
    }

    #[test]
    fn a_link_in_the_folder_is_not_followed() {
        let (folder, _) = folder();
        let target = folder.path().join("target");
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(LOCK)).unwrap();
        assert!(StateDir::hold(folder.path()).is_err());
        fs::remove_file(folder.path().join(LOCK)).unwrap();
        let state = StateDir::hold(folder.path()).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(format!("{RECORD}.new"))).unwrap();
        let (record, _) = state.load().unwrap();
        assert!(state.save(&Record { tun: Some("skybridge0".to_owned()), ..record }).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    }
}
