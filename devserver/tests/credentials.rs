//! Keys that expire and are replaced while the server runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Client, start};
use pail_devserver::{Credential, Settings};

fn temporary(access_key: &str, token: &str, expires_at_s: Option<i64>) -> Credential {
    let session_token = Some(token.to_owned());
    Credential { session_token, expires_at_s, ..Credential::new(access_key, "secret") }
}

#[tokio::test]
async fn replaced_keys_are_refused_and_new_ones_are_taken() {
    let (server, old) = start(Settings::default()).await;
    let new = Client::new(&server.endpoint_url(), "new", Some("secret"));
    old.put("/bucket/o", b"x").await;
    assert_eq!(new.get("/bucket/o").await.code(), "InvalidAccessKeyId");
    server.set_credentials(vec![Credential::new("test", "testtest"), Credential::new("new", "secret")]);
    assert_eq!(
        (old.get("/bucket/o").await.status, new.get("/bucket/o").await.status),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    server.set_credentials(vec![Credential::new("new", "secret")]);
    let refused = old.get("/bucket/o").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "InvalidAccessKeyId"));
    assert_eq!(new.get("/bucket/o").await.text(), "x");
    server.set_credentials(vec![Credential::new("new", "another")]);
    assert_eq!(new.get("/bucket/o").await.code(), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn temporary_keys_want_their_token_and_expire() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", b"x").await;
    server.set_credentials(vec![
        temporary("soon", "token", Some(i64::MAX)),
        temporary("gone", "token", Some(1)),
        Credential::new("test", "testtest"),
    ]);
    let url = server.endpoint_url();
    let with = |key: &str, token: &str| {
        Client::new(&url, key, Some("secret")).with_header("x-amz-security-token", token)
    };
    assert_eq!(with("soon", "token").get("/bucket/o").await.text(), "x");
    for (client, status, code) in [
        (with("gone", "token"), 400, "ExpiredToken"),
        (with("soon", "other"), 400, "InvalidToken"),
        (Client::new(&url, "soon", Some("secret")), 403, "InvalidAccessKeyId"),
        (
            Client::new(&url, "test", Some("testtest")).with_header("x-amz-security-token", "token"),
            400,
            "InvalidToken",
        ),
    ] {
        let refused = client.get("/bucket/o").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn keys_are_replaced_over_http_and_no_secret_comes_back() {
    let (server, _) = start(Settings::default()).await;
    let anyone = Client::new(&server.endpoint_url(), "", None);
    let document =
        br#"[{"access_key": "a", "secret_key": "hidden", "session_token": "hidden", "expires_at_s": 1}]"#;
    let answer = anyone.ask("POST", "/_pail/credentials", &[], document).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"["a"]"#));
    assert_eq!(anyone.get("/_pail/credentials").await.text(), r#"["a"]"#);
    let expired = Client::new(&server.endpoint_url(), "a", Some("hidden"));
    let refused = expired.with_header("x-amz-security-token", "hidden").get("/bucket").await;
    assert_eq!(refused.code(), "ExpiredToken");
    let credential = format!("{:?}", temporary("a", "hidden", None));
    assert!(credential.contains("\"a\"") && !credential.contains("hidden") && !credential.contains("secret"));
}
