//! The table of the kernel's packet filter that translates Services: `table inet skybridge`.
//!
//! ```text
//! out of the tunnel ─→ prerouting: services ─→ single | of_N (slot by hash of the flow) | sticky_of_N ─→ DNAT
//!                                          └─→ refuse ─→ received: RST, port or host unreachable
//! ```
//!
//! The kernel does the work; this makes its table. The first load replaces the whole table in one transaction, every
//! later one carries the difference only. Nothing is read back but the kernel's generation number and, when somebody
//! has changed any rule of the machine, the table's frame and a few marker elements: whatever of ours is missing then,
//! the table is loaded anew. Other tables are neither read nor touched.
//!
//! Connections are the kernel's: a change concerns new ones. Only UDP connections whose endpoint has gone are forgotten,
//! since nothing else would end them.

mod clients;
mod error;
mod frame;
mod image;
mod kernel;
mod nft;
mod probe;
mod text;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;

pub use error::TableError;

use self::{
    image::{Image, Target},
    nft::Nft,
};
use super::{
    conntrack::{self, Stale},
    model::Protocol,
    plan::Plan,
};

/// What a table is made for.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// The tunnel device's name: only what comes out of it (and what this machine sends itself) is translated.
    pub device: String,
    /// The `nft` program; none looks for it in the system's folders.
    pub nft: Option<PathBuf>,
    /// How long one run of it may take.
    pub patience: Duration,
}

/// How a cluster's Services are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Not translated here: packets go on to where routes lead.
    Route,
    /// To an endpoint, with the client's address kept.
    Translate,
    /// To an endpoint, and everything from the tunnel behind this machine's own address.
    TranslateAndMasquerade,
}

/// What one cluster wants of the table.
#[derive(Debug, Clone)]
pub struct WantedCluster {
    /// Its name, for comments.
    pub name: String,
    /// How its Services are treated.
    pub mode: Mode,
    /// Whether its cluster addresses answer an echo request while their Service has an endpoint.
    pub ping: bool,
    /// What is reached there without a Service, Pod and node ranges: it is masqueraded as well where the mode says so.
    pub direct: Vec<IpNet>,
    /// Its Services.
    pub plan: Arc<Plan>,
}

/// Everything wanted of the table.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By cluster. Where two have the same cluster address and port, the first has it.
    pub clusters: Vec<WantedCluster>,
}

/// How much was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Nothing differed.
    Nothing,
    /// The difference was loaded.
    Difference,
    /// The whole table was loaded.
    Whole,
}

/// What [`Table::apply`] did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// How much was loaded.
    pub load: Load,
    /// Elements added and removed.
    pub elements: usize,
    /// How long the kernel and `nft` took.
    pub took: Duration,
    /// UDP connections that were forgotten because their endpoint is no more.
    pub forgotten: usize,
    /// What the operator should know: things that could not be done, each with its reason.
    pub told: Vec<String>,
}

/// The table, and what is known to be in it.
#[derive(Debug)]
pub struct Table {
    device: String,
    nft: Nft,
    generation: u32,
    loaded: Option<Loaded>,
    /// Whether this process has removed it, and has not loaded it since.
    removed: bool,
}

/// What this process has put into the kernel.
#[derive(Debug)]
struct Loaded {
    image: Image,
    /// The kernel's generation number right after it, if nobody else changed anything at that time.
    kernel: Option<u32>,
    /// What the table's chains and rules came to then.
    frame: Option<u64>,
}

impl Table {
    /// Knows nothing yet of what is in the kernel: the first [`Table::apply`] replaces whatever a former daemon left.
    #[must_use]
    pub fn new(settings: TableSettings) -> Self {
        Self {
            device: settings.device,
            nft: Nft { program: settings.nft, patience: settings.patience },
            // Differs from what an earlier process has left.
            generation: RandomState::new().build_hasher().finish() as u32 >> 1,
            loaded: None,
            removed: false,
        }
    }

    /// Makes the kernel's table what is wanted, in one transaction. Without any cluster that is translated, there is
    /// no table.
    ///
    /// # Errors
    /// See [`TableError`]; the table in the kernel is then the one before, and the next call begins with it.
    pub async fn apply(&mut self, wanted: &Wanted) -> Result<Applied, TableError> {
        let began = Instant::now();
        let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=15).contains(&self.device.len()) || !self.device.chars().all(named) {
            return Err(TableError::BadDevice(self.device.clone()));
        }
        let mut applied = Applied {
            load: Load::Nothing,
            elements: 0,
            took: Duration::ZERO,
            forgotten: 0,
            told: Vec::new(),
        };
        let former = self.loaded.as_ref().map(|loaded| &loaded.image);
        if wanted.clusters.iter().all(|cluster| cluster.mode == Mode::Route) {
            if former.is_some_and(|former| !former.fronts.is_empty() || !former.frame.ranges.is_empty()) {
                applied.load = Load::Whole;
            }
            // Who translates nothing needs no `nft`.
            match self.remove().await {
                Ok(()) | Err(TableError::NotInstalled) => {}
                Err(error) => return Err(error),
            }
            applied.took = began.elapsed();
            return Ok(applied);
        }
        let image = Image::new(&self.device, wanted, former, own_address);
        let stale = stale(former, &image);
        let gone = gone(former, &image);
        match former.map(|former| text::difference(former, &image, (self.generation, self.generation + 1))) {
            Some(None) => {}
            Some(Some((text, touched))) => match self.commit(text).await {
                Ok((kernel, frame)) => {
                    self.generation += 1;
                    applied.load = Load::Difference;
                    applied.elements = touched;
                    self.loaded = Some(Loaded { image, kernel, frame });
                }
                Err(error @ (TableError::NotInstalled | TableError::NotPermitted { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    applied
                        .told
                        .push(format!("the change was not taken, so everything is loaded anew: {error}"));
                    self.load_whole(image).await?;
                    applied.load = Load::Whole;
                }
            },
            None => {
                self.load_whole(image).await?;
                applied.load = Load::Whole;
            }
        }
        applied.took = began.elapsed();
        if !gone.is_empty() && applied.load == Load::Difference {
            match clients::forget(&self.nft, &gone).await {
                Ok(true) => self.unsure(),
                Ok(false) => {}
                Err(error) => {
                    applied.told.push(format!(
                        "clients that stay with an endpoint which is gone were not moved: {error}"
                    ));
                }
            }
        }
        match conntrack::forget(stale).await {
            Ok(forgotten) => applied.forgotten = forgotten,
            Err(error) => {
                applied
                    .told
                    .push(format!("UDP connections to endpoints that are gone were not forgotten: {error}"));
            }
        }
        Ok(applied)
    }

    /// Whether the kernel's table is still the one that was loaded; if not, it is loaded whole. Costs next to nothing
    /// while nobody has changed any rule of this machine.
    ///
    /// What it finds: the table gone, a rule, chain or map of it changed or gone, a map emptied, another process's
    /// table. What it does not: a single element that somebody has taken out.
    ///
    /// # Errors
    /// As [`Table::apply`].
    pub async fn verify(&mut self) -> Result<bool, TableError> {
        let Some(loaded) = &self.loaded else { return Ok(true) };
        let kernel = kernel::generation();
        if kernel.is_some() && kernel == loaded.kernel {
            return Ok(true);
        }
        let marked = text::markers(self.generation).iter().all(|(set, key)| kernel::has(set, key));
        if marked && kernel::fingerprint() == loaded.frame {
            if let Some(loaded) = &mut self.loaded {
                loaded.kernel = kernel;
            }
            return Ok(true);
        }
        if let Some(loaded) = self.loaded.take() {
            // What passed while there was no table has not been translated.
            let stale = stale(None, &loaded.image);
            self.load_whole(loaded.image).await?;
            if let Err(error) = conntrack::forget(stale).await {
                tracing::warn!(%error, "connections that began while the table of Services was gone are not forgotten");
            }
        }
        Ok(false)
    }

    /// Removes the table; it is no error if there is none.
    ///
    /// # Errors
    /// See [`TableError`].
    pub async fn remove(&mut self) -> Result<(), TableError> {
        if self.removed {
            return Ok(());
        }
        self.loaded = None;
        delete(&self.nft).await?;
        self.removed = true;
        Ok(())
    }

    async fn load_whole(&mut self, image: Image) -> Result<(), TableError> {
        self.loaded = None;
        self.generation += 1;
        let text = text::whole(&image, self.generation);
        match self.commit(text).await {
            Ok((kernel, frame)) => {
                self.loaded = Some(Loaded { image, kernel, frame });
                Ok(())
            }
            Err(TableError::Refused { said }) => Err(probe::explain(&self.nft, said).await),
            Err(error) => Err(error),
        }
    }

    /// Loads rules; the kernel's generation number after it, if it is sure, and the fingerprint of the frame.
    async fn commit(&mut self, text: String) -> Result<(Option<u32>, Option<u64>), TableError> {
        self.removed = false;
        let before = kernel::generation();
        let transactions = self.nft.load_large(&text).await?;
        let frame = kernel::fingerprint();
        let after = kernel::generation();
        let sure =
            before.zip(after).is_some_and(|(before, after)| before.wrapping_add(transactions) == after);
        Ok((after.filter(|_| sure), frame))
    }

    /// Makes the next [`Table::verify`] look at the table.
    fn unsure(&mut self) {
        if let Some(loaded) = &mut self.loaded {
            loaded.kernel = None;
        }
    }
}

/// Removes the table of a daemon that is no more; whether there was one.
///
/// # Errors
/// See [`TableError`].
pub async fn cleanup(nft: Option<PathBuf>) -> Result<bool, TableError> {
    delete(&Nft { program: nft, patience: Duration::from_secs(10) }).await
}

async fn delete(nft: &Nft) -> Result<bool, TableError> {
    match nft.load(&format!("delete table {}\n", frame::TABLE)).await {
        Ok(()) => Ok(true),
        Err(TableError::Refused { said }) if said.contains("No such file") => Ok(false),
        Err(error) => Err(error),
    }
}

/// This machine's address toward another, as its routes say. Sends nothing.
fn own_address(toward: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if toward.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((toward, 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

/// Which connections without an end of their own no longer go where they should.
fn stale(former: Option<&Image>, now: &Image) -> Vec<Stale> {
    let mut stale = Vec::new();
    let udp = |(key, _): &(&image::Key, &image::Front)| key.1 == Protocol::Udp;
    for (key, front) in now.fronts.iter().filter(udp) {
        let before = former.and_then(|former| former.fronts.get(key));
        let lost =
            before.is_none_or(|before| before.targets.iter().any(|target| !front.targets.contains(target)));
        // What was refused until now left nothing; what was not translated at all did.
        if lost {
            stale.push(Stale::udp(key.0, key.2, &front.targets));
        }
    }
    let Some(former) = former else {
        let tcp = now.fronts.keys().filter(|key| key.1 == Protocol::Tcp);
        stale.extend(tcp.map(|key| Stale::unanswered(key.0, key.2)));
        return stale;
    };
    for (key, _) in former.fronts.iter().filter(udp).filter(|(key, _)| !now.fronts.contains_key(*key)) {
        stale.push(Stale::udp(key.0, key.2, &[]));
    }
    stale.extend(
        former.answering.keys().filter(|vip| !now.answering.contains_key(vip)).map(|vip| Stale::echo(*vip)),
    );
    stale
}

/// Endpoints that clients may stay with, and that are no more: by cluster address and port. Where clients no longer
/// stay, all are: should they do so again, nobody may be remembered from before.
fn gone(former: Option<&Image>, now: &Image) -> BTreeSet<(image::Key, Target)> {
    let Some(former) = former else { return BTreeSet::new() };
    let sticky = former.fronts.iter().filter(|(key, front)| text::remembers(key.0) && front.sticky.is_some());
    sticky
        .flat_map(|(key, front)| {
            let left = now.fronts.get(key).filter(|front| front.sticky.is_some()).map(|front| &front.targets);
            let gone = move |target: &&Target| left.is_none_or(|left| !left.contains(target));
            front.targets.iter().filter(gone).map(|target| (*key, *target))
        })
        .collect()
}

#[cfg(test)]
mod tests;
