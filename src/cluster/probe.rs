//! The TCP connects that the detector asks for: so many at once, each with its time.
//!
//! A connect goes from this machine by its own routes. Where Services are translated here, that includes connects of
//! this machine to a Service; where they are routed, it goes to the nodes as a client's packet would. Nothing is sent
//! over a connection, and it is closed at once. UDP has no connect: whether a UDP Service works is only seen from its
//! clients' datagrams.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::detect::{Probe, ProbeOutcome, ProbeResult};

/// Connects at the same time.
const AT_ONCE: usize = 32;
/// Linux sends a second SYN after one second; a third would come after three.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects in the background. They end when it is dropped.
#[derive(Debug)]
pub struct Prober {
    results: mpsc::Sender<ProbeResult>,
    slots: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Prober {
    /// One that sends its results there. It never waits for long: a result that nobody takes holds up only its own
    /// slot.
    #[must_use]
    pub fn new(results: mpsc::Sender<ProbeResult>) -> Self {
        Self { results, slots: Arc::new(Semaphore::new(AT_ONCE)), running: JoinSet::new() }
    }

    /// Starts a probe, or queues it behind those under way. Must be called within a tokio runtime.
    pub fn start(&mut self, probe: Probe) {
        while self.running.try_join_next().is_some() {}
        let (results, slots) = (self.results.clone(), Arc::clone(&self.slots));
        self.running.spawn(async move {
            let Ok(_slot) = slots.acquire().await else { return };
            let outcome = connect(probe.to, PATIENCE).await;
            // Nobody wants it any more if this fails.
            let _ = results.send(ProbeResult { id: probe.id, outcome }).await;
        });
    }
}

/// Connects, waits for an answer at most so long, and closes.
pub async fn connect(to: SocketAddr, patience: Duration) -> ProbeOutcome {
    let begun = Instant::now();
    match timeout(patience, TcpStream::connect(to)).await {
        Err(_) => ProbeOutcome::TimedOut,
        Ok(Ok(stream)) => {
            let took = begun.elapsed();
            // A reset instead of a wait: this side's port is free again at once.
            let _ = stream.set_zero_linger();
            ProbeOutcome::Answered(took)
        }
        Ok(Err(error)) => outcome_of(&error),
    }
}

fn outcome_of(error: &io::Error) -> ProbeOutcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ProbeOutcome::Refused,
        io::ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::PermissionDenied => ProbeOutcome::Unreachable,
        _ => ProbeOutcome::NotTried,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[tokio::test]
    async fn who_listens_answers_and_who_does_not_refuses() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let at = listener.local_addr().unwrap();
        assert!(matches!(connect(at, PATIENCE).await, ProbeOutcome::Answered(_)));
        drop(listener);
        assert_eq!(connect(at, PATIENCE).await, ProbeOutcome::Refused);
    }

    #[tokio::test]
    async fn more_probes_than_may_run_at_once_all_give_results() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let to = listener.local_addr().unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let mut prober = Prober::new(sender);
        let count = AT_ONCE as u64 * 3;
        (0..count).for_each(|id| prober.start(Probe { id, to }));
        let mut ids = Vec::new();
        while (ids.len() as u64) < count {
            let result = receiver.recv().await.unwrap();
            assert!(matches!(result.outcome, ProbeOutcome::Answered(_)), "{result:?}");
            ids.push(result.id);
        }
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..count));
    }

    #[test]
    fn errors_say_what_they_mean() {
        let of = |code| outcome_of(&io::Error::from_raw_os_error(code));
        assert_eq!(of(libc::ECONNREFUSED), ProbeOutcome::Refused);
        assert_eq!(of(libc::ETIMEDOUT), ProbeOutcome::TimedOut);
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EACCES] {
            assert_eq!(of(code), ProbeOutcome::Unreachable);
        }
        for code in [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENOBUFS] {
            assert_eq!(of(code), ProbeOutcome::NotTried);
        }
    }
}
