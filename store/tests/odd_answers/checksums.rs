//! Bytes that are not what is stored, and copies that one request cannot make.

use super::{Answer, Server, soon};
use bytes::Bytes;
use pail_store::{
    Checksum, Condition, ErrorKind, GetOptions, PutOptions, RateLimit, RateLimited, RawKey, Store,
};
use std::sync::Arc;

fn answer(headers: &str, body: &str) -> Answer {
    Answer::kept(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
}

#[tokio::test]
async fn a_whole_object_that_is_not_what_is_stored_is_an_error() {
    let stored = Checksum::crc64_of(b"what was stored").to_base64();
    let server = Server::start(move |request| {
        let headers = format!("etag: \"e\"\r\nx-amz-checksum-crc64nvme: {stored}\r\n");
        match request.contains("range: ") {
            true => Answer::kept(format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\ncontent-range: bytes 0-3/15\r\n{headers}\r\nwhat"
            )),
            false => answer(&headers, "what WAS stored"),
        }
    })
    .await;
    let store = server.store().await;
    let key = RawKey::new("dir/key").unwrap();
    let read = soon(store.get(&key, GetOptions::default())).await.unwrap();
    let refused = soon(read.bytes()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Corrupt);
    assert!(
        refused.to_string().contains("dir/key") && refused.to_string().contains("CRC64NVME"),
        "{refused}"
    );
    assert!(server.requests.lock()[0].contains("x-amz-checksum-mode: enabled"));
    // A range is not the whole, and has no checksum.
    let options = GetOptions { range: Some(0..4), ..GetOptions::default() };
    assert_eq!(soon(store.get(&key, options)).await.unwrap().bytes().await.unwrap(), "what");
    assert!(!server.requests.lock()[1].contains("x-amz-checksum-mode"));
}

#[tokio::test]
async fn what_is_sent_from_memory_carries_its_checksum_at_whatever_rate() {
    let server = Server::start(|_| answer("etag: \"e\"\r\n", "")).await;
    let store: Arc<dyn Store> = server.store().await;
    let limited = RateLimited::over(store.clone(), RateLimit::new(1 << 30));
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let expected = format!("x-amz-checksum-crc32c: {}\r\n", Checksum::crc32c_of(&bytes).to_base64());
    for store in [store, limited] {
        let key = RawKey::new("k").unwrap();
        soon(store.put(&key, bytes.clone().into(), PutOptions::default())).await.unwrap();
    }
    for request in server.requests.lock().iter() {
        assert!(request.contains(&expected.to_ascii_lowercase()), "{}", &request[..500]);
        assert!(request.ends_with(&"\u{7}".repeat(1 << 20)));
    }
}

#[tokio::test]
async fn a_copy_by_parts_keeps_all_that_the_source_carries() {
    const GIB: u64 = 1024 * 1024 * 1024;
    let server = Server::start(|request| {
        let first = request.lines().next().unwrap();
        if request.starts_with("head /bucket/to") {
            return Answer::kept("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
        if request.starts_with("head") {
            return Answer::kept(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: \"e\"\r\ncontent-type: text/x-mine\r\nx-amz-meta-color: blue\r\n\
                 cache-control: no-store\r\nx-amz-storage-class: STANDARD_IA\r\nx-amz-server-side-encryption: aws:kms\r\n\
                 x-amz-server-side-encryption-aws-kms-key-id: mine\r\nx-amz-tagging-count: 1\r\n\r\n",
                5 * GIB + 1
            ));
        }
        if first.contains("?tagging=") {
            return answer("", "<Tagging><TagSet><Tag><Key>team</Key><Value>a b</Value></Tag></TagSet></Tagging>");
        }
        if first.contains("?uploads=") {
            return answer("", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
        }
        match first.contains("partnumber=") {
            true => answer("", "<CopyPartResult><ETag>\"p\"</ETag></CopyPartResult>"),
            false => answer("", "<CompleteMultipartUploadResult><ETag>\"new\"</ETag></CompleteMultipartUploadResult>"),
        }
    })
    .await;
    let store = server.store().await;
    let (from, to) = (RawKey::new("from").unwrap(), RawKey::new("to").unwrap());
    let copied = soon(store.copy(&from, &pail_store::Version::Unknown, &to, Condition::None)).await.unwrap();
    assert_eq!(copied.etag(), Some("new"));
    let requests = server.requests.lock();
    let begun = requests.iter().find(|request| request.contains("?uploads=")).unwrap();
    for header in [
        "content-type: text/x-mine",
        "cache-control: no-store",
        "x-amz-meta-color: blue",
        "x-amz-storage-class: standard_ia",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: mine",
        "x-amz-tagging: team=a%20b",
    ] {
        assert!(begun.contains(&format!("{header}\r\n")), "{header} in {begun}");
    }
    assert_eq!(requests.iter().filter(|request| request.contains("partnumber=")).count(), 6);
}

#[tokio::test]
async fn a_copy_by_parts_that_is_given_up_or_fails_is_aborted() {
    for is_given_up in [true, false] {
        let server = Server::start(move |request| {
            let first = request.lines().next().unwrap();
            if request.starts_with("head") {
                return Answer::kept("HTTP/1.1 200 OK\r\ncontent-length: 6000000000\r\netag: \"e\"\r\n\r\n");
            }
            if first.contains("?uploads=") {
                return answer(
                    "",
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
                );
            }
            if request.starts_with("delete") {
                return Answer::kept("HTTP/1.1 204 No Content\r\n\r\n");
            }
            match is_given_up {
                true => Answer::kept(""),
                false => Answer::kept("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
            }
        })
        .await;
        let store = server.store().await;
        let (from, to) = (RawKey::new("from").unwrap(), RawKey::new("to").unwrap());
        let saw = async |what: &str| {
            while !server.requests.lock().iter().any(|request| request.starts_with(what)) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let copying = store.copy(&from, &pail_store::Version::Unknown, &to, Condition::None);
        match is_given_up {
            true => tokio::select! {
                copied = copying => panic!("{copied:?}"),
                () = soon(saw("put /bucket/to?partnumber=")) => {}
            },
            false => assert_eq!(soon(copying).await.unwrap_err().kind, ErrorKind::Denied),
        }
        soon(saw("delete /bucket/to?uploadid=u")).await;
    }
}
