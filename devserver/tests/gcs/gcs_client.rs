//! The JSON API over the tests' raw client.
//!
//! Owns: [`Gcs`], and how answers are read.

use crate::client::{Answer, Client};
use pail_devserver::{Server, ServerConfig, Settings};
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

/// A server in memory with the bucket `bucket`, and a client without credentials.
pub async fn start(settings: Settings) -> (Server, Gcs) {
    let server = Server::start(ServerConfig { settings, ..Default::default() }).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let client = Client::new(&server.endpoint_url(), "", None);
    (server, Gcs(client))
}
