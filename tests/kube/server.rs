//! An HTTPS server that behaves as the recorded API server did, or sends recorded answers octet by octet, and spoils
//! either as a test wants.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use skybridge::cluster::{
    kubernetes::{self, KubernetesSettings, Limits, Timing},
    model::Observation,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use crate::recorded::{self, Kind, World};

/// What is asked of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// A list.
    List,
    /// A watch that begins with what exists.
    Stream,
    /// A watch from a version on.
    Watch,
}

/// What to answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// What the API would.
    Live,
    /// What the API would, with a bookmark wherever the watch has caught up.
    Bookmarks,
    /// What the API would, but the watch ends as soon as it has caught up.
    Ends,
    /// A recorded response.
    Recorded(&'static str),
    /// The lines of a recorded watch, and its end.
    Lines(Vec<String>),
    /// The lines, and then nothing.
    Open(Vec<String>),
    /// Nothing, not even a head.
    Nothing,
    /// What the API would, but only as much and then the connection breaks.
    Cut(usize),
    /// What the API would, but only as much and then nothing, and no end.
    Stall(usize),
    /// What the API would, in pieces of so many octets.
    Pieces(usize),
    /// What the API would, once the gate is open.
    Gated(watch::Receiver<bool>),
}

impl Reply {
    pub fn gated() -> (watch::Sender<bool>, Self) {
        let (gate, receiver) = watch::channel(false);
        (gate, Self::Gated(receiver))
    }
}

#[derive(Debug, Default)]
struct Script {
    next: HashMap<(Kind, Ask), VecDeque<Reply>>,
    always: HashMap<(Kind, Ask), Reply>,
}

struct Inner {
    world: World,
    now: watch::Sender<u64>,
    oldest: AtomicU64,
    script: Mutex<Script>,
    asked: watch::Sender<Vec<String>>,
    token: Mutex<String>,
    connections: AtomicUsize,
    compressed: AtomicBool,
}

/// The server, and the files that lead to it.
pub struct Api {
    inner: Arc<Inner>,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    running: Option<JoinSet<()>>,
    folder: tempfile::TempDir,
}

impl Api {
    /// A server with the recorded cluster, before its changes.
    pub async fn start() -> Self {
        Self::with(World::recorded()).await
    }

    /// A server with some cluster.
    pub async fn with(world: World) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec![String::from("127.0.0.1")];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inner = Arc::new(Inner {
            world,
            now: watch::Sender::new(recorded::BEGIN),
            oldest: AtomicU64::new(0),
            script: Mutex::default(),
            asked: watch::Sender::new(Vec::new()),
            token: Mutex::new(String::from("token-1")),
            connections: AtomicUsize::new(0),
            compressed: AtomicBool::new(false),
        });
        let mut api = Self {
            inner,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            running: None,
            folder,
        };
        api.up().await;
        std::fs::write(api.file("ca.pem"), authority.pem()).unwrap();
        std::fs::write(api.file("token"), "token-1\n").unwrap();
        std::fs::write(
            api.file("kubeconfig"),
            api.kubeconfig("certificate-authority: ca.pem", "tokenFile: token"),
        )
        .unwrap();
        api
    }

    /// A file beside the kubeconfig.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a kubeconfig.
    pub fn kubeconfig(&self, cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: main\n\
             clusters:\n- name: lab\n  cluster:\n    server: https://{}\n    {cluster}\n\
             users:\n- name: skybridge\n  user:\n    {user}\n\
             contexts:\n- name: main\n  context: {{cluster: lab, user: skybridge}}\n",
            self.address
        )
    }

    /// Takes connections, at the same port as before.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (inner, acceptor) = (Arc::clone(&self.inner), self.acceptor.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (inner, acceptor) = (Arc::clone(&inner), acceptor.clone());
                connections.spawn(async move {
                    let open = Open::new(&inner.connections);
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = serve(&inner, stream).await;
                    }
                    drop(open);
                });
            }
        });
        self.running = Some(running);
    }

    /// Breaks all connections and refuses new ones.
    pub async fn down(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Lets the cluster become what it was at a version.
    pub fn advance(&self, version: u64) {
        self.inner.now.send_replace(version);
    }

    /// Forgets versions before this one.
    pub fn compact(&self, version: u64) {
        self.inner.oldest.store(version, Ordering::SeqCst);
    }

    /// The answer to the next such request for which none is planned yet.
    pub fn next(&self, kind: Kind, ask: Ask, reply: Reply) {
        self.inner.script.lock().unwrap().next.entry((kind, ask)).or_default().push_back(reply);
    }

    /// The answer to all such requests for which no other is planned.
    pub fn always(&self, kind: Kind, ask: Ask, reply: Reply) {
        self.inner.script.lock().unwrap().always.insert((kind, ask), reply);
    }

    /// The same answer to everything.
    pub fn always_all(&self, reply: &Reply) {
        for kind in Kind::ALL {
            for ask in [Ask::List, Ask::Stream, Ask::Watch] {
                self.always(kind, ask, reply.clone());
            }
        }
    }

    /// Only this token counts.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.inner.token.lock().unwrap());
    }

    /// Whether a list was asked for with compression.
    pub fn was_asked_for_compression(&self) -> bool {
        self.inner.compressed.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.borrow().clone()
    }

    /// Waits until the requests fulfil something.
    pub async fn until_asked(&self, what: &str, wanted: impl FnMut(&Vec<String>) -> bool) {
        let mut asked = self.inner.asked.subscribe();
        if time::timeout(PATIENCE, asked.wait_for(wanted)).await.is_err() {
            panic!("never asked: {what}; asked: {:#?}", self.asked());
        }
    }

    /// Waits until a kind is asked for a number of times in a way.
    pub async fn until_asked_times(&self, kind: Kind, ask: Ask, times: usize) {
        let what = format!("{ask:?} of {} {times} times", kind.plural());
        self.until_asked(&what, |asked| {
            asked.iter().filter(|path| classify(path) == Some((kind, ask))).count() >= times
        })
        .await;
    }

    /// Waits until nobody is connected.
    pub async fn until_left(&self) {
        time::timeout(PATIENCE, async {
            while self.inner.connections.load(Ordering::SeqCst) > 0 {
                time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("connections end");
    }

    /// What should be known at a version.
    pub fn inventory(&self, version: u64) -> skybridge::cluster::model::Inventory {
        self.inner.world.inventory(version)
    }

    /// How this server is followed, with short waits between tries.
    pub fn settings(&self) -> KubernetesSettings {
        settings(&self.file("kubeconfig"))
    }

    /// Follows this server.
    pub fn watch(&self) -> Seen {
        Seen(kubernetes::watch(self.settings()))
    }
}

/// How a server is followed, with short waits between tries.
pub fn settings(kubeconfig: &Path) -> KubernetesSettings {
    KubernetesSettings {
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
        timing: Timing {
            backoff_first: Duration::from_millis(2),
            backoff_most: Duration::from_millis(50),
            gather: Duration::from_millis(2),
            ..Timing::default()
        },
        limits: Limits::default(),
    }
}

/// How long anything may take until a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is published.
pub struct Seen(pub watch::Receiver<Observation>);

impl Seen {
    /// Waits until what is published fulfils something.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Observation) -> bool) -> Observation {
        let mut watched = self.0.clone();
        match time::timeout(PATIENCE, watched.wait_for(|observation| wanted(observation))).await {
            Ok(Ok(observation)) => observation.clone(),
            Ok(Err(_)) => panic!("it ended before: {what}"),
            Err(_) => panic!("never came: {what}; now {:#?}", self.0.borrow().health),
        }
    }

    /// Waits until all is read and well, and what is known is this.
    pub async fn until_known(&mut self, inventory: &skybridge::cluster::model::Inventory) -> Observation {
        self.until("the whole inventory", |seen| {
            seen.health.synced && seen.health.problem.is_none() && *seen.inventory == *inventory
        })
        .await
    }

    /// Waits until a problem is told with all these words.
    pub async fn until_told(&mut self, words: &[&str]) -> Observation {
        self.until(&format!("a problem with {words:?}"), |seen| {
            seen.health
                .problem
                .as_ref()
                .is_some_and(|problem| words.iter().all(|word| problem.contains(word)))
        })
        .await
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The connection shall end.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// An answer under way, and how it is spoilt.
struct Sink {
    stream: TlsStream<TcpStream>,
    reply: Reply,
    sent: usize,
}

impl Sink {
    async fn send(&mut self, octets: &[u8]) -> Result<(), Over> {
        let piece = if let Reply::Pieces(size) = self.reply { size } else { octets.len().max(1) };
        let end = match self.reply {
            Reply::Cut(end) | Reply::Stall(end) => end.saturating_sub(self.sent).min(octets.len()),
            _ => octets.len(),
        };
        for piece in octets[..end].chunks(piece) {
            self.stream.write_all(piece).await?;
            self.stream.flush().await?;
        }
        self.sent += end;
        if end == octets.len() {
            return Ok(());
        }
        if matches!(self.reply, Reply::Stall(_)) {
            self.wait().await?;
        }
        Err(Over)
    }

    async fn line(&mut self, line: &str) -> Result<(), Over> {
        self.send(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await
    }

    /// Waits until the client goes away.
    async fn wait(&mut self) -> Result<(), Over> {
        let mut octets = [0; 64];
        while self.stream.read(&mut octets).await? > 0 {}
        Err(Over)
    }
}

fn classify(path: &str) -> Option<(Kind, Ask)> {
    let kind = Kind::ALL.into_iter().find(|kind| path.split('?').next() == Some(kind.path()))?;
    let ask = if path.contains("sendInitialEvents=true") {
        Ask::Stream
    } else if path.contains("watch=true") {
        Ask::Watch
    } else {
        Ask::List
    };
    Some((kind, ask))
}

fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let query = path.split_once('?')?.1;
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

async fn serve(inner: &Inner, mut stream: TlsStream<TcpStream>) -> Result<(), Over> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let headers = head.to_ascii_lowercase();
        let (kind, ask) = classify(&path).expect("only the four kinds are asked for");
        assert!(headers.contains("accept: application/json"), "{head}");
        if ask == Ask::List {
            inner.compressed.fetch_or(headers.contains("accept-encoding: gzip"), Ordering::SeqCst);
        } else {
            assert!(headers.contains("accept-encoding: identity"), "{head}");
        }
        let token = format!("authorization: bearer {}\r\n", inner.token.lock().unwrap());
        let reply = if headers.contains(&token) {
            let mut script = inner.script.lock().unwrap();
            let next = script.next.get_mut(&(kind, ask)).and_then(VecDeque::pop_front);
            next.or_else(|| script.always.get(&(kind, ask)).cloned()).unwrap_or(Reply::Live)
        } else {
            Reply::Recorded("401-bad-token.http")
        };
        inner.asked.send_modify(|asked| asked.push(path.clone()));
        let mut sink = Sink { stream, reply: reply.clone(), sent: 0 };
        match reply {
            Reply::Recorded(name) => {
                let response = recorded::response(name);
                sink.send(&response).await?;
                // A recording without an end is that of a connection that broke.
                let chunked = response.windows(26).any(|octets| octets == b"Transfer-Encoding: chunked");
                let whole = !chunked || response.ends_with(b"\r\n0\r\n\r\n");
                if !whole {
                    return Err(Over);
                }
            }
            Reply::Lines(lines) | Reply::Open(lines) => {
                sink.send(HEAD.as_bytes()).await?;
                for line in lines {
                    sink.line(&line).await?;
                }
                if matches!(sink.reply, Reply::Open(_)) {
                    sink.wait().await?;
                }
                sink.send(b"0\r\n\r\n").await?;
            }
            Reply::Nothing => sink.wait().await?,
            _ => {
                if let Reply::Gated(gate) = &mut sink.reply {
                    let _ = gate.wait_for(|open| *open).await;
                }
                match ask {
                    Ask::List => list(inner, &mut sink, kind, &path).await?,
                    Ask::Stream => watch_from(inner, &mut sink, kind, None).await?,
                    Ask::Watch => {
                        let version = parameter(&path, "resourceVersion").and_then(|text| text.parse().ok());
                        watch_from(inner, &mut sink, kind, Some(version.expect("a version"))).await?;
                    }
                }
            }
        }
        stream = sink.stream;
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: no-cache, private\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";

async fn list(inner: &Inner, sink: &mut Sink, kind: Kind, path: &str) -> Result<(), Over> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok());
    let limit = number(parameter(path, "limit")).unwrap_or(usize::MAX / 2);
    let next = parameter(path, "continue").map(|next| next.replace("%3A", ":"));
    let (version, skip) = match next.as_ref().and_then(|next| next.split_once(':')) {
        Some((version, skip)) => (version.parse().unwrap(), number(Some(skip)).unwrap()),
        None => (*inner.now.borrow(), 0),
    };
    let body = inner.world.list(kind, version, skip, limit).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    sink.send(head.as_bytes()).await?;
    sink.send(body.as_bytes()).await
}

/// A watch from a version on, or from all that exists.
async fn watch_from(inner: &Inner, sink: &mut Sink, kind: Kind, from: Option<u64>) -> Result<(), Over> {
    let mut now = inner.now.subscribe();
    sink.send(HEAD.as_bytes()).await?;
    let history = &inner.world.0[&kind];
    let mut at = match from {
        Some(version) if version < inner.oldest.load(Ordering::SeqCst) => {
            let error = recorded::lines("watch-services-resume-after-restart.jsonl").remove(0);
            sink.line(&error).await?;
            return sink.send(b"0\r\n\r\n").await;
        }
        Some(version) => version,
        None => {
            let version = *now.borrow_and_update();
            for object in history.at(version).into_values() {
                sink.line(&serde_json::json!({"type": "ADDED", "object": object}).to_string()).await?;
            }
            sink.line(&World::bookmark(kind, version, true)).await?;
            version
        }
    };
    loop {
        let until = *now.borrow_and_update();
        for (version, line) in history.between(at, until) {
            sink.line(&line).await?;
            at = version;
        }
        match sink.reply {
            Reply::Bookmarks => sink.line(&World::bookmark(kind, until, false)).await?,
            Reply::Ends => return sink.send(b"0\r\n\r\n").await,
            _ => {}
        }
        let mut octet = [0; 1];
        tokio::select! {
            changed = now.changed() => if changed.is_err() { pending().await },
            read = sink.stream.read(&mut octet) => {
                // Nothing is sent on a connection with an answer under way: the client has gone.
                read?;
                return Err(Over);
            }
        }
    }
}
