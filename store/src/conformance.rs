//! What any [`Store`] must do, as a suite that runs against any implementation and any endpoint.
//!
//! Owns: the cases, and [`run`], which reports all that fail and stops at none. Each case works under a prefix of its
//! own in a bucket that may hold other things, and deletes what it made.

use crate::contract::*;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

/// Keys that some client or server gets wrong. The last ones of a pair are easily confused with the first.
pub const ODD_KEYS: &[&str] = &[
    "d",
    "d/",
    "d//",
    "a//b",
    "/a",
    "//",
    "./x",
    "../x",
    "a/./b",
    "a/../b",
    ".",
    "..",
    "%41",
    "A",
    "a%2Fb",
    "a/b",
    "new\nline",
    "tab\there",
    "a+b",
    "a b",
    " lead",
    "trail ",
    "&<>\"'",
    "a?b=c",
    "a#b",
    "a=b;c:d,e@f",
    "é",
    "e\u{301}",
    "🪣",
    "dot.",
    "back\\slash",
    "star*",
    "\u{1}",
    "del\u{7f}",
    "~-_.!$()[]{}|^`",
    "日本語/キー",
];

/// One case.
pub struct Case {
    /// Its name, for reports and for [`run`]'s list of deviations.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn Store, String, &'a [&'a str]) -> BoxFuture<'a, ()>,
}

/// All cases.
pub const CASES: &[Case] = &[
    Case { name: "odd_keys", run: |store, prefix, skipped| odd_keys(store, prefix, skipped).boxed() },
    Case { name: "long_key", run: |store, prefix, _| long_key(store, prefix).boxed() },
    Case { name: "ranges", run: |store, prefix, _| ranges(store, prefix).boxed() },
    Case { name: "absent", run: |store, prefix, _| absent(store, prefix).boxed() },
    Case { name: "metadata", run: |store, prefix, _| metadata(store, prefix).boxed() },
    Case { name: "attributes", run: |store, prefix, _| attributes(store, prefix).boxed() },
    Case { name: "tags", run: |store, prefix, _| tags(store, prefix).boxed() },
    Case { name: "conditions", run: |store, prefix, _| conditions(store, prefix).boxed() },
    Case { name: "pages", run: |store, prefix, _| pages(store, prefix).boxed() },
    Case { name: "multipart", run: |store, prefix, _| multipart(store, prefix).boxed() },
    Case { name: "open_uploads", run: |store, prefix, _| open_uploads(store, prefix).boxed() },
    Case { name: "upload_times", run: |store, prefix, _| upload_times(store, prefix).boxed() },
    Case { name: "aborted_upload", run: |store, prefix, _| aborted_upload(store, prefix).boxed() },
    Case { name: "small_part_refused", run: |store, prefix, _| small_part_refused(store, prefix).boxed() },
    Case { name: "part_copy", run: |store, prefix, _| part_copy(store, prefix).boxed() },
    Case { name: "append", run: |store, prefix, _| append(store, prefix).boxed() },
    Case { name: "many_parts", run: |store, prefix, _| many_parts(store, prefix).boxed() },
    Case { name: "rename", run: |store, prefix, _| rename(store, prefix).boxed() },
];

/// A case in which a server is known not to be what it claims to be, through no fault of its client.
pub struct Deviation {
    /// The server.
    pub server: &'static str,
    /// The case, or one key of it: `odd_keys "a//b"`.
    pub case: &'static str,
    /// What the server does instead.
    pub reason: &'static str,
}

const DOTS_OF_AZURE: &str = "a name that is . or .. cannot be in a request's address; refused";
const PATHS_OF_THE_LIBRARY: &str = "the library's paths cannot name it; refused";

/// What is known of the servers that the suite runs against.
pub const KNOWN_DEVIATIONS: &[Deviation] = &[
    Deviation {
        server: "moto",
        case: "odd_keys \"new\\nline\"",
        reason: "its routes match no path with a newline: 404 on PutObject",
    },
    Deviation {
        server: "moto",
        case: "aborted_upload",
        reason: "CompleteMultipartUpload of an upload that is gone is 500: it looks it up without a check",
    },
    Deviation {
        server: "moto",
        case: "upload_times",
        reason: "ListMultipartUploads dates every upload 2010: its answer has a constant there",
    },
    Deviation {
        server: "fake-gcs-server",
        case: "conditions",
        reason: "ifGenerationMatch on objects.delete is ignored: another generation is deleted",
    },
    Deviation {
        server: "fake-gcs-server",
        case: "aborted_upload",
        reason: "objects.compose of what is not there is 500, not 404",
    },
    Deviation {
        server: "gcs",
        case: "odd_keys \"new\\nline\"",
        reason: "names of objects have no line breaks (Cloud Storage documentation, \"About Cloud Storage objects\")",
    },
    Deviation {
        server: "rgw",
        case: "aborted_upload",
        reason: "CompleteMultipartUpload of an upload that is gone is 500: it takes the missing lock for a held one",
    },
    Deviation {
        server: "rgw",
        case: "tags",
        reason: "CreateMultipartUpload ignores x-amz-tagging: what is uploaded in parts has no tags",
    },
    Deviation { server: "azurite", case: "odd_keys \"./x\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"../x\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"a/./b\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"a/../b\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \".\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"..\"", reason: DOTS_OF_AZURE },
    Deviation {
        server: "azurite",
        case: "odd_keys \"new\\nline\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"tab\\there\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"\\u{1}\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"del\\u{7f}\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"dot.\"",
        reason: "Azure drops a full stop at a name's end; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"back\\\\slash\"",
        reason: "Azure takes a backslash for a slash; refused",
    },
    Deviation { server: "azurite", case: "open_uploads", reason: "Azure does not list uploads" },
    Deviation { server: "azurite", case: "upload_times", reason: "Azure does not list uploads" },
    Deviation { server: "object_store-memory", case: "odd_keys \"d/\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"d//\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a//b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"/a\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"//\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"./x\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"../x\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a/./b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a/../b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \".\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"..\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"new\\nline\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"tab\\there\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation { server: "object_store-memory", case: "odd_keys \"\\u{1}\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"del\\u{7f}\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation { server: "object_store-memory", case: "rename", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "multipart",
        reason: "the library's store in memory takes parts without gaps alone",
    },
    Deviation {
        server: "object_store-memory",
        case: "open_uploads",
        reason: "the library does not list uploads",
    },
    Deviation {
        server: "object_store-memory",
        case: "upload_times",
        reason: "the library does not list uploads",
    },
];

/// The deviations of one server, for [`run`].
pub fn known_deviations(server: &str) -> Vec<&'static str> {
    KNOWN_DEVIATIONS.iter().filter(|known| known.server == server).map(|known| known.case).collect()
}

/// Runs every case that `deviations` does not name. Returns a line for each that failed.
pub async fn run(store: &dyn Store, deviations: &[&str]) -> Vec<String> {
    let mut failed = Vec::new();
    for case in CASES.iter().filter(|case| !deviations.contains(&case.name)) {
        let prefix = format!("conformance-{:08x}/{}/", rand::random::<u32>(), case.name);
        let outcome = AssertUnwindSafe((case.run)(store, prefix.clone(), deviations)).catch_unwind().await;
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            failed.push(format!("{}: {}", case.name, text.unwrap_or("panicked")));
        }
        clean(store, &prefix).await;
    }
    failed
}

async fn clean(store: &dyn Store, prefix: &str) {
    let objects = all(store, ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() }).await.0;
    futures::stream::iter(objects)
        .for_each_concurrent(16, |object| async move {
            let _ = store.delete(&object.key, Condition::None).await;
        })
        .await;
}

fn key(prefix: &str, name: &str) -> RawKey {
    RawKey::new(format!("{prefix}{name}")).unwrap_or_else(|e| panic!("{name:?}: {e}"))
}

/// What succeeded, or a panic that says which operation on what did not.
fn ok<T>(outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind)
}

fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

async fn put(store: &dyn Store, key: &RawKey, bytes: &[u8], condition: Condition) -> Result<Version> {
    let options = PutOptions { condition, ..PutOptions::default() };
    store.put(key, Bytes::copy_from_slice(bytes).into(), options).await
}

async fn read(store: &dyn Store, key: &RawKey, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let got = ok(store.get(key, GetOptions { range, if_version: None }).await);
    ok(got.bytes().await).into()
}

async fn all(store: &dyn Store, mut request: ListRequest) -> (Vec<ObjectMeta>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = ok(store.list(request.clone()).await);
        objects.extend(page.objects);
        prefixes.extend(page.prefixes);
        match page.next {
            Some(token) => request.token = Some(token),
            None => return (objects, prefixes),
        }
    }
}

async fn odd_keys(store: &dyn Store, prefix: String, skipped: &[&str]) {
    let names: Vec<&str> = ODD_KEYS
        .iter()
        .copied()
        .filter(|name| !skipped.contains(&format!("odd_keys {name:?}").as_str()))
        .collect();
    for name in &names {
        ok(put(store, &key(&prefix, name), name.as_bytes(), Condition::None).await);
    }
    for name in &names {
        let key = key(&prefix, name);
        assert_eq!(ok(store.head(&key).await).size, name.len() as u64, "HEAD {name:?}");
        assert_eq!(read(store, &key, None).await, name.as_bytes(), "GET {name:?}");
        let copied = self::key(&prefix, &format!("copy-{name}"));
        let version = ok(store.head(&key).await).version;
        ok(store.copy(&key, &version, &copied, Condition::None).await);
        assert_eq!(read(store, &copied, None).await, name.as_bytes(), "copy of {name:?}");
        ok(store.delete(&copied, Condition::None).await);
    }
    let request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let listed: Vec<String> =
        all(store, request).await.0.iter().map(|object| object.key.as_str().to_owned()).collect();
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>(), "listed keys, in order");
    ok(store.delete(&key(&prefix, "d"), Condition::None).await);
    if names.contains(&"d/") {
        assert_eq!(read(store, &key(&prefix, "d/"), None).await, b"d/", "d/ outlives d");
    }
    assert_eq!(kind_of(store.head(&key(&prefix, "d")).await), Some(ErrorKind::NotFound), "d is gone");
}

async fn long_key(store: &dyn Store, prefix: String) {
    let components = "abcdefghi/".repeat(KEY_LEN_BYTES_MAX);
    let key = key(&prefix, &components[..KEY_LEN_BYTES_MAX - prefix.len() - 1]);
    let key = RawKey::new(format!("{key}x")).unwrap_or(key);
    ok(put(store, &key, b"long", Condition::None).await);
    assert_eq!(read(store, &key, None).await, b"long");
    let listed = all(store, ListRequest { prefix, ..ListRequest::default() }).await.0;
    assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key]);
}

async fn ranges(store: &dyn Store, prefix: String) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    let key = key(&prefix, "object");
    ok(put(store, &key, &bytes, Condition::None).await);
    assert_eq!(read(store, &key, None).await, bytes);
    for range in [0..1, 0..300_000, 299_999..300_000, 1_000..200_000, 299_000..999_999_u64] {
        let end = range.end.min(bytes.len() as u64) as usize;
        let got = read(store, &key, Some(range.clone())).await;
        assert!(got == bytes[range.start as usize..end], "bytes of {range:?}");
    }
    let got = ok(store.get(&key, GetOptions { range: Some(10..20), if_version: None }).await);
    assert_eq!(
        (got.meta.size, got.range.clone()),
        (300_000, 10..20),
        "a range's answer tells the whole size"
    );
    assert!(read(store, &key, Some(5..5)).await.is_empty(), "an empty range");
    for start in [300_000_u64, 400_000] {
        let options = GetOptions { range: Some(start..start + 10), if_version: None };
        assert_eq!(
            kind_of(store.get(&key, options).await),
            Some(ErrorKind::RangeNotSatisfiable),
            "from {start}"
        );
    }
    let empty = self::key(&prefix, "empty");
    ok(put(store, &empty, b"", Condition::None).await);
    assert_eq!(ok(store.head(&empty).await).size, 0);
    assert!(read(store, &empty, None).await.is_empty());
}

async fn absent(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "absent");
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(store.get(&key, GetOptions::default()).await), Some(ErrorKind::NotFound));
    ok(store.delete(&key, Condition::None).await);
    let to = self::key(&prefix, "to");
    let copied = store.copy(&key, &Version::Unknown, &to, Condition::None).await;
    assert_eq!(kind_of(copied), Some(ErrorKind::NotFound));
    let page = ok(store.list(ListRequest { prefix, ..ListRequest::default() }).await);
    assert!(page.objects.is_empty() && page.prefixes.is_empty() && page.next.is_none());
}

async fn metadata(store: &dyn Store, prefix: String) {
    let wanted: UserMetadata = [("mode", "33188"), ("mtime", "1700000000.5"), ("note", "a b=c;d")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
    let (from, to) = (key(&prefix, "from"), key(&prefix, "to"));
    let attributes = Attributes { metadata: wanted.clone(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"x").into(), options).await);
    let metadata_of = |meta: ObjectMeta| meta.attributes.map(|attributes| attributes.metadata.clone());
    assert_eq!(metadata_of(ok(store.head(&from).await)).as_ref(), Some(&wanted), "HEAD");
    let got = ok(store.get(&from, GetOptions::default()).await);
    // Google Cloud Storage tells it of an object's resource, and not with its bytes: then it is said to be unknown, and not to be none.
    let is_told = got.meta.attributes.is_some() || !matches!(version, Version::Generation(_));
    assert!(!is_told || metadata_of(got.meta).as_ref() == Some(&wanted), "GET");
    ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(metadata_of(ok(store.head(&to).await)).as_ref(), Some(&wanted), "a copy keeps it");
}

/// What `key` carries that any store can: the rest is the store's own, or nobody's.
async fn carried(store: &dyn Store, key: &RawKey, version: &Version) -> Attributes {
    let Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        ..
    } = ok(store.attributes(key, version).await);
    Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        ..Attributes::default()
    }
}

/// Makes an object of one part.
async fn put_by_parts(store: &dyn Store, key: &RawKey, options: &PutOptions) -> Version {
    let upload = ok(store.start_upload(key, options).await);
    let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await);
    ok(store.complete_upload(&upload, &[part], options).await)
}

async fn attributes(store: &dyn Store, prefix: String) {
    let text = |value: &str| Some(value.to_owned());
    let wanted = Attributes {
        metadata: [("note".to_owned(), "a b=c;d".to_owned())].into(),
        content_type: text("text/x-mine; charset=utf-8"),
        content_encoding: text("identity"),
        content_language: text("de"),
        content_disposition: text("attachment; filename=\"a.txt\""),
        cache_control: text("max-age=60, no-transform"),
        ..Attributes::default()
    };
    let (from, to, by_parts) = (key(&prefix, "from.json"), key(&prefix, "to"), key(&prefix, "parts"));
    let options = PutOptions { attributes: wanted.clone(), ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"x").into(), options.clone()).await);
    assert_eq!(carried(store, &from, &version).await, wanted, "put");
    let Some(head) = ok(store.head(&from).await).attributes else { panic!("HEAD tells no attributes") };
    assert_eq!(head.content_type, wanted.content_type, "HEAD");
    let copied = ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(carried(store, &to, &copied).await, wanted, "a copy");
    let made = put_by_parts(store, &by_parts, &options).await;
    assert_eq!(carried(store, &by_parts, &made).await, wanted, "an upload in parts");
    // An edit: the bytes are others, and all else stays.
    let kept = ok(store.attributes(&from, &version).await);
    let options = PutOptions { attributes: kept, condition: Condition::IfVersion(version.clone()) };
    let edited = ok(store.put(&from, Bytes::from_static(b"y").into(), options).await);
    assert_eq!(carried(store, &from, &edited).await, wanted, "an edit");
    let outdated = store.attributes(&from, &version).await;
    assert_eq!(kind_of(outdated), Some(ErrorKind::Precondition), "attributes of an old version");
}

/// Where the store has tags at all.
async fn tags(store: &dyn Store, prefix: String) {
    let wanted: BTreeMap<String, String> =
        [("team", "a b/c+d"), ("empty", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (from, to, by_parts) = (key(&prefix, "from"), key(&prefix, "to"), key(&prefix, "parts"));
    let attributes = Attributes { tags: wanted.clone(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let Ok(version) = store.put(&from, Bytes::from_static(b"x").into(), options.clone()).await else {
        return;
    };
    if ok(store.attributes(&from, &version).await).tags.is_empty() {
        return;
    }
    assert_eq!(ok(store.attributes(&from, &version).await).tags, wanted, "put");
    let copied = ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(ok(store.attributes(&to, &copied).await).tags, wanted, "a copy");
    let made = put_by_parts(store, &by_parts, &options).await;
    assert_eq!(ok(store.attributes(&by_parts, &made).await).tags, wanted, "an upload in parts");
}

/// Holds for enforced and for emulated conditions alike, since nobody races here.
async fn conditions(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let refused = Some(ErrorKind::Precondition);
    let first = ok(put(store, &key, b"first", Condition::IfAbsent).await);
    assert_eq!(
        kind_of(put(store, &key, b"x", Condition::IfAbsent).await),
        refused,
        "put IfAbsent on what is there"
    );
    let second = ok(put(store, &key, b"second", Condition::IfVersion(first.clone())).await);
    let old = || Condition::IfVersion(first.clone());
    assert_eq!(kind_of(put(store, &key, b"x", old()).await), refused, "put IfVersion of an old one");
    assert_eq!(kind_of(store.delete(&key, old()).await), refused, "delete IfVersion of an old one");
    let pinned = GetOptions { range: None, if_version: Some(first.clone()) };
    assert_eq!(kind_of(store.get(&key, pinned).await), refused, "get of an old version");
    let to = self::key(&prefix, "to");
    assert_eq!(
        kind_of(store.copy(&key, &first, &to, Condition::None).await),
        refused,
        "copy of an old version"
    );
    ok(store.copy(&key, &second, &to, Condition::IfAbsent).await);
    assert_eq!(
        kind_of(store.copy(&key, &second, &to, Condition::IfAbsent).await),
        refused,
        "copy over what is there"
    );
    for condition in [Condition::IfAbsent, old()] {
        let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
        let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await);
        let completed = store.complete_upload(&upload, &[part], &on(condition.clone())).await;
        assert_eq!(kind_of(completed), refused, "complete {condition:?}");
        ok(store.abort_upload(&upload).await);
    }
    assert_eq!(read(store, &key, None).await, b"second", "what was refused changed nothing");
    ok(store.delete(&key, Condition::IfVersion(second.clone())).await);
    let gone = Condition::IfVersion(second);
    assert_eq!(kind_of(put(store, &key, b"x", gone.clone()).await), refused, "put IfVersion on what is gone");
    ok(store.delete(&key, gone).await);
}

async fn pages(store: &dyn Store, prefix: String) {
    const COUNT: usize = 1_105;
    let names: Vec<String> =
        (0..COUNT).map(|index| format!("{prefix}{}/{:02}", index / 100, index % 100)).collect();
    futures::stream::iter(&names)
        .for_each_concurrent(32, |name| async move {
            let key = RawKey::new(name.as_str()).unwrap_or_else(|e| panic!("{e}"));
            ok(put(store, &key, b"", Condition::None).await);
        })
        .await;
    let mut sorted = names.clone();
    sorted.sort();
    let request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let listed = |objects: &[ObjectMeta]| {
        objects.iter().map(|object| object.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert!(listed(&all(store, request.clone()).await.0) == sorted, "all keys, across pages");
    let first = ok(store.list(ListRequest { max_keys: Some(7), ..request.clone() }).await);
    assert_eq!(listed(&first.objects), sorted[..7]);
    assert!(first.next.is_some(), "seven of many is not the end");
    let after = ListRequest { start_after: Some(sorted[500].clone()), ..request.clone() };
    assert!(listed(&all(store, after).await.0) == sorted[501..], "keys after one");
    let folded = ListRequest { delimiter: true, max_keys: Some(5), ..request };
    let mut wanted: Vec<String> = (0..=COUNT / 100).map(|index| format!("{prefix}{index}/")).collect();
    wanted.sort();
    let (objects, prefixes) = all(store, folded).await;
    assert_eq!((objects.len(), prefixes), (0, wanted), "folded, across pages");
}

async fn multipart(store: &dyn Store, prefix: String) {
    let size = ok(store.capabilities().await).part_size_bytes_min as usize;
    let key = key(&prefix, "object");
    let metadata: UserMetadata = [("a".to_owned(), "b".to_owned())].into();
    let attributes = Attributes { metadata: metadata.clone(), ..Attributes::default() };
    let options = PutOptions { condition: Condition::IfAbsent, attributes };
    let upload = ok(store.start_upload(&key, &options).await);
    let piece = |byte: u8, len: usize| Payload::Bytes(vec![byte; len].into());
    let last = ok(store.put_part(&upload, 3, piece(3, 10)).await);
    ok(store.put_part(&upload, 1, piece(9, size)).await);
    let first = ok(store.put_part(&upload, 1, piece(1, size)).await);
    let version = ok(store.complete_upload(&upload, &[first, last], &options).await);
    let meta = ok(store.head(&key).await);
    assert_eq!((meta.size, &meta.version), (size as u64 + 10, &version));
    assert_eq!(meta.attributes.map(|attributes| attributes.metadata.clone()), Some(metadata));
    let bytes = read(store, &key, None).await;
    assert!(
        bytes[..size].iter().all(|byte| *byte == 1) && bytes[size..] == [3; 10],
        "the replaced part is gone"
    );
}

async fn aborted_upload(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    ok(store.abort_upload(&upload).await);
    assert_eq!(
        kind_of(store.complete_upload(&upload, &[part], &PutOptions::default()).await),
        Some(ErrorKind::NotFound)
    );
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound), "nothing was made of it");
}

/// A store that composes objects of objects knows of no upload before its first part, and of it from then on.
async fn open_uploads(store: &dyn Store, prefix: String) {
    let composes = ok(store.capabilities().await).part_copy == PartCopy::Whole;
    let (key, longer) = (key(&prefix, "a b+c"), key(&prefix, "a b+c/d"));
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let other = ok(store.start_upload(&longer, &PutOptions::default()).await);
    let open = async || {
        let open = ok(store.open_uploads(&key).await);
        open.into_iter().map(|open| open.upload).collect::<Vec<_>>()
    };
    if !composes {
        assert_eq!(open().await, std::slice::from_ref(&upload));
        assert!(!ok(store.has_parts(&upload).await));
    }
    ok(store.put_part(&other, 1, Bytes::from_static(b"y").into()).await);
    ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    assert_eq!(open().await, std::slice::from_ref(&upload));
    assert!(ok(store.has_parts(&upload).await));
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.has_parts(&upload).await), Some(ErrorKind::NotFound));
    assert!(ok(store.open_uploads(&key).await).is_empty());
    ok(store.abort_upload(&other).await);
}

async fn upload_times(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    let open = ok(store.open_uploads(&key).await);
    let age = std::time::SystemTime::now().duration_since(open[0].initiated).unwrap_or_default();
    ok(store.abort_upload(&upload).await);
    assert!(age < std::time::Duration::from_secs(3600), "begun {age:?} ago");
}

async fn small_part_refused(store: &dyn Store, prefix: String) {
    if ok(store.capabilities().await).part_size_bytes_min <= 5 {
        return;
    }
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let first = ok(store.put_part(&upload, 1, Bytes::from_static(b"small").into()).await);
    let last = ok(store.put_part(&upload, 2, Bytes::from_static(b"last").into()).await);
    let completed = store.complete_upload(&upload, &[first, last], &PutOptions::default()).await;
    assert_eq!(kind_of(completed), Some(ErrorKind::Unsupported));
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound));
}

async fn part_copy(store: &dyn Store, prefix: String) {
    // What a store that takes whole objects alone makes of a range is its own affair.
    let range = match ok(store.capabilities().await).part_copy {
        PartCopy::None => return,
        PartCopy::Whole => 0..10,
        PartCopy::Ranges => 2..6,
    };
    let (from, to) = (key(&prefix, "from + ä"), key(&prefix, "to"));
    let version = ok(put(store, &from, b"0123456789", Condition::None).await);
    let upload = ok(store.start_upload(&to, &PutOptions::default()).await);
    let part = ok(store.copy_part(&upload, 1, &from, &version, range.clone()).await);
    let other = match &version {
        Version::Generation(generation) => Version::Generation(generation - 1),
        Version::Etag(_) | Version::Unknown => Version::from_etag("00000000000000000000000000000000"),
    };
    assert_eq!(
        kind_of(store.copy_part(&upload, 2, &from, &other, range.clone()).await),
        Some(ErrorKind::Precondition)
    );
    ok(store.complete_upload(&upload, &[part], &PutOptions::default()).await);
    assert_eq!(read(store, &to, None).await, b"0123456789"[range.start as usize..range.end as usize]);
}

/// An object becomes the first part of its own next version, attributes included.
async fn append(store: &dyn Store, prefix: String) {
    let capabilities = ok(store.capabilities().await);
    if capabilities.part_copy == PartCopy::None {
        return;
    }
    let key = key(&prefix, "object");
    let size = capabilities.part_size_bytes_min.max(10) as usize;
    let attributes =
        Attributes { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let base = ok(store.put(&key, Payload::Bytes(vec![1; size].into()), options).await);
    let attributes = ok(store.attributes(&key, &base).await);
    let options = PutOptions { condition: Condition::IfVersion(base.clone()), attributes };
    for condition in [base.clone(), base] {
        let upload = ok(store.start_upload(&key, &options).await);
        let is_first = ok(store.head(&key).await).version == condition;
        let first = store.copy_part(&upload, 1, &key, &condition, 0..size as u64).await;
        if !is_first {
            assert_eq!(kind_of(first), Some(ErrorKind::Precondition), "of a version that is gone");
            ok(store.abort_upload(&upload).await);
            continue;
        }
        let more = ok(store.put_part(&upload, 2, Bytes::from_static(b"more").into()).await);
        ok(store.complete_upload(&upload, &[ok(first), more], &options).await);
    }
    let bytes = read(store, &key, None).await;
    assert!(bytes[..size].iter().all(|byte| *byte == 1) && bytes[size..] == *b"more");
    let kept = ok(store.head(&key).await).attributes.map(|attributes| attributes.metadata.clone());
    assert_eq!(kept, Some([("a".to_owned(), "b".to_owned())].into()), "what it carried is kept");
    assert!(ok(store.open_uploads(&key).await).is_empty(), "no upload is left");
}

/// More parts than a store composes at a time. Where parts cannot be small, that would be gigabytes.
async fn many_parts(store: &dyn Store, prefix: String) {
    const COUNT: u32 = 1_030;
    if ok(store.capabilities().await).part_size_bytes_min > 5 {
        return;
    }
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let parts = futures::stream::iter(1..=COUNT).map(|number| {
        let upload = &upload;
        async move { ok(store.put_part(upload, number, Bytes::from(format!("{number:05}")).into()).await) }
    });
    let parts: Vec<Part> = parts.buffered(32).collect().await;
    ok(store.complete_upload(&upload, &parts, &on(Condition::IfAbsent)).await);
    let wanted: String = (1..=COUNT).map(|number| format!("{number:05}")).collect();
    assert!(read(store, &key, None).await == wanted.as_bytes(), "all parts, in order");
    let listed = all(store, ListRequest { prefix, ..ListRequest::default() }).await.0;
    assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key], "and nothing else");
    assert_eq!(kind_of(store.has_parts(&upload).await), Some(ErrorKind::NotFound), "no part is left");
}

async fn rename(store: &dyn Store, prefix: String) {
    let (from, to) = (key(&prefix, "from//ä"), key(&prefix, "to"));
    let attributes =
        Attributes { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"bytes").into(), options).await);
    if !ok(store.capabilities().await).atomic_rename {
        let renamed = store.rename(&from, &version, &to, Condition::None).await;
        assert_eq!(kind_of(renamed), Some(ErrorKind::Unsupported));
        return;
    }
    let other = ok(put(store, &to, b"other", Condition::None).await);
    let refused = Some(ErrorKind::Precondition);
    assert_eq!(
        kind_of(store.rename(&from, &version, &to, Condition::IfAbsent).await),
        refused,
        "over another"
    );
    assert_eq!(kind_of(store.rename(&from, &other, &to, Condition::None).await), refused, "another version");
    let moved = ok(store.rename(&from, &version, &to, Condition::IfVersion(other)).await);
    let meta = ok(store.head(&to).await);
    assert_eq!((meta.version, meta.size), (moved, 5));
    assert_eq!(
        meta.attributes.map(|of| of.metadata.clone()),
        Some([("a".to_owned(), "b".to_owned())].into())
    );
    assert_eq!(kind_of(store.head(&from).await), Some(ErrorKind::NotFound));
}
