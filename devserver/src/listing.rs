//! Listings of a bucket.
//!
//! Owns: [`page`], which finds a page's entries, and ListObjectsV2 and ListObjects, which write them down.
//! Invariant: a page costs its own entries, not the keys below its common prefixes: the search jumps over those.

use crate::bucket::{Key, ObjectMap};
use crate::call::Call;
use crate::error::S3Error;
use crate::express::{self, is_directory_bucket};
use crate::object::{Object, iso_date};
use crate::reply::Reply;
use crate::xml::XmlWriter;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// What `encoding-type=url` leaves as it is. A space becomes `+`, as in S3's own answers.
const URL_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/').remove(b'*').remove(b' ');

/// Where a page begins: behind what.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    Nothing,
    Key(String),
    /// And all keys below it.
    Prefix(String),
}

impl After {
    /// As an opaque token.
    fn token(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Key(key) => BASE64.encode(format!("k{key}")),
            Self::Prefix(prefix) => BASE64.encode(format!("p{prefix}")),
        }
    }

    fn of_token(token: &str) -> Result<Self, S3Error> {
        let wrong = || S3Error::invalid_argument("The continuation token provided is incorrect");
        let text = String::from_utf8(BASE64.decode(token).map_err(|_| wrong())?).map_err(|_| wrong())?;
        match (text.strip_prefix('k'), text.strip_prefix('p')) {
            (Some(key), _) => Ok(Self::Key(key.to_owned())),
            (_, Some(prefix)) => Ok(Self::Prefix(prefix.to_owned())),
            _ => Err(wrong()),
        }
    }
}

enum Entry {
    Object(Key, Arc<Object>),
    Prefix(String),
}

struct Page {
    entries: Vec<Entry>,
    /// Where the next page begins, if there is one.
    next: Option<After>,
}

/// Finds up to `max` entries in the order of bytes.
fn page(objects: &ObjectMap, prefix: &str, delimiter: &str, after: &After, max: usize) -> Page {
    let mut entries = Vec::new();
    if max == 0 {
        return Page { entries, next: None };
    }
    let mut from = first_bound(prefix, after);
    let mut last = After::Nothing;
    'search: loop {
        let start = match &from {
            Bound::Included(key) => Bound::Included(key.as_slice()),
            Bound::Excluded(key) => Bound::Excluded(key.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        for (key, object) in objects.range::<[u8], _>((start, Bound::Unbounded)) {
            let Some(rest) = key.0.strip_prefix(prefix) else { break 'search };
            if entries.len() == max {
                return Page { entries, next: Some(last) };
            }
            let cut = if delimiter.is_empty() { None } else { rest.find(delimiter) };
            let Some(at) = cut else {
                last = After::Key(key.0.to_string());
                entries.push(Entry::Object(key.clone(), object.clone()));
                continue;
            };
            let common = &key.0[..prefix.len() + at + delimiter.len()];
            last = After::Prefix(common.to_owned());
            entries.push(Entry::Prefix(common.to_owned()));
            match successor(common) {
                Some(next) => from = Bound::Included(next),
                None => break 'search,
            }
            continue 'search;
        }
        break;
    }
    Page { entries, next: None }
}

/// Finds entries in an order of their own, that of hashes, as directory buckets do: pages hold each entry once. A page costs all keys below the
/// prefix.
fn unordered_page(objects: &ObjectMap, prefix: &str, delimiter: &str, after: &After, max: usize) -> Page {
    let place = |after: &After| match after {
        After::Nothing => 0,
        After::Key(name) | After::Prefix(name) => xxh3_64(name.as_bytes()),
    };
    let all = page(objects, prefix, delimiter, &After::Nothing, usize::MAX).entries.into_iter();
    let mut placed: Vec<(u64, After, Entry)> = all
        .map(|entry| {
            let after = match &entry {
                Entry::Object(key, _) => After::Key(key.0.to_string()),
                Entry::Prefix(prefix) => After::Prefix(prefix.clone()),
            };
            (place(&after), after, entry)
        })
        .filter(|(at, _, _)| *after == After::Nothing || *at > place(after))
        .collect();
    placed.sort_by_key(|(at, _, _)| *at);
    let more = placed.len() > max;
    placed.truncate(max);
    let next = placed.last().filter(|_| more).map(|(_, after, _)| after.clone());
    Page { entries: placed.into_iter().map(|(_, _, entry)| entry).collect(), next }
}

/// Runs of slashes become one.
fn fold_slashes(prefix: &str) -> String {
    let mut folded = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if c != '/' || !folded.ends_with('/') {
            folded.push(c);
        }
    }
    folded
}

fn first_bound(prefix: &str, after: &After) -> Bound<Vec<u8>> {
    let first = match after {
        After::Nothing => Bound::Unbounded,
        After::Key(key) => Bound::Excluded(key.clone().into_bytes()),
        After::Prefix(common) => successor(common).map_or(Bound::Unbounded, Bound::Included),
    };
    match &first {
        Bound::Included(key) | Bound::Excluded(key) if key.as_slice() >= prefix.as_bytes() => first,
        _ => Bound::Included(prefix.as_bytes().to_vec()),
    }
}

/// The least bytes that are greater than all strings with this prefix.
fn successor(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff, so the last one can always be raised.
    let last = bytes.last_mut()?;
    *last += 1;
    Some(bytes)
}

/// What both versions of the operation ask for.
struct Request<'a> {
    prefix: &'a str,
    /// What keys must begin with: the prefix, unless the settings fold it.
    searched: Cow<'a, str>,
    delimiter: &'a str,
    max: u64,
    encode: bool,
    etags: bool,
}

impl<'a> Request<'a> {
    fn of(call: &'a Call) -> Result<Self, S3Error> {
        let encode = match call.target.param("encoding-type") {
            None | Some("") => false,
            Some("url") => true,
            Some(_) => return Err(S3Error::invalid_argument("Invalid Encoding Method specified in Request")),
        };
        let max = call.target.number("max-keys")?.unwrap_or(1000).min(call.settings.list_page_max);
        let prefix = call.target.param("prefix").unwrap_or_default();
        let folds = call.settings.quirks.folds_slashes && prefix.contains("//");
        Ok(Self {
            prefix,
            searched: if folds { Cow::Owned(fold_slashes(prefix)) } else { Cow::Borrowed(prefix) },
            etags: !call.settings.quirks.no_list_etags,
            delimiter: call.target.param("delimiter").unwrap_or_default(),
            max,
            encode,
        })
    }

    fn find(&self, call: &Call, after: &After) -> Result<Page, S3Error> {
        let bucket = call.bucket()?;
        let find = if is_directory_bucket(&bucket.name) { unordered_page } else { page };
        Ok(bucket
            .with_objects(|objects| find(objects, &self.searched, self.delimiter, after, self.max as usize)))
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.encode {
            return Cow::Borrowed(text);
        }
        Cow::Owned(utf8_percent_encode(text, URL_ENCODED).to_string().replace(' ', "+"))
    }

    fn write_head(&self, xml: &mut XmlWriter, bucket: &str, truncated: bool) {
        xml.leaf("Name", bucket);
        xml.leaf("Prefix", &self.text(self.prefix));
        if !self.delimiter.is_empty() {
            xml.leaf("Delimiter", &self.text(self.delimiter));
        }
        xml.number("MaxKeys", self.max);
        if self.encode {
            xml.leaf("EncodingType", "url");
        }
        xml.flag("IsTruncated", truncated);
    }

    fn write_entries(&self, xml: &mut XmlWriter, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Object(key, object) = entry {
                xml.open("Contents");
                xml.leaf("Key", &self.text(&key.0));
                xml.leaf("LastModified", &iso_date(object.modified));
                if self.etags {
                    xml.leaf("ETag", &object.quoted_etag());
                }
                xml.number("Size", object.content.len());
                xml.leaf("StorageClass", object.attributes.storage_class());
                xml.close("Contents");
            }
        }
        for entry in entries {
            if let Entry::Prefix(prefix) = entry {
                xml.open("CommonPrefixes");
                xml.leaf("Prefix", &self.text(prefix));
                xml.close("CommonPrefixes");
            }
        }
    }
}

pub(crate) fn list_v2(call: &Call) -> Result<Reply, S3Error> {
    if is_directory_bucket(&call.target.bucket) {
        express::check_listing(call)?;
    }
    let request = Request::of(call)?;
    let token = call.target.param("continuation-token");
    let start_after = call.target.param("start-after").filter(|key| !key.is_empty());
    let after = match (token, start_after) {
        (Some(token), _) => After::of_token(token)?,
        (None, Some(key)) => After::Key(key.to_owned()),
        (None, None) => After::Nothing,
    };
    let page = request.find(call, &after)?;
    let mut xml = XmlWriter::root("ListBucketResult");
    request.write_head(&mut xml, &call.target.bucket, page.next.is_some());
    xml.number("KeyCount", page.entries.len() as u64);
    if let Some(token) = token {
        xml.leaf("ContinuationToken", token);
    }
    if let Some(key) = start_after {
        xml.leaf("StartAfter", &request.text(key));
    }
    if let Some(next) = &page.next {
        xml.leaf("NextContinuationToken", &next.token());
    }
    request.write_entries(&mut xml, &page.entries);
    Ok(Reply::xml(xml.finish_root("ListBucketResult")))
}

pub(crate) fn list_v1(call: &Call) -> Result<Reply, S3Error> {
    let request = Request::of(call)?;
    let marker = call.target.param("marker").unwrap_or_default();
    let below_prefix = marker.strip_prefix(&*request.searched).unwrap_or_default();
    let after = if marker.is_empty() {
        After::Nothing
    } else if !request.delimiter.is_empty() && below_prefix.ends_with(request.delimiter) {
        // The page before ended with this common prefix; its keys are behind it, and are not listed again.
        After::Prefix(marker.to_owned())
    } else {
        After::Key(marker.to_owned())
    };
    let page = request.find(call, &after)?;
    let mut xml = XmlWriter::root("ListBucketResult");
    request.write_head(&mut xml, &call.target.bucket, page.next.is_some());
    xml.leaf("Marker", &request.text(marker));
    if let Some(After::Key(next) | After::Prefix(next)) = &page.next
        && !request.delimiter.is_empty()
    {
        xml.leaf("NextMarker", &request.text(next));
    }
    request.write_entries(&mut xml, &page.entries);
    Ok(Reply::xml(xml.finish_root("ListBucketResult")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::content::Content;

    fn objects(keys: &[&str]) -> ObjectMap {
        let object = Arc::new(Object::new(Content::default(), "e".into(), Attributes::default()));
        keys.iter().map(|key| (Key((*key).into()), object.clone())).collect()
    }

    /// All pages of a listing; common prefixes are marked by a star.
    fn list(objects: &ObjectMap, prefix: &str, delimiter: &str, max: usize) -> Vec<String> {
        let mut after = After::Nothing;
        let mut out = Vec::new();
        loop {
            let page = page(objects, prefix, delimiter, &after, max);
            assert!(page.entries.len() <= max);
            out.extend(page.entries.into_iter().map(|entry| match entry {
                Entry::Object(key, _) => key.0.to_string(),
                Entry::Prefix(prefix) => format!("{prefix}*"),
            }));
            match page.next {
                Some(next) => after = After::of_token(&next.token()).unwrap(),
                None => return out,
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_each_entry_once_and_in_the_order_of_bytes() {
        let keys =
            ["/a", "a", "a//b", "a/b", "a/c/d", "a0", "b/x", "b/\u{10ffff}", "é/1", "é/2", "\u{10ffff}/z"];
        let objects = objects(&keys);
        for max in 1..=keys.len() + 1 {
            assert_eq!(
                list(&objects, "", "/", max),
                ["/*", "a", "a/*", "a0", "b/*", "é/*", "\u{10ffff}/*"],
                "{max}"
            );
            assert_eq!(list(&objects, "a/", "/", max), ["a//*", "a/b", "a/c/*"], "{max}");
            assert_eq!(list(&objects, "", "", max), keys, "{max}");
            assert_eq!(list(&objects, "é", "", max), ["é/1", "é/2"], "{max}");
        }
        assert!(list(&objects, "nothing", "/", 5).is_empty());
    }

    #[test]
    fn nothing_is_asked_for_and_nothing_is_left() {
        let page = page(&objects(&["a", "b"]), "", "", &After::Nothing, 0);
        assert!(page.entries.is_empty() && page.next.is_none());
    }
}
