//! Keeps the kernel's table as it is wanted: loads what changed, looks whether it is still there, removes it at the end.
//!
//! One task, because a load of thousands of Services takes up to two seconds and nothing else shall wait for it.
//! Changes that come meanwhile are taken together.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    conntrack::{self, Room},
    table::{Load, Table, TableError, TableSettings, Wanted},
};

/// How often the table is looked at: a look costs one short run of `nft`.
const LOOK: Duration = Duration::from_secs(3);

/// The first and the longest wait after a failed load.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// What is wanted: of the table, and how many connections have room.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    /// What the table shall hold.
    pub(super) wanted: Wanted,
    /// Connections to make room for.
    pub(super) connections: u32,
}

/// How the table fares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableState {
    /// Whether the kernel has what was wanted last.
    pub loaded: bool,
    /// Cluster addresses and ports in it.
    pub frontends: usize,
    /// Endpoints in it.
    pub endpoints: usize,
    /// How long the last change took.
    pub last_change: Option<Duration>,
    /// How often it had been removed or changed by somebody and was loaded again.
    pub restored: u64,
    /// Why it is not as it was wanted last, and what to do.
    pub failure: Option<String>,
    /// Why there is not room for as many connections as wanted, and what to do.
    pub limit: Option<String>,
}

/// The task's handle.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: watch::Sender<Option<Order>>,
    state: watch::Receiver<TableState>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts the task; nothing is touched before the first order.
    pub(super) fn start(settings: TableSettings) -> Self {
        let (orders, inbox) = watch::channel(None);
        let (state_sender, state) = watch::channel(TableState::default());
        let (stop, stops) = mpsc::channel(1);
        let task = tokio::spawn(run(Table::new(settings), inbox, stops, state_sender));
        Self { orders, state, stop, task }
    }

    /// Wants this of the table from now on; `None` wants no table at all.
    pub(super) fn order(&self, order: Option<Order>) {
        self.orders.send_replace(order);
    }

    /// How the table fares, and when that changes.
    pub(super) fn state(&self) -> watch::Receiver<TableState> {
        self.state.clone()
    }

    /// Removes the table and ends the task.
    pub(super) async fn stop(self) {
        let (done, ended) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = ended.await;
        }
        let _ = self.task.await;
    }
}

/// The task's own things.
struct Run {
    table: Table,
    state: watch::Sender<TableState>,
    /// Whether our table is in the kernel; not known before the first order, for a killed daemon may have left one.
    present: Option<bool>,
    room: Option<Room>,
}

async fn run(
    table: Table,
    mut orders: watch::Receiver<Option<Order>>,
    mut stops: mpsc::Receiver<oneshot::Sender<()>>,
    state: watch::Sender<TableState>,
) {
    let mut run = Run { table, state, present: None, room: None };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry: Option<(Instant, Duration)> = None;
    loop {
        let again = retry.map(|(at, _)| at);
        let right = tokio::select! {
            Some(done) = stops.recv() => {
                run.remove().await;
                let _ = done.send(());
                return;
            }
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
                let order = orders.borrow_and_update().clone();
                run.carry_out(order).await
            }
            () = at(again) => {
                let order = orders.borrow_and_update().clone();
                run.carry_out(order).await
            }
            _ = look.tick(), if run.present == Some(true) && retry.is_none() => run.look().await,
        };
        retry = (!right).then(|| {
            let wait = retry.map_or(RETRY, |(_, wait)| (wait * 2).min(RETRY_MOST));
            (Instant::now() + wait, wait)
        });
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Run {
    /// Whether it could be done.
    async fn carry_out(&mut self, order: Option<Order>) -> bool {
        let Some(order) = order else { return self.remove().await };
        self.present = Some(true);
        let applied = match self.table.apply(&order.wanted).await {
            Ok(applied) => applied,
            Err(error) => {
                self.fail(&error);
                return false;
            }
        };
        tracing::debug!(load = ?applied.load, elements = applied.elements, took = ?applied.took, "Services");
        for told in &applied.told {
            tracing::warn!("table of Services: {told}");
        }
        // The kernel tracks connections only from the first table on.
        self.make_room(order.connections);
        let plans = || order.wanted.clusters.iter().flat_map(|cluster| &cluster.plan.frontends);
        let limit = self.room.as_ref().and_then(|room| match room {
            Room::Refused { why, .. } => Some(why.clone()),
            Room::Enough { .. } | Room::Raised { .. } => None,
        });
        self.state.send_modify(|state| {
            state.loaded = true;
            state.failure = None;
            state.limit = limit;
            state.frontends = plans().count();
            state.endpoints = plans().map(|frontend| frontend.backends.len()).sum();
            if applied.load != Load::Nothing {
                state.last_change = Some(applied.took);
            }
        });
        true
    }

    /// Whether the table is right, maybe because it was just put back.
    async fn look(&mut self) -> bool {
        match self.table.verify().await {
            Ok(true) => true,
            Ok(false) => {
                tracing::warn!(
                    "somebody removed or changed the table of Services (inet skybridge); it is back"
                );
                self.state.send_modify(|state| state.restored += 1);
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&self, error: &TableError) {
        let failure = Some(error.to_string());
        self.state.send_if_modified(|state| {
            let changed = state.loaded || state.failure != failure;
            state.loaded = false;
            state.failure = failure;
            changed
        });
    }

    fn make_room(&mut self, connections: u32) {
        let enough = |room: &Room| match room {
            Room::Enough { max } | Room::Raised { now: max, .. } => *max >= u64::from(connections),
            // It may have been raised since, or the kernel's module loaded.
            Room::Refused { .. } => false,
        };
        if !self.room.as_ref().is_some_and(enough) {
            let room = conntrack::make_room(connections);
            // What it was before us is what it will be after us.
            let before = match (&self.room, &room) {
                (Some(Room::Raised { before, .. }), Room::Raised { now, .. }) => Some((*before, *now)),
                _ => None,
            };
            self.room = Some(before.map_or(room, |(before, now)| Room::Raised { before, now }));
        }
    }

    /// Whether the table is gone.
    async fn remove(&mut self) -> bool {
        if self.present != Some(false)
            && let Err(error) = self.table.remove().await
        {
            if self.present.is_none() {
                tracing::debug!("whether a table of Services was left behind is not known: {error}");
                return true;
            }
            tracing::error!("the table of Services could not be removed: {error}");
            self.fail(&error);
            return false;
        }
        self.present = Some(false);
        if let Some(Err(error)) = self.room.take().map(|room| conntrack::put_back(&room)) {
            tracing::warn!("the number of tracked connections could not be put back: {error}");
        }
        self.state.send_replace(TableState::default());
        true
    }
}
