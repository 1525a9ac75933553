//! The listening end of the control socket.
//!
//! ```text
//! GET  /v1/status
//! GET  /v1/services
//! POST /v1/peers/{peer}/up      ?child=NAME
//! POST /v1/peers/{peer}/down    ?child=NAME
//! POST /v1/peers/{peer}/rekey   ?ike=true | ?children=true | ?child=NAME
//! POST /v1/reload
//! ```
//!
//! A caller is let in when it is root, the daemon's own user, or a member of the configured group.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use axum::Json;
use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Path as UrlPath, Query, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use nix::unistd::{Gid, Group, Uid, User};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::api::{ApiError, ApiErrorKind, Done};
use super::{Action, RekeyTarget, Request};

/// Binds the control socket at `path`, readable by its owner and, where given, by `group`.
///
/// A socket that a dead daemon left behind is replaced; one that a living daemon answers on is not.
///
/// # Errors
/// When the folder cannot be made, the group does not exist, the path is something else than a
/// socket, or another daemon answers there.
pub fn bind(path: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another daemon answers there: stop it first, or set endpoint.control_socket",
                ));
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else than a socket is there: remove it, or set endpoint.control_socket",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let mut mode = 0o600;
    if let Some(name) = group {
        let gid = group_id(name)?;
        nix::unistd::chown(path, None, Some(gid))?;
        mode = 0o660;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Id of the group called `name`.
fn group_id(name: &str) -> io::Result<Gid> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}"));
    Ok(Group::from_name(name)?.ok_or_else(unknown)?.gid)
}

/// Serves the API on `listener` until the future is dropped; requests go to `daemon`.
///
/// # Errors
/// When accepting connections fails for good.
pub async fn serve(
    listener: UnixListener,
    group: Option<String>,
    daemon: mpsc::Sender<Request>,
) -> io::Result<()> {
    let access = Access { own: Uid::effective(), group: group.as_deref().map(group_id).transpose()? };
    let app = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/peers/{peer}/up", post(up))
        .route("/v1/peers/{peer}/down", post(down))
        .route("/v1/peers/{peer}/rekey", post(rekey))
        .route("/v1/reload", post(reload))
        .with_state(daemon)
        .layer(middleware::from_fn_with_state(access, check_caller));
    axum::serve(listener, app.into_make_service_with_connect_info::<Caller>()).await
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Caller(Option<(Uid, Gid)>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self(credentials.map(|c| (Uid::from_raw(c.uid()), Gid::from_raw(c.gid()))))
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug)]
struct Access {
    own: Uid,
    group: Option<Gid>,
}

impl Access {
    fn allows(self, caller: Caller) -> bool {
        let Some((uid, gid)) = caller.0 else { return false };
        uid.is_root()
            || uid == self.own
            || self.group.is_some_and(|group| gid == group || is_member(uid, group))
    }
}

/// Whether `uid` is listed as a member of `group`.
fn is_member(uid: Uid, group: Gid) -> bool {
    let user = User::from_uid(uid).ok().flatten();
    let group = Group::from_gid(group).ok().flatten();
    user.zip(group).is_some_and(|(user, group)| group.mem.contains(&user.name))
}

async fn check_caller(
    State(access): State<Access>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: HttpRequest,
    next: Next,
) -> Response {
    if access.allows(caller) {
        return next.run(request).await;
    }
    tracing::warn!(?caller, "control: refused a caller that is neither root, our own user nor in the group");
    ApiError::new(
        ApiErrorKind::Forbidden,
        "the control socket is for root and the configured group: use sudo, or set endpoint.control_group",
    )
    .into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            ApiErrorKind::NotFound => StatusCode::NOT_FOUND,
            ApiErrorKind::BadRequest => StatusCode::BAD_REQUEST,
            ApiErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ApiErrorKind::Config => StatusCode::UNPROCESSABLE_ENTITY,
            ApiErrorKind::Conflict => StatusCode::CONFLICT,
            ApiErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}

type Daemon = State<mpsc::Sender<Request>>;

fn stopping<E>(_: E) -> ApiError {
    ApiError::new(ApiErrorKind::Unavailable, "the daemon is stopping")
}

async fn status(State(daemon): Daemon) -> Result<Response, ApiError> {
    let (reply, answer) = oneshot::channel();
    daemon.send(Request::Status(reply)).await.map_err(stopping)?;
    Ok(Json(answer.await.map_err(stopping)?).into_response())
}

async fn services(State(daemon): Daemon) -> Result<Response, ApiError> {
    let (reply, answer) = oneshot::channel();
    daemon.send(Request::Services(reply)).await.map_err(stopping)?;
    Ok(Json(answer.await.map_err(stopping)?).into_response())
}

async fn act(daemon: mpsc::Sender<Request>, action: Action) -> Result<Json<Done>, ApiError> {
    let (reply, answer) = oneshot::channel();
    daemon.send(Request::Act(action, reply)).await.map_err(stopping)?;
    answer.await.map_err(stopping)?.map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildQuery {
    child: Option<String>,
}

async fn up(
    State(daemon): Daemon,
    UrlPath(peer): UrlPath<String>,
    Query(query): Query<ChildQuery>,
) -> Result<Json<Done>, ApiError> {
    act(daemon, Action::Up { peer, child: query.child }).await
}

async fn down(
    State(daemon): Daemon,
    UrlPath(peer): UrlPath<String>,
    Query(query): Query<ChildQuery>,
) -> Result<Json<Done>, ApiError> {
    act(daemon, Action::Down { peer, child: query.child }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RekeyQuery {
    #[serde(default)]
    ike: bool,
    #[serde(default)]
    children: bool,
    child: Option<String>,
}

async fn rekey(
    State(daemon): Daemon,
    UrlPath(peer): UrlPath<String>,
    Query(query): Query<RekeyQuery>,
) -> Result<Json<Done>, ApiError> {
    let what = match (query.ike, query.children, query.child) {
        (true, false, None) => RekeyTarget::Ike,
        (false, true, None) => RekeyTarget::Children,
        (false, false, Some(name)) => RekeyTarget::Child(name),
        (false, false, None) | (true, true, None) => RekeyTarget::All,
        _ => {
            return Err(ApiError::new(
                ApiErrorKind::BadRequest,
                "name a child, or ike, or children, not a mix",
            ));
        }
    };
    act(daemon, Action::Rekey { peer, what }).await
}

async fn reload(State(daemon): Daemon) -> Result<Json<Done>, ApiError> {
    act(daemon, Action::Reload).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(group: Option<u32>) -> Access {
        Access { own: Uid::from_raw(990), group: group.map(Gid::from_raw) }
    }

    fn caller(uid: u32, gid: u32) -> Caller {
        Caller(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
    }

    #[test]
    fn root_and_the_daemons_own_user_are_let_in() {
        assert!(access(None).allows(caller(0, 0)));
        assert!(access(None).allows(caller(990, 990)));
    }

    #[test]
    fn a_stranger_and_a_caller_without_credentials_are_refused() {
        assert!(!access(None).allows(caller(4_000_000, 4_000_000)));
        assert!(!access(Some(77)).allows(caller(4_000_000, 4_000_000)));
        assert!(!access(Some(77)).allows(Caller(None)));
    }

    #[test]
    fn the_configured_group_is_let_in() {
        assert!(access(Some(4_000_001)).allows(caller(4_000_000, 4_000_001)));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        drop(bind(&path, None).unwrap());
        let alive = bind(&path, None).unwrap();
        assert_eq!(bind(&path, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(alive);
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path, None).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
