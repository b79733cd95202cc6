//! Connections between requests.
//!
//! Owns: [`Connections`], which opens them and keeps idle ones for the next request to the same destination.
//!
//! Invariants: at most as many idle ones as requests may be in flight; none for longer than twice [`IDLE_MAX`]; the one that was used last is
//! used first, and none that the server has closed or sent something on.

use super::proxy::{Route, Routed};
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::rt::{Read, ReadBuf};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tower_service::Service;

/// A connection to the endpoint or to a proxy, with TLS or without.
pub(crate) type Io = Box<MaybeHttpsStream<Routed>>;

/// Below the idle timeouts of servers and load balancers, so that a connection is rarely taken up as it closes.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Whom a connection is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
}

impl From<&Uri> for Destination {
    fn from(uri: &Uri) -> Self {
        Self { scheme: uri.scheme().cloned(), authority: uri.authority().cloned() }
    }
}

struct Idle {
    destination: Destination,
    io: Io,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    /// By when they were used last.
    idle: Vec<Idle>,
    /// A task looks for those that are too old.
    is_swept: bool,
}

/// The connections of one client that no request is on.
pub(crate) struct Connections {
    connector: HttpsConnector<Route>,
    idle_count_max: usize,
    /// Guards the list; a leaf in the lock order.
    kept: Mutex<Kept>,
}

impl Connections {
    pub fn new(connector: HttpsConnector<Route>, idle_count_max: usize) -> Arc<Self> {
        Arc::new(Self { connector, idle_count_max: idle_count_max.max(1), kept: Mutex::default() })
    }

    /// A new connection. Errors: what hindered it.
    pub async fn open(&self, uri: Uri) -> Result<Io, Box<dyn std::error::Error + Send + Sync>> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(uri).await.map(Box::new)
    }

    /// An idle connection that is open still, as far as one can tell.
    pub fn take(&self, destination: &Destination) -> Option<Io> {
        loop {
            let mut found = {
                let mut kept = self.kept.lock();
                let place = kept.idle.iter().rposition(|idle| idle.destination == *destination)?;
                kept.idle.remove(place)
            };
            if found.since.elapsed() < IDLE_MAX && is_quiet(&mut found.io) {
                return Some(found.io);
            }
        }
    }

    /// Keeps a connection on which nothing is under way.
    pub fn give(self: &Arc<Self>, destination: Destination, io: Io) {
        let mut kept = self.kept.lock();
        if kept.idle.len() >= self.idle_count_max {
            kept.idle.remove(0);
        }
        kept.idle.push(Idle { destination, io, since: Instant::now() });
        if !std::mem::replace(&mut kept.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Nothing has come on it, not even its end.
fn is_quiet(io: &mut Io) -> bool {
    let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
    Pin::new(io).poll_read(&mut cx, ReadBuf::new(&mut byte).unfilled()).is_pending()
}

/// Closes what has been idle for too long, until nothing is.
async fn sweep(connections: Weak<Connections>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(connections) = connections.upgrade() else { return };
        let mut kept = connections.kept.lock();
        kept.idle.retain(|idle| idle.since.elapsed() < IDLE_MAX);
        if kept.idle.is_empty() {
            kept.is_swept = false;
            return;
        }
    }
}
