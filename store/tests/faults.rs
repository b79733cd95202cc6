//! The store against a server that fails, on demand.
//!
//! Owns: what a caller sees of broken connections, failing servers and lost answers: mostly nothing, else the truth.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, Quirks, Server, ServerConfig, Settings};
use pail_store::{
    CallerVariables, Condition, Error, ErrorKind, GetOptions, ListRequest, Payload, PayloadSource,
    PutOptions, RawKey, S3Options, S3Store, Store,
};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BUCKET: &str = "bucket";
const SECRET: &str = "testtest";

/// Every wait is ample, for a loaded machine too.
fn options(endpoint: &str, secret: &str) -> S3Options {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", secret)];
    S3Options {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        connect_timeout: Duration::from_secs(20),
        head_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(20),
        retry_deadline: Duration::from_secs(20),
        ..S3Options::new(BUCKET)
    }
}

/// Gives up soon, after more than one attempt.
fn impatient(endpoint: &str) -> S3Options {
    S3Options { retry_deadline: Duration::from_secs(3), ..options(endpoint, SECRET) }
}

async fn server_with(settings: Settings) -> Server {
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    server
}

async fn start() -> (Server, Arc<S3Store>) {
    let server = server_with(Settings::default()).await;
    let store = S3Store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
    (server, store)
}

/// As `start`, with a store that soon takes an answer for stalled. A slow one that it takes for stalled is only asked for once more.
async fn start_watchful() -> (Server, Arc<S3Store>) {
    let server = server_with(Settings::default()).await;
    let options =
        S3Options { stall_timeout: Duration::from_millis(200), ..options(&server.endpoint_url(), SECRET) };
    let store = S3Store::open(options).await.unwrap();
    (server, store)
}

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

fn noise(len: usize) -> Bytes {
    (0..len as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

async fn read(store: &S3Store, name: &str) -> Result<Bytes, Error> {
    store.get(&key(name), GetOptions::default()).await?.bytes().await
}

/// The error of what must fail, and must not take for ever.
async fn error_of<T>(call: impl Future<Output = Result<T, Error>>) -> Error {
    match tokio::time::timeout(Duration::from_secs(30), call).await {
        Ok(outcome) => outcome.err().expect("it cannot succeed"),
        Err(_) => panic!("no outcome long after the deadline"),
    }
}

fn strike(server: &Server, operation: &str, action: FaultAction) {
    server.inject(Fault::once(Some(operation), action));
}

#[tokio::test]
async fn throttling_and_passing_failures_are_waited_out() {
    let (server, store) = start().await;
    let bytes = noise(100_000);
    for action in [
        FaultAction::SlowDown,
        FaultAction::InternalError,
        FaultAction::Disconnect,
        FaultAction::CutRequest { after_bytes: 50_000 },
    ] {
        strike(&server, "PutObject", action.clone());
        store.put(&key("o"), bytes.clone().into(), PutOptions::default()).await.unwrap();
        assert!(server.waiting_faults().is_empty(), "{action:?}");
    }
    for operation in ["HeadObject", "GetObject", "ListObjectsV2", "DeleteObject"] {
        strike(&server, operation, FaultAction::SlowDown);
    }
    strike(&server, "ListObjectsV2", FaultAction::TruncateBody { after_bytes: 100 });
    assert_eq!(store.head(&key("o")).await.unwrap().size, 100_000);
    assert_eq!(read(&store, "o").await.unwrap(), bytes);
    assert_eq!(store.list(ListRequest::default()).await.unwrap().objects.len(), 1);
    store.delete(&key("o"), Condition::None).await.unwrap();
    assert!(server.waiting_faults().is_empty());
    let counters = store.counters();
    assert_eq!((counters.retries, counters.in_flight), (9, 0));
}

#[tokio::test]
async fn a_broken_body_is_resumed_where_it_broke() {
    let (server, store) = start_watchful().await;
    let bytes = noise(20 * 1024 * 1024);
    server.put_object(BUCKET, "o", bytes.clone()).await.unwrap();
    for action in [
        FaultAction::CutBody { after_bytes: 7_000_001 },
        FaultAction::TruncateBody { after_bytes: 3_000_003 },
        FaultAction::Stall { after_bytes: 5_000_005, for_ms: None },
        FaultAction::Stall { after_bytes: 0, for_ms: None },
    ] {
        strike(&server, "GetObject", action);
    }
    assert!(read(&store, "o").await.unwrap() == bytes, "byte for byte");
    assert!(server.waiting_faults().is_empty());
    assert!(server.counters().bytes_out < 30 * 1024 * 1024, "what had arrived is not fetched again");

    strike(&server, "GetObject", FaultAction::CutBody { after_bytes: 1_000 });
    strike(&server, "GetObject", FaultAction::SlowDown);
    let range = Some(1_000_000..9_000_000);
    let got = store.get(&key("o"), GetOptions { range, if_version: None }).await.unwrap();
    assert!(got.bytes().await.unwrap() == bytes[1_000_000..9_000_000], "a range byte for byte");
}

#[tokio::test]
async fn a_body_is_not_resumed_from_another_version() {
    let (server, store) = start().await;
    server.put_object(BUCKET, "o", noise(4_000_000)).await.unwrap();
    strike(&server, "GetObject", FaultAction::CutBody { after_bytes: 1_000_000 });
    let mut body = store.get(&key("o"), GetOptions::default()).await.unwrap().body;
    body.fill(&mut [0; 1_000]).await.unwrap();
    server.put_object(BUCKET, "o", noise(4_000_001)).await.unwrap();
    let error = error_of(body.fill(&mut vec![0; 4_000_000])).await;
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
}

#[tokio::test]
async fn a_reader_may_be_slower_than_every_timeout() {
    let server = server_with(Settings::default()).await;
    let bytes = noise(8 * 1024 * 1024);
    server.put_object(BUCKET, "o", bytes.clone()).await.unwrap();
    let options = S3Options {
        stall_timeout: Duration::from_secs(1),
        retry_deadline: Duration::from_secs(1),
        ..options(&server.endpoint_url(), SECRET)
    };
    let store = S3Store::open(options).await.unwrap();
    let mut body = store.get(&key("o"), GetOptions::default()).await.unwrap().body;
    let mut got = vec![0; bytes.len()];
    body.fill(&mut got[..100_000]).await.unwrap();
    // The reader's own work, beyond stall timeout and deadline.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    body.fill(&mut got[100_000..]).await.unwrap();
    assert!(got == bytes);
}

#[tokio::test]
async fn an_error_inside_a_200_is_no_success() {
    let (server, store) = start().await;
    let version = store.put(&key("from"), noise(10).into(), PutOptions::default()).await.unwrap();
    strike(&server, "CopyObject", FaultAction::ErrorInsideOk);
    store.copy(&key("from"), &version, &key("to"), Condition::None).await.unwrap();
    assert_eq!(read(&store, "to").await.unwrap(), noise(10));

    let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
    strike(&server, "UploadPartCopy", FaultAction::ErrorInsideOk);
    let part = store.copy_part(&upload, 1, &key("from"), &version, 0..10).await.unwrap();
    strike(&server, "CompleteMultipartUpload", FaultAction::ErrorInsideOk);
    let completed = store.complete_upload(&upload, &[part], Condition::IfAbsent).await.unwrap();
    assert_eq!(store.head(&key("u")).await.unwrap().version, completed);
    assert_eq!(read(&store, "u").await.unwrap(), noise(10));
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_took_effect() {
    let (server, store) = start().await;
    store.capabilities().await.unwrap();
    let (first, second) = (noise(300_000), noise(300_001));
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let version = store.put(&key("o"), first.into(), on(Condition::IfAbsent)).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, version, "IfAbsent");
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let only_ours = on(Condition::IfVersion(version));
    let replaced = store.put(&key("o"), second.clone().into(), only_ours).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, replaced, "IfVersion");
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let plain = store.put(&key("o"), second.into(), PutOptions::default()).await.unwrap();
    assert_eq!(plain, replaced, "the same bytes");
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn an_error_says_whether_a_write_may_have_taken_effect() {
    let (server, _) = start().await;
    let store = S3Store::open(impatient(&server.endpoint_url())).await.unwrap();
    let object = key("o");
    let put = || store.put(&object, noise(10).into(), PutOptions::default());
    let mut fault = Fault { times: u32::MAX, ..Fault::once(Some("PutObject"), FaultAction::SlowDown) };
    server.inject(fault.clone());
    assert!(!error_of(put()).await.maybe_applied, "refused each time");
    server.clear_faults();
    fault.action = FaultAction::ApplyThenDisconnect;
    server.inject(fault);
    assert!(error_of(put()).await.maybe_applied);
    assert_eq!(read(&store, "o").await.unwrap(), noise(10));
    server.clear_faults();
    server.inject(Fault { times: u32::MAX, ..Fault::once(None, FaultAction::InternalError) });
    assert!(!error_of(store.head(&object)).await.maybe_applied, "a question changes nothing");
}

#[tokio::test]
async fn another_writer_is_not_taken_for_ourselves() {
    let (server, store) = start().await;
    let base = store.put(&key("o"), noise(10).into(), PutOptions::default()).await.unwrap();
    store.capabilities().await.unwrap();
    server.put_object(BUCKET, "o", Bytes::from_static(b"theirs, 10")).await.unwrap();
    for condition in [Condition::IfAbsent, Condition::IfVersion(base.clone())] {
        strike(&server, "PutObject", FaultAction::Disconnect);
        let error = error_of(store.put(&key("o"), noise(10).into(), on(condition.clone()))).await;
        assert_eq!(error.kind, ErrorKind::Precondition, "{condition:?}: {error}");
        assert_eq!(error.attempts, 2);
    }
    let upload = store.start_upload(&key("o"), &PutOptions::default()).await.unwrap();
    let part = store.put_part(&upload, 1, noise(10).into()).await.unwrap();
    strike(&server, "CompleteMultipartUpload", FaultAction::Disconnect);
    let completed = store.complete_upload(&upload, &[part], Condition::IfVersion(base)).await;
    // An ETag that counts no parts is no upload's.
    assert_eq!(completed.unwrap_err().kind, ErrorKind::Precondition);
    assert_eq!(read(&store, "o").await.unwrap(), "theirs, 10");
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_took_effect() {
    for (md5_etags, condition) in [(false, Condition::IfAbsent), (true, Condition::None)] {
        let server = server_with(Settings { md5_etags, ..Settings::default() }).await;
        let store = S3Store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
        store.capabilities().await.unwrap();
        let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
        let mut parts = Vec::new();
        for (number, len) in [(1, 5 * 1024 * 1024), (2, 1)] {
            parts.push(store.put_part(&upload, number, noise(len).into()).await.unwrap());
        }
        strike(&server, "CompleteMultipartUpload", FaultAction::ApplyThenDisconnect);
        let version = store.complete_upload(&upload, &parts, condition).await.unwrap();
        assert!(server.waiting_faults().is_empty());
        let meta = store.head(&key("u")).await.unwrap();
        assert_eq!((meta.version, meta.size), (version, 5 * 1024 * 1024 + 1));
    }
}

#[tokio::test]
async fn an_older_object_of_the_same_size_is_no_proof_of_a_completion() {
    let (server, store) = start().await;
    let mut older = None;
    for byte in [b"a", b"b"] {
        let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
        let part = store.put_part(&upload, 1, Bytes::from_static(byte).into()).await.unwrap();
        if older.is_none() {
            older = Some(store.complete_upload(&upload, &[part], Condition::None).await.unwrap());
            continue;
        }
        // The first attempt fails before it takes effect, and somebody clears the upload away.
        store.abort_upload(&upload).await.unwrap();
        strike(&server, "CompleteMultipartUpload", FaultAction::Disconnect);
        let error = error_of(store.complete_upload(&upload, &[part], Condition::None)).await;
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    assert_eq!(Some(store.head(&key("u")).await.unwrap().version), older);
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_took_effect() {
    for ignore_delete_conditions in [false, true] {
        let quirks = Quirks { ignore_delete_conditions, ..Quirks::default() };
        let server = server_with(Settings { quirks, ..Settings::default() }).await;
        let store = S3Store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
        for is_conditional in [false, true] {
            let version = store.put(&key("o"), noise(1).into(), PutOptions::default()).await.unwrap();
            let condition = if is_conditional { Condition::IfVersion(version) } else { Condition::None };
            store.capabilities().await.unwrap();
            strike(&server, "DeleteObject", FaultAction::ApplyThenDisconnect);
            store.delete(&key("o"), condition).await.unwrap();
            assert_eq!(store.head(&key("o")).await.unwrap_err().kind, ErrorKind::NotFound);
        }
    }
}

#[tokio::test]
async fn a_condition_that_met_another_request_is_tried_again() {
    let (server, store) = start().await;
    store.capabilities().await.unwrap();
    strike(&server, "PutObject", FaultAction::Conflict);
    let first = store.put(&key("o"), noise(1).into(), on(Condition::IfAbsent)).await.unwrap();
    strike(&server, "PutObject", FaultAction::Conflict);
    let condition = on(Condition::IfVersion(first.clone()));
    let second = store.put(&key("o"), noise(2).into(), condition).await.unwrap();
    // The other request had won.
    for condition in [Condition::IfAbsent, Condition::IfVersion(first)] {
        strike(&server, "PutObject", FaultAction::Conflict);
        let error = error_of(store.put(&key("o"), noise(3).into(), on(condition))).await;
        assert_eq!((error.kind, error.attempts), (ErrorKind::Precondition, 2), "{error}");
    }
    strike(&server, "DeleteObject", FaultAction::Conflict);
    store.delete(&key("o"), Condition::IfVersion(second)).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn every_write_outlives_every_passing_failure() {
    let (server, store) = start_watchful().await;
    store.capabilities().await.unwrap();
    let from = store.put(&key("from"), noise(10).into(), PutOptions::default()).await.unwrap();
    for (number, action) in [
        FaultAction::SlowDown,
        FaultAction::InternalError,
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
        // Of answers that have a body, a part of it comes.
        FaultAction::TruncateBody { after_bytes: 60 },
        FaultAction::CutBody { after_bytes: 60 },
        FaultAction::Stall { after_bytes: 60, for_ms: None },
    ]
    .into_iter()
    .enumerate()
    {
        for operation in [
            "PutObject",
            "CopyObject",
            "CreateMultipartUpload",
            "UploadPart",
            "UploadPartCopy",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
            "DeleteObject",
        ] {
            strike(&server, operation, action.clone());
        }
        let on_absent = || on(Condition::IfAbsent);
        let [put, copy, parts] = ["put", "copy", "parts"].map(|name| key(&format!("{name}-{number}")));
        let version = store.put(&put, noise(10).into(), on_absent()).await.unwrap();
        store.copy(&key("from"), &from, &copy, Condition::IfAbsent).await.unwrap();
        let upload = store.start_upload(&parts, &PutOptions::default()).await.unwrap();
        let sent = [
            store.put_part(&upload, 1, noise(5 << 20).into()).await.unwrap(),
            store.copy_part(&upload, 2, &key("from"), &from, 0..10).await.unwrap(),
        ];
        let whole = store.complete_upload(&upload, &sent, Condition::IfAbsent).await.unwrap();
        let given_up = store.start_upload(&put, &PutOptions::default()).await.unwrap();
        store.abort_upload(&given_up).await.unwrap();

        assert_eq!(store.head(&put).await.unwrap().version, version, "{action:?}");
        assert_eq!(read(&store, copy.as_str()).await.unwrap(), noise(10), "{action:?}");
        assert_eq!(store.head(&parts).await.unwrap().version, whole, "{action:?}");
        assert!(read(&store, parts.as_str()).await.unwrap() == [noise(5 << 20), noise(10)].concat());
        store.delete(&put, Condition::IfVersion(version)).await.unwrap();
        assert_eq!(store.head(&put).await.unwrap_err().kind, ErrorKind::NotFound, "{action:?}");
        assert!(server.waiting_faults().is_empty(), "{action:?}: {:?}", server.waiting_faults());
    }
}

#[tokio::test]
async fn a_missing_etag_is_asked_for() {
    let (server, store) = start().await;
    strike(&server, "PutObject", FaultAction::NoEtag);
    let version = store.put(&key("o"), noise(10).into(), PutOptions::default()).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, version);
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_not_told() {
    let (server, _) = start().await;
    let wrong = "a-mistyped-secret";
    let store = S3Store::open(options(&server.endpoint_url(), wrong)).await.unwrap();
    let error = error_of(store.check_bucket()).await;
    assert_eq!((error.kind, error.attempts), (ErrorKind::Denied, 1));
    let text = format!("{error} {error:?} {store:?}");
    assert!(text.contains("access key") && text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
    assert!(!text.contains(wrong) && !text.contains(SECRET) && !text.contains("Signature="), "{text}");
    let error = error_of(store.head(&key("o"))).await;
    assert_eq!(error.kind, ErrorKind::Denied, "without a body: {error}");
}

#[tokio::test]
async fn an_unknown_bucket_is_named() {
    let (server, _) = start().await;
    let options = S3Options { bucket: "elsewhere".into(), ..options(&server.endpoint_url(), SECRET) };
    let store = S3Store::open(options).await.unwrap();
    let error = error_of(store.check_bucket()).await;
    assert_eq!((error.kind, error.attempts), (ErrorKind::NoSuchBucket, 1));
    let text = error.to_string();
    assert!(text.contains("elsewhere") && text.contains(&server.endpoint_url()), "{text}");
}

#[tokio::test]
async fn a_public_bucket_needs_no_credentials() {
    let (server, _) = start().await;
    server.put_object(BUCKET, "o", noise(10)).await.unwrap();
    server.set_public(BUCKET).unwrap();
    let without = S3Options { anonymous: true, ..options(&server.endpoint_url(), SECRET) };
    let store = S3Store::open(without).await.unwrap();
    store.check_bucket().await.unwrap();
    assert_eq!(read(&store, "o").await.unwrap(), noise(10));
    let error = error_of(store.put(&key("p"), noise(1).into(), PutOptions::default())).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("without credentials"), "{error}");
}

#[tokio::test]
async fn a_server_that_keeps_failing_exhausts_the_deadline() {
    let (server, _) = start().await;
    let store = S3Store::open(impatient(&server.endpoint_url())).await.unwrap();
    let fault = Fault { times: u32::MAX, ..Fault::once(None, FaultAction::InternalError) };
    server.inject(fault);
    let error = error_of(store.head(&key("o"))).await;
    assert_eq!((error.kind, error.status), (ErrorKind::Exhausted, Some(500)), "{error}");
    assert!(error.attempts > 1);
    assert_eq!(u64::from(error.attempts), server.counters().total(), "every attempt is counted");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // Connections are taken by the kernel, and nobody answers.
    let brief = Duration::from_millis(300);
    let options = S3Options {
        connect_timeout: brief,
        head_timeout: brief,
        retry_deadline: Duration::from_secs(1),
        ..options(&endpoint, SECRET)
    };
    let store = S3Store::open(options).await.unwrap();
    let silent = error_of(store.check_bucket()).await;
    assert_eq!(silent.kind, ErrorKind::Unreachable, "{silent}");
    assert!(silent.to_string().contains(&endpoint), "{silent}");
    drop(listener);
    let refused = error_of(store.check_bucket()).await;
    assert_eq!(refused.kind, ErrorKind::Unreachable, "{refused}");
    let text = refused.to_string().to_lowercase();
    assert!(text.contains(&endpoint) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn an_empty_object_says_its_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            let len = stream.read(&mut buffer).await.unwrap();
            assert!(len > 0, "the head is not whole");
            head.extend_from_slice(&buffer[..len]);
        }
        let answer = b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    });
    let store = S3Store::open(options(&endpoint, SECRET)).await.unwrap();
    store.put(&key("o"), Bytes::new().into(), PutOptions::default()).await.unwrap();
    let head = server.await.unwrap();
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

/// Readable up to a point.
struct Torn(u64);

#[async_trait::async_trait]
impl PayloadSource for Torn {
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        match range.end <= self.0 {
            true => Ok(vec![7; (range.end - range.start) as usize].into()),
            false => Err(std::io::Error::other("the disk is gone")),
        }
    }
}

#[tokio::test]
async fn a_source_is_read_again_for_a_retry_and_its_error_is_its_own() {
    let (server, store) = start().await;
    let len = 3_000_000;
    let payload = |readable| Payload::Source { len, source: Arc::new(Torn(readable)) };
    strike(&server, "PutObject", FaultAction::CutRequest { after_bytes: 1_000_000 });
    store.put(&key("o"), payload(len), PutOptions::default()).await.unwrap();
    assert!(read(&store, "o").await.unwrap() == vec![7; len as usize]);
    let error = error_of(store.put(&key("torn"), payload(2_000_000), PutOptions::default())).await;
    assert_eq!(error.kind, ErrorKind::Source);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(store.head(&key("torn")).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_dropped_body_gives_its_place_back() {
    let (server, _) = start().await;
    server.put_object(BUCKET, "o", noise(8_000_000)).await.unwrap();
    let one = S3Options { requests_in_flight_max: 1, ..options(&server.endpoint_url(), SECRET) };
    let store = S3Store::open(one).await.unwrap();
    let mut got = store.get(&key("o"), GetOptions::default()).await.unwrap();
    got.body.fill(&mut [0; 1_000]).await.unwrap();
    assert_eq!(store.counters().in_flight, 1);
    drop(got);
    tokio::time::timeout(Duration::from_secs(10), store.head(&key("o"))).await.expect("its place").unwrap();
    assert_eq!(store.counters().in_flight, 0);
}
