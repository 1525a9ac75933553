//! What keeps the API from being read, in the operator's words.

use std::{io, time::Duration};

use hyper::StatusCode;
use thiserror::Error;

use super::kind::Resource;

/// Something that keeps the API from being read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub(super) enum Problem {
    /// The kubeconfig cannot be read.
    #[error("the kubeconfig {path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    /// The kubeconfig is not understood.
    #[error("the kubeconfig {path} is not understood: {reason}")]
    NotUnderstood { path: String, reason: String },
    /// The kubeconfig has no such context.
    #[error("the kubeconfig {path} has no context {context:?}; it has {known}")]
    NoSuchContext { path: String, context: String, known: String },
    /// The kubeconfig does not say which context counts.
    #[error("the kubeconfig {path} has no current-context; set `context` to one of {known}")]
    NoContext { path: String, known: String },
    /// The kubeconfig wants something that an appliance does not do.
    #[error(
        "the kubeconfig {path} uses `{what}`, which is not supported; \
         use the ServiceAccount token of appliance/kubernetes/rbac.yaml"
    )]
    NotSupported { path: String, what: &'static str },
    /// This does not run in a Pod with a ServiceAccount.
    #[error("there are no credentials of a Pod here ({reason}); set `kubeconfig`")]
    NotInCluster { reason: String },
    /// A certificate, key or token is not usable.
    #[error("the credentials cannot be used: {reason}")]
    Credentials { reason: String },
    /// There is no connection to the server.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
    /// TLS fails.
    #[error("TLS with {server} fails: {reason}")]
    Tls { server: String, reason: String },
    /// The server takes the connection and says nothing.
    #[error("{server} says nothing for {} s", after.as_secs_f32())]
    Silent { server: String, after: Duration },
    /// A connection ended within an answer.
    #[error("the connection to {server} broke: {reason}")]
    Broken { server: String, reason: String },
    /// HTTP 401.
    #[error(
        "{server} does not accept the credentials (401): the token or certificate has expired or was revoked; \
         make a new kubeconfig as appliance/kubernetes/rbac.yaml says"
    )]
    Unauthorized { server: String },
    /// HTTP 403.
    #[error(
        "{server} forbids to list and watch (403: {message}); run `kubectl apply -f appliance/kubernetes/rbac.yaml` \
         with the ClusterRoleBinding naming this user"
    )]
    Forbidden { server: String, message: String },
    /// HTTP 404.
    #[error(
        "{server} does not serve this (404): it is no Kubernetes API, or one older than 1.21, or the path is wrong"
    )]
    NotServed { server: String },
    /// Any other refusal.
    #[error("{server} answers {code}: {message}")]
    Refused { server: String, code: u16, message: String },
    /// The answer is no Kubernetes answer.
    #[error("{server} sends what is no answer of the Kubernetes API: {reason}")]
    Malformed { server: String, reason: String },
    /// An answer is larger than is taken.
    #[error("{server} sends a single object of more than {limit} octets")]
    TooLarge { server: String, limit: usize },
}

impl Problem {
    /// Whether the connection and the credentials should be made anew before the next try.
    pub(super) fn is_of_connection(&self) -> bool {
        !matches!(
            self,
            Self::Forbidden { .. }
                | Self::NotServed { .. }
                | Self::Refused { .. }
                | Self::Malformed { .. }
                | Self::TooLarge { .. }
        )
    }

    /// Whether it is normal that an optional kind is not to be had.
    pub(super) fn is_tolerable(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::NotServed { .. })
    }
}

/// An answer with an error's status code, or an error within a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status code.
    pub(super) code: u16,
    /// What the API says about it.
    pub(super) message: String,
    /// When the API wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// Octets of a server's message that are kept.
const MESSAGE: usize = 300;

impl Refusal {
    /// From a `Status` object, or whatever else was in the body.
    pub(super) fn from_body(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<kube::core::Status>(body) {
            Ok(status) => Self::from_status(code, &status),
            Err(_) => Self { code, message: readable(&String::from_utf8_lossy(body)), retry_after: None },
        }
    }

    /// From a `Status` object; `code` counts where the object has none.
    pub(super) fn from_status(code: u16, status: &kube::core::Status) -> Self {
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        Self {
            code: if status.code == 0 { code } else { status.code },
            message: readable(&status.message),
            retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
        }
    }

    /// Whether the wanted version is no longer held, so that everything must be listed again.
    pub(super) fn is_expired(&self) -> bool {
        self.code == StatusCode::GONE.as_u16()
    }

    /// What the operator is told.
    pub(super) fn problem(&self, server: &str) -> Problem {
        let server = server.to_owned();
        match StatusCode::from_u16(self.code) {
            Ok(StatusCode::UNAUTHORIZED) => Problem::Unauthorized { server },
            Ok(StatusCode::FORBIDDEN) => Problem::Forbidden { server, message: self.message.clone() },
            Ok(StatusCode::NOT_FOUND) => Problem::NotServed { server },
            _ => Problem::Refused { server, code: self.code, message: self.message.clone() },
        }
    }
}

/// A server's text without control characters and of bounded length.
pub(super) fn readable(text: &str) -> String {
    let mut readable: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE).collect();
    if readable.is_empty() {
        readable.push_str("no message");
    }
    readable
}

/// What the operator is told about an error of the HTTP client.
pub(super) fn of_client(server: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut deepest = error.to_string();
    let mut next = Some(error);
    let mut connected = true;
    let mut tls = None;
    // Errors nest a handful deep; the bound is against a chain that loops.
    for _ in 0..16 {
        let Some(current) = next else { break };
        deepest = current.to_string();
        if let Some(error) = current.downcast_ref::<hyper_util::client::legacy::Error>() {
            connected = !error.is_connect();
        }
        if let Some(error) = current.downcast_ref::<rustls::Error>() {
            tls = Some(error.to_string());
        }
        let io = current.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            deepest = String::from("it ended within an answer");
            break;
        }
        // The error within an `io::Error` is no source of it.
        next = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    let (server, reason) = (server.to_owned(), readable(&deepest));
    match tls {
        Some(reason) => Problem::Tls { server, reason: advice(&reason) },
        None if connected => Problem::Broken { server, reason },
        None => Problem::Unreachable { server, reason },
    }
}

/// What to do about an error of TLS.
fn advice(reason: &str) -> String {
    let advice = if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        "; the certificate authority in the kubeconfig is not the one of this server"
    } else if reason.contains("NotValidForName") || reason.contains("not valid for name") {
        "; the certificate has another name: set `tls-server-name` in the kubeconfig"
    } else if ["Expired", "expired", "NotValidYet", "not valid yet"].iter().any(|word| reason.contains(word))
    {
        "; look at the server's certificate and at the clocks"
    } else {
        ""
    };
    format!("{}{advice}", readable(reason))
}

/// All that is wrong, each problem once, with the kinds it concerns.
pub(super) fn summary(problems: &[(Resource, &Problem)]) -> Option<String> {
    let mut groups: Vec<(&Problem, Vec<&'static str>)> = Vec::new();
    for (resource, problem) in problems {
        match groups.iter_mut().find(|(known, _)| alike(known, problem)) {
            Some((_, names)) => names.push(resource.plural()),
            None => groups.push((problem, vec![resource.plural()])),
        }
    }
    let texts: Vec<String> =
        groups.iter().map(|(problem, names)| format!("{}: {problem}", names.join(", "))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Whether two problems need to be told only once. The text of a 403 names the kind.
fn alike(a: &Problem, b: &Problem) -> bool {
    match (a, b) {
        (Problem::Forbidden { server: a, .. }, Problem::Forbidden { server: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_told_once_for_all_kinds() {
        let away = Problem::Unreachable { server: "https://a".into(), reason: "refused".into() };
        let text =
            summary(&[(Resource::Services, &away), (Resource::Slices, &away), (Resource::Nodes, &away)]);
        assert_eq!(
            text.as_deref(),
            Some("services, endpointslices, nodes: https://a cannot be reached: refused")
        );
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_refusal_keeps_the_words_of_the_api() {
        let body = br#"{"kind":"Status","message":"no\nway","reason":"Forbidden","code":403}"#;
        assert_eq!(
            Refusal::from_body(403, body),
            Refusal { code: 403, message: "no way".into(), retry_after: None }
        );
        let busy = br#"{"message":"later","code":429,"details":{"retryAfterSeconds":7}}"#;
        assert_eq!(Refusal::from_body(429, busy).retry_after, Some(Duration::from_secs(7)));
        let long = "x".repeat(100_000);
        assert_eq!(Refusal::from_body(502, long.as_bytes()).message.len(), MESSAGE);
        assert_eq!(Refusal::from_body(500, b"").message, "no message");
    }
}
