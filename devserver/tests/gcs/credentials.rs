//! Tokens: which are accepted, and where they come from.

use crate::gcs_client::{Gcs, json, reason, start};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use pail_devserver::{GcsSettings, Server, Settings};
use serde_json::{Value, json};
use std::time::SystemTime;

async fn guarded(identities: Option<&[&str]>) -> (Server, Gcs) {
    let gcs = GcsSettings {
        tokens: Some(["secret".into()].into()),
        identities: identities.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        ..GcsSettings::default()
    };
    start(Settings { gcs, ..Settings::default() }).await
}

/// The status of a listing with a token.
async fn status(gcs: &Gcs, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    gcs.0.ask("GET", "/storage/v1/b/bucket/o", &headers, b"").await.status.as_u16()
}

async fn form(gcs: &Gcs, path: &str, fields: &[(&str, &str)]) -> crate::client::Answer {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", crate::gcs_client::enc(value))).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    gcs.0.ask("POST", path, &headers, pairs.join("&").as_bytes()).await
}

fn jwt(issuer: &str, until_s: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let claims = json!({"iss": issuer, "exp": now + until_s});
    format!("{}.{}.{}", BASE64.encode("{}"), BASE64.encode(claims.to_string()), BASE64.encode("signature"))
}

#[tokio::test]
async fn any_token_will_do_unless_some_are_named() {
    let (_server, gcs) = start(Settings::default()).await;
    assert_eq!(gcs.0.get("/storage/v1/b/bucket/o").await.status, 200);
    assert_eq!(status(&gcs, "anything").await, 200);
    let (server, gcs) = guarded(None).await;
    assert_eq!(status(&gcs, "secret").await, 200);
    let wrong = gcs.0.ask("GET", "/storage/v1/b/bucket/o", &[("authorization", "Bearer other")], b"").await;
    assert_eq!(reason(&wrong), (401, "authError".into()));
    assert!(wrong.header("www-authenticate").is_some());
    assert_eq!(reason(&gcs.insert("o", "", b"x").await), (401, "authError".into()));
    server.set_public("bucket").unwrap();
    server.put_object("bucket", "o", "x".into()).await.unwrap();
    assert_eq!(gcs.media("o").await.text(), "x");
    assert_eq!(gcs.0.get("/storage/v1/b/bucket/o").await.status, 200);
    assert_eq!(reason(&gcs.insert("o", "", b"x").await), (401, "authError".into()));
    assert_eq!(status(&gcs, "other").await, 401, "a wrong token is wrong for a public bucket, too");
}

#[tokio::test]
async fn tokens_of_the_endpoints_are_accepted_until_they_expire() {
    let (server, gcs) = guarded(Some(&["me@p.iam.gserviceaccount.com", "refresh", "subject"])).await;
    let assertion = jwt("me@p.iam.gserviceaccount.com", 3600);
    let bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let jwt_type = "urn:ietf:params:oauth:token-type:jwt";
    let mut tokens = Vec::new();
    for (path, fields) in [
        ("/token", vec![("grant_type", bearer), ("assertion", &assertion)]),
        (
            "/token",
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", "c"),
                ("client_secret", "s"),
                ("refresh_token", "refresh"),
            ],
        ),
        (
            "/v1/token",
            vec![
                ("grant_type", exchange),
                ("audience", "//iam.googleapis.com/x"),
                ("subject_token_type", jwt_type),
                ("subject_token", "subject"),
            ],
        ),
    ] {
        let answer = form(&gcs, path, &fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = json(&answer);
        assert_eq!((&answer["expires_in"], &answer["token_type"]), (&3600.into(), &"Bearer".into()));
        tokens.push(answer["access_token"].as_str().unwrap().to_owned());
    }
    let metadata = "/computeMetadata/v1/instance/service-accounts/default/token";
    let flavor = [("metadata-flavor", "Google")];
    let answer = json(&gcs.0.ask("GET", &format!("{metadata}?scopes=x"), &flavor, b"").await);
    tokens.push(answer["access_token"].as_str().unwrap().to_owned());
    for token in &tokens {
        assert_eq!(status(&gcs, token).await, 200);
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 4, "each call gives a new token");
    server.expire_gcs_tokens();
    for token in &tokens {
        assert_eq!(status(&gcs, token).await, 401);
    }
    for (operation, count) in [("oauth.token", 2), ("sts.token", 1), ("metadata.token", 1)] {
        assert_eq!(server.counters().count(operation), count, "{operation}");
    }
    let mut settings = server.settings();
    settings.gcs.token_lifetime_s = 0;
    settings.gcs.tokens = None;
    server.set_settings(settings);
    let answer = json(&gcs.0.ask("GET", metadata, &flavor, b"").await);
    assert_eq!(
        status(&gcs, answer["access_token"].as_str().unwrap()).await,
        401,
        "expired is refused in any case"
    );
}

#[tokio::test]
async fn who_is_not_known_is_given_no_token() {
    let (_server, gcs) = guarded(Some(&["me"])).await;
    let bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    for (fields, code) in [
        (vec![("grant_type", bearer), ("assertion", jwt("other", 3600).as_str())], "invalid_grant"),
        (vec![("grant_type", bearer), ("assertion", jwt("me", -10).as_str())], "invalid_grant"),
        (vec![("grant_type", bearer), ("assertion", "no.jwt")], "invalid_grant"),
        (vec![("grant_type", bearer)], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", "c"),
                ("client_secret", "s"),
                ("refresh_token", "old"),
            ],
            "invalid_grant",
        ),
    ] {
        let answer = form(&gcs, "/token", &fields).await;
        assert_eq!(
            (answer.status.as_u16(), &json(&answer)["error"]),
            (400, &Value::from(code)),
            "{fields:?}"
        );
    }
    let unflavored = gcs.0.get("/computeMetadata/v1/instance/service-accounts/default/token").await;
    assert_eq!(unflavored.status, 403);
}

#[tokio::test]
async fn a_token_for_another_account_is_asked_for_with_a_token() {
    let (server, gcs) = guarded(Some(&["other@p.iam.gserviceaccount.com"])).await;
    let path = "/v1/projects/-/serviceAccounts/other@p.iam.gserviceaccount.com:generateAccessToken";
    let document =
        json!({"scope": ["https://www.googleapis.com/auth/devstorage.read_write"], "lifetime": "3600s"});
    let body = document.to_string();
    let headers = [("authorization", "Bearer secret"), ("content-type", "application/json")];
    let answer = json(&gcs.0.ask("POST", path, &headers, body.as_bytes()).await);
    assert!(answer["expireTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(status(&gcs, answer["accessToken"].as_str().unwrap()).await, 200);
    assert_eq!(gcs.send("POST", path, &document).await.status, 401);
    let stranger = "/v1/projects/-/serviceAccounts/stranger@p.iam.gserviceaccount.com:generateAccessToken";
    let refused = gcs.0.ask("POST", stranger, &headers, body.as_bytes()).await;
    assert_eq!(reason(&refused), (403, "forbidden".into()));
    assert_eq!(server.counters().count("iamcredentials.generateAccessToken"), 3);
}

#[tokio::test]
async fn a_machine_tells_of_itself() {
    let (_server, gcs) = start(Settings::default()).await;
    let ask = |path: &'static str| {
        let gcs = &gcs;
        async move {
            let answer = gcs.0.ask("GET", path, &[("metadata-flavor", "Google")], b"").await;
            assert_eq!(answer.header("metadata-flavor"), Some("Google"), "{path}");
            answer
        }
    };
    let account = GcsSettings::default().metadata_account;
    assert_eq!(ask("/computeMetadata/v1/project/project-id").await.text(), "pail-dev");
    assert_eq!(ask("/computeMetadata/v1/instance/service-accounts/default/email").await.text(), account);
    let described = json(&ask("/computeMetadata/v1/instance/service-accounts/default/?recursive=true").await);
    assert_eq!(described["email"], account.as_str());
    assert_eq!(ask("/").await.status, 200);
}
