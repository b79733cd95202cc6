//! Listings.
//!
//! Owns: [`page`], which finds a page's entries, and objects.list.
//! Invariant: a page costs its own entries, not the names below its common prefixes: the search jumps over those.
//! Source: Cloud Storage documentation, "Objects: list".

use crate::bucket::ObjectMap;
use crate::call::Call;
use crate::gcs::condition::number;
use crate::gcs::error::GcsError;
use crate::gcs::{bucket_of, endpoint, json_reply, resource};
use crate::object::Object;
use crate::reply::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::ops::Bound;
use std::sync::Arc;

/// The most entries of a page where the request names no number.
const PAGE_LEN_MAX: u64 = 1000;

/// What a listing asks for.
#[derive(Debug, Default)]
struct Request<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    /// The first name, if it is not empty.
    start: &'a str,
    /// The first name that is not listed any more, if it is not empty.
    end: &'a str,
    /// Whether objects whose names end with their first delimiter are listed as objects, too.
    with_trailing: bool,
    max: usize,
}

/// What was found.
#[derive(Debug, Default)]
struct Page {
    items: Vec<(Arc<str>, Arc<Object>)>,
    prefixes: Vec<String>,
    /// The least bytes that the next page may begin with, if there is one.
    next: Option<Vec<u8>>,
}

/// Finds a page's entries, from `from` on, in the order of bytes. An object and its own prefix are never parted: then there may be one entry
/// more than asked for.
fn page(objects: &ObjectMap, request: &Request<'_>, from: Vec<u8>) -> Page {
    let mut page = Page::default();
    let mut from = from.max(request.prefix.as_bytes().to_vec()).max(request.start.as_bytes().to_vec());
    'search: loop {
        for (key, object) in objects.range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded)) {
            let Some(rest) = key.0.strip_prefix(request.prefix) else { break 'search };
            if !request.end.is_empty() && key.0.as_bytes() >= request.end.as_bytes() {
                break 'search;
            }
            if page.items.len() + page.prefixes.len() >= request.max {
                page.next = Some(key.0.as_bytes().to_vec());
                break 'search;
            }
            let cut = if request.delimiter.is_empty() { None } else { rest.find(request.delimiter) };
            let Some(at) = cut else {
                page.items.push((key.0.clone(), object.clone()));
                continue;
            };
            let common = &key.0[..request.prefix.len() + at + request.delimiter.len()];
            if request.with_trailing && common.len() == key.0.len() {
                page.items.push((key.0.clone(), object.clone()));
            }
            page.prefixes.push(common.to_owned());
            from = successor(common);
            continue 'search;
        }
        break;
    }
    page
}

/// The least bytes that are greater than all strings with this prefix, which is not empty.
fn successor(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff, so the last one can always be raised.
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

/// Errors: 404, 400 for a token that is none or a parameter of another type.
pub(crate) async fn list(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let text = |name: &str| call.target.param(name).unwrap_or_default();
    if !text("matchGlob").is_empty() || text("softDeleted") == "true" {
        return Err(GcsError::invalid("matchGlob and softDeleted are not implemented by this server."));
    }
    let max = match number(&call.target, "maxResults")? {
        None | Some(0) => PAGE_LEN_MAX,
        Some(max) => max,
    };
    let request = Request {
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        start: text("startOffset"),
        end: text("endOffset"),
        with_trailing: text("includeTrailingDelimiter") == "true",
        max: max.min(call.settings.list_page_max).max(1) as usize,
    };
    let from = match text("pageToken") {
        "" => Vec::new(),
        token => BASE64.decode(token).map_err(|_| GcsError::invalid("Invalid value for: pageToken"))?,
    };
    let page = bucket.with_objects(|objects| page(objects, &request, from));
    let endpoint = endpoint(call);
    let mut items: Vec<Value> = Vec::with_capacity(page.items.len());
    for (name, object) in &page.items {
        items.push(resource::object_resource(&endpoint, &bucket, name, object).await?);
    }
    let mut answer = json!({"kind": "storage#objects"});
    // What is empty is left out, as the service does.
    if !items.is_empty() {
        answer["items"] = items.into();
    }
    if !page.prefixes.is_empty() {
        answer["prefixes"] = page.prefixes.into();
    }
    if let Some(next) = page.next {
        answer["nextPageToken"] = BASE64.encode(next).into();
    }
    Ok(json_reply(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::bucket::Key;
    use crate::content::Content;

    fn objects(keys: &[&str]) -> ObjectMap {
        let object = Arc::new(Object::new(Content::default(), "e".into(), Attributes::default()));
        keys.iter().map(|key| (Key((*key).into()), object.clone())).collect()
    }

    /// All pages of a listing: names, and prefixes marked by a star.
    fn list(objects: &ObjectMap, request: &Request<'_>) -> Vec<String> {
        let mut from = Vec::new();
        let mut out = Vec::new();
        loop {
            let page = page(objects, request, from);
            let mut found: Vec<String> = page.items.iter().map(|(name, _)| name.to_string()).collect();
            found.extend(page.prefixes.iter().map(|prefix| format!("{prefix}*")));
            found.sort();
            out.extend(found);
            match page.next {
                Some(next) => from = next,
                None => return out,
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_each_entry_once_and_in_the_order_of_bytes() {
        let keys = ["/a", "a", "a/", "a//b", "a/b", "a/c/d", "a0", "b/x", "é/1", "é/2", "\u{10ffff}/z"];
        let objects = objects(&keys);
        for max in 1..=keys.len() + 1 {
            let all = Request { max, ..Request::default() };
            assert_eq!(list(&objects, &all), keys, "{max}");
            let top = Request { max, delimiter: "/", ..Request::default() };
            assert_eq!(list(&objects, &top), ["/*", "a", "a/*", "a0", "b/*", "é/*", "\u{10ffff}/*"], "{max}");
            let below = Request { max, delimiter: "/", prefix: "a/", ..Request::default() };
            assert_eq!(list(&objects, &below), ["a/", "a//*", "a/b", "a/c/*"], "{max}");
            let trailing = Request { max, delimiter: "/", with_trailing: true, ..Request::default() };
            let expected = ["/*", "a", "a/", "a/*", "a0", "b/*", "é/*", "\u{10ffff}/*"];
            assert_eq!(list(&objects, &trailing), expected, "{max}");
            let between = Request { max, start: "a/b", end: "b/x", ..Request::default() };
            assert_eq!(list(&objects, &between), ["a/b", "a/c/d", "a0"], "{max}");
        }
    }
}
