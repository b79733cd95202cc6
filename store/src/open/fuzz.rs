//! Fuzzing of whole answers, head and body, as they come over a connection to a store.

use super::open;
use crate::contract::{
    BucketUri, CallerVariables, Condition, GetOptions, ListRequest, Payload, PutOptions, RawKey, Store,
    StoreOptions, Version,
};
use crate::fuzz::{Parser, fuzz_all};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Fuzzers for each store: most of the time, one waits to try again.
const FUZZERS: usize = 8;
/// How long no call may take.
const HANG_AFTER: Duration = Duration::from_secs(60);
/// How much of a body is read.
const BODY_LEN_BYTES_MAX: usize = 1 << 18;

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nETag: \"9b2cf535f27731c974343645a3985328\"\r\nContent-Length: 5\r\nLast-Modified: Thu, 02 Jan 2025 03:04:05 GMT\r\n\
     x-amz-meta-mtime: 1\r\nContent-Type: text/plain\r\nx-amz-storage-class: STANDARD\r\nx-amz-checksum-crc64nvme: rosUhgyiLkE=\r\n\
     x-amz-server-side-encryption: aws:kms\r\nx-amz-version-id: v\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes 1-3/5\r\nContent-Length: 3\r\nx-goog-generation: 17\r\n\
     x-goog-stored-content-length: 5\r\nx-goog-hash: crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==\r\nx-goog-stored-content-encoding: identity\r\n\
     Last-Modified: Thu, 02 Jan 2025 03:04:05 GMT\r\n\r\nell",
    "HTTP/1.1 200 OK\r\nETag: \"0x8DBFDE4D5F1C2A0\"\r\nTransfer-Encoding: chunked\r\nx-ms-blob-type: BlockBlob\r\nx-ms-meta-a: b\r\n\
     Last-Modified: Thu, 02 Jan 2025 03:04:05 GMT\r\nx-ms-creation-time: Thu, 02 Jan 2025 03:04:05 GMT\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nx-ms-error-code: BlobNotFound\r\n\
     Content-Length: 47\r\n\r\n<Error><Code>NoSuchKey</Code><Message/></Error>",
    "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-west-1\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 Slow Down\r\nRetry-After: 1\r\nDate: Thu, 02 Jan 2025 03:04:05 GMT\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<ListBucketResult><Contents><Key>p/a</Key>\
     <Size>5</Size><ETag>\"x\"</ETag></Contents><CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></ListBucketResult>",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"items\":[{\"name\":\"p/a\",\"size\":\"5\",\"generation\":\"7\"}],\
     \"prefixes\":[\"p/d/\"],\"name\":\"p/a\",\"size\":\"5\",\"generation\":\"7\",\"updated\":\"2025-01-02T03:04:05Z\"}",
    "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<EnumerationResults><Blobs><Blob><Name>p/a</Name><Properties>\
     <Content-Length>5</Content-Length><Etag>0x1</Etag></Properties></Blob></Blobs><NextMarker/></EnumerationResults>",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 412 Precondition Failed\r\nx-amz-meta-folded: one\r\n two\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\n\r\n",
    "SSH-2.0-OpenSSH_9.6\r\n",
];

/// What a server answers with.
#[derive(Default)]
struct Manner {
    answer: Vec<u8>,
    /// The requests that were answered by it. When they are tried again they are refused, or each would be tried until the deadline.
    answered: HashSet<Vec<u8>>,
}

const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

/// Answers one request, and closes the connection.
async fn serve(mut stream: TcpStream, manner: Arc<Mutex<Manner>>) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let answer = {
        let mut manner = manner.lock();
        if manner.answered.insert(head) { manner.answer.clone() } else { REFUSAL.to_vec() }
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // What of the request's body is still on its way is taken: a reset would lose the answer.
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn read(store: &dyn Store, key: &RawKey, options: GetOptions) -> bool {
    let Ok(mut got) = store.get(key, options).await else { return false };
    let mut buffer = vec![0; 1 << 14];
    let mut read = 0;
    while read < BODY_LEN_BYTES_MAX {
        match got.body.fill(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => read += count,
        }
    }
    true
}

/// All that is asked of a server, at a time; whether an object or a listing came of it.
async fn ask(store: &dyn Store) -> bool {
    let (key, other) = (RawKey::new("p/a").unwrap(), RawKey::new("p/b").unwrap());
    let pinned = GetOptions { range: Some(1..4), if_version: Some(Version::from_etag("\"x\"")) };
    let request = ListRequest { prefix: "p/".to_owned(), delimiter: true, ..ListRequest::default() };
    let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
    let payload = Payload::Bytes(bytes::Bytes::from_static(b"x"));
    let (head, whole, _, listed, put, copied, deleted) = futures::join!(
        store.head(&key),
        read(store, &key, GetOptions::default()),
        read(store, &key, pinned),
        store.list(request),
        store.put(&key, payload, options),
        store.copy(&key, &Version::Unknown, &other, Condition::None),
        store.delete(&other, Condition::None),
    );
    if let Ok(page) = &listed {
        let keys = page.objects.iter().map(|object| object.key.as_str());
        for name in keys.chain(page.prefixes.iter().map(String::as_str)) {
            assert!(name.starts_with("p/"), "a key outside of the prefix: {name:?}");
        }
    }
    let failed = [
        head.as_ref().err(),
        listed.as_ref().err(),
        put.as_ref().err(),
        copied.as_ref().err(),
        deleted.as_ref().err(),
    ];
    failed.into_iter().flatten().for_each(|error| assert!(!error.to_string().is_empty()));
    head.is_ok() || whole || listed.is_ok_and(|page| !page.objects.is_empty())
}

/// A server, and the store that asks it.
fn asker(uri: BucketUri) -> Parser {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let manner = Arc::new(Mutex::new(Manner::default()));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
    let served = manner.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, served.clone()));
        }
    });
    let options = StoreOptions {
        endpoint_url: Some(endpoint_url),
        environment: Some(CallerVariables::default()),
        anonymous: true,
        ..StoreOptions::new(uri)
    };
    let store = runtime.block_on(open(options)).unwrap();
    Box::new(move |input| {
        *manner.lock() = Manner { answer: input.to_vec(), answered: HashSet::new() };
        runtime.block_on(async {
            tokio::time::timeout(HANG_AFTER, ask(&*store))
                .await
                .expect("an answer after which nothing goes on")
        })
    })
}

fn fuzz_store(uri: &str) {
    let uri: BucketUri = uri.parse().unwrap();
    fuzz_all(ANSWERS, (0..FUZZERS).map(|_| asker(uri.clone())).collect());
}

#[test]
fn fuzzed_answers_to_s3_are_read_or_refused() {
    fuzz_store("s3://bucket");
}

#[test]
fn fuzzed_answers_to_google_cloud_storage_are_read_or_refused() {
    fuzz_store("gs://bucket");
}

#[test]
fn fuzzed_answers_to_azure_are_read_or_refused() {
    fuzz_store("az://account/container");
}
