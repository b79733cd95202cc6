//! The control API as its callers see it.
//!
//! Owns: [`Client`], one connection a call. Calls have no deadline of their own but for [`Client::health`]: a mount is
//! bounded by the daemon's deadlines, a drain by the caller's.

use crate::types::*;
use crate::{Failure, FailureKind};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a daemon may take to say that it is there.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read whole: status of many mounts with many unpublished files.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A caller of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A caller of the daemon that listens at `socket`. Nothing is sent yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Version, process, budgets and directories. Errors: `NotRunning`; one that does not answer within 5 s.
    pub async fn health(&self) -> Result<Health, Failure> {
        tokio::time::timeout(HEALTH_TIMEOUT, self.call(Method::GET, "/v1/health", &())).await.unwrap_or_else(
            |_| {
                Err(Failure::other(format!("the daemon at {} does not answer", self.socket.display()))
                    .with_hint("look at its log, and end it by its process id if it hangs"))
            },
        )
    }

    /// The daemon's process by the kernel's word (SO_PEERCRED), which is its number as this process sees it. The daemon's own word is
    /// another in another PID namespace. `None` where it cannot be seen from here. Errors: `NotRunning`.
    pub async fn peer_pid(&self) -> Result<Option<i32>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|err| self.not_reached(&err))?;
        let peer = stream.peer_cred().map_err(|err| self.not_reached(&err))?;
        Ok(peer.pid().filter(|pid| *pid > 0))
    }

    /// Mounts; returns when the mount is usable.
    pub async fn mount(&self, request: &MountRequest) -> Result<MountOutcome, Failure> {
        self.call(Method::POST, "/v1/mounts", request).await
    }

    /// All mounts, those that failed included.
    pub async fn mounts(&self) -> Result<Vec<MountStatus>, Failure> {
        self.call(Method::GET, "/v1/mounts", &()).await
    }

    /// Drains and unmounts, telling `on_progress` how far it is.
    pub async fn unmount(
        &self,
        request: &UnmountRequest,
        on_progress: &mut (dyn FnMut(DrainProgress) + Send),
    ) -> Result<DrainReport, Failure> {
        self.drain(Method::DELETE, "/v1/mounts", request, on_progress).await
    }

    /// Waits until what is dirty is in the bucket, telling `on_progress` how far it is.
    pub async fn flush(
        &self,
        request: &FlushRequest,
        on_progress: &mut (dyn FnMut(DrainProgress) + Send),
    ) -> Result<DrainReport, Failure> {
        self.drain(Method::POST, "/v1/flush", request, on_progress).await
    }

    /// Files of mounts that are gone that are not in the bucket.
    pub async fn left_behind(&self) -> Result<Vec<LeftBehind>, Failure> {
        self.call(Method::GET, "/v1/left-behind", &()).await
    }

    /// Removes such files.
    pub async fn discard(&self, request: &DiscardRequest) -> Result<DiscardReport, Failure> {
        self.call(Method::DELETE, "/v1/left-behind", request).await
    }

    /// Tells the daemon to drain and end; returns when it has drained, shortly before its process is gone.
    pub async fn shutdown(
        &self,
        on_progress: &mut (dyn FnMut(DrainProgress) + Send),
    ) -> Result<DrainReport, Failure> {
        self.drain(Method::POST, "/v1/shutdown", &(), on_progress).await
    }

    /// The metrics in the OpenMetrics text format.
    pub async fn metrics(&self) -> Result<String, Failure> {
        let body = self.send(Method::GET, "/metrics", &()).await?;
        Ok(String::from_utf8_lossy(&read_whole(body).await?).into_owned())
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        ask: &Q,
    ) -> Result<A, Failure> {
        let body = read_whole(self.send(method, path, ask).await?).await?;
        serde_json::from_slice(&body).map_err(not_understood)
    }

    /// Reads the answer's events, one a line, until the last.
    async fn drain<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        ask: &Q,
        on_progress: &mut (dyn FnMut(DrainProgress) + Send),
    ) -> Result<DrainReport, Failure> {
        let mut body = self.send(method, path, ask).await?;
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|err| ended_early().because(err.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match serde_json::from_slice(&line).map_err(not_understood)? {
                    DrainEvent::Progress(progress) => on_progress(progress),
                    DrainEvent::Done(report) => return Ok(report),
                    DrainEvent::Failed(failure) => return Err(failure),
                }
            }
        }
        Err(ended_early())
    }

    async fn send<Q: Serialize>(&self, method: Method, path: &str, ask: &Q) -> Result<Incoming, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|err| self.not_reached(&err))?;
        send_over(stream, method, path, ask).await
    }

    fn not_reached(&self, err: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        match err.kind() {
            // Reset: it ended while this call waited to be taken.
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::ConnectionReset => {
                Failure::new(FailureKind::NotRunning, format!("no daemon is running (no answer at {socket})"))
                    .with_hint("`pail mount` starts one")
            }
            std::io::ErrorKind::PermissionDenied => {
                Failure::from_io(format!("cannot reach the daemon at {socket}"), err).with_hint(
                    "it is another user's: set PAIL_RUNTIME_DIR to a directory of your own, or unset an XDG_RUNTIME_DIR that was another user's, as after `su`",
                )
            }
            _ => Failure::from_io(format!("cannot reach the daemon at {socket}"), err),
        }
    }

    /// The socket that is called.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

async fn send_over<Q: Serialize>(
    stream: UnixStream,
    method: Method,
    path: &str,
    ask: &Q,
) -> Result<Incoming, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|err| broken_off(&err))?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(ask).map_err(not_understood)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "pail")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(not_understood)?;
    let answer = sender.send_request(request).await.map_err(|err| broken_off(&err))?;
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(body);
    }
    Err(failure_of(head.status, &read_whole(body).await?))
}

async fn read_whole(body: Incoming) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(body, ANSWER_BYTES_MAX);
    limited.collect().await.map(|all| all.to_bytes()).map_err(|err| broken_off(err.as_ref()))
}

/// An answer that is no success carries a [`Failure`], unless it comes from the HTTP layer itself, which did not know the route or
/// the shape of what it was asked.
fn failure_of(status: StatusCode, body: &[u8]) -> Failure {
    let said = || format!("the daemon answered {status}: {}", String::from_utf8_lossy(body).trim());
    serde_json::from_slice(body).unwrap_or_else(|_| not_understood(said()))
}

fn broken_off(err: &(dyn Error + 'static)) -> Failure {
    // A daemon on its way out closes its connections, whether it has taken them and read the request yet or not.
    let kind = match is_of_closing(err) {
        true => FailureKind::Stopping,
        false => FailureKind::Other,
    };
    Failure::new(kind, "the connection to the daemon broke off").because(err.to_string())
}

fn is_of_closing(cause: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let by_kernel = cause.downcast_ref::<std::io::Error>();
    let by_hyper = cause.downcast_ref::<hyper::Error>();
    by_kernel.is_some_and(|err| matches!(err.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
        || by_hyper.is_some_and(|err| err.is_canceled() || err.is_incomplete_message())
        || cause.source().is_some_and(is_of_closing)
}

/// It took the call, and nobody knows how far it came: that is not the end that was asked for.
fn ended_early() -> Failure {
    Failure::other("the daemon ended before it was done")
        .with_hint("`pail status` tells what is not in the bucket yet")
}

fn not_understood(err: impl std::fmt::Display) -> Failure {
    Failure::other("the command and the daemon do not understand each other")
        .because(err.to_string())
        .with_hint("they may be of different versions: `pail shutdown` or a SIGTERM ends the daemon, and the next mount starts a new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_ends_before_it_takes_a_connection_is_stopping() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let stream = UnixStream::connect(&socket).await.unwrap();
        drop(listener);
        let failure = send_over(stream, Method::GET, "/v1/health", &()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Stopping, "{failure:?}");
    }
}
