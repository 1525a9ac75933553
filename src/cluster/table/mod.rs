//! The table of the kernel's packet filter that translates Services: `table inet skybridge`.

mod error;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;

pub use error::TableError;

use super::plan::Plan;

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
    #[expect(dead_code, reason = "used by the next part")]
    settings: TableSettings,
}

impl Table {
    /// Knows nothing yet of what is in the kernel: the first [`Table::apply`] replaces whatever a former daemon left.
    #[must_use]
    pub fn new(settings: TableSettings) -> Self {
        Self { settings }
    }

    /// Makes the kernel's table what is wanted, in one transaction.
    ///
    /// # Errors
    /// See [`TableError`]; the table in the kernel is then the one before.
    pub async fn apply(&mut self, wanted: &Wanted) -> Result<Applied, TableError> {
        let _ = wanted;
        Err(TableError::Unfinished)
    }

    /// Whether the kernel's table is still the one that was loaded; if not, it is loaded whole.
    ///
    /// # Errors
    /// As [`Table::apply`].
    pub async fn verify(&mut self) -> Result<bool, TableError> {
        Err(TableError::Unfinished)
    }

    /// Removes the table; it is no error if there is none.
    ///
    /// # Errors
    /// See [`TableError`].
    pub async fn remove(&mut self) -> Result<(), TableError> {
        cleanup(None).await.map(drop)
    }
}

/// Removes the table of a daemon that is no more; whether there was one.
///
/// # Errors
/// See [`TableError`].
pub async fn cleanup(nft: Option<PathBuf>) -> Result<bool, TableError> {
    let _ = nft;
    Err(TableError::Unfinished)
}
