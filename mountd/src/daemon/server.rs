//! The control API as the daemon serves it.
//!
//! Owns: the routes, the check of who calls, and the translation of failures to HTTP. What a call does is in
//! [`Daemon`]. A drain answers with a line of JSON for each [`DrainEvent`]; a caller that hangs up ends the waiting, and nothing else.

use super::Daemon;
use axum::Json;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures::{FutureExt, StreamExt};
use http::StatusCode;
use pail_control::types::*;
use pail_control::{Failure, FailureKind};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// How often a drain tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The user at the other end, by SO_PEERCRED; `None` where the kernel did not say.
#[derive(Debug, Clone, Copy)]
struct PeerUser(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for PeerUser {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

/// Serves the control API until the daemon has ended.
pub async fn serve(daemon: Arc<Daemon>, listener: UnixListener) -> std::io::Result<()> {
    let ended = daemon.ended().map(|_| ());
    let routes = axum::Router::new()
        .route("/v1/health", get(health))
        .route("/v1/mounts", get(mounts).post(mount).delete(unmount))
        .route("/v1/flush", post(flush))
        .route("/v1/left-behind", get(left_behind).delete(discard))
        .route("/v1/shutdown", post(shutdown))
        .route("/metrics", get(metrics))
        .layer(axum::middleware::from_fn(only_this_user))
        .with_state(daemon)
        .into_make_service_with_connect_info::<PeerUser>();
    axum::serve(listener, routes).with_graceful_shutdown(ended).await
}

async fn only_this_user(ConnectInfo(peer): ConnectInfo<PeerUser>, request: Request, next: Next) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match peer.0 {
        Some(uid) if uid == own || uid == 0 => next.run(request).await,
        _ => Refusal::from(Failure::new(FailureKind::Credentials, "this daemon belongs to another user"))
            .into_response(),
    }
}

/// A failure as HTTP has it.
struct Refusal(Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            FailureKind::Usage => StatusCode::BAD_REQUEST,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Credentials => StatusCode::FORBIDDEN,
            FailureKind::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

async fn health(State(daemon): State<Arc<Daemon>>) -> Json<Health> {
    Json(daemon.health())
}

async fn mounts(State(daemon): State<Arc<Daemon>>) -> Json<Vec<MountStatus>> {
    Json(daemon.mount_statuses())
}

async fn mount(
    State(daemon): State<Arc<Daemon>>,
    Json(request): Json<MountRequest>,
) -> Result<Json<MountOutcome>, Refusal> {
    // On a task of its own: a mount is never left half made because its caller was interrupted.
    let done = tokio::spawn(async move { daemon.mount(request).await }).await;
    let outcome = done.map_err(|err| Failure::other("mounting broke off").because(err.to_string()))??;
    Ok(Json(outcome))
}

async fn unmount(State(daemon): State<Arc<Daemon>>, Json(request): Json<UnmountRequest>) -> Response {
    let work = daemon.clone();
    stream_drain(daemon, async move { work.unmount(&request).await })
}

async fn flush(State(daemon): State<Arc<Daemon>>, Json(request): Json<FlushRequest>) -> Response {
    let work = daemon.clone();
    stream_drain(daemon, async move { work.flush(&request).await })
}

async fn left_behind(State(daemon): State<Arc<Daemon>>) -> Result<Json<Vec<LeftBehind>>, Refusal> {
    Ok(Json(daemon.left_behind().await?))
}

async fn discard(
    State(daemon): State<Arc<Daemon>>,
    Json(request): Json<DiscardRequest>,
) -> Result<Json<DiscardReport>, Refusal> {
    // On a task of its own: what has begun is not cut off because its caller was interrupted.
    let done = tokio::spawn(async move { daemon.discard(request.files).await }).await;
    let report = done.map_err(|err| Failure::other("removing broke off").because(err.to_string()))??;
    Ok(Json(report))
}

async fn shutdown(State(daemon): State<Arc<Daemon>>) -> Response {
    // Told at once: who hangs up before the first line is read has asked for it all the same.
    daemon.stop();
    let ended = daemon.ended();
    stream_drain(daemon, async move { Ok(ended.await) })
}

async fn metrics(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refusal> {
    let text = super::metrics::render(&daemon)
        .map_err(|err| Failure::other("the metrics cannot be written").because(err.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(http::header::CONTENT_TYPE, kind)], text).into_response())
}

/// Runs `work` and tells how far the daemon's mounts are, line by line, until it ends or the caller hangs up.
fn stream_drain(
    daemon: Arc<Daemon>,
    work: impl Future<Output = Result<DrainReport, Failure>> + Send + 'static,
) -> Response {
    let (lines, receiver) = mpsc::channel::<DrainEvent>(4);
    tokio::spawn(async move {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
        loop {
            let event = tokio::select! {
                done = &mut work => match done {
                    Ok(report) => DrainEvent::Done(report),
                    Err(failure) => DrainEvent::Failed(failure),
                },
                _ = tick.tick() => DrainEvent::Progress(daemon.drain_progress()),
                () = lines.closed() => return,
            };
            let last = !matches!(event, DrainEvent::Progress(_));
            // A slow reader misses steps of the progress, never the end.
            if last {
                let _ = lines.send(event).await;
                return;
            }
            let _ = lines.try_send(event);
        }
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async {
        let event = receiver.recv().await?;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Some((line, receiver))
    });
    Body::from_stream(lines.map(Ok::<_, Infallible>)).into_response()
}
