//! Objects: their names on the wire, bodies that break, answers that are lost.

use super::{KEY, Server, answer, header, key, options, refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pail_store::{
    Attributes, Condition, ErrorKind, Fingerprint, Found, GetOptions, ListRequest, Part, PutOptions,
    StoreOptions, Version, look_for, open,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
async fn the_md5_that_a_blob_keeps_is_told_by_every_answer_about_it() {
    let md5 = "content-md5: rvr3UC1SmUw7AZV2NqPN0g==\r\n";
    let server = Server::start(move |request, _| {
        let facts = "etag: \"v1\"\r\nx-ms-blob-type: BlockBlob\r\n";
        match request {
            listing if listing.contains("comp=list") => answer(
                "200 OK",
                "",
                "<EnumerationResults><Blobs><Blob><Name>k</Name><Properties><Etag>v1</Etag><Content-Length>4</Content-Length>\
                 <Content-MD5>rvr3UC1SmUw7AZV2NqPN0g==</Content-MD5><BlobType>BlockBlob</BlobType></Properties></Blob></Blobs></EnumerationResults>",
            ),
            range if range.contains("bytes=0-1") => answer(
                "206 Partial Content",
                &format!("{facts}content-range: bytes 0-1/4\r\nx-ms-blob-{md5}content-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n"),
                "by",
            ),
            head if head.starts_with("HEAD") => {
                answer("200 OK", &format!("{facts}{md5}content-length: 4\r\n"), "")
            }
            _ => answer("200 OK", &format!("{facts}{md5}"), "byte"),
        }
    })
    .await;
    let store = server.store().await;
    let range = GetOptions { range: Some(0..2), ..GetOptions::default() };
    let listed = store.list(ListRequest::default()).await.unwrap().objects.remove(0);
    let told = [
        listed,
        store.head(&key("k")).await.unwrap(),
        store.get(&key("k"), GetOptions::default()).await.unwrap().meta,
        store.get(&key("k"), range).await.unwrap().meta,
    ];
    for meta in told {
        assert_eq!(
            store.md5(&meta).map(|md5| STANDARD.encode(md5)).as_deref(),
            Some("rvr3UC1SmUw7AZV2NqPN0g==")
        );
    }
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

#[tokio::test]
async fn metadata_keeps_the_case_of_its_names() {
    let facts =
        "etag: \"v1\"\r\nX-Ms-Meta-OfTheJob: a b\r\nx-ms-meta-lower: c\r\nx-ms-blob-type: BlockBlob\r\n";
    let server = Server::start(move |request, _| match request.starts_with("PUT") {
        true => answer("201 Created", "etag: \"v2\"\r\n", ""),
        false => answer("200 OK", &format!("{facts}content-length: 5\r\n"), ""),
    })
    .await;
    let store = server.store().await;
    let told = store.attributes(&key("k"), &Version::from_etag("v1")).await.unwrap();
    let wanted = [("OfTheJob", "a b"), ("lower", "c")];
    assert_eq!(told.metadata, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let got = store.get(&key("k"), GetOptions::default()).await.unwrap();
    assert_eq!(got.meta.attributes.as_deref(), Some(&told), "a read tells the same");
    let options = PutOptions { attributes: told, ..PutOptions::default() };
    store.put(&key("k"), Bytes::from_static(b"edited").into(), options.clone()).await.unwrap();
    let upload = store.start_upload(&key("k"), &options).await.unwrap();
    let part = store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await.unwrap();
    store.complete_upload(&upload, &[part], &options).await.unwrap();
    let requests = server.requests.lock().clone();
    let carrying = |request: &&String| header(request, "x-ms-meta-OfTheJob").as_deref() == Some("a b");
    let carrying: Vec<_> = requests.iter().filter(carrying).collect();
    assert_eq!(carrying.len(), 2, "{requests:#?}");
    for request in carrying {
        assert_eq!(header(request, "x-ms-meta-lower").as_deref(), Some("c"));
        assert!(!request.contains("x-ms-meta-ofthejob"), "{request}");
    }
}

#[tokio::test]
async fn blobs_of_other_kinds_are_not_made_block_blobs() {
    for (kind, told) in [("AppendBlob", "an append blob"), ("PageBlob", "a page blob")] {
        let server = Server::start(move |request, _| match request.starts_with("PUT") {
            true => refusal("409 Conflict", "InvalidBlobType"),
            false => {
                let facts = format!("etag: \"v1\"\r\nx-ms-blob-type: {kind}\r\ncontent-length: 9\r\n");
                answer("200 OK", &facts, "")
            }
        })
        .await;
        let store = server.store().await;
        let attributes = store.attributes(&key("k"), &Version::from_etag("v1")).await.unwrap();
        assert_eq!(attributes.uneditable, Some(told));
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = store.put(&key("k"), Bytes::from_static(b"x").into(), options.clone()).await;
        let refused = put.unwrap_err();
        assert_eq!((refused.kind, refused.maybe_applied), (ErrorKind::Uneditable, false), "{refused}");
        assert!(refused.to_string().contains(told) && refused.to_string().contains("delete or rename it"));
        let refused = store.start_upload(&key("k"), &options).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Uneditable);
        assert!(server.targets().iter().all(|target| target.starts_with("HEAD")), "nothing was sent");
        // Where nothing is known of it, the server refuses.
        let upload = store.start_upload(&key("k"), &PutOptions::default()).await.unwrap();
        let refused = store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Uneditable, "{refused}");
        assert!(refused.to_string().contains("delete or rename it"), "{refused}");
    }
}

/// A server that keeps blocks; while `is_deaf` holds, what it does is not answered.
async fn keeper(is_deaf: Arc<AtomicBool>) -> Server {
    let committed = parking_lot::Mutex::new(Vec::<String>::new());
    Server::start(move |request, _| {
        let mut committed = committed.lock();
        let line = request.lines().next().unwrap();
        let done = match line {
            line if line.starts_with("PUT") && line.contains("comp=blocklist") => {
                if !committed.is_empty() {
                    return match is_deaf.load(Ordering::SeqCst) {
                        true => Vec::new(),
                        false => refusal("400 Bad Request", "InvalidBlockList"),
                    };
                }
                let names = request.split("Uncommitted>").skip(1).step_by(2);
                *committed = names.map(|name| name.trim_end_matches("</").to_owned()).collect();
                answer("201 Created", "etag: \"ours\"\r\n", "")
            }
            line if line.starts_with("GET") => {
                let names = committed.iter().map(|name| format!("<Block><Name>{name}</Name></Block>"));
                let list = names.collect::<String>();
                let list = format!(
                    "<BlockList><CommittedBlocks>{list}</CommittedBlocks><UncommittedBlocks/></BlockList>"
                );
                answer("200 OK", "etag: \"ours\"\r\n", &list)
            }
            _ => return answer("201 Created", "", ""),
        };
        if is_deaf.load(Ordering::SeqCst) { Vec::new() } else { done }
    })
    .await
}

#[tokio::test]
async fn a_completion_that_nothing_was_heard_of_is_recognised_later_too() {
    let is_deaf = Arc::new(AtomicBool::new(true));
    let server = keeper(is_deaf.clone()).await;
    let impatient = StoreOptions {
        retry_deadline: Duration::from_secs(1),
        ..options(&server.url, &[("AZURE_STORAGE_KEY", KEY)])
    };
    let store = open(impatient).await.unwrap();
    let upload = store.start_upload(&key("k"), &PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for number in [1, 2] {
        parts.push(store.put_part(&upload, number, Bytes::from_static(b"part").into()).await.unwrap());
    }
    let on_absence = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
    let unheard = store.complete_upload(&upload, &parts, &on_absence).await.unwrap_err();
    assert!(unheard.maybe_applied && unheard.kind == ErrorKind::Unreachable, "{unheard}");
    is_deaf.store(false, Ordering::SeqCst);
    let look =
        async |parts: &[Part]| look_for(&*store, &key("k"), &Fingerprint::of_parts(parts)).await.unwrap();
    let ours = Version::from_etag("ours");
    assert_eq!(look(&parts).await, Found::Made(ours.clone()));
    assert_eq!(look(&parts[..1]).await, Found::Other(ours.clone()), "what others made is not ours");
    parts.reverse();
    assert_eq!(look(&parts).await, Found::Other(ours));
}

/// A server on whose blob another client has left a block with a name of `len` bytes.
async fn with_a_block_of_others(len: usize) -> Server {
    Server::start(move |request, _| {
        let target = request.split(' ').nth(1).unwrap();
        let name = target.split("blockid=").nth(1).map(|name| {
            let name = percent_encoding::percent_decode_str(name).decode_utf8().unwrap();
            STANDARD.decode(name.as_bytes()).unwrap()
        });
        match name {
            Some(name) if name.len() != len => refusal("400 Bad Request", "InvalidBlobOrBlock"),
            Some(_) => answer("201 Created", "", ""),
            None => {
                let name = STANDARD.encode(vec![b'x'; len]);
                let list = format!(
                    "<BlockList><CommittedBlocks/><UncommittedBlocks><Block><Name>{name}</Name><Size>1</Size></Block>\
                    </UncommittedBlocks></BlockList>"
                );
                answer("200 OK", "", &list)
            }
        }
    })
    .await
}

#[tokio::test]
async fn blocks_that_another_client_has_left_hinder_no_upload() {
    for len in [6, 16, 48, 64] {
        let server = with_a_block_of_others(len).await;
        let store = server.store().await;
        let upload = store.start_upload(&key("k"), &PutOptions::default()).await.unwrap();
        let mut names = Vec::new();
        for number in 1..=3 {
            let part = store.put_part(&upload, number, Bytes::from_static(b"part").into()).await.unwrap();
            assert!(!names.contains(&part.etag));
            names.push(part.etag);
        }
        let looks = server.targets().iter().filter(|target| target.starts_with("GET")).count();
        assert_eq!(
            (looks, server.requests.lock().len()),
            (1, 5),
            "one look, and no block sent twice after it"
        );
    }
}

#[tokio::test]
async fn blocks_among_which_ours_could_be_lost_are_told() {
    let server = with_a_block_of_others(4).await;
    let store = server.store().await;
    let upload = store.start_upload(&key("k"), &PutOptions::default()).await.unwrap();
    let refused = store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(refused.to_string().contains("another client has begun to write the blob"), "{refused}");
}

#[tokio::test]
async fn names_that_no_key_can_be_are_told() {
    let long = |first: &str| format!("{first}/{}", "n".repeat(1030));
    let server = Server::start(move |request, _| {
        let blob =
            |name: &str| format!("<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag></Properties></Blob>");
        let (blobs, next) = match request.contains("marker=m1") {
            false => (blob(&long("a")), "m1"),
            true => ([blob("b"), blob(&long("c"))].concat(), ""),
        };
        let body = format!(
            "<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        );
        answer("200 OK", "content-type: application/xml\r\n", &body)
    })
    .await;
    let page = server.store().await.list(ListRequest::default()).await.unwrap();
    assert_eq!(page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(page.names_too_long, [long("a"), long("c")], "also those of a page with no others");
    assert!(page.next.is_none());
}
