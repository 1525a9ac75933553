//! Objects from a file, watched for change: what `kubectl get services,endpointslices -A -o yaml` prints.
//!
//! The file is looked at twice a second: whether it is the same file, with the same size and times. That notices
//! everything that happens to files, renaming one into place, links that change their target (as ConfigMaps in a Pod
//! do), files that appear later, on every kind of file system. One that cannot be read or understood leaves the last
//! state in force, and is told.

mod parse;

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{
    decode::Oddities,
    model::{Inventory, Observation, SourceHealth},
};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often those who wait are told that nothing has changed.
const RENEWAL: Duration = Duration::from_secs(5);
/// Some 100,000 endpoints.
const MOST_OCTETS: u64 = 64 << 20;

/// Watches a file of objects. The task ends when every receiver is dropped.
///
/// Each observation with the same objects has the same [`Arc`] of them; those with nothing new but
/// [`current_at`](SourceHealth::current_at) come every few seconds. Must be called within a tokio runtime.
#[must_use]
pub fn watch(path: PathBuf) -> watch::Receiver<Observation> {
    let mut source = Source::new(path);
    let (sender, receiver) = watch::channel(source.observation.clone());
    tokio::spawn(async move {
        let mut told = SystemTime::UNIX_EPOCH;
        loop {
            let looked = tokio::task::spawn_blocking(move || {
                let news = source.look(SystemTime::now());
                (source, news)
            });
            let news;
            (source, news) = match looked.await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "the file of objects is no longer watched");
                    return;
                }
            };
            let current = source.observation.health.current_at;
            let old =
                current.is_some_and(|current| current.duration_since(told).is_ok_and(|age| age >= RENEWAL));
            if news || old {
                told = current.unwrap_or(told);
                sender.send_replace(source.observation.clone());
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}

/// What the text of such a file says.
///
/// # Errors
/// What is wrong with it, behind line and column where they are known.
pub fn read_text(octets: &[u8]) -> Result<(Inventory, Oddities), String> {
    match parse::parse(octets) {
        Ok(parsed) => Ok((parsed.inventory, parsed.odd)),
        Err(refused) => Err(match refused.at {
            Some((line, column)) => format!("{line}:{column}: {}", refused.message),
            None => refused.message,
        }),
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The file and what was last made of it.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// The state of the file that was last read, whether or not it could be understood.
    read: Option<Stamp>,
    /// Whether it could.
    understood: bool,
    /// A state that is still to be read, if it stays.
    settling: Option<Stamp>,
    observation: Observation,
}

impl Source {
    fn new(path: PathBuf) -> Self {
        let health = SourceHealth {
            source: path.display().to_string(),
            synced: false,
            current_at: None,
            problem: None,
        };
        let observation = Observation { inventory: Arc::new(Inventory::default()), health };
        Self { path, read: None, understood: false, settling: None, observation }
    }

    /// Looks at the file, and reads it if it has changed. Gives whether there is news.
    fn look(&mut self, now: SystemTime) -> bool {
        let before = self.observation.clone();
        match std::fs::metadata(&self.path).map(|meta| Stamp::of(&meta)) {
            Err(error) => {
                (self.read, self.settling) = (None, None);
                self.refuse(in_words(&error));
            }
            Ok(stamp) if self.read == Some(stamp) => {
                self.settling = None;
                if self.understood {
                    self.observation.health.current_at = Some(now);
                }
            }
            // Somebody writes into the file that was read: it may be half of what it is going to be.
            Ok(stamp)
                if self.read.is_some_and(|read| read.is_same_file(&stamp))
                    && self.settling != Some(stamp) =>
            {
                self.settling = Some(stamp);
            }
            Ok(_) => {
                self.settling = None;
                self.read_all(now);
            }
        }
        let (old, new) = (&before.health, &self.observation.health);
        !Arc::ptr_eq(&before.inventory, &self.observation.inventory)
            || (old.synced, &old.problem) != (new.synced, &new.problem)
    }

    fn read_all(&mut self, now: SystemTime) {
        let (stamp, octets) = match read(&self.path) {
            Ok(Some(found)) => found,
            // It changed meanwhile: the next look sees how it is then.
            Ok(None) => return,
            Err(message) => {
                self.read = None;
                return self.refuse(message);
            }
        };
        self.read = Some(stamp);
        match parse::parse(&octets) {
            Err(refused) => {
                self.understood = false;
                let at = refused.at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
                let path = self.path.display();
                self.tell(format!(
                    "{path}{at}: {}; write it anew: {} > {path}.new && mv {path}.new {path}",
                    refused.message,
                    parse::WRITE
                ));
            }
            Ok(parsed) => {
                self.understood = true;
                if *self.observation.inventory != parsed.inventory {
                    self.observation.inventory = Arc::new(parsed.inventory);
                }
                let health = &mut self.observation.health;
                (health.synced, health.current_at) = (true, Some(now));
                health.problem = (!parsed.odd.is_empty()).then(|| told_odd(&self.path, &parsed.odd));
            }
        }
    }

    fn refuse(&mut self, message: String) {
        self.understood = false;
        self.tell(format!("{}: {message}", self.path.display()));
    }

    fn tell(&mut self, mut problem: String) {
        if self.observation.health.synced {
            problem.push_str("; until then the last state stays in force");
        }
        self.observation.health.problem = Some(problem);
    }
}

fn told_odd(path: &Path, odd: &Oddities) -> String {
    format!(
        "{}: everything is in force but what makes no sense: {odd}; correct it, or write the file anew: {}",
        path.display(),
        parse::WRITE
    )
}

/// The whole file and its state; none if it changed meanwhile.
fn read(path: &Path) -> Result<Option<(Stamp, Vec<u8>)>, String> {
    // Opening a pipe must not wait for who writes into it.
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| in_words(&error))?;
    let meta = file.metadata().map_err(|error| in_words(&error))?;
    if !meta.is_file() {
        return Err("it is not a regular file; give the path of one in `objects`".to_owned());
    }
    if meta.len() > MOST_OCTETS {
        return Err(format!(
            "it has {} octets, of which at most {MOST_OCTETS} are read; leave other kinds out: {}",
            meta.len(),
            parse::WRITE
        ));
    }
    let mut octets = Vec::new();
    (&file).take(MOST_OCTETS + 1).read_to_end(&mut octets).map_err(|error| in_words(&error))?;
    let after = file.metadata().map_err(|error| in_words(&error))?;
    let stamp = Stamp::of(&meta);
    Ok((stamp == Stamp::of(&after) && octets.len() as u64 == meta.len()).then_some((stamp, octets)))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("it does not exist; write it with: {}", parse::WRITE),
        io::ErrorKind::PermissionDenied => "this user may not read it; give it the right to".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
