//! The way to the API: kubeconfig or a Pod's credentials, and requests with bounds.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Request,
    body::Bytes,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, USER_AGENT},
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client,
    client::{Body, ConfigExt as _},
    config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{runtime::Handle, task, time};
use tower::{BoxError, ServiceBuilder};
use tower_http::decompression::DecompressionLayer;

use super::{
    KubernetesSettings, Timing,
    problem::{self, Problem, Refusal},
};
use crate::crypto::Secret;

/// Octets that a kubeconfig, a token and the body of a refusal may have.
const KUBECONFIG: u64 = 1 << 20;
const TOKEN: usize = 64 << 10;
const REFUSAL: usize = 64 << 10;

/// How often the kernel asks whether a silent connection still stands, and how long one without use is kept.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why a request gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The API refuses.
    Refused(Refusal),
    /// No answer, or none that is usable.
    Problem(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The connection that all kinds share, made when it is first needed and again after it failed.
#[derive(Debug)]
pub(super) struct Connector {
    settings: KubernetesSettings,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    warned: Once,
}

impl Connector {
    /// No connection yet.
    pub(super) fn new(settings: KubernetesSettings) -> Self {
        Self { settings, connection: tokio::sync::Mutex::new(None), warned: Once::new() }
    }

    /// The present connection, or a new one from credentials read anew.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Problem> {
        let mut present = self.connection.lock().await;
        if let Some(connection) = &*present {
            return Ok(Arc::clone(connection));
        }
        let settings = self.settings.clone();
        let made = task::spawn_blocking(move || Connection::new(&settings)).await;
        let connection = Arc::new(made.map_err(|error| Problem::Credentials { reason: error.to_string() })??);
        if connection.insecure {
            self.warned.call_once(|| {
                let server = &connection.server;
                tracing::warn!(
                    server,
                    "insecure-skip-tls-verify: whoever answers there gets the credentials"
                );
            });
        }
        *present = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// A connection failed: the next one is made anew.
    pub(super) async fn discard(&self, failed: &Arc<Connection>) {
        let mut present = self.connection.lock().await;
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, failed)) {
            *present = None;
        }
    }
}

/// An HTTP client with an API's address and credentials.
pub(super) struct Connection {
    client: Client,
    server: String,
    token: Option<TokenFile>,
    insecure: bool,
    timing: Timing,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads the credentials. Blocks for files; no connection is opened yet.
    fn new(settings: &KubernetesSettings) -> Result<Self, Problem> {
        let mut config = match &settings.kubeconfig {
            Some(path) => from_kubeconfig(path, settings.context.as_deref())?,
            None => {
                Config::incluster().map_err(|error| Problem::NotInCluster { reason: error.to_string() })?
            }
        };
        let url = &config.cluster_url;
        let server = format!(
            "{}://{}",
            url.scheme_str().unwrap_or("https"),
            url.authority().map_or_else(String::new, |authority| {
                // User and password do not belong into messages.
                authority.as_str().rsplit('@').next().unwrap_or_default().to_owned()
            })
        );
        let loopback = url.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme_str() != Some("https") && !loopback {
            return Err(Problem::Credentials { reason: format!("{server} does not begin with https://") });
        }
        let insecure = config.accept_invalid_certs;
        let token = match config.auth_info.token_file.take() {
            Some(path) if config.auth_info.token.is_none() => Some(TokenFile::new(path.into())?),
            _ => None,
        };
        let unusable =
            |error: kube::Error| Problem::Credentials { reason: problem::readable(&error.to_string()) };
        let client = client(config, settings.timing.connect).map_err(unusable)?;
        Ok(Self { client, server, token, insecure, timing: settings.timing })
    }

    /// The server's address, for messages.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Asks for something and reads its answer's head. An answer that comes `as_it_is` is not compressed, for events
    /// within compressed streams may be held back.
    pub(super) async fn get(&self, path: &str, as_it_is: bool) -> Result<Answer, Failure> {
        let mut request = Request::get(path)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("skybridge/", env!("CARGO_PKG_VERSION"))));
        if as_it_is {
            request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header().await?);
        }
        let request = request.body(Body::empty()).map_err(|error| self.malformed(&error.to_string()))?;
        let within = self.timing.connect + self.timing.request;
        let response = time::timeout(within, self.client.send(request))
            .await
            .map_err(|_| self.silent(within))?
            .map_err(|error| problem::of_client(&self.server, &error))?;
        let code = response.status();
        let mut answer = Answer { body: response.into_body(), server: self.server.clone() };
        if code.is_success() {
            return Ok(answer);
        }
        // Why it refuses may be cut off or late; that it refuses is known.
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(piece)) = answer.piece(self.timing.request).await {
                body.extend_from_slice(&piece);
                if body.len() > REFUSAL {
                    break;
                }
            }
        };
        let _ = time::timeout(self.timing.request, reading).await;
        Err(Failure::Refused(Refusal::from_body(code.as_u16(), &body)))
    }

    /// The server sends what is no answer.
    pub(super) fn malformed(&self, reason: &str) -> Problem {
        Problem::Malformed { server: self.server.clone(), reason: problem::readable(reason) }
    }

    /// The server says nothing.
    pub(super) fn silent(&self, after: Duration) -> Problem {
        Problem::Silent { server: self.server.clone(), after }
    }
}

/// An answer's body.
pub(super) struct Answer {
    body: Body,
    server: String,
}

impl Answer {
    /// Its next piece; `None` at its proper end.
    pub(super) async fn piece(&mut self, within: Duration) -> Result<Option<Bytes>, Problem> {
        loop {
            let silent = |_| Problem::Silent { server: self.server.clone(), after: within };
            match time::timeout(within, self.body.frame()).await.map_err(silent)? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => return Err(problem::of_client(&self.server, &error)),
            }
        }
    }
}

/// The HTTP client. The library's own would try a name's addresses one after the other without a bound for each, and
/// retry and log by itself.
fn client(config: Config, connect: Duration) -> Result<Client, kube::Error> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    // Divided between the addresses of a name: one that is dead does not hide the others.
    http.set_connect_timeout(Some(connect));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE));
    let https = config.rustls_https_connector_with_connector(http)?;
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEPALIVE)
        .build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace))
}

/// A file with a token that somebody replaces before it expires.
struct TokenFile {
    path: PathBuf,
    last: Mutex<Secret>,
}

impl TokenFile {
    fn new(path: PathBuf) -> Result<Self, Problem> {
        let read = std::fs::read(&path);
        let token = read.map_err(|error| Problem::Credentials {
            reason: format!("the token {} cannot be read: {error}", path.display()),
        })?;
        Ok(Self { path, last: Mutex::new(Secret::new(token)) })
    }

    /// The header with the token that is in the file now. If the file is gone the last token stays.
    async fn header(&self) -> Result<HeaderValue, Problem> {
        if let Ok(token) = tokio::fs::read(&self.path).await
            && !token.trim_ascii().is_empty()
            && token.len() <= TOKEN
        {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Secret::new(token);
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = Secret::new([b"Bearer ", last.expose().trim_ascii()].concat());
        let mut header = HeaderValue::from_bytes(text.expose()).map_err(|_| Problem::Credentials {
            reason: format!("{} holds no token", self.path.display()),
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Reads a kubeconfig and takes what one of its contexts says. Blocks.
fn from_kubeconfig(path: &std::path::Path, context: Option<&str>) -> Result<Config, Problem> {
    let name = path.display().to_string();
    let unreadable = |reason: String| Problem::Unreadable { path: name.clone(), reason };
    let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() {
        return Err(unreadable(String::from("it is no file")));
    }
    if about.len() > KUBECONFIG {
        return Err(unreadable(format!("it has more than {KUBECONFIG} octets")));
    }
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| of_kubeconfig(&name, &error))?;
    let names: Vec<&str> = kubeconfig.contexts.iter().take(20).map(|context| context.name.as_str()).collect();
    let known = if names.is_empty() { String::from("none") } else { names.join(", ") };
    let current = kubeconfig.current_context.as_deref().filter(|context| !context.is_empty());
    let Some(wanted) = context.or(current) else { return Err(Problem::NoContext { path: name, known }) };
    let found = kubeconfig.contexts.iter().find(|context| context.name == wanted);
    let Some(context) = found.and_then(|context| context.context.as_ref()) else {
        return Err(Problem::NoSuchContext { path: name, context: wanted.to_owned(), known });
    };
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let proxy = cluster.and_then(|cluster| cluster.cluster.as_ref()?.proxy_url.as_deref());
    if proxy.is_some_and(|proxy| !proxy.is_empty()) {
        return Err(Problem::NotSupported { path: name, what: "proxy-url" });
    }
    let options = KubeConfigOptions { context: Some(wanted.to_owned()), ..KubeConfigOptions::default() };
    let config = Handle::current().block_on(Config::from_custom_kubeconfig(kubeconfig.clone(), &options));
    let mut config = config.map_err(|error| of_kubeconfig(&name, &error))?;
    // The environment's proxy is for the way to the outside; the API is not there.
    config.proxy_url = None;
    if config.auth_info.exec.is_some() {
        return Err(Problem::NotSupported { path: name, what: "exec" });
    }
    if config.auth_info.auth_provider.is_some() {
        return Err(Problem::NotSupported { path: name, what: "auth-provider" });
    }
    Ok(config)
}

/// What the operator is told about a kubeconfig. What its parser says may show its text, and with it a token.
fn of_kubeconfig(path: &str, error: &KubeconfigError) -> Problem {
    let path = path.to_owned();
    match error {
        KubeconfigError::ReadConfig(error, _) => Problem::Unreadable { path, reason: error.to_string() },
        KubeconfigError::Parse(error) => {
            let at = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
            Problem::NotUnderstood { path, reason: format!("it is no kubeconfig{}", at.unwrap_or_default()) }
        }
        error => Problem::NotUnderstood { path, reason: problem::readable(&error.to_string()) },
    }
}
