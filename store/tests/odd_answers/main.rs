//! The store against servers and gateways that answer otherwise than Amazon S3 does.
//!
//! Owns: [`Server`], which answers with bytes that a test makes of each request. One file for each of what is odd.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod checksums;
mod etags;
mod heads;
mod lengths;
mod locations;

use pail_store::{CallerVariables, S3Store, StoreOptions};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const BUCKET: &str = "bucket";

/// What goes back over a connection, byte for byte.
struct Answer {
    bytes: Vec<u8>,
    /// The connection is closed behind it.
    closes: bool,
}

impl Answer {
    fn kept(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), closes: false }
    }

    fn last(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), closes: true }
    }
}

/// Requests as they came, a character for each byte: the head in lower case, an empty line, and the body.
type Requests = Arc<Mutex<Vec<String>>>;
type Manner = dyn Fn(&str) -> Answer + Send + Sync;

struct Server {
    endpoint_url: String,
    requests: Requests,
    /// How many connections were made.
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(manner: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { endpoint_url, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        let manner: Arc<Manner> = Arc::new(manner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock() += 1;
                tokio::spawn(serve(stream, manner.clone(), requests.clone()));
            }
        });
        server
    }

    async fn store(&self) -> Arc<S3Store> {
        S3Store::open(options(&self.endpoint_url)).await.unwrap()
    }
}

/// Every wait is ample, for a loaded machine too.
fn options(endpoint_url: &str) -> StoreOptions {
    StoreOptions {
        endpoint_url: Some(endpoint_url.to_owned()),
        environment: Some(CallerVariables(Default::default())),
        anonymous: true,
        head_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(20),
        retry_deadline: Duration::from_secs(300),
        ..StoreOptions::s3(BUCKET)
    }
}

/// The outcome of what must not take as long as the retries' deadline.
async fn soon<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("no outcome for a minute")
}

async fn serve(stream: TcpStream, manner: Arc<Manner>, requests: Requests) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        head.make_ascii_lowercase();
        let mut request: String = head.into_iter().map(char::from).collect();
        let len = request.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
        stream.read_exact(&mut body).await?;
        request.extend(body.into_iter().map(char::from));
        let answer = manner(&request);
        requests.lock().push(request);
        stream.write_all(&answer.bytes).await?;
        if answer.closes {
            return stream.shutdown().await;
        }
    }
}
