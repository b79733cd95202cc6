//! What the deadline counts: all attempts, all pauses and all waits of a call in which nothing moves, and nothing of one that moves.

use crate::{BUCKET, SECRET, error_of, key, noise, on, options, server_with};
use pail_devserver::{Fault, FaultAction, Server, Settings};
use pail_store::{Condition, ErrorKind, GetOptions, PutOptions, Store, StoreOptions, one_call};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// Long enough for what goes well on a loaded machine to go well within it.
const DEADLINE: Duration = Duration::from_secs(12);
/// After it there is one more try, of a twelfth of the deadline, and a loaded machine.
const SLACK: Duration = Duration::from_secs(5);

/// One attempt is given up before the deadline, and another begun.
fn waiting_long(endpoint: &str) -> StoreOptions {
    StoreOptions {
        head_timeout: DEADLINE * 5 / 6,
        stall_timeout: DEADLINE * 5 / 6,
        retry_deadline: DEADLINE,
        ..options(endpoint, SECRET)
    }
}

async fn store_of(server: &Server) -> Arc<dyn Store> {
    pail_store::open(waiting_long(&server.endpoint_url())).await.unwrap()
}

fn hang(server: &Server, operation: &str) {
    server.inject(Fault {
        times: u32::MAX,
        ..Fault::once(Some(operation), FaultAction::Delay { ms: 3_600_000 })
    });
}

/// The error of what hangs, which comes by the deadline.
async fn in_time<T>(call: impl Future<Output = pail_store::Result<T>>) -> pail_store::Error {
    let began = Instant::now();
    let error = error_of(call).await;
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}: {error}", began.elapsed());
    assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Exhausted), "{error}");
    error
}

#[tokio::test]
async fn a_server_that_takes_all_and_answers_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut taken = vec![0; 1 << 20];
                while stream.read(&mut taken).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    let store = pail_store::open(waiting_long(&endpoint)).await.unwrap();
    let payload = noise(8 << 20);
    // Each attempt gets all of it across, which moves the first alone.
    let error = in_time(store.put(&key("o"), payload.into(), PutOptions::default())).await;
    assert!(error.attempts > 1, "{error}");
}

#[tokio::test]
async fn what_a_call_asks_one_after_the_other_waits_once() {
    let server = server_with(Settings::default()).await;
    let store = store_of(&server).await;
    let upload = store.start_upload(&key("o"), &PutOptions::default()).await.unwrap();
    let part = store.put_part(&upload, 1, noise(10).into()).await.unwrap();
    server.inject(Fault {
        times: u32::MAX,
        ..Fault::once(Some("CompleteMultipartUpload"), FaultAction::InternalError)
    });
    hang(&server, "HeadObject");
    // The look whether it took effect goes on with the wait for the completion.
    in_time(store.complete_upload(&upload, &[part], &on(Condition::None))).await;
    // So does one of a program's call, which knows nothing of the request before.
    in_time(one_call(async {
        store.head(&key("o")).await.unwrap_err();
        store.head(&key("p")).await
    }))
    .await;
}

#[tokio::test]
async fn a_body_that_stalls_on_every_connection() {
    let server = server_with(Settings::default()).await;
    server.put_object(BUCKET, "o", noise(100_000)).await.unwrap();
    let store = store_of(&server).await;
    let stall = FaultAction::Stall { after_bytes: 1000, for_ms: None };
    server.inject(Fault { times: 1, ..Fault::once(Some("GetObject"), stall) });
    let stall = FaultAction::Stall { after_bytes: 0, for_ms: None };
    server.inject(Fault { times: u32::MAX, ..Fault::once(Some("GetObject"), stall) });
    in_time(async { store.get(&key("o"), GetOptions::default()).await?.bytes().await }).await;
}

#[tokio::test]
async fn all_places_are_taken_by_bodies_that_stall() {
    let server = server_with(Settings::default()).await;
    server.put_object(BUCKET, "o", noise(100_000)).await.unwrap();
    let options = StoreOptions { requests_in_flight_max: 2, ..waiting_long(&server.endpoint_url()) };
    let store = pail_store::open(options).await.unwrap();
    let stall = FaultAction::Stall { after_bytes: 0, for_ms: None };
    server.inject(Fault { times: 2, ..Fault::once(Some("GetObject"), stall) });
    let name = key("o");
    let (one, other) =
        tokio::join!(store.get(&name, GetOptions::default()), store.get(&name, GetOptions::default()));
    let error = in_time(store.head(&key("o"))).await;
    assert!(error.to_string().contains("none of the 2 requests in flight"), "{error}");
    drop((one.unwrap(), other.unwrap()));
    assert_eq!(store.head(&key("o")).await.unwrap().size, 100_000, "the places are free again");
}

#[tokio::test]
async fn what_moves_may_take_longer_and_so_may_who_waits_behind_it() {
    let settings = Settings { bandwidth_bytes_per_s: 4 << 20, ..Settings::default() };
    let server = server_with(settings).await;
    let brief = Duration::from_secs(3);
    let options = StoreOptions {
        requests_in_flight_max: 1,
        head_timeout: brief,
        retry_deadline: brief,
        ..options(&server.endpoint_url(), SECRET)
    };
    let store = pail_store::open(options).await.unwrap();
    let (small, large) = (key("small"), key("large"));
    let began = Instant::now();
    let (put, head) = tokio::join!(store.put(&large, noise(32 << 20).into(), PutOptions::default()), async {
        tokio::task::yield_now().await;
        store.head(&small).await
    });
    put.unwrap();
    assert!(began.elapsed() > brief * 2, "it was no longer than the deadline: {:?}", began.elapsed());
    assert_eq!(head.unwrap_err().kind, ErrorKind::NotFound);
}
