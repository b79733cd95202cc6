//! Credentials: whose are used, what is told of them, and what of them is never shown.

use super::{KEY, Server, answer, header, key, options, refusal};
use base64::Engine;
use pail_store::{ErrorKind, ListRequest, open};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PRINCIPAL: [(&str, &str); 3] =
    [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client"), ("AZURE_CLIENT_SECRET", "hush-secret")];

#[tokio::test]
async fn a_refusal_names_the_source_and_shows_no_secret() {
    let server = Server::start(|_, _| refusal("403 Forbidden", "AuthenticationFailed")).await;
    for (variables, told) in [
        (&[("AZURE_STORAGE_KEY", KEY)][..], "with the account key from AZURE_STORAGE_KEY"),
        (&[("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=hush")], "with the SAS token from AZURE_STORAGE_SAS_TOKEN"),
        (&[("AZURE_STORAGE_TOKEN", "hush")], "with the token from AZURE_STORAGE_TOKEN"),
        (&[], "without credentials"),
    ] {
        let store = server.store_of(variables).await;
        for refused in [
            store.list(ListRequest::default()).await.map(drop),
            store.put(&key("k"), bytes::Bytes::new().into(), Default::default()).await.map(drop),
            store.get(&key("k"), Default::default()).await.map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Denied);
            let shown = format!("{refused} {refused:?} {store:?}");
            assert!(refused.to_string().contains(told), "{refused}");
            assert!(!shown.contains("hush") && !shown.contains(KEY), "{shown}");
        }
    }
    let targets = server.targets().join("\n");
    assert!(targets.contains("sv=1&sig=hush"), "the SAS token was sent: {targets}");
}

#[tokio::test]
async fn what_is_half_there_opens_no_store() {
    let refused = open(options("http://127.0.0.1:1", &PRINCIPAL[1..])).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Credentials);
    assert!(refused.to_string().contains("AZURE_TENANT_ID is not"), "{refused}");
    assert!(!format!("{refused:?}").contains("hush"), "{refused:?}");
}

#[tokio::test]
async fn a_service_principal_s_token_is_kept_and_asked_for_again_when_it_is_refused() {
    let (issued, revoked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (issuing, revoking) = (issued.clone(), revoked.clone());
    let server = Server::start(move |request, _| {
        if request.starts_with("POST /tenant/oauth2/v2.0/token") {
            assert!(request.contains("client_secret=hush-secret"), "{request}");
            let number = issuing.fetch_add(1, Ordering::Relaxed) + 1;
            let body = format!("{{\"access_token\": \"{number}\", \"expires_in\": 3600}}");
            return answer("200 OK", "content-type: application/json\r\n", &body);
        }
        let token = header(request, "authorization").unwrap();
        let number: usize = token.strip_prefix("Bearer ").unwrap().parse().unwrap();
        match number > revoking.load(Ordering::Relaxed) {
            true => answer("200 OK", "etag: \"v1\"\r\n", "bytes"),
            false => refusal("401 Unauthorized", "InvalidAuthenticationInfo"),
        }
    })
    .await;
    let mut variables = PRINCIPAL.to_vec();
    variables.push(("AZURE_AUTHORITY_HOST", &server.url));
    let store = server.store_of(&variables).await;
    for _ in 0..3 {
        store.get(&key("k"), Default::default()).await.unwrap().bytes().await.unwrap();
    }
    assert_eq!(issued.load(Ordering::Relaxed), 1, "one token serves them all");
    revoked.store(1, Ordering::Relaxed);
    // A token that is refused in the moment in which it was issued is not asked for again at once.
    while store.head(&key("k")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(issued.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_had_says_whose_and_why() {
    let server = Server::start(|_, _| {
        let body = "{\"error\": \"invalid_client\", \"error_description\": \"AADSTS7000215: Invalid client secret provided.\\r\\nTrace\"}";
        answer("400 Bad Request", "content-type: application/json\r\n", body)
    })
    .await;
    let mut variables = PRINCIPAL.to_vec();
    variables.push(("AZURE_AUTHORITY_HOST", &server.url));
    let refused = server.store_of(&variables).await.head(&key("k")).await.unwrap_err();
    let told = refused.to_string();
    assert_eq!(refused.kind, ErrorKind::Credentials, "{told}");
    assert!(told.contains("service principal client") && told.contains("AADSTS7000215"), "{told}");
    assert!(!told.contains("hush") && !told.contains('{'), "{told}");
}

#[tokio::test]
async fn a_workload_s_token_is_exchanged_and_lent_with_its_end() {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":32503680000}"#);
    let token = format!("h.{claims}.s");
    let answered = token.clone();
    let server = Server::start(move |request, _| {
        assert!(request.contains("client_assertion=assertion"), "{request}");
        let body = format!("{{\"access_token\": \"{answered}\", \"expires_in\": 3600}}");
        answer("200 OK", "content-type: application/json\r\n", &body)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "assertion").unwrap();
    let home = dir.path().display().to_string();
    let variables = [
        ("HOME", home.as_str()),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_FEDERATED_TOKEN_FILE", "~/token"),
        ("AZURE_AUTHORITY_HOST", &server.url),
    ];
    let (lent, expiry) = pail_store::lend(&options("http://127.0.0.1:1", &variables)).await.unwrap();
    assert_eq!(lent.0["AZURE_STORAGE_TOKEN"], token);
    assert!(!lent.0.contains_key("AZURE_FEDERATED_TOKEN_FILE"), "{lent:?}");
    assert!(expiry.is_some_and(|expiry| expiry > std::time::SystemTime::now()));
}
