//! The role of a caller's container, and the agent that gives out its keys.

use crate::caller::{Caller, KEY, SECRET, URIS, read, server};
use pail_store::ErrorKind;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TOKEN: &str = "Bearer of-the-agent";

/// An agent, and what it was asked with.
struct Agent {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Gives keys to whoever has the token; those that are there for an hour.
async fn agent() -> Agent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v2/credentials?x=hidden", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let heads = asked.clone();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).await.unwrap_or(0) > 2 {}
            let is_known =
                head.to_lowercase().contains(&format!("authorization: {}\r\n", TOKEN.to_lowercase()));
            heads.lock().unwrap().push(head);
            let (status, body) = match is_known {
                true => (
                    "200 OK",
                    format!(
                        r#"{{"AccessKeyId":"{KEY}","SecretAccessKey":"{SECRET}","Expiration":"2099-01-01T00:00:00Z"}}"#
                    ),
                ),
                false => ("403 Forbidden", r#"{"code":"AccessDenied","message":"no such token"}"#.to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Agent { url, asked, serving }
}

fn with_agent(url: &str) -> Caller {
    Caller::new().variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
}

#[tokio::test]
async fn a_container_s_role_is_found_by_the_caller_s_own_variables() {
    let (server, agent) = (server().await, agent().await);
    let by_value = with_agent(&agent.url).variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN);
    let by_file = with_agent(&agent.url).file("token", &format!("{TOKEN}\n"));
    let file = by_file.path("token");
    let by_file = by_file.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap());
    for caller in [by_value, by_file] {
        let store = caller.open(URIS[0], &server).await;
        for _ in 0..3 {
            assert_eq!(read(&store).await.unwrap(), 1000);
        }
        let asked = std::mem::take(&mut *agent.asked.lock().unwrap());
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].starts_with("GET /v2/credentials?x=hidden HTTP/1.1"), "{asked:?}");
    }
}

#[tokio::test]
async fn an_agent_s_refusal_is_told_without_a_secret() {
    let (server, agent) = (server().await, agent().await);
    let caller = with_agent(&agent.url).variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter4");
    let error = read(&*caller.open(URIS[0], &server).await).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    let told = format!("{error} {error:?}");
    assert!(
        told.contains("from the container's role") && told.contains("no such token (AccessDenied)"),
        "{told}"
    );
    assert!(!told.contains("hunter4") && !told.contains("hidden"), "{told}");
}

#[tokio::test]
async fn a_token_is_not_sent_in_the_clear_to_another_machine() {
    let server = server().await;
    for (url, why) in [
        ("http://agent.example/role?x=hidden", "may be asked over https:// alone"),
        ("ftp://127.0.0.1/role", "neither http:// nor https://"),
        ("/role", "it names no host"),
    ] {
        let caller = with_agent(url).variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN);
        let error = read(&*caller.open(URIS[0], &server).await).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI") && told.contains(why), "{told}");
        assert!(!told.contains("hidden") && !told.contains(TOKEN), "{told}");
    }
}
