//! Credentials that end, and ones that are replaced while a store is open.

use crate::caller::{Caller, KEY, OBJECT, SECRET, URIS, profile, read, server, server_with};
use pail_devserver::{Credential, Quirks, Settings};
use pail_store::{ErrorKind, GetOptions, RawKey, Store};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

/// A caller whose keys come from a program, which notes each of its runs; they live for `life`.
fn by_process(life: Duration) -> Caller {
    let caller = Caller::new();
    let expiry = rfc3339(SystemTime::now() + life);
    let runs = caller.path("runs");
    let script = format!(
        "#!/bin/sh\necho run >> '{}'\necho '{{\"Version\": 1, \"AccessKeyId\": \"{KEY}\", \"SecretAccessKey\": \"{SECRET}\", \"Expiration\": \"{expiry}\"}}'\n",
        runs.display()
    );
    let caller = caller.file("keys.sh", &script);
    let path = caller.path("keys.sh");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = format!("[default]\ncredential_process = {}\n", path.display());
    caller.file(".aws/config", &config)
}

/// As RFC 3339 has it.
fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap().to_string()
}

fn runs_of(caller: &Caller) -> usize {
    std::fs::read_to_string(caller.path("runs")).unwrap_or_default().lines().count()
}

async fn until_it_reads(store: &pail_store::S3Store) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = read(store).await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_program_whose_keys_live_short_is_not_run_for_each_request() {
    let (server, caller) = (server().await, by_process(Duration::from_secs(60)));
    let store = caller.open(URIS[0], &server).await;
    for _ in 0..200 {
        assert_eq!(read(&store).await.unwrap(), 1000);
    }
    assert!((1..=2).contains(&runs_of(&caller)), "{} runs", runs_of(&caller));
}

#[tokio::test]
async fn keys_that_are_replaced_in_their_file_are_taken_up_while_a_read_goes_on() {
    type Writer = fn(&str) -> String;
    let files: [(&str, &str, Writer); 3] = [
        (URIS[0], ".aws/credentials", |secret| profile("default", KEY, secret)),
        (URIS[1], ".cloudflare/r2.credentials", |secret| profile("r2", KEY, secret)),
        (URIS[2], ".ibm/credentials.yaml", |secret| {
            format!("access_key_id: {KEY}\nsecret_access_key: {secret}\n")
        }),
    ];
    for (uri, file, text) in files {
        let server = server().await;
        server.put_object("bucket", "long", vec![7; 20_000_000].into()).await.unwrap();
        let caller = Caller::new().file(file, &text(SECRET));
        let store = caller.open(uri, &server).await;
        let mut long = store.get(&RawKey::new("long").unwrap(), GetOptions::default()).await.unwrap();
        let mut buffer = vec![0; 100_000];
        long.body.fill(&mut buffer).await.unwrap();
        caller.write(file, &text("another-secret"));
        server.set_credentials(vec![Credential::new(KEY, "another-secret")]);
        // Whoever asks within the first second of the old ones' life is refused.
        until_it_reads(&store).await;
        let mut len = buffer.len();
        while let count @ 1.. = long.body.fill(&mut buffer).await.unwrap() {
            len += count;
        }
        assert_eq!(len, 20_000_000, "{uri}");
    }
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let quirks = Quirks { ibm: true, ..Quirks::default() };
    let server = server_with(Settings { token_lifetime_s: 2, quirks, ..Settings::default() }).await;
    let caller = Caller::new()
        .variable("IBM_API_KEY_ID", SECRET)
        .variable("IBM_AUTH_ENDPOINT", &server.endpoint_url());
    let store = caller.open(URIS[2], &server).await;
    let mut reads = 0;
    while server.counters().count("IssueToken") < 3 {
        assert_eq!(read(&store).await.unwrap(), 1000, "after {reads} reads");
        reads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(reads > 10, "{reads} reads for 3 tokens");
}

#[tokio::test]
async fn keys_that_the_server_calls_expired_are_asked_for_again_and_told() {
    let server = server().await;
    let past = jiff::Timestamp::now().as_second() - 60;
    server.set_credentials(vec![Credential { expires_at_s: Some(past), ..Credential::new(KEY, SECRET) }]);
    let caller = Caller::new().file(".aws/credentials", &profile("default", KEY, SECRET));
    let store = caller.open(URIS[0], &server).await;
    let error = read(&store).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let told = error.to_string();
    assert!(told.contains("expired") && told.contains("~/.aws/credentials"), "{told}");
    caller.write(".aws/credentials", &profile("default", "AKIDNEW", SECRET));
    server.set_credentials(vec![Credential::new("AKIDNEW", SECRET)]);
    until_it_reads(&store).await;
    assert_eq!(store.head(&RawKey::new(OBJECT).unwrap()).await.unwrap().size, 1000);
}

#[tokio::test]
async fn a_program_that_fails_is_told_and_left_alone_for_a_while() {
    let server = server().await;
    let caller = by_process(Duration::from_secs(60));
    let script = format!(
        "#!/bin/sh\necho run >> '{}'\necho 'log in first' >&2\nexit 3\n",
        caller.path("runs").display()
    );
    std::fs::write(caller.path("keys.sh"), script).unwrap();
    let store = caller.open(URIS[0], &server).await;
    for _ in 0..100 {
        let error = read(&store).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials);
        assert!(
            error.message.contains("the profile default of") && !error.message.contains(SECRET),
            "{error}"
        );
    }
    assert!(runs_of(&caller) <= 2, "{} runs for 100 requests", runs_of(&caller));
}
