//! What a client of Google Cloud Storage's JSON API sees.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Answer, Client};
use pail_devserver::{Server, ServerConfig, Settings};
use serde_json::json;

mod gcs_client {
    //! The JSON API over the tests' raw client.

    use super::{Answer, Client};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use serde_json::Value;

    pub fn enc(name: &str) -> String {
        utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
    }

    pub fn json(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// The status and the reason of an error.
    pub fn reason(answer: &Answer) -> (u16, String) {
        let document = json(answer);
        assert_eq!(document["error"]["code"], answer.status.as_u16(), "{document}");
        let error = &document["error"]["errors"][0];
        assert_eq!((&error["domain"], &error["message"]), (&"global".into(), &document["error"]["message"]));
        (answer.status.as_u16(), error["reason"].as_str().unwrap().to_owned())
    }

    pub fn generation(resource: &Value) -> u64 {
        resource["generation"].as_str().unwrap().parse().unwrap()
    }

    pub struct Gcs(pub Client);

    impl Gcs {
        pub async fn insert(&self, name: &str, query: &str, body: &[u8]) -> Answer {
            let path = format!("/upload/storage/v1/b/bucket/o?uploadType=media&name={}{query}", enc(name));
            self.0.ask("POST", &path, &[("content-type", "text/plain")], body).await
        }

        /// Puts an object and returns its generation.
        pub async fn put(&self, name: &str, body: &[u8]) -> u64 {
            let answer = self.insert(name, "", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            generation(&json(&answer))
        }

        pub async fn related(&self, query: &str, resource: &Value, body: &[u8]) -> Answer {
            let path = format!("/upload/storage/v1/b/bucket/o?uploadType=multipart{query}");
            let mut document =
                format!("--xyz\r\nContent-Type: application/json\r\n\r\n{resource}\r\n--xyz\r\nContent-Type: image/png\r\n\r\n")
                    .into_bytes();
            document.extend_from_slice(body);
            document.extend_from_slice(b"\r\n--xyz--\r\n");
            self.0.ask("POST", &path, &[("content-type", "multipart/related; boundary=xyz")], &document).await
        }

        pub async fn get(&self, name: &str) -> Answer {
            self.0.get(&format!("/storage/v1/b/bucket/o/{}", enc(name))).await
        }

        pub async fn media(&self, name: &str) -> Answer {
            self.0.get(&format!("/storage/v1/b/bucket/o/{}?alt=media", enc(name))).await
        }

        pub async fn delete(&self, name: &str, query: &str) -> Answer {
            self.0.ask("DELETE", &format!("/storage/v1/b/bucket/o/{}{query}", enc(name)), &[], b"").await
        }

        pub async fn send(&self, method: &str, path: &str, document: &Value) -> Answer {
            let headers = [("content-type", "application/json")];
            self.0.ask(method, path, &headers, document.to_string().as_bytes()).await
        }
    }
}

use gcs_client::{Gcs, generation, json, reason};

/// A server in memory with the bucket `bucket`, and a client without credentials.
async fn start(settings: Settings) -> (Server, Gcs) {
    let server = Server::start(ServerConfig { settings, ..Default::default() }).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let client = Client::new(&server.endpoint_url(), "", None);
    (server, Gcs(client))
}

#[tokio::test]
async fn every_raw_name_is_an_object_of_its_own() {
    let (_server, gcs) = start(Settings::default()).await;
    let longest = "k".repeat(1024);
    let names = [
        "a//b", "/a", "./x", "../x", "x/../y", "%41", "tab\t", "a+b", "a b", "d", "d/", "é🪣", "a?b", "a#b",
        &longest,
    ];
    for name in names {
        let resource = json(&gcs.insert(name, "", name.as_bytes()).await);
        assert_eq!((&resource["name"], &resource["bucket"]), (&name.into(), &"bucket".into()));
    }
    for name in names {
        assert_eq!(gcs.media(name).await.text(), name);
        assert_eq!(json(&gcs.get(name).await)["name"], name);
    }
    let listed = json(&gcs.0.get("/storage/v1/b/bucket/o").await);
    let mut expected = names.to_vec();
    expected.sort_by_key(|name| name.as_bytes());
    let found: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
    for name in names {
        assert_eq!(gcs.delete(name, "").await.status, 204);
        assert_eq!(reason(&gcs.delete(name, "").await), (404, "notFound".into()));
    }
    assert_eq!(json(&gcs.0.get("/storage/v1/b/bucket/o").await), json!({"kind": "storage#objects"}));
    for name in ["k".repeat(1025).as_str(), "a\nb", ".", ".."] {
        assert_eq!(reason(&gcs.insert(name, "", b"").await), (400, "invalid".into()), "{name:?}");
    }
}

#[tokio::test]
async fn writes_hold_to_generations_and_zero_is_absence() {
    let (server, gcs) = start(Settings::default()).await;
    let met = |answer: Answer| answer.status.as_u16();
    let first = gcs.insert("o", "&ifGenerationMatch=0", b"first").await;
    let first = generation(&json(&first));
    let refused = gcs.insert("o", "&ifGenerationMatch=0", b"other").await;
    assert_eq!(reason(&refused), (412, "conditionNotMet".into()));
    assert_eq!(met(gcs.insert("o", &format!("&ifGenerationMatch={}", first + 1), b"other").await), 412);
    assert_eq!(met(gcs.insert("absent", &format!("&ifGenerationMatch={first}"), b"other").await), 412);
    assert_eq!(gcs.media("o").await.text(), "first");
    let second = gcs.related(&format!("&ifGenerationMatch={first}"), &json!({"name": "o"}), b"second").await;
    let second = generation(&json(&second));
    assert!(second > first);
    let related = gcs.related("&ifGenerationMatch=0", &json!({"name": "o"}), b"third").await;
    assert_eq!(met(related), 412);
    assert_eq!(met(gcs.delete("o", &format!("?ifGenerationMatch={first}")).await), 412);
    assert_eq!(met(gcs.delete("o", &format!("?generation={first}")).await), 404);
    let read = |query: String| {
        let gcs = &gcs;
        async move { gcs.0.get(&format!("/storage/v1/b/bucket/o/o{query}")).await.status.as_u16() }
    };
    assert_eq!(read(format!("?alt=media&generation={first}")).await, 404);
    assert_eq!(read(format!("?alt=media&generation={second}")).await, 200);
    assert_eq!(read(format!("?ifGenerationMatch={first}")).await, 412);
    assert_eq!(read(format!("?alt=media&ifGenerationNotMatch={second}")).await, 304);
    assert_eq!(read(format!("?ifGenerationNotMatch={first}&ifMetagenerationMatch=1")).await, 200);
    assert_eq!(read("?ifMetagenerationMatch=2".into()).await, 412);
    assert_eq!(read("?ifGenerationMatch=x".into()).await, 400);
    // A write through the other API is a new generation, too.
    let owner = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    owner.put("/bucket/o", b"by S3").await;
    let third = json(&gcs.get("o").await);
    assert!(generation(&third) > second);
    assert_eq!(gcs.media("o").await.text(), "by S3");
    assert_eq!(met(gcs.delete("o", &format!("?ifGenerationMatch={}", generation(&third))).await), 204);
    assert_eq!(owner.get("/bucket/o").await.status, 404);
}
