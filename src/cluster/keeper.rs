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
    table::{Load, Table, TableSettings, Wanted},
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
    /// What the operator should know, with what to do.
    pub problems: Vec<String>,
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
    problems: Vec<String>,
}

async fn run(
    table: Table,
    mut orders: watch::Receiver<Option<Order>>,
    mut stops: mpsc::Receiver<oneshot::Sender<()>>,
    state: watch::Sender<TableState>,
) {
    let mut run = Run { table, state, present: None, room: None, problems: Vec::new() };
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
        let Some(order) = order else {
            self.remove().await;
            self.state.send_replace(TableState::default());
            return true;
        };
        self.make_room(order.connections);
        self.present = Some(true);
        match self.table.apply(&order.wanted).await {
            Ok(applied) => {
                tracing::debug!(load = ?applied.load, elements = applied.elements, took = ?applied.took, "Services");
                let plans = || order.wanted.clusters.iter().flat_map(|cluster| &cluster.plan.frontends);
                self.problems = applied.told;
                self.state.send_modify(|state| {
                    state.loaded = true;
                    state.frontends = plans().count();
                    state.endpoints = plans().map(|frontend| frontend.backends.len()).sum();
                    if applied.load != Load::Nothing {
                        state.last_change = Some(applied.took);
                    }
                });
                self.tell(None);
                true
            }
            Err(error) => {
                self.tell(Some(error.to_string()));
                false
            }
        }
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
                self.tell(Some(error.to_string()));
                false
            }
        }
    }

    fn make_room(&mut self, connections: u32) {
        let enough = |room: &Room| match room {
            Room::Enough { max } | Room::Raised { now: max, .. } => *max >= u64::from(connections),
            Room::Refused { .. } => true,
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

    fn tell(&self, failure: Option<String>) {
        let mut problems = self.problems.clone();
        if let Some(Room::Refused { why, .. }) = &self.room {
            problems.push(why.clone());
        }
        let failed = failure.is_some();
        problems.splice(0..0, failure);
        self.state.send_if_modified(|state| {
            let changed = state.problems != problems || (failed && state.loaded);
            state.problems = problems;
            state.loaded &= !failed;
            changed
        });
    }

    async fn remove(&mut self) {
        let present = self.present.replace(false);
        if present != Some(false)
            && let Err(error) = self.table.remove().await
        {
            match present {
                Some(_) => tracing::error!("the table of Services could not be removed: {error}"),
                None => tracing::debug!("whether a table of Services was left behind is not known: {error}"),
            }
        }
        if let Some(Err(error)) = self.room.take().map(|room| conntrack::put_back(&room)) {
            tracing::warn!("the number of tracked connections could not be put back: {error}");
        }
    }
}
