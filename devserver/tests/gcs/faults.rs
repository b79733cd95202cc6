//! Failures, timing and counters on demand: as for S3.

use crate::gcs_client::{self, reason, start};
use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, Settings};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn faults_strike_operations_by_their_names() {
    let (server, gcs) = start(Settings::default()).await;
    gcs.put("o", b"x").await;
    for (action, expected) in [
        (FaultAction::SlowDown, (429, "rateLimitExceeded")),
        (FaultAction::InternalError, (500, "backendError")),
        (FaultAction::AccessDenied, (403, "forbidden")),
        (FaultAction::Conflict, (409, "conflict")),
    ] {
        server.inject(Fault::once(Some("objects.delete"), action));
        assert_eq!(gcs.get("o").await.status, 200);
        let (status, name) = reason(&gcs.delete("o", "").await);
        assert_eq!((status, name.as_str()), expected);
    }
    server.inject(Fault::once(Some("objects.delete"), FaultAction::Disconnect));
    assert!(gcs.0.send("DELETE", "/storage/v1/b/bucket/o/o", &[], "").await.is_err());
    assert_eq!(gcs.get("o").await.status, 200, "nothing has taken effect");
    server.inject(Fault::once(Some("objects.delete"), FaultAction::ApplyThenDisconnect));
    assert!(gcs.0.send("DELETE", "/storage/v1/b/bucket/o/o", &[], "").await.is_err());
    assert_eq!(gcs.get("o").await.status, 404);
    server.inject(Fault::once(Some("objects.insert"), FaultAction::CutRequest { after_bytes: 1 }));
    let path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=o";
    assert!(gcs.0.send("POST", path, &[], "xyz").await.is_err());
    assert_eq!(gcs.get("o").await.status, 404);
}

#[tokio::test]
async fn a_name_in_the_resource_is_one_for_faults_and_the_log() {
    let (server, gcs) = start(Settings::default()).await;
    let fault = |action| Fault { key_contains: Some("target".into()), ..Fault::once(None, action) };
    server.inject(fault(FaultAction::SlowDown));
    assert_eq!(gcs.related("", &json!({"name": "other"}), b"x").await.status, 200);
    assert_eq!(gcs.related("", &json!({"name": "target"}), b"x").await.status, 429);
    server.inject(fault(FaultAction::SlowDown));
    let start = "/upload/storage/v1/b/bucket/o?uploadType=resumable";
    assert_eq!(gcs.send("POST", start, &json!({"name": "target"})).await.status, 429);
    server.inject(fault(FaultAction::Disconnect));
    let headers = [("content-type", "multipart/related; boundary=b")];
    let body = "--b\r\n\r\n{\"name\": \"target\"}\r\n--b\r\n\r\nx\r\n--b--";
    let path = "/upload/storage/v1/b/bucket/o?uploadType=multipart";
    assert!(gcs.0.send("POST", path, &headers, body).await.is_err());
    assert_eq!(gcs.get("target").await.status, 404);
    let keys: Vec<String> = server.requests().into_iter().map(|record| record.key).collect();
    assert_eq!(keys, ["other", "target", "target", "target", "target"]);
}

#[tokio::test]
async fn bodies_break_off_after_the_bytes_asked_for() {
    let (server, gcs) = start(Settings::default()).await;
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    server.put_object("bucket", "o", Bytes::from(bytes.clone())).await.unwrap();
    server.inject(Fault::once(Some("objects.get"), FaultAction::TruncateBody { after_bytes: 300_000 }));
    let truncated = gcs.media("o").await;
    assert!(truncated.broken);
    assert_eq!(truncated.header("content-length"), Some("1000000"));
    assert_eq!(truncated.body, &bytes[..300_000]);
    server.inject(Fault::once(Some("objects.get"), FaultAction::Stall { after_bytes: 10, for_ms: Some(1) }));
    assert_eq!(gcs.media("o").await.body, bytes);
}

#[tokio::test]
async fn requests_are_counted_logged_and_delayed() {
    let (server, gcs) = start(Settings::default()).await;
    gcs.put("a//b", b"12345").await;
    gcs.media("a//b").await;
    gcs.get("a//b").await;
    gcs.0.get("/storage/v1/b/bucket/o?prefix=a").await;
    let counters = server.counters();
    for (operation, count) in [("objects.insert", 1), ("objects.get", 2), ("objects.list", 1)] {
        assert_eq!(counters.count(operation), count, "{operation}");
    }
    assert_eq!((counters.total(), counters.bytes_in), (4, 5));
    let log = server.requests();
    assert_eq!(
        (log[1].operation.as_str(), log[1].bucket.as_str(), log[1].key.as_str()),
        ("objects.get", "bucket", "a//b")
    );
    assert_eq!(log[3].query["prefix"], "a");
    server.set_settings(Settings { first_byte_ms: 50, ..Settings::default() });
    let begun = Instant::now();
    assert_eq!(gcs_client::json(&gcs.get("a//b").await)["size"], "5");
    assert!(begun.elapsed() >= Duration::from_millis(50));
}
