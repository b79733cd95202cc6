//! Failures, timing and quirks on demand, and what the counters say.

mod client;

use bytes::Bytes;
use client::{Client, start};
use pail_devserver::{Counters, Fault, FaultAction, Quirks, Settings};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_fault_strikes_the_requests_it_names_and_no_other() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/target", b"x").await;
    client.put("/bucket/other", b"x").await;
    server.inject(Fault {
        operation: Some("GetObject".into()),
        key_contains: Some("target".into()),
        skip: 1,
        times: 2,
        action: FaultAction::SlowDown,
    });
    let mut statuses = Vec::new();
    for path in ["target", "other", "target", "target", "target"] {
        statuses.push(client.get(&format!("/bucket/{path}")).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 503, 503, 200]);
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn errors_before_the_effect_leave_nothing_behind() {
    let (server, client) = start(Settings::default()).await;
    server.inject(Fault::once(None, FaultAction::InternalError));
    assert_eq!(client.ask("PUT", "/bucket/o", &[], b"x").await.code(), "InternalError");
    server.inject(Fault::once(Some("PutObject"), FaultAction::Disconnect));
    assert!(client.send("PUT", "/bucket/o", &[], "x").await.is_err());
    server.inject(Fault::once(Some("PutObject"), FaultAction::CutRequest { after_bytes: 1 }));
    assert!(client.send("PUT", "/bucket/o", &[], "xyz").await.is_err());
    client.put("/bucket/from", b"x").await;
    server.inject(Fault::once(Some("CopyObject"), FaultAction::ErrorInsideOk));
    let copied = client.ask("PUT", "/bucket/o", &[("x-amz-copy-source", "/bucket/from")], b"").await;
    assert_eq!((copied.status.as_u16(), copied.code().as_str()), (200, "InternalError"));
    assert_eq!(client.get("/bucket/o").await.status, 404);
}

#[tokio::test]
async fn a_write_can_take_effect_without_an_answer() {
    let (server, client) = start(Settings::default()).await;
    server.inject(Fault::once(Some("PutObject"), FaultAction::ApplyThenDisconnect));
    assert!(client.send("PUT", "/bucket/o", &[], "x").await.is_err());
    assert_eq!(client.get("/bucket/o").await.text(), "x");
}

#[tokio::test]
async fn bodies_break_off_after_the_bytes_asked_for() {
    let (server, client) = start(Settings::default()).await;
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    server.put_object("bucket", "o", Bytes::from(bytes.clone())).await.unwrap();
    server.inject(Fault::once(Some("GetObject"), FaultAction::TruncateBody { after_bytes: 300_000 }));
    let truncated = client.get("/bucket/o").await;
    assert!(truncated.broken);
    assert_eq!(truncated.header("content-length"), Some("1000000"));
    assert_eq!(truncated.body, &bytes[..300_000]);
    server.inject(Fault::once(Some("GetObject"), FaultAction::CutBody { after_bytes: 0 }));
    // A reset may overtake the answer's head.
    if let Ok(cut) = client.send("GET", "/bucket/o", &[], "").await {
        assert!(cut.broken && cut.body.is_empty());
    }
    server.inject(Fault::once(Some("GetObject"), FaultAction::Stall { after_bytes: 10, for_ms: Some(1) }));
    assert_eq!(client.get("/bucket/o").await.body, bytes);
}

#[tokio::test]
async fn a_stalled_body_keeps_its_request_open_until_the_client_leaves() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", &[7; 100_000]).await;
    server.inject(Fault::once(Some("GetObject"), FaultAction::Stall { after_bytes: 10, for_ms: None }));
    let stalled = tokio::time::timeout(Duration::from_millis(100), client.get("/bucket/o")).await;
    assert!(stalled.is_err());
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.counters().open > 0 {
        assert!(Instant::now() < deadline, "the request of a client that left stays open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn etags_can_be_wrong_or_missing() {
    let (server, client) = start(Settings::default()).await;
    let etag = client.put("/bucket/o", b"x").await;
    server.inject(Fault::once(Some("GetObject"), FaultAction::WrongEtag));
    server.inject(Fault::once(Some("GetObject"), FaultAction::NoEtag));
    assert_ne!(client.get("/bucket/o").await.etag(), etag);
    assert_eq!(client.get("/bucket/o").await.header("etag"), None);
    assert_eq!(client.get("/bucket/o").await.etag(), etag);
}

#[tokio::test]
async fn quirks_imitate_servers_that_ignore_conditions() {
    let (server, client) = start(Settings { part_size_bytes_min: 1, ..Default::default() }).await;
    let etag = client.put("/bucket/o", b"x").await;
    let with = |quirks| Settings { part_size_bytes_min: 1, quirks, ..Default::default() };
    server.set_settings(with(Quirks { ignore_write_conditions: true, ..Default::default() }));
    assert_eq!(client.ask("PUT", "/bucket/o", &[("if-none-match", "*")], b"x").await.status, 200);
    server.set_settings(with(Quirks { unquoted_if_match: true, ..Default::default() }));
    assert_eq!(client.ask("PUT", "/bucket/o", &[("if-match", &etag)], b"x").await.status, 412);
    assert_eq!(
        client.ask("PUT", "/bucket/o", &[("if-match", etag.trim_matches('"'))], b"x").await.status,
        200
    );
    server.set_settings(with(Quirks {
        ignore_complete_conditions: true,
        no_complete_etag: true,
        ..Default::default()
    }));
    assert_eq!(client.ask("PUT", "/bucket/o", &[("if-none-match", "*")], b"x").await.status, 412);
    let id = client.begin("/bucket/o").await;
    let document = client.upload("/bucket/o", &id, &[b"a", b"bc"]).await;
    let complete = format!("/bucket/o?uploadId={id}");
    server.set_settings(with(Quirks { equal_parts: true, ..Default::default() }));
    assert_eq!(client.ask("POST", &complete, &[], document.as_bytes()).await.code(), "InvalidPart");
    server.set_settings(with(Quirks {
        ignore_complete_conditions: true,
        no_complete_etag: true,
        ..Default::default()
    }));
    let done = client.ask("POST", &complete, &[("if-none-match", "*")], document.as_bytes()).await;
    assert_eq!((done.status.as_u16(), done.element("ETag").as_deref()), (200, Some("")));
}

#[tokio::test]
async fn a_slow_server_is_at_least_as_slow_as_it_was_told_to_be() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", &[7; 100_000]).await;
    server.set_settings(Settings {
        first_byte_ms: 30,
        bandwidth_bytes_per_s: 1_000_000,
        ..Default::default()
    });
    let started = Instant::now();
    assert_eq!(client.get("/bucket/o").await.body.len(), 100_000);
    assert!(started.elapsed() >= Duration::from_millis(110), "{:?}", started.elapsed());
    let started = Instant::now();
    client.put("/bucket/o", &[7; 100_000]).await;
    assert!(started.elapsed() >= Duration::from_millis(110), "{:?}", started.elapsed());
}

#[tokio::test]
async fn requests_and_bytes_are_counted_and_logged_in_order() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", b"0123456789").await;
    client.ask("GET", "/bucket/o", &[("range", "bytes=2-5")], b"").await;
    client.ask("HEAD", "/bucket/o", &[], b"").await;
    client.get("/bucket?list-type=2&prefix=o").await;
    let counters = server.counters();
    let counted: Vec<(&str, u64)> = counters.requests.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counted, [("GetObject", 1), ("HeadObject", 1), ("ListObjectsV2", 1), ("PutObject", 1)]);
    assert_eq!(counters.bytes_in, 10);
    let log = server.requests();
    let names: Vec<&str> = log.iter().map(|record| record.operation.as_str()).collect();
    assert_eq!(names, ["PutObject", "GetObject", "HeadObject", "ListObjectsV2"]);
    assert_eq!(log[1].range.as_deref(), Some("bytes=2-5"));
    assert_eq!(log[1].key, "o");
    assert_eq!(log[3].query["prefix"], "o");
    server.reset_counters();
    client.ask("GET", "/bucket/o", &[("range", "bytes=2-5")], b"").await;
    assert_eq!(server.counters().bytes_out, 4);
    assert_eq!(server.counters().total(), 1);
}

#[tokio::test]
async fn requests_that_wait_for_each_other_are_of_different_rounds() {
    let (server, client) = start(Settings { first_byte_ms: 30, ..Settings::default() }).await;
    client.put("/bucket/o", b"x").await;
    // Both arrive before either is answered, however slow this machine is.
    server.set_settings(Settings { first_byte_ms: 60_000, ..Settings::default() });
    let stuck = async { tokio::join!(client.get("/bucket/o"), client.get("/bucket/o")) };
    let arrived = async {
        while server.counters().count("GetObject") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = stuck => panic!("an answer came too early"),
        () = arrived => {}
    }
    let rounds: Vec<u64> = server.requests().iter().map(|record| record.round).collect();
    assert_eq!(rounds, [1, 2, 2]);
    assert_eq!(server.counters().rounds, 2);
}

#[tokio::test]
async fn scripts_control_the_server_over_http_without_a_signature() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", b"x").await;
    let script = Client::new(&server.endpoint_url(), "", None);
    let fault = br#"{"operation": "GetObject", "action": {"kind": "cut_body", "after_bytes": 0}}"#;
    assert_eq!(script.ask("POST", "/_pail/faults", &[], fault).await.status, 200);
    assert_eq!(server.waiting_faults().len(), 1);
    script.ask("POST", "/_pail/faults/clear", &[], b"").await;
    assert!(server.waiting_faults().is_empty());
    script
        .ask("POST", "/_pail/settings", &[], br#"{"first_byte_ms": 1, "quirks": {"equal_parts": true}}"#)
        .await;
    assert_eq!(server.settings().first_byte_ms, 1);
    assert!(server.settings().quirks.equal_parts);
    let mistyped = script.ask("POST", "/_pail/settings", &[], br#"{"first_bite_ms": 1}"#).await;
    assert_eq!(mistyped.status, 400);
    let counters: Counters = serde_json::from_slice(&script.get("/_pail/counters").await.body).unwrap();
    assert_eq!(counters, server.counters());
    assert_eq!(counters.total(), 1);
    script.ask("POST", "/_pail/reset", &[], b"").await;
    assert_eq!(server.counters().total(), 0);
}
