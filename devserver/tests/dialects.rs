//! The ways of Cloudflare R2 and of IBM Cloud Object Storage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Answer, Client, start};
use pail_devserver::{Credential, Quirks, Server, Settings};

fn with(quirks: Quirks) -> Settings {
    Settings { part_size_bytes_min: 1, quirks, ..Settings::default() }
}

fn r2() -> Settings {
    with(Quirks { r2: true, ..Quirks::default() })
}

#[tokio::test]
async fn r2_wants_equal_parts() {
    let (_server, client) = start(r2()).await;
    for (parts, whole) in [
        (vec![&b"abc"[..], b"def", b"g"], Some("abcdefg")),
        (vec![b"abc", b"d", b"efg"], None),
        (vec![b"a", b"bc"], None),
    ] {
        let id = client.begin("/bucket/o").await;
        let document = client.upload("/bucket/o", &id, &parts).await;
        let complete = format!("/bucket/o?uploadId={id}");
        let done = client.ask("POST", &complete, &[], document.as_bytes()).await;
        match whole {
            Some(whole) => assert_eq!(client.get("/bucket/o").await.text(), whole),
            None => {
                assert_eq!((done.status.as_u16(), done.code().as_str()), (400, "InvalidPart"));
                assert!(done.text().contains("All non-trailing parts must have the same length."));
            }
        }
    }
}

#[tokio::test]
async fn r2_has_regions_of_its_own() {
    let (server, _) = start(r2()).await;
    for (region, status) in [("auto", 200), ("us-east-1", 200), ("weur", 200), ("eu-west-1", 400)] {
        let client = Client::new(&server.endpoint_url(), "test", Some("testtest")).in_region(region);
        let listed = client.get("/bucket?list-type=2").await;
        assert_eq!(listed.status, status, "{region}");
        if status == 400 {
            assert_eq!(listed.code(), "InvalidRegionName");
        }
    }
}

#[tokio::test]
async fn r2_honours_conditions_on_some_writes_only() {
    let (_server, client) = start(r2()).await;
    client.put("/bucket/o", b"first").await;
    let absent = [("if-none-match", "*")];
    assert_eq!(client.ask("PUT", "/bucket/o", &absent, b"second").await.status, 412);
    let source = ("x-amz-copy-source", "/bucket/o");
    client.put("/bucket/to", b"x").await;
    let own = [source, ("cf-copy-destination-if-none-match", "*")];
    assert_eq!(client.ask("PUT", "/bucket/to", &own, b"").await.status, 412);
    assert_eq!(client.ask("PUT", "/bucket/to", &[source, absent[0]], b"").await.status, 200);
    let id = client.begin("/bucket/o").await;
    let document = client.upload("/bucket/o", &id, &[b"parts"]).await;
    let complete = format!("/bucket/o?uploadId={id}");
    assert_eq!(client.ask("POST", &complete, &absent, document.as_bytes()).await.status, 200);
    assert_eq!(client.get("/bucket/o").await.text(), "parts", "it was replaced in spite of the condition");
    assert_eq!(client.ask("DELETE", "/bucket/o", &[("if-match", "\"x\"")], b"").await.status, 204);
}

#[tokio::test]
async fn r2_has_no_tags_and_no_acls() {
    let (_server, client) = start(r2()).await;
    client.put("/bucket/o", b"x").await;
    for (name, value) in
        [("x-amz-tagging", "a=1"), ("x-amz-acl", "private"), ("x-amz-storage-class", "GLACIER")]
    {
        let refused = client.ask("PUT", "/bucket/o", &[(name, value)], b"y").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (501, "NotImplemented"));
        let message = format!("Header '{name}' with value '{value}' not implemented");
        assert_eq!(refused.element("Message"), Some(message));
    }
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(client.ask(method, "/bucket/o?tagging", &[], b"").await.status, 501, "{method}");
    }
    assert_eq!(client.get("/bucket/o").await.text(), "x");
}

fn ibm() -> Settings {
    with(Quirks { ibm: true, ..Quirks::default() })
}

async fn ask_token(server: &Server, api_key: &str) -> Answer {
    let form = format!("grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey={api_key}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    Client::new(&server.endpoint_url(), "", None)
        .ask("POST", "/identity/token", &headers, form.as_bytes())
        .await
}

async fn token_client(server: &Server) -> Client {
    let answer: serde_json::Value =
        serde_json::from_slice(&ask_token(server, "testtest").await.body).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer["expires_in"].is_u64() && answer["expiration"].is_u64());
    Client::new(&server.endpoint_url(), "", None).with_header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn ibm_takes_tokens_beside_signatures_until_they_expire() {
    let (server, signer) = start(ibm()).await;
    let client = token_client(&server).await;
    signer.put("/bucket/o", b"x").await;
    assert_eq!(client.get("/bucket/o").await.text(), "x");
    client.put("/bucket/p", b"y").await;
    assert_eq!(signer.get("/bucket/p").await.text(), "y");
    let wrong = ask_token(&server, "wrong").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("BXNIM0415E"), "{}", wrong.text());
    assert_eq!(server.counters().count("IssueToken"), 2);
    let stranger = Client::new(&server.endpoint_url(), "", None).with_header("authorization", "Bearer x");
    assert_eq!(stranger.get("/bucket/o").await.code(), "AccessDenied");
    server.set_settings(Settings { token_lifetime_s: 0, ..ibm() });
    let expired = token_client(&server).await;
    let refused = expired.get("/bucket/o").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "AccessDenied"));
    assert_eq!(client.get("/bucket/o").await.status, 200, "a token lives as long as it was issued for");
    server.set_credentials(vec![Credential::new("test", "testtest")]);
    assert_eq!(client.get("/bucket/o").await.status, 403, "tokens go with the keys that were replaced");
}

#[tokio::test]
async fn ibm_wants_the_service_instance_and_a_location_with_a_class() {
    let (server, signer) = start(ibm()).await;
    let client = token_client(&server).await;
    let instance = ("ibm-service-instance-id", "crn:v1:x");
    let create = |name: &'static str, location: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let client = &client;
        async move {
            let document = format!(
                "<CreateBucketConfiguration><LocationConstraint>{location}</LocationConstraint></CreateBucketConfiguration>"
            );
            client.ask("PUT", &format!("/{name}"), &headers, document.as_bytes()).await
        }
    };
    assert_eq!(create("mine", "us-south-smart", vec![]).await.code(), "InvalidArgument");
    assert_eq!(create("mine", "us-south", vec![instance]).await.code(), "InvalidLocationConstraint");
    assert_eq!(create("mine", "us-south-smart", vec![instance]).await.status, 200);
    let location = client.get("/mine?location").await;
    assert!(location.text().ends_with(">us-south-smart</LocationConstraint>"), "{}", location.text());
    client.put("/mine/o", b"x").await;
    signer.put("/mine/signed-for-any-region", b"x").await;
    assert_eq!(client.get("/").await.code(), "InvalidArgument");
    let listed = client.ask("GET", "/?extended", &[instance], b"").await;
    assert_eq!(listed.elements("Name"), ["bucket", "mine"]);
    assert_eq!(listed.elements("LocationConstraint"), ["us-south-smart"]);
    assert_eq!(signer.get("/").await.elements("Name"), ["bucket", "mine"], "HMAC keys belong to an instance");
}
