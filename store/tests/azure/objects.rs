//! Objects: their names on the wire, bodies that break, answers that are lost.

use super::{Server, answer, header, key, refusal};
use bytes::Bytes;
use pail_store::{Attributes, Condition, ErrorKind, GetOptions, ListRequest, PutOptions, Version};

#[tokio::test]
async fn keys_reach_the_server_as_they_are_or_not_at_all() {
    let server = Server::start(|_, _| answer("201 Created", "etag: \"v1\"\r\n", "")).await;
    let store = server.store().await;
    let put = async |name: &str| {
        store.put(&key(name), Bytes::from_static(b"x").into(), PutOptions::default()).await
    };
    for name in ["d/", "a//b", "/a", "%41", "a b+c", "é?#"] {
        put(name).await.unwrap();
    }
    for name in ["a/../b", ".", "x\n", "dot.", "back\\slash"] {
        let refused = put(name).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unsupported);
        assert!(refused.to_string().contains(&key(name).to_string()), "the key is told: {refused}");
    }
    let wanted = ["d/", "a//b", "/a", "%2541", "a%20b%2Bc", "%C3%A9%3F%23"];
    assert_eq!(server.targets(), wanted.map(|name| format!("PUT /acc/con/{name}")));
}

#[tokio::test]
async fn a_body_that_breaks_is_resumed_of_the_same_version() {
    let server = Server::start(|_, before| match before {
        0 => answer("200 OK", "etag: \"v1\"\r\ncontent-length: 10\r\nconnection: close\r\n", "0123"),
        _ => answer("206 Partial Content", "etag: \"v1\"\r\ncontent-range: bytes 4-9/10\r\n", "456789"),
    })
    .await;
    let got = server.store().await.get(&key("k"), GetOptions::default()).await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "0123456789");
    let requests = server.requests.lock().clone();
    assert_eq!(header(&requests[1], "range").as_deref(), Some("bytes=4-9"));
    assert_eq!(header(&requests[1], "if-match").as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn a_body_whose_object_was_replaced_ends_with_an_error() {
    let server = Server::start(|_, before| match before {
        0 => answer("200 OK", "etag: \"v1\"\r\ncontent-length: 10\r\nconnection: close\r\n", "0123"),
        _ => refusal("412 Precondition Failed", "ConditionNotMet"),
    })
    .await;
    let got = server.store().await.get(&key("k"), GetOptions::default()).await.unwrap();
    assert_eq!(got.bytes().await.unwrap_err().kind, ErrorKind::Precondition);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_each_attempt_is_counted() {
    let server = Server::start(|_, before| match before {
        0 => refusal("503 Server Busy", "ServerBusy"),
        _ => answer("201 Created", "etag: \"v1\"\r\n", ""),
    })
    .await;
    let store = server.store().await;
    let version =
        store.put(&key("k"), Bytes::from_static(b"bytes").into(), PutOptions::default()).await.unwrap();
    assert_eq!(version, Version::from_etag("v1"));
    let counters = store.counters();
    assert_eq!((counters.requests["PutObject"], counters.retries, counters.in_flight), (2, 1, 0));
    for request in server.requests.lock().iter() {
        assert!(header(request, "authorization").unwrap().starts_with("SharedKey acc:"), "{request}");
        assert!(request.ends_with("\r\n\r\nbytes"), "{request}");
    }
}

#[tokio::test]
async fn a_conditional_write_whose_answer_was_lost_is_recognised() {
    let server = Server::start(|request, before| match before {
        0 => Vec::new(),
        _ if request.starts_with("PUT") => refusal("409 Conflict", "BlobAlreadyExists"),
        _ => answer("200 OK", "etag: \"ours\"\r\n", "bytes"),
    })
    .await;
    let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
    let put = server.store().await.put(&key("k"), Bytes::from_static(b"bytes").into(), options).await;
    assert_eq!(put.unwrap(), Version::from_etag("ours"));
    assert_eq!(header(&server.requests.lock()[0], "if-none-match").as_deref(), Some("*"));
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_recognised_by_its_blocks() {
    // The blocks as they were committed are those of the list that came first.
    let blocks = |request: &str| {
        request
            .split("Uncommitted>")
            .skip(1)
            .step_by(2)
            .map(|name| name.trim_end_matches("</").to_owned())
            .collect::<Vec<_>>()
    };
    let committed = parking_lot::Mutex::new(Vec::new());
    let server = Server::start(move |request, _| {
        let mut committed = committed.lock();
        match request.lines().next().unwrap() {
            line if line.contains("comp=blocklist") && line.starts_with("PUT") && committed.is_empty() => {
                *committed = blocks(request);
                Vec::new()
            }
            line if line.starts_with("GET") => {
                let names =
                    committed.iter().map(|name| format!("<Block><Name>{name}</Name><Size>4</Size></Block>"));
                let list = format!(
                    "<BlockList><CommittedBlocks>{}</CommittedBlocks></BlockList>",
                    names.collect::<String>()
                );
                answer("200 OK", "etag: \"ours\"\r\n", &list)
            }
            line if line.contains("comp=blocklist") => refusal("400 Bad Request", "InvalidBlockList"),
            _ => answer("201 Created", "", ""),
        }
    })
    .await;
    let store = server.store().await;
    let attributes = Attributes { content_type: Some("text/plain".to_owned()), ..Attributes::default() };
    let options = PutOptions { condition: Condition::IfVersion(Version::from_etag("v0")), attributes };
    let upload = store.start_upload(&key("k"), &options).await.unwrap();
    let mut parts = Vec::new();
    for number in [1, 2] {
        parts.push(store.put_part(&upload, number, Bytes::from_static(b"part").into()).await.unwrap());
    }
    let version = store.complete_upload(&upload, &parts, &options).await.unwrap();
    assert_eq!(version, Version::from_etag("ours"));
    let completion =
        server.requests.lock().iter().find(|request| request.contains("<BlockList>")).unwrap().clone();
    assert_eq!(header(&completion, "if-match").as_deref(), Some("\"v0\""));
    assert_eq!(header(&completion, "x-ms-blob-content-type").as_deref(), Some("text/plain"));
}

#[tokio::test]
async fn a_copy_that_goes_on_behind_its_answer_is_waited_for() {
    let server = Server::start(|request, before| {
        let state = |status: &str, progress: &str| {
            format!("etag: \"v{before}\"\r\nx-ms-copy-id: 7\r\nx-ms-copy-status: {status}\r\nx-ms-copy-progress: {progress}\r\n")
        };
        match (before, request.starts_with("PUT")) {
            (0, _) => answer("200 OK", "etag: \"v0\"\r\nx-ms-access-tier: Cool\r\ncontent-length: 9\r\n", ""),
            (_, true) => answer("202 Accepted", &state("pending", "0/9"), ""),
            (2, _) => answer("200 OK", &format!("content-length: 9\r\n{}", state("pending", "4/9")), ""),
            _ => answer("200 OK", &format!("content-length: 9\r\n{}", state("success", "9/9")), ""),
        }
    })
    .await;
    let store = server.store().await;
    let version =
        store.copy(&key("a b"), &Version::from_etag("v0"), &key("to"), Condition::IfAbsent).await.unwrap();
    assert_eq!(version, Version::from_etag("v3"));
    let copy = server.requests.lock()[1].clone();
    let source = format!("{}/acc/con/a%20b", server.url);
    for (name, value) in [
        ("x-ms-copy-source", source.as_str()),
        ("x-ms-source-if-match", "\"v0\""),
        ("if-none-match", "*"),
        ("x-ms-access-tier", "Cool"),
    ] {
        assert_eq!(header(&copy, name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn one_odd_key_hides_no_other() {
    let server = Server::start(|request, _| {
        let blob = |name: &str| format!("<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag><Content-Length>1</Content-Length></Properties></Blob>");
        let (names, next) = match request.contains("marker=m1") {
            false => (["a//b", "a/../c", "d/"], "m1"),
            true => (["foo", "foobar", "x&#x9;y"], ""),
        };
        let blobs: String = names.iter().map(|name| blob(name)).collect();
        let body = format!("<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>");
        answer("200 OK", "content-type: application/xml\r\n", &body)
    })
    .await;
    let store = server.store().await;
    let (mut keys, mut token) = (Vec::new(), None);
    loop {
        let page = store.list(ListRequest { token, ..ListRequest::default() }).await.unwrap();
        keys.extend(page.objects.iter().map(|object| object.key.as_str().to_owned()));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a//b", "a/../c", "d/", "foo", "foobar", "x\ty"]);
    assert_eq!(store.head(&key("a/../c")).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(server.requests.lock().len(), 2, "nothing was asked for another key");
}
