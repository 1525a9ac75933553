//! The calling end of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{ApiError, Done, Status};
use super::services::Services;
use super::{Action, RekeyTarget};

/// An answer larger than this is refused: 10,000 peers fit.
const MAX_ANSWER: usize = 64 << 20;

/// How long a call may take before the daemon counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "no daemon answers on {}: is `skybridge run` up? (systemctl status skybridge); \
         another socket is chosen with --control", path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be opened.
    #[error("may not open {}: use sudo, or join the group set as endpoint.control_group", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon refused the request.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The daemon did not answer in time.
    #[error("the daemon on {} did not answer within {} s", path.display(), PATIENCE.as_secs())]
    Timeout {
        /// The socket.
        path: PathBuf,
    },
    /// What came back is not what this version understands.
    #[error("the daemon on {} gave an answer that cannot be read: {why}", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
}

/// A client of the daemon at one socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client for the socket at `path`; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket this client calls.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for the daemon's state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status").await
    }

    /// The clusters behind the daemon's endpoint and their Services.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn services(&self) -> Result<Services, ClientError> {
        self.call(Method::GET, "/v1/services").await
    }

    /// Asks the daemon to do something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn act(&self, action: &Action) -> Result<Done, ClientError> {
        let target = match action {
            Action::Up { peer, child } => peer_target(peer, "up", child.as_deref()),
            Action::Down { peer, child } => peer_target(peer, "down", child.as_deref()),
            Action::Rekey { peer, what } => match what {
                RekeyTarget::Ike => format!("{}?ike=true", peer_target(peer, "rekey", None)),
                RekeyTarget::Children => format!("{}?children=true", peer_target(peer, "rekey", None)),
                RekeyTarget::Child(name) => peer_target(peer, "rekey", Some(name)),
                RekeyTarget::All => peer_target(peer, "rekey", None),
            },
            Action::Reload => "/v1/reload".to_owned(),
        };
        self.call(Method::POST, &target).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        tokio::time::timeout(PATIENCE, self.exchange(method, target))
            .await
            .map_err(|_| ClientError::Timeout { path: self.path.clone() })?
    }

    async fn exchange<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::Forbidden { path: self.path.clone() },
            _ => ClientError::NotRunning { path: self.path.clone() },
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.garbled(e))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "skybridge")
            .body(Empty::<Bytes>::new())
            .map_err(|e| self.garbled(e))?;
        let answer = sender.send_request(request).await.map_err(|e| self.garbled(e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| self.garbled(e))?
            .to_bytes();
        driver.abort();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|e| self.garbled(e));
        }
        match serde_json::from_slice::<ApiError>(&body) {
            Ok(refusal) => Err(refusal.into()),
            Err(_) => Err(self.garbled(format!("HTTP status {status}"))),
        }
    }

    fn garbled(&self, why: impl ToString) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), why: why.to_string() }
    }
}

fn peer_target(peer: &str, verb: &str, child: Option<&str>) -> String {
    let mut target = format!("/v1/peers/{}/{verb}", escape(peer));
    if let Some(child) = child {
        target.push_str("?child=");
        target.push_str(&escape(child));
    }
    target
}

/// Percent-encodes everything but unreserved characters ([RFC 3986 section 2.3]).
///
/// [RFC 3986 section 2.3]: https://www.rfc-editor.org/rfc/rfc3986#section-2.3
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{ApiErrorKind, PeerStatus};
    use crate::control::services::ClusterStatus;
    use crate::control::{Request as Asked, server};
    use tokio::sync::mpsc;

    /// A daemon that knows one peer, `a/b ü`.
    async fn daemon(folder: &Path) -> Client {
        let path = folder.join("control.sock");
        let listener = server::bind(&path, None).unwrap();
        let (sender, mut asked) = mpsc::channel(4);
        tokio::spawn(server::serve(listener, None, sender));
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                match request {
                    Asked::Status(reply) => {
                        let peer = PeerStatus { name: "a/b ü".to_owned(), ..PeerStatus::default() };
                        reply.send(Status { peers: vec![peer], ..Status::default() }).unwrap();
                    }
                    Asked::Services(reply) => {
                        let cluster = ClusterStatus { name: "prod".to_owned(), ..ClusterStatus::default() };
                        reply.send(Services { clusters: vec![cluster], ..Services::default() }).unwrap();
                    }
                    Asked::Act(action, reply) => {
                        let answer = match &action {
                            Action::Up { peer, .. }
                            | Action::Down { peer, .. }
                            | Action::Rekey { peer, .. }
                                if peer != "a/b ü" =>
                            {
                                Err(ApiError::new(ApiErrorKind::NotFound, format!("no peer {peer}")))
                            }
                            other => Ok(Done { message: format!("{other:?}") }),
                        };
                        reply.send(answer).unwrap();
                    }
                }
            }
        });
        Client::new(path)
    }

    #[tokio::test]
    async fn status_crosses_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let client = daemon(folder.path()).await;
        assert_eq!(client.status().await.unwrap().peers[0].name, "a/b ü");
    }

    #[tokio::test]
    async fn services_cross_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let client = daemon(folder.path()).await;
        assert_eq!(client.services().await.unwrap().clusters[0].name, "prod");
    }

    #[tokio::test]
    async fn every_action_arrives_as_it_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let client = daemon(folder.path()).await;
        let peer = "a/b ü".to_owned();
        for action in [
            Action::Up { peer: peer.clone(), child: None },
            Action::Up { peer: peer.clone(), child: Some("x?&=%".to_owned()) },
            Action::Down { peer: peer.clone(), child: None },
            Action::Rekey { peer: peer.clone(), what: RekeyTarget::Ike },
            Action::Rekey { peer: peer.clone(), what: RekeyTarget::Children },
            Action::Rekey { peer: peer.clone(), what: RekeyTarget::Child("lan".to_owned()) },
            Action::Rekey { peer, what: RekeyTarget::All },
            Action::Reload,
        ] {
            assert_eq!(client.act(&action).await.unwrap().message, format!("{action:?}"));
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_kind_and_text() {
        let folder = tempfile::tempdir().unwrap();
        let client = daemon(folder.path()).await;
        let refused = client.act(&Action::Up { peer: "none".to_owned(), child: None }).await.unwrap_err();
        match refused {
            ClientError::Refused(error) => {
                assert_eq!(error.kind, ApiErrorKind::NotFound);
                assert_eq!(error.message, "no peer none");
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_absent_daemon_is_named_with_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("nothing.sock"));
        let text = client.status().await.unwrap_err().to_string();
        assert!(text.contains("nothing.sock") && text.contains("skybridge run"), "{text}");
    }
}
