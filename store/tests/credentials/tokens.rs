//! IBM's tokens, and the service that gives them out.

use crate::caller::{Caller, KEY, SECRET, URIS, read, server};
use pail_devserver::{Fault, FaultAction};
use pail_store::{ErrorKind, S3Store, Store, StoreOptions};

fn with_api_key(api_key: &str, iam: &str) -> Caller {
    Caller::new()
        .file(".ibm/credentials.yaml", &format!("iam_api_key: {api_key}\nresource_instance_id: crn:v1:x\n"))
        .variable("IBM_AUTH_ENDPOINT", iam)
}

#[tokio::test]
async fn an_api_key_becomes_a_token_once() {
    let server = server().await;
    let iam = format!("{}/identity/token", server.endpoint_url());
    for caller in [
        with_api_key(SECRET, &iam),
        Caller::new()
            .variable("IBMCLOUD_API_KEY", SECRET)
            .variable("IBM_IAM_ENDPOINT", &server.endpoint_url()),
    ] {
        server.reset_counters();
        let store = caller.open(URIS[2], &server).await;
        for _ in 0..50 {
            assert_eq!(read(&store).await.unwrap(), 1000);
        }
        let counters = server.counters();
        assert_eq!((counters.count("IssueToken"), counters.count("GetObject")), (1, 50), "{counters:?}");
    }
}

#[tokio::test]
async fn a_bucket_is_made_by_token_in_the_instance_that_is_named() {
    let server = server().await;
    let iam = server.endpoint_url();
    let caller = with_api_key(SECRET, &iam);
    let store = caller.open("cos://eu-de/new-bucket", &server).await;
    store.create_bucket().await.unwrap();
    store.look_up_bucket().await.unwrap();
    let nowhere = Caller::new().variable("IBM_API_KEY_ID", SECRET).variable("IBM_AUTH_ENDPOINT", &iam);
    let error = nowhere.open("cos://eu-de/other-bucket", &server).await.create_bucket().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Configuration);
    assert!(error.message.contains("IBM_SERVICE_INSTANCE_ID"), "{error}");
}

#[tokio::test]
async fn a_wrong_api_key_is_told_with_the_service_s_reason_and_not_itself() {
    let server = server().await;
    let caller = with_api_key("wrong-api-key", &server.endpoint_url());
    let store = caller.open(URIS[2], &server).await;
    let error = read(&store).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    let told = error.to_string();
    assert!(told.contains("~/.ibm/credentials.yaml") && told.contains("BXNIM0415E"), "{told}");
    assert!(!told.contains("wrong-api-key"), "{told}");
}

#[tokio::test]
async fn a_service_that_fails_for_a_moment_is_asked_again() {
    let server = server().await;
    server.inject(Fault::once(Some("IssueToken"), FaultAction::Disconnect));
    let caller = with_api_key(SECRET, &server.endpoint_url());
    let store = caller.open(URIS[2], &server).await;
    assert_eq!(read(&store).await.unwrap(), 1000);
}

#[tokio::test]
async fn neither_an_api_key_nor_a_token_is_sent_in_the_clear() {
    let server = server().await;
    let options = with_api_key(SECRET, "http://iam.example").options(URIS[2], &server);
    let error = S3Store::open(options).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Configuration);
    assert!(error.message.contains("IBM_AUTH_ENDPOINT") && error.message.contains("https://"), "{error}");
    // The proxy is the server itself, and the endpoint's name has no address.
    let caller = with_api_key(SECRET, &server.endpoint_url()).variable("HTTP_PROXY", &server.endpoint_url());
    let clear =
        StoreOptions { endpoint_url: Some("http://cos.invalid".into()), ..caller.options(URIS[2], &server) };
    let error = read(&S3Store::open(clear).await.unwrap()).await.unwrap_err();
    assert!(error.message.contains("may not be sent to http://cos.invalid without TLS"), "{error}");
    assert_eq!(server.counters().count("GetObject"), 0);
}

#[tokio::test]
async fn what_is_found_here_is_lent_to_another_machine() {
    let server = server().await;
    let url = server.endpoint_url();
    let aws = Caller::new().variable("AWS_ACCESS_KEY_ID", KEY).variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let r2 = Caller::new().variable("R2_ACCESS_KEY_ID", KEY).variable("R2_SECRET_ACCESS_KEY", SECRET);
    let ibm = Caller::new().variable("IBMCLOUD_API_KEY", SECRET).variable("IBM_IAM_ENDPOINT", &url);
    for (uri, caller, endpoint) in [
        (URIS[0], aws, "AWS_ENDPOINT_URL_S3"),
        (URIS[1], r2, "R2_ENDPOINT_URL"),
        (URIS[2], with_api_key(SECRET, &url), "IBM_COS_ENDPOINT"),
        (URIS[2], ibm, "IBM_COS_ENDPOINT"),
    ] {
        let named = caller.options(uri, &server);
        let (lent, _) = pail_store::lend(&named).await.unwrap();
        assert!(!lent.0.contains_key(endpoint), "the endpoint of one bucket is not that of all: {lent:?}");
        let caller = caller.variable(endpoint, &url);
        let surrounding = StoreOptions { endpoint_url: None, ..caller.options(uri, &server) };
        let (lent, expiry) = pail_store::lend(&surrounding).await.unwrap();
        assert_eq!(expiry, None, "{uri}: what makes tokens is lent, for a job of any length");
        // Without a home, as on the other machine.
        let there = StoreOptions { environment: Some(lent), ..StoreOptions::new(uri.parse().unwrap()) };
        assert_eq!(read(&S3Store::open(there).await.unwrap()).await.unwrap(), 1000, "{uri}");
    }
    let token = Caller::new().variable("IBM_IAM_TOKEN", "token").options(URIS[2], &server);
    assert_eq!(pail_store::lend(&token).await.unwrap().0.0["IBM_IAM_TOKEN"], "token");
    let none = pail_store::lend(&Caller::new().options(URIS[1], &server)).await.unwrap();
    assert!(none.0.0.is_empty(), "the other machine may have its own: {none:?}");
}
