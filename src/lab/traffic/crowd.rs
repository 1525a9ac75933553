//! Many clients at once: each connects, is told who answers and as whom it was seen, and holds its connection or ends it.
//!
//! Nothing may be lost: a connection that is refused, answered by somebody else, broken or silent is told one by one.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::lab::{LabError, Namespace, namespace::joined};

/// Complaints that are kept word for word.
const COMPLAINTS: usize = 20;
/// How often a held connection is spoken over.
const TALK: Duration = Duration::from_secs(2);

/// Whom the crowd visits.
#[derive(Debug, Clone)]
pub struct Target {
    /// The Service's, or the Pod's, address.
    pub to: SocketAddr,
    /// Who may answer: name and own port.
    pub allowed: Vec<(&'static str, u16)>,
    /// As whom it must see the client.
    pub seen_as: IpAddr,
}

/// How many clients, and how they come.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Whom they visit, in turn.
    pub targets: Vec<Target>,
    /// Clients that connect at the start, all at once, and hold.
    pub held: usize,
    /// Clients a second that come after that, talk once and go.
    pub per_second: u32,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What became of them.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Connections that were made.
    pub made: usize,
    /// Connections that were held to the end and still answered then.
    pub held: usize,
    /// What went wrong, one by one as far as they are kept.
    pub complaints: Vec<String>,
    /// How many things went wrong.
    pub failed: usize,
    /// Times from SYN to SYN-ACK of those that came and went, sorted.
    pub connects: Vec<Duration>,
}

impl Outcome {
    /// The time that `per_cent` of the connects did not exceed.
    pub fn percentile(&self, per_cent: usize) -> Duration {
        let last = self.connects.len().saturating_sub(1);
        self.connects.get(last * per_cent / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Result<Duration, String>) {
        match other {
            Ok(took) => self.connects.push(took),
            Err(why) => {
                self.failed += 1;
                if self.complaints.len() < COMPLAINTS {
                    self.complaints.push(why);
                }
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} held, {} failed; connect p50 {:.2?}, p99 {:.2?}",
            self.made,
            self.held,
            self.failed,
            self.percentile(50),
            self.percentile(99)
        )?;
        self.complaints.iter().try_for_each(|complaint| write!(f, "\n  {complaint}"))
    }
}

/// A crowd under way.
#[derive(Debug)]
pub struct Visitors {
    holding: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    go: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Outcome, LabError>>>,
}

impl Visitors {
    /// Lets the crowd come from this namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or so many files cannot be opened.
    pub fn start(namespace: &Namespace, crowd: Crowd) -> Result<Self, LabError> {
        raise_files()?;
        let (holding, made, go) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (held, count, gone) = (Arc::clone(&holding), Arc::clone(&made), Arc::clone(&go));
        let thread = namespace.thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(LabError::io("start a runtime"))?;
            Ok(runtime.block_on(visit(Arc::new(crowd), held, count, gone)))
        })?;
        Ok(Self { holding, made, go, thread: Some(thread) })
    }

    /// Clients that hold a connection now.
    pub fn holding(&self) -> usize {
        self.holding.load(Relaxed)
    }

    /// Connections made so far.
    pub fn made(&self) -> usize {
        self.made.load(Relaxed)
    }

    /// Lets everybody speak once more and go, and tells what became of them.
    ///
    /// # Errors
    /// The namespace could not be entered.
    pub fn finish(mut self) -> Result<Outcome, LabError> {
        self.go.store(true, Relaxed);
        let thread = self.thread.take().ok_or_else(|| LabError::check("a crowd that has gone already"))?;
        joined(thread)
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.go.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

/// Each connection has an end here and one in a Pod.
fn raise_files() -> Result<(), LabError> {
    let failed = || LabError::io("allow more open files");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from).map_err(failed())?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(std::io::Error::from).map_err(failed())
}

async fn visit(
    crowd: Arc<Crowd>,
    holding: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    go: Arc<AtomicBool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut holders = JoinSet::new();
    for target in crowd.targets.iter().cycle().take(crowd.held) {
        let (target, patience) = (target.clone(), crowd.patience);
        let (go, holding, made) = (Arc::clone(&go), Arc::clone(&holding), Arc::clone(&made));
        holders.spawn(async move {
            let (mut connection, _) = connect(&target, patience).await?;
            made.fetch_add(1, Relaxed);
            holding.fetch_add(1, Relaxed);
            let mut next = Instant::now() + TALK;
            while !go.load(Relaxed) {
                sleep(Duration::from_millis(50)).await;
                if Instant::now() >= next {
                    talk(&mut connection, &target, patience).await?;
                    next += TALK;
                }
            }
            talk(&mut connection, &target, patience).await
        });
    }
    let mut passers = JoinSet::new();
    if let Some(gap) = Duration::from_secs(1).checked_div(crowd.per_second) {
        let mut tick = interval(gap);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for target in crowd.targets.iter().cycle() {
            tick.tick().await;
            if go.load(Relaxed) {
                break;
            }
            let (target, patience, made) = (target.clone(), crowd.patience, Arc::clone(&made));
            passers.spawn(async move {
                let (mut connection, took) = connect(&target, patience).await?;
                made.fetch_add(1, Relaxed);
                talk(&mut connection, &target, patience).await?;
                Ok(took)
            });
            while let Some(passed) = passers.try_join_next() {
                outcome.add(passed.unwrap_or_else(|error| Err(error.to_string())));
            }
        }
    }
    while let Some(passed) = passers.join_next().await {
        outcome.add(passed.unwrap_or_else(|error| Err(error.to_string())));
    }
    while let Some(held) = holders.join_next().await {
        match held.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => outcome.held += 1,
            Err(why) => outcome.add(Err(why)),
        }
    }
    outcome.made = made.load(Relaxed);
    outcome.connects.sort_unstable();
    outcome
}

/// Connects and hears who answers, and as whom it saw us.
async fn connect(target: &Target, patience: Duration) -> Result<(BufReader<TcpStream>, Duration), String> {
    let to = target.to;
    let begun = Instant::now();
    let connection = timeout(patience, TcpStream::connect(to))
        .await
        .map_err(|_| format!("{to}: no answer within {patience:?}"))?
        .map_err(|error| format!("{to}: {error}"))?;
    let took = begun.elapsed();
    let own = connection.local_addr().map_err(|error| format!("{to}: {error}"))?;
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    timeout(patience, connection.read_line(&mut line))
        .await
        .map_err(|_| format!("{own} to {to}: connected, and silent for {patience:?}"))?
        .map_err(|error| format!("{own} to {to}: {error}"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [who, port, saw, _] = words[..] else { return Err(format!("{own} to {to}: heard {line:?}")) };
    let allowed = target.allowed.iter().any(|(name, number)| *name == who && port.parse() == Ok(*number));
    if !allowed {
        return Err(format!("{own} to {to}: answered by {who} at its port {port}"));
    }
    if saw.parse() != Ok(target.seen_as) {
        return Err(format!("{own} to {to}: {who} saw {saw}"));
    }
    Ok((connection, took))
}

/// Says something and hears it again.
async fn talk(
    connection: &mut BufReader<TcpStream>,
    target: &Target,
    patience: Duration,
) -> Result<(), String> {
    const WORDS: &[u8; 16] = b"are you there?\n.";
    let to = target.to;
    let own = connection.get_ref().local_addr().map(|own| own.to_string()).unwrap_or_default();
    let exchange = async {
        connection.get_mut().write_all(WORDS).await?;
        let mut heard = [0; WORDS.len()];
        connection.read_exact(&mut heard).await?;
        Ok::<_, std::io::Error>(heard == *WORDS)
    };
    match timeout(patience, exchange).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(format!("{own} to {to}: heard something else than was said")),
        Ok(Err(error)) => Err(format!("{own} to {to}: a connection broke: {error}")),
        Err(_) => Err(format!("{own} to {to}: a connection went silent for {patience:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_connects() {
        let connects = (1..=200).map(Duration::from_millis).collect();
        let outcome = Outcome { connects, ..Outcome::default() };
        assert_eq!(outcome.percentile(50), Duration::from_millis(100));
        assert_eq!(outcome.percentile(99), Duration::from_millis(198));
        assert_eq!(Outcome::default().percentile(99), Duration::ZERO);
    }
}
