//! Lists one kind, watches it, and begins again where that fails.
//!
//! A watch resumes from the last version that was seen. Everything is listed again when the API no longer has that
//! version (410), when it says nothing although bookmarks are due, and when a watch ends with an error. Until such a
//! list is whole the objects known before stay.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::time::{self, Instant};

use super::{
    KubernetesSettings,
    backoff::{self, Backoff},
    connect::{Answer, Connection, Connector, Failure},
    event::{self, Event},
    kind::{Kind, Resource},
    lines::{Line, Lines},
    problem::{Problem, Refusal},
    state::{Gathered, Shared},
};

/// Objects asked for at once where a list comes in pages.
const PAGE: u32 = 500;

/// Watches that broke without having said anything until that is told.
const BREAKS: u32 = 3;

/// What the readers of all kinds work with.
#[derive(Debug)]
pub(super) struct Source {
    /// How long things may take and how much is held.
    pub(super) settings: KubernetesSettings,
    /// The way to the API.
    pub(super) connector: Connector,
    /// Where objects are collected.
    pub(super) shared: Shared,
}

/// Follows one kind without end.
pub(super) async fn follow<K: Kind>(source: Arc<Source>) {
    let timing = source.settings.timing;
    let mut follower = Follower::<K> {
        backoff: Backoff::new(timing.backoff_first, timing.backoff_most),
        source,
        version: None,
        streaming: true,
        list_next: false,
        paged: true,
        page: PAGE,
        heard: false,
        listed: false,
        open: false,
        breaks: 0,
        kind: PhantomData,
    };
    loop {
        let result = follower.session().await;
        let wait = follower.judge(result);
        time::sleep(wait).await;
    }
}

/// Why a session ended before its time.
enum Trouble {
    /// The API refuses.
    Refused(Refusal),
    /// It cannot be read.
    Problem(Problem),
    /// An open watch says nothing any more.
    Silent(Problem),
    /// The server cannot begin a watch with what exists.
    NoStreaming,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Refused(refusal),
            Failure::Problem(problem) => Self::Problem(problem),
        }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

struct Follower<K: Kind> {
    source: Arc<Source>,
    /// The version that is known; none before a list.
    version: Option<String>,
    /// Whether a watch may begin with what exists, in place of a list.
    streaming: bool,
    /// Whether the next list is a plain one all the same.
    list_next: bool,
    /// Whether lists come in pages.
    paged: bool,
    page: u32,
    backoff: Backoff,
    /// Whether this session has listed what exists.
    listed: bool,
    /// Whether this session's watch is open, beyond what existed when it began.
    open: bool,
    /// Whether it has said something since.
    heard: bool,
    /// Watches that broke one after the other without having said anything.
    breaks: u32,
    kind: PhantomData<K>,
}

impl<K: Kind> Follower<K> {
    /// One connection's life: a list if nothing is known yet, then a watch until it ends.
    async fn session(&mut self) -> Result<(), (Trouble, String)> {
        self.listed = false;
        self.open = false;
        self.heard = false;
        let connection = match self.source.connector.connection().await {
            Ok(connection) => connection,
            Err(problem) => return Err((Trouble::Problem(problem), String::new())),
        };
        self.source.shared.set_source(connection.server());
        let result = self.converse(&connection).await;
        let spoilt = match &result {
            Err(Trouble::Problem(problem)) => problem.is_of_connection(),
            Err(Trouble::Refused(refusal)) => refusal.code == StatusCode::UNAUTHORIZED.as_u16(),
            Err(Trouble::Silent(_)) => true,
            Err(Trouble::NoStreaming) | Ok(()) => false,
        };
        if spoilt {
            self.source.connector.discard(&connection).await;
        }
        result.map_err(|trouble| (trouble, connection.server().to_owned()))
    }

    async fn converse(&mut self, connection: &Connection) -> Result<(), Trouble> {
        let streaming = self.streaming && !std::mem::take(&mut self.list_next);
        let mut stream = match &self.version {
            None if streaming => self.stream(connection).await?,
            None => {
                self.list(connection).await?;
                self.resume(connection).await?
            }
            Some(_) => self.resume(connection).await?,
        };
        self.open = true;
        if self.breaks < BREAKS {
            self.source.shared.trouble(K::RESOURCE, None);
        }
        self.read(connection, &mut stream).await
    }

    fn seconds(&self) -> u64 {
        // Watches that began together shall not end together.
        backoff::vary(self.source.settings.timing.watch).as_secs().max(1)
    }

    /// Opens a watch that goes on from the known version.
    async fn resume(&self, connection: &Connection) -> Result<Stream, Trouble> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            K::RESOURCE.path(),
            encoded(self.version.as_deref().unwrap_or_default()),
            self.seconds()
        );
        let answer = connection.get(&path, true).await?;
        Ok(Stream::new(answer, self.source.settings.limits.event))
    }

    /// Opens a watch that begins with what exists, and reads that.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists>
    async fn stream(&mut self, connection: &Connection) -> Result<Stream, Trouble> {
        let path = format!(
            "{}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true\
             &timeoutSeconds={}",
            K::RESOURCE.path(),
            self.seconds()
        );
        let timing = self.source.settings.timing;
        let answer = match connection.get(&path, true).await {
            Ok(answer) => answer,
            // Servers that do not know of it refuse the parameters.
            Err(Failure::Refused(Refusal { code: 400 | 422, .. })) => return Err(Trouble::NoStreaming),
            Err(failure) => return Err(failure.into()),
        };
        let mut stream = Stream::new(answer, self.source.settings.limits.event);
        let mut gathered = Gathered::<K>::new(self.source.settings.limits.objects);
        let initial = async {
            loop {
                match stream.line(timing.request).await? {
                    None => {
                        return Err(Trouble::Problem(broken(connection, "a watch ended before what exists")));
                    }
                    Some(Line::TooLong) => gathered.notes().too_large(),
                    Some(Line::Whole(line)) => match event::event::<K>(&line)
                        .map_err(|e| connection.malformed(&e))?
                    {
                        Event::Put { object, .. } => gathered.put(object),
                        Event::Removed { key, .. } => gathered.remove(&key),
                        Event::Bookmark { version: Some(version), ends_initial: true } => return Ok(version),
                        Event::Bookmark { .. } => {}
                        // Storage that cannot tell how far it is (etcd before 3.4.25 and 3.5.8).
                        Event::Error(Refusal { code: 500, .. }) => return Err(Trouble::NoStreaming),
                        Event::Error(refusal) => return Err(Trouble::Refused(refusal)),
                    },
                }
            }
        };
        let result = time::timeout(timing.list, initial).await;
        let version = match result.unwrap_or_else(|_| Err(connection.silent(timing.list).into())) {
            Ok(version) => version,
            Err(trouble) => {
                // A server that sends what exists but never says that this is all is asked for a list.
                self.list_next = matches!(trouble, Trouble::Problem(Problem::Silent { .. }));
                return Err(trouble);
            }
        };
        self.version = Some(version);
        self.listed = true;
        self.breaks = 0;
        self.source.shared.replace(gathered);
        Ok(stream)
    }

    /// Lists everything, page by page.
    async fn list(&mut self, connection: &Connection) -> Result<(), Trouble> {
        let timing = self.source.settings.timing;
        let mut gathered = Gathered::<K>::new(self.source.settings.limits.objects);
        let pages = async {
            let mut version = None;
            let mut next: Option<String> = None;
            loop {
                let path = match (&next, self.paged) {
                    (Some(next), _) => {
                        format!("{}?limit={}&continue={}", K::RESOURCE.path(), self.page, encoded(next))
                    }
                    (None, true) => format!("{}?limit={}", K::RESOURCE.path(), self.page),
                    (None, false) => K::RESOURCE.path().to_owned(),
                };
                let answer = match connection.get(&path, false).await {
                    Ok(answer) => answer,
                    Err(Failure::Refused(refusal)) if refusal.is_expired() && next.is_some() => {
                        // The list took longer than the API keeps a version: once without pages.
                        self.paged = false;
                        return Err(Trouble::Refused(refusal));
                    }
                    Err(failure) => return Err(failure.into()),
                };
                let limit = self.source.settings.limits.page;
                let Some(body) = whole(answer, limit, timing.request).await? else {
                    if self.paged && self.page == 1 {
                        return Err(
                            Problem::TooLarge { server: connection.server().to_owned(), limit }.into()
                        );
                    }
                    self.paged = true;
                    self.page = (self.page / 4).max(1);
                    continue;
                };
                let page = event::page::<K>(&body).map_err(|error| connection.malformed(&error))?;
                for object in page.items {
                    gathered.put(object);
                }
                // Later pages may be newer; what is between is sent again by the watch.
                version.get_or_insert(page.version);
                next = page.next;
                if next.is_none() {
                    return Ok(version);
                }
            }
        };
        let result = time::timeout(timing.list, pages).await;
        self.version = result.unwrap_or_else(|_| Err(connection.silent(timing.list).into()))?;
        self.paged = true;
        self.listed = true;
        self.breaks = 0;
        self.source.shared.replace(gathered);
        Ok(())
    }

    /// Reads an open watch until it ends.
    async fn read(&mut self, connection: &Connection, stream: &mut Stream) -> Result<(), Trouble> {
        let source = Arc::clone(&self.source);
        let shared = &source.shared;
        loop {
            let line = match stream.line(source.settings.timing.silence).await {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(problem @ Problem::Silent { .. }) => return Err(Trouble::Silent(problem)),
                Err(problem) => return Err(problem.into()),
            };
            let Line::Whole(line) = line else {
                shared.too_large(K::RESOURCE);
                continue;
            };
            let seen = match event::event::<K>(&line).map_err(|error| connection.malformed(&error))? {
                Event::Put { object, version } => {
                    shared.put(object);
                    version
                }
                Event::Removed { name, key, version } => {
                    shared.remove::<K>(name, &key);
                    version
                }
                Event::Bookmark { version, .. } => version,
                Event::Error(refusal) => {
                    // Whatever it was, going on from the same version may meet it again.
                    self.version = None;
                    return Err(Trouble::Refused(refusal));
                }
            };
            if let Some(version) = seen {
                self.version = Some(version);
            }
            if !self.heard {
                self.heard = true;
                self.breaks = 0;
                self.backoff.reset();
                shared.trouble(K::RESOURCE, None);
            }
            shared.current(K::RESOURCE);
        }
    }

    /// What follows from a session's end; how long to wait before the next.
    fn judge(&mut self, result: Result<(), (Trouble, String)>) -> Duration {
        let shared = &self.source.shared;
        let timing = self.source.settings.timing;
        let (trouble, server) = match result {
            Err((trouble, server)) => (trouble, server),
            Ok(()) => {
                // A watch in which not even a bookmark came proves nothing: the objects may be old.
                if !self.heard && !self.listed {
                    self.version = None;
                }
                return self.backoff.next();
            }
        };
        match trouble {
            Trouble::NoStreaming => {
                self.streaming = false;
                Duration::ZERO
            }
            Trouble::Silent(problem) => {
                tracing::debug!(kind = K::RESOURCE.plural(), %problem, "listing again");
                self.version = None;
                self.backoff.next()
            }
            Trouble::Refused(refusal) if refusal.is_expired() => {
                tracing::debug!(kind = K::RESOURCE.plural(), message = refusal.message, "listing again");
                self.version = None;
                self.backoff.next()
            }
            Trouble::Refused(refusal) => {
                // A version that the API does not accept, say after its storage was restored.
                if matches!(refusal.code, 400 | 404..=407 | 409..=428 | 430..=499) {
                    self.version = None;
                }
                let problem = refusal.problem(&server);
                let absent = matches!(problem, Problem::NotServed { .. }) && !K::RESOURCE.is_needed();
                shared.trouble(K::RESOURCE, Some(problem));
                if absent {
                    return backoff::vary(timing.absent);
                }
                let asked = refusal.retry_after.unwrap_or_default().min(timing.backoff_most);
                self.backoff.next().max(asked)
            }
            Trouble::Problem(problem) => {
                // Connections end, and the next one goes on where this one was. That is worth telling only if one after
                // the other ends before it has said anything.
                let ended = self.open && matches!(problem, Problem::Broken { .. });
                if ended && !self.listed && !self.heard {
                    self.breaks = self.breaks.saturating_add(1);
                }
                if !ended || self.breaks >= BREAKS {
                    shared.trouble(K::RESOURCE, Some(problem));
                }
                self.backoff.next()
            }
        }
    }
}

fn broken(connection: &Connection, reason: &str) -> Problem {
    Problem::Broken { server: connection.server().to_owned(), reason: reason.to_owned() }
}

/// A whole body; `None` if it is longer than `limit`.
async fn whole(mut answer: Answer, limit: usize, within: Duration) -> Result<Option<Vec<u8>>, Problem> {
    let mut body = Vec::new();
    while let Some(piece) = answer.piece(within).await? {
        if body.len() + piece.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// The lines of a watch.
struct Stream {
    answer: Answer,
    lines: Lines,
}

impl Stream {
    fn new(answer: Answer, limit: usize) -> Self {
        Self { answer, lines: Lines::new(limit) }
    }

    /// The next line, which must be whole within a time; `None` at the proper end.
    async fn line(&mut self, within: Duration) -> Result<Option<Line>, Problem> {
        let until = Instant::now() + within;
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(Some(line));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.answer.piece(left).await.map_err(|problem| match problem {
                Problem::Silent { server, .. } => Problem::Silent { server, after: within },
                problem => problem,
            })? {
                Some(piece) => self.lines.push(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// A value within a query: all but letters, digits and a few marks as `%XX`.
fn encoded(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            let _ = write!(text, "%{octet:02X}");
        }
        text
    })
}

/// Follows a kind by its name.
pub(super) async fn follow_resource(source: Arc<Source>, resource: Resource) {
    match resource {
        Resource::Services => follow::<super::kind::Services>(source).await,
        Resource::Slices => follow::<super::kind::Slices>(source).await,
        Resource::Nodes => follow::<super::kind::Nodes>(source).await,
        Resource::Cidrs => follow::<super::kind::Cidrs>(source).await,
    }
}
