//! Azure's store against a server that answers with bytes that a test makes of each request.
//!
//! Owns: [`Server`]. What Azurite cannot be made to do: lost answers, bodies that break, tokens that expire, copies that take their time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod credentials;
mod objects;

use pail_store::{BucketUri, CallerVariables, RawKey, Store, StoreKind, StoreOptions, open};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A key of an account, and what none of our errors may show of it.
const KEY: &str = "aHVzaC1odXNoLWh1c2g=";

/// Requests as they came: the head, an empty line, and the body.
type Requests = Arc<Mutex<Vec<String>>>;
type Manner = dyn Fn(&str, usize) -> Vec<u8> + Send + Sync;

struct Server {
    url: String,
    requests: Requests,
}

impl Server {
    /// `manner` makes an answer of a request and of how many came before it; an empty one closes the connection.
    async fn start(manner: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Self { url: format!("http://{}", listener.local_addr().unwrap()), requests: Arc::default() };
        let (requests, manner): (_, Arc<Manner>) = (server.requests.clone(), Arc::new(manner));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), requests.clone()));
            }
        });
        server
    }

    async fn store(&self) -> Arc<dyn Store> {
        self.store_of(&[("AZURE_STORAGE_KEY", KEY)]).await
    }

    async fn store_of(&self, variables: &[(&str, &str)]) -> Arc<dyn Store> {
        open(options(&self.url, variables)).await.unwrap()
    }

    /// The first lines of what came: method and target.
    fn targets(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.iter().map(|request| request.lines().next().unwrap().replace(" HTTP/1.1", "")).collect()
    }
}

fn options(url: &str, variables: &[(&str, &str)]) -> StoreOptions {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let bucket = BucketUri {
        kind: StoreKind::Azure,
        scope: Some("acc".to_owned()),
        bucket: "con".to_owned(),
        prefix: String::new(),
    };
    StoreOptions {
        endpoint_url: Some(url.to_owned()),
        environment: Some(CallerVariables(variables.collect())),
        retry_deadline: Duration::from_secs(300),
        ..StoreOptions::new(bucket)
    }
}

async fn serve(stream: TcpStream, manner: Arc<Manner>, requests: Requests) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let len = request.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
        stream.read_exact(&mut body).await?;
        request.push_str(&String::from_utf8_lossy(&body));
        let answer = {
            let mut requests = requests.lock();
            let before = requests.len();
            requests.push(request.clone());
            manner(&request, before)
        };
        stream.write_all(&answer).await?;
        let text = String::from_utf8_lossy(&answer);
        if answer.is_empty() || text.contains("connection: close") {
            return stream.shutdown().await;
        }
    }
}

/// An answer with a body; `headers` end in line breaks.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let len = match headers.contains("content-length") {
        true => String::new(),
        false => format!("content-length: {}\r\n", body.len()),
    };
    let dates = "last-modified: Mon, 02 Jan 2023 03:04:05 GMT\r\n";
    format!("HTTP/1.1 {status}\r\n{dates}{len}{headers}\r\n{body}").into_bytes()
}

/// An error as Azure says it.
fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Told.\nRequestId:1</Message></Error>"
    );
    answer(status, &format!("x-ms-error-code: {code}\r\n"), &body)
}

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

/// What a request says of a header.
fn header(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
}
