//! A running server.
//!
//! Owns: [`Server`], the accept loop, and [`Socket`], which decides how a connection ends.
//! Invariant: when [`Server::shutdown`] returns no connection is served any more; dropping the server ends it too, a little later.

use crate::attributes::Attributes;
use crate::bucket::Buckets;
use crate::call::Shared;
use crate::checksum::{ChecksumHasher, EtagHasher};
use crate::config::{BucketSettings, ServerConfig, Settings};
use crate::counters::{Counters, RequestRecord};
use crate::credentials::{Credential, Credentials};
use crate::error::S3Error;
use crate::fault::Fault;
use crate::object::Object;
use crate::object_ops::CHECKSUM_DEFAULT;
use crate::pace::Link;
use crate::service::serve;
use crate::sigv4::Authenticator;
use crate::sink::Sink;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A pause after `accept` failed, mostly for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be created or read, or holds something else.
    #[error("cannot keep objects in {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        let (StartError::Listen { source, .. } | StartError::Folder { source, .. }) = &error;
        io::Error::new(source.kind(), format!("{error}: {source}"))
    }
}

/// A running S3 server. It runs on the tokio runtime that it was started on.
pub struct Server {
    shared: Arc<Shared>,
    addr: SocketAddr,
    connections: TaskTracker,
    stop: DropGuard,
}

impl Server {
    /// Starts a server. It answers as soon as this returns. Errors: the address cannot be listened on; the folder cannot be
    /// created or read, or holds something else.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let ServerConfig { listen, folder, access_key, secret_key, settings } = config;
        let buckets = Buckets::open(folder.clone())
            .map_err(|source| StartError::Folder { folder: folder.unwrap_or_default(), source })?;
        let credentials = Credentials::new(vec![Credential::new(access_key, secret_key)]);
        let authenticator = Authenticator::new(credentials);
        let shared = Arc::new(Shared::new(buckets, authenticator, settings));
        let unusable = |source| StartError::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(unusable)?;
        let addr = listener.local_addr().map_err(unusable)?;
        let connections = TaskTracker::new();
        let stop = CancellationToken::new();
        connections.spawn(accept(listener, shared.clone(), connections.clone(), stop.clone()));
        connections.close();
        Ok(Self { shared, addr, connections, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to give to clients as endpoint, such as `http://127.0.0.1:4567`. Buckets are addressed by path.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it was asked since it started, or since [`reset_counters`](Self::reset_counters).
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Counters and log start again from zero.
    pub fn reset_counters(&self) {
        self.shared.tally.reset();
    }

    /// The last requests, in the order of arrival: at most [`REQUEST_LOG_LEN_MAX`](crate::REQUEST_LOG_LEN_MAX).
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.tally.records()
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.shared.settings())
    }

    /// Replaces the settings, for requests that arrive from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.shared.set_settings(settings);
    }

    /// Accepts these keys and no others, for requests that arrive from now on; sessions and tokens that were issued before are refused.
    pub fn set_credentials(&self, credentials: Vec<Credential>) {
        self.shared.authenticator.credentials().replace(credentials);
    }

    /// Adds a fault behind those that wait.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.inject(fault);
    }

    /// The faults that have not struck, or not as often as they are to.
    pub fn waiting_faults(&self) -> Vec<Fault> {
        self.shared.faults.waiting()
    }

    /// Removes all faults that wait.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Creates a bucket; one that is there already is no error. Errors: a name that no bucket can have; those of the folder.
    pub async fn create_bucket(&self, name: &str) -> io::Result<()> {
        match self.shared.buckets.create(name, None) {
            Err(error) if error.code != "BucketAlreadyOwnedByYou" => Err(to_io(error)),
            _ => Ok(()),
        }
    }

    /// Puts an object in place without a request: neither counted nor logged. The bytes are not copied when objects are kept in
    /// memory. Errors: no such bucket; those of the folder.
    pub async fn put_object(&self, bucket: &str, key: &str, bytes: Bytes) -> io::Result<()> {
        let bucket = self.shared.buckets.get(bucket).map_err(to_io)?;
        let mut etag = EtagHasher::new(&self.shared.settings());
        etag.update(&bytes);
        let mut checksum = ChecksumHasher::new(CHECKSUM_DEFAULT);
        checksum.update(&bytes);
        let content = match self.shared.buckets.folder() {
            Some(folder) if !bytes.is_empty() => {
                let mut sink = Sink::file(folder.new_data_file()).await?;
                sink.write(bytes).await?;
                sink.finish().await?
            }
            _ => bytes.into(),
        };
        let mut object = Object::new(content, etag.finish(), Attributes::default());
        object.checksum = Some(checksum.finish());
        bucket.insert(key, object, |_| Ok(())).map_err(to_io)?;
        Ok(())
    }

    /// Allows reading and listing a bucket without a signature. Errors: no such bucket; those of the folder.
    pub fn set_public(&self, bucket: &str) -> io::Result<()> {
        let bucket = self.shared.buckets.get(bucket).map_err(to_io)?;
        bucket.change_settings(|settings| settings.public = true)
    }

    /// Replaces what can be changed of a bucket. Errors: no such bucket; those of the folder.
    pub fn set_bucket(&self, bucket: &str, settings: BucketSettings) -> io::Result<()> {
        let bucket = self.shared.buckets.get(bucket).map_err(to_io)?;
        bucket.change_settings(|current| *current = settings)
    }

    /// All tokens that the server's token endpoints gave out until now are refused: as after an hour, at once.
    pub fn expire_gcs_tokens(&self) {
        self.shared.gcs.tokens.expire();
    }

    /// Ends the server. Open connections are cut.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.connections.wait().await;
    }
}

fn to_io(error: S3Error) -> io::Error {
    io::Error::other(format!("{}: {}", error.code, error.message))
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let connection = connection(stream, shared.clone());
                let stop = stop.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it a small answer waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let link = Arc::new(Link::default());
    let socket = Socket { stream, link: link.clone() };
    let service = service_fn(move |request| serve(shared.clone(), link.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // An idle connection of a client's pool is not to be closed under it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A connection that can end with a RST.
struct Socket {
    stream: TcpStream,
    link: Arc<Link>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.link.is_reset()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "the connection is closed, not reset");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
