//! Reads a cluster's Services, EndpointSlices, Nodes and Service ranges from the Kubernetes API and follows them.
//!
//! One list and one watch for each kind. What is published is always a whole state: the last one stays while the API
//! is away, its age is told in its health. What this does not do: it never writes to the cluster and
//! never reads anything but these four kinds.

mod backoff;
mod connect;
mod event;
mod follow;
mod kind;
mod lines;
mod problem;
mod state;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time};

use self::{
    connect::Connector,
    follow::{Source, follow_resource},
    kind::Resource,
    state::Shared,
};
use super::model::Observation;

/// Which API, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// The kubeconfig with the server's address and the credentials; none means those that a Pod is given.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; none means its `current-context`.
    pub context: Option<String>,
    /// How long things may take.
    pub timing: Timing,
    /// How much is held.
    pub limits: Limits,
}

impl KubernetesSettings {
    /// Settings with the usual timing and limits.
    #[must_use]
    pub fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Self {
        Self { kubeconfig, context, timing: Timing::default(), limits: Limits::default() }
    }
}

/// How long the parts of following the API may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of a list.
    pub request: Duration,
    /// How long a list may take as a whole.
    pub list: Duration,
    /// How long an open watch may say nothing. The API sends bookmarks about every minute.
    pub silence: Duration,
    /// How long the server is asked to keep a watch open.
    pub watch: Duration,
    /// The first wait after a failure; it doubles from failure to failure.
    pub backoff_first: Duration,
    /// The longest wait after a failure.
    pub backoff_most: Duration,
    /// When a kind that this cluster does not serve is asked for again.
    pub absent: Duration,
    /// How long changes are gathered before they are published.
    pub gather: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            list: Duration::from_secs(600),
            silence: Duration::from_secs(90),
            watch: Duration::from_secs(290),
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(30),
            absent: Duration::from_secs(600),
            gather: Duration::from_millis(50),
        }
    }
}

/// How much of a cluster is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects of all kinds and endpoints within slices, together. What is beyond is left out and told.
    pub objects: usize,
    /// Octets of one event of a watch. A larger one is left out and told.
    pub event: usize,
    /// Octets of one page of a list. If a page is larger, smaller ones are asked for.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { objects: 500_000, event: 8 << 20, page: 16 << 20 }
    }
}

/// Follows the API until every receiver is dropped. Must be called within a Tokio runtime.
///
/// Nothing is in the inventory until every kind has been listed once; then it is always a whole state. Nodes and
/// Service ranges may be missing where the API does not serve or forbids them.
#[must_use]
pub fn watch(settings: KubernetesSettings) -> watch::Receiver<Observation> {
    let name = match &settings.kubeconfig {
        Some(path) => path.display().to_string(),
        None => String::from("in cluster"),
    };
    let source = Arc::new(Source {
        connector: Connector::new(settings.clone()),
        shared: Shared::new(name, settings.limits),
        settings,
    });
    let (sender, receiver) = watch::channel(source.shared.observe());
    tokio::spawn(publish(source, sender));
    receiver
}

/// Publishes what the readers collect, while somebody wants it. The readers end with it.
async fn publish(source: Arc<Source>, sender: watch::Sender<Observation>) {
    let mut readers = JoinSet::new();
    for resource in Resource::ALL {
        readers.spawn(follow_resource(Arc::clone(&source), resource));
    }
    let mut problem = None;
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = source.shared.changed() => {}
        }
        // A list of thousands, or a rollout, shall be one change.
        tokio::select! {
            () = sender.closed() => return,
            () = time::sleep(source.settings.timing.gather) => {}
        }
        let observation = source.shared.observe();
        if observation.health.problem != problem {
            problem.clone_from(&observation.health.problem);
            match &problem {
                Some(problem) => tracing::warn!(source = observation.health.source, "Kubernetes: {problem}"),
                None => tracing::info!(source = observation.health.source, "Kubernetes: all is well"),
            }
        }
        sender.send_if_modified(|published| {
            let changed = *published != observation;
            *published = observation;
            changed
        });
    }
}
