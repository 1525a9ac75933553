//! The task behind [`System`](super::System): commands, notifications and timers, one at a time.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::netlink::{Change, Monitor, RouteKind};
use super::reconcile::Machine;
use super::{Desired, Event, Report, SystemError, WhenStopped};

/// So many reconciles follow notifications at once; more wait, so that another program that fights
/// for a route cannot make this one spin.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_millis(250);
/// A comparison that took longer than this is followed by a rest of so many times as long.
const LONG: Duration = Duration::from_millis(50);
const REST: u32 = 8;

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Reconcile(Box<Desired>, oneshot::Sender<Result<Report, SystemError>>),
    Stop(WhenStopped, oneshot::Sender<Result<Report, SystemError>>),
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let refills = now.saturating_duration_since(self.filled).as_millis() / REFILL.as_millis();
        if refills > 0 {
            self.tokens = BURST.min(self.tokens.saturating_add(u32::try_from(refills).unwrap_or(BURST)));
            self.filled = now;
        }
        self.tokens = match self.tokens.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

/// Runs until every handle is dropped or [`Command::Stop`] is done.
pub(super) async fn run(
    mut machine: Machine,
    mut monitor: Monitor,
    mut commands: mpsc::Receiver<Command>,
    debounce: Duration,
    poll: Duration,
) {
    let mut bucket = Bucket { tokens: BURST, filled: Instant::now() };
    let mut due: Option<Instant> = None;
    let mut addresses_due: Option<Instant> = None;
    let mut next_poll = Instant::now() + poll;
    let mut alive = true;
    // With thousands of routes one comparison takes long: then it takes its turn less often.
    let mut rest_until = Instant::now();
    loop {
        let wake = [due, addresses_due, Some(next_poll)].into_iter().flatten().min().unwrap_or(next_poll);
        let mut overrun = false;
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None => return,
                Some(Command::Reconcile(desired, answer)) => {
                    due = None;
                    next_poll = Instant::now() + poll;
                    let _ = answer.send(machine.set(*desired).await);
                    continue;
                }
                Some(Command::Stop(when_stopped, answer)) => {
                    let _ = answer.send(machine.stop(when_stopped).await);
                    return;
                }
            },
            change = monitor.next(), if alive => {
                match change {
                    None => {
                        tracing::error!("the netlink notification socket died; changes are found by polling");
                        alive = false;
                    }
                    Some(change) => {
                        overrun = matches!(change, Change::Overrun);
                        if matches!(change, Change::Address | Change::Overrun) {
                            addresses_due.get_or_insert(Instant::now() + debounce);
                        }
                        if concerns(&machine, &change) {
                            due.get_or_insert(Instant::now());
                        }
                    }
                }
            }
            () = tokio::time::sleep_until(wake) => {
                if addresses_due.is_some_and(|at| at <= Instant::now()) {
                    addresses_due = None;
                    machine.report_addresses().await;
                }
                if next_poll <= Instant::now() {
                    due.get_or_insert(Instant::now());
                    machine.report_addresses().await;
                    if !alive && let Ok(fresh) = Monitor::open() {
                        monitor = fresh;
                        alive = true;
                    }
                }
            }
        }
        if overrun {
            machine.tell(Event::Resynced);
        }
        let now = Instant::now();
        if due.is_some_and(|at| at <= now) {
            if now < rest_until {
                due = Some(rest_until);
            } else if bucket.take(now) {
                due = None;
                next_poll = now + poll;
                machine.again().await;
                let took = now.elapsed();
                if took > LONG {
                    rest_until = now + took * REST;
                }
            } else {
                due = Some(now + REFILL);
            }
        }
    }
}

/// Whether a change may have broken what is desired, or moved a peer's path.
fn concerns(machine: &Machine, change: &Change) -> bool {
    let Some(desired) = machine.desired() else { return false };
    match change {
        Change::Overrun | Change::Address => true,
        Change::Link(link) | Change::LinkGone(link) => {
            machine.link_moved(link, matches!(change, Change::LinkGone(_)))
        }
        Change::RouteGone(route) if route.protocol == super::ROUTE_PROTOCOL => {
            machine.applied().has_place(route)
        }
        Change::Route(route) if route.protocol == super::ROUTE_PROTOCOL => !machine.applied().has(route),
        Change::Route(route) | Change::RouteGone(route) => {
            route.table == super::netlink::MAIN_TABLE
                && matches!(route.kind, RouteKind::Unicast | RouteKind::Unreachable | RouteKind::Other(6..=9))
                && (desired.peers.iter().any(|peer| route.prefix.contains(peer))
                    || desired.routes.iter().any(|wanted| wanted.prefix.trunc() == route.prefix)
                    || machine.applied().has_prefix(route.prefix))
        }
    }
}
