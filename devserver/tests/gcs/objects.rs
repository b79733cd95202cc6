//! Objects: names, generations, metadata, ranges, listings.

use crate::client::{Answer, Client};
use crate::gcs_client::{Gcs, generation, json, reason, start};
use pail_devserver::Settings;
use serde_json::{Value, json};

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
    let tag = json(&gcs.get("o").await)["etag"].as_str().unwrap().to_owned();
    for (header, status) in
        [(("if-none-match", tag.as_str()), 304), (("if-match", "other"), 412), (("if-match", &tag), 200)]
    {
        let answer = gcs.0.ask("GET", "/storage/v1/b/bucket/o/o?alt=media", &[header], b"").await;
        assert_eq!(answer.status, status, "{header:?}");
    }
    // A write through the other API is a new generation, too.
    let owner = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    owner.put("/bucket/o", b"by S3").await;
    let third = json(&gcs.get("o").await);
    assert!(generation(&third) > second);
    assert_eq!(gcs.media("o").await.text(), "by S3");
    assert_eq!(met(gcs.delete("o", &format!("?ifGenerationMatch={}", generation(&third))).await), 204);
    assert_eq!(owner.get("/bucket/o").await.status, 404);
}

#[tokio::test]
async fn a_resource_tells_of_the_object() {
    let (_server, gcs) = start(Settings { md5_etags: true, ..Settings::default() }).await;
    let given = json!({
        "name": "d/o",
        "contentType": "text/html",
        "contentEncoding": "identity",
        "contentLanguage": "en",
        "contentDisposition": "inline",
        "cacheControl": "no-store",
        "storageClass": "NEARLINE",
        "kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "metadata": {"Key": "Value é", "other": "x"},
    });
    let inserted = json(&gcs.related("", &given, b"123456789").await);
    let resource = json(&gcs.get("d/o").await);
    assert_eq!(inserted, resource);
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(resource[field], *value, "{field}");
    }
    let number = generation(&resource);
    for (field, value) in [
        ("kind", "storage#object".to_owned()),
        ("id", format!("bucket/d/o/{number}")),
        ("bucket", "bucket".into()),
        ("metageneration", "1".into()),
        ("size", "9".into()),
        // The published check values of both, for "123456789".
        ("crc32c", "4waSgw==".into()),
        ("md5Hash", "JfnnlDI7RTiF9RgfG2JNCw==".into()),
    ] {
        assert_eq!(resource[field], value, "{field}");
    }
    assert_eq!(resource["timeCreated"], resource["updated"]);
    let media = gcs.media("d/o").await;
    for (name, value) in [
        ("content-type", "text/html"),
        ("content-encoding", "identity"),
        ("content-language", "en"),
        ("content-disposition", "inline"),
        ("cache-control", "no-store"),
        ("x-goog-generation", resource["generation"].as_str().unwrap()),
        ("x-goog-metageneration", "1"),
        ("x-goog-stored-content-length", "9"),
        ("x-goog-storage-class", "NEARLINE"),
        ("x-goog-hash", "crc32c=4waSgw==,md5=JfnnlDI7RTiF9RgfG2JNCw=="),
        ("x-goog-meta-other", "x"),
        ("etag", resource["etag"].as_str().unwrap()),
    ] {
        assert_eq!(media.header(name), Some(value), "{name}");
    }
    assert_eq!(media.headers["x-goog-meta-key"].as_bytes(), "Value é".as_bytes());
    assert!(media.header("last-modified").unwrap().ends_with("GMT"));
}

#[tokio::test]
async fn both_apis_see_the_same_attributes() {
    let (server, gcs) = start(Settings::default()).await;
    let owner = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    let headers = [("content-type", "a/b"), ("cache-control", "c"), ("x-amz-meta-k", "v")];
    owner.ask("PUT", "/bucket/by-s3", &headers, b"123456789").await;
    let resource = json(&gcs.get("by-s3").await);
    assert_eq!(resource["contentType"], "a/b");
    assert_eq!(resource["cacheControl"], "c");
    assert_eq!(resource["metadata"], json!({"k": "v"}));
    assert_eq!(resource["crc32c"], "4waSgw==", "it is computed where S3's client sent none");
    let given = json!({"name": "by-gcs", "contentType": "x/y", "metadata": {"Key": "v"}});
    gcs.related("", &given, b"123456789").await;
    let answer = owner.get("/bucket/by-gcs").await;
    assert_eq!(answer.text(), "123456789");
    assert_eq!(answer.header("content-type"), Some("x/y"));
    assert_eq!(answer.header("x-amz-meta-key"), Some("v"));
}

#[tokio::test]
async fn a_patch_keeps_what_it_does_not_name_and_an_update_does_not() {
    let (_server, gcs) = start(Settings::default()).await;
    let given =
        json!({"name": "o", "contentType": "a/b", "cacheControl": "c", "metadata": {"k": "v", "l": "w"}});
    let before = json(&gcs.related("", &given, b"bytes").await);
    let path = "/storage/v1/b/bucket/o/o";
    let change = json!({"cacheControl": null, "contentLanguage": "en", "metadata": {"k": null, "m": "x"}});
    let patched = json(&gcs.send("PATCH", &format!("{path}?ifMetagenerationMatch=1"), &change).await);
    assert_eq!(generation(&patched), generation(&before));
    assert_eq!(patched["metageneration"], "2");
    assert_ne!(patched["etag"], before["etag"]);
    assert_eq!((&patched["contentType"], &patched["contentLanguage"]), (&"a/b".into(), &"en".into()));
    assert_eq!(patched.get("cacheControl"), None);
    assert_eq!(patched["metadata"], json!({"l": "w", "m": "x"}));
    assert_eq!(patched["crc32c"], before["crc32c"]);
    let stale = gcs.send("PATCH", &format!("{path}?ifMetagenerationMatch=1"), &change).await;
    assert_eq!(reason(&stale), (412, "conditionNotMet".into()));
    let updated = json(&gcs.send("PUT", path, &json!({"contentType": "x/y"})).await);
    assert_eq!((&updated["metageneration"], &updated["contentType"]), (&"3".into(), &"x/y".into()));
    assert_eq!((updated.get("metadata"), updated.get("contentLanguage")), (None, None));
    assert_eq!(gcs.media("o").await.text(), "bytes");
    let bad = gcs.send("PATCH", path, &json!({"contentType": 7})).await;
    assert_eq!(reason(&bad), (400, "invalid".into()));
    let absent = gcs.send("PATCH", "/storage/v1/b/bucket/o/absent", &json!({})).await;
    assert_eq!(reason(&absent), (404, "notFound".into()));
    let large = json!({"metadata": {"k": "v".repeat(9000)}});
    assert_eq!(reason(&gcs.send("PATCH", path, &large).await), (400, "invalid".into()));
}

#[tokio::test]
async fn ranges_of_media_are_answered_as_http_has_them() {
    let (_server, gcs) = start(Settings::default()).await;
    gcs.put("o", b"0123456789").await;
    gcs.put("empty", b"").await;
    for path in ["/storage/v1/b/bucket/o/o?alt=media", "/download/storage/v1/b/bucket/o/o?alt=media"] {
        for (range, content_range, body) in [
            ("bytes=2-5", "bytes 2-5/10", "2345"),
            ("bytes=7-", "bytes 7-9/10", "789"),
            ("bytes=-2", "bytes 8-9/10", "89"),
            ("bytes=8-99", "bytes 8-9/10", "89"),
        ] {
            let answer = gcs.0.ask("GET", path, &[("range", range)], b"").await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (206, body));
            assert_eq!(answer.header("content-range"), Some(content_range));
            assert_eq!(answer.header("x-goog-stored-content-length"), Some("10"));
        }
        let beyond = gcs.0.ask("GET", path, &[("range", "bytes=10-")], b"").await;
        assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, Some("bytes */10")));
    }
    let empty = gcs.media("empty").await;
    assert_eq!((empty.status.as_u16(), empty.text().as_str()), (200, ""));
    let absent = gcs.media("absent").await;
    assert_eq!((absent.status.as_u16(), absent.text().as_str()), (404, "No such object: bucket/absent"));
}

/// All names of a listing's pages: objects, then prefixes.
async fn listed(gcs: &Gcs, query: &str, page_len: usize) -> (Vec<String>, Vec<String>) {
    let (mut names, mut prefixes) = (Vec::new(), Vec::new());
    let mut token = String::new();
    loop {
        let query = format!("{query}&maxResults={page_len}{token}");
        let page =
            json(&gcs.0.get(&format!("/storage/v1/b/bucket/o?fields=items(name),prefixes{query}")).await);
        let texts = |value: &Value| value.as_array().cloned().unwrap_or_default();
        names.extend(texts(&page["items"]).iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        prefixes.extend(texts(&page["prefixes"]).iter().map(|prefix| prefix.as_str().unwrap().to_owned()));
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!("&pageToken={}", crate::gcs_client::enc(next)),
            None => return (names, prefixes),
        }
    }
}

#[tokio::test]
async fn listings_have_prefixes_offsets_and_pages() {
    let (_server, gcs) = start(Settings::default()).await;
    for name in ["/a", "a", "a/", "a//b", "a/b", "a/c/d", "b", "é"] {
        gcs.put(name, b"x").await;
    }
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for page_len in [1, 2, 3, 100] {
        for (query, names, prefixes) in [
            ("", &["/a", "a", "a/", "a//b", "a/b", "a/c/d", "b", "é"][..], &[][..]),
            ("&delimiter=%2F", &["a", "b", "é"], &["/", "a/"]),
            ("&delimiter=%2F&includeTrailingDelimiter=true", &["a", "a/", "b", "é"], &["/", "a/"]),
            ("&delimiter=%2F&prefix=a%2F", &["a/", "a/b"], &["a//", "a/c/"]),
            ("&startOffset=a%2Fb&endOffset=b", &["a/b", "a/c/d"], &[]),
            ("&prefix=none", &[], &[]),
        ] {
            let expected = (owned(names), owned(prefixes));
            assert_eq!(listed(&gcs, query, page_len).await, expected, "{query} {page_len}");
        }
    }
    let refused = gcs.0.get("/storage/v1/b/bucket/o?pageToken=%21").await;
    assert_eq!(reason(&refused), (400, "invalid".into()));
    let absent = gcs.0.get("/storage/v1/b/absent-bucket/o").await;
    assert_eq!(reason(&absent), (404, "notFound".into()));
}

#[tokio::test]
async fn a_batch_answers_each_of_its_calls() {
    let (server, gcs) = start(Settings::default()).await;
    for name in ["a b", "c"] {
        gcs.put(name, b"x").await;
    }
    let body = "--===x\r\nContent-Type: application/http\r\nContent-ID: <id+1>\r\n\r\n\
        DELETE /storage/v1/b/bucket/o/a%20b HTTP/1.1\r\n\r\n\r\n\
        --===x\r\nContent-Type: application/http\r\n\r\n\
        PATCH /storage/v1/b/bucket/o/c HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n\
        {\"contentType\": \"a/b\"}\r\n\
        --===x\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b/bucket/o/absent\r\n--===x--";
    let headers = [("content-type", "multipart/mixed; boundary=\"===x\"")];
    let answer = gcs.0.ask("POST", "/batch/storage/v1", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["204", "200", "404"], "{text}");
    assert!(text.contains("Content-ID: <response-id+1>"), "{text}");
    assert_eq!(json(&gcs.get("c").await)["contentType"], "a/b");
    assert_eq!(gcs.get("a b").await.status, 404);
    assert_eq!(server.counters().count("objects.delete"), 1);
    let refused = gcs.0.ask("POST", "/batch/storage/v1", &headers, b"nothing").await;
    assert_eq!(reason(&refused), (400, "invalid".into()));
}
