//! ListObjectsV2.
//!
//! Owns: one page of a listing. Keys travel percent-encoded (`encoding-type=url`), since XML cannot hold every character that
//! a key can. Servers differ in whether a space is `+` or `%20`, and agree that a plus is `%2B`, so `+` is a space. One
//! that ignores the wish sends keys as they are, and does not name the encoding.

use super::Pipeline;
use super::xml;
use crate::contract::{ErrorKind, ListPage, ListRequest, ObjectMeta, RawKey, Result, Version};
use crate::http::request::ApiRequest;
use http::Method;
use percent_encoding::percent_decode_str;
use std::time::SystemTime;

const OPERATION: &str = "ListObjectsV2";

/// One page, which is empty only where nothing follows; see [`Store::list`](crate::Store::list).
pub(super) async fn list(pipeline: &Pipeline, mut wanted: ListRequest) -> Result<ListPage> {
    loop {
        let page = page(pipeline, wanted.clone()).await?;
        if page.next.is_some() && page.next == wanted.token {
            let message = "the listing goes on where it began".to_owned();
            return Err(pipeline.error(OPERATION, None, ErrorKind::Corrupt, message));
        }
        // What a server lists beside the prefix may fill pages.
        if page.next.is_none() || !page.objects.is_empty() || !page.prefixes.is_empty() {
            return Ok(page);
        }
        wanted.token = page.next;
    }
}

async fn page(pipeline: &Pipeline, wanted: ListRequest) -> Result<ListPage> {
    let mut request =
        ApiRequest::new(OPERATION, Method::GET).query("list-type", "2").query("encoding-type", "url");
    if !wanted.prefix.is_empty() {
        request = request.query("prefix", wanted.prefix.as_str());
    }
    if wanted.delimiter {
        request = request.query("delimiter", "/");
    }
    match (wanted.token, wanted.start_after) {
        (Some(token), _) => request = request.query("continuation-token", token),
        (None, Some(key)) if !key.is_empty() => request = request.query("start-after", key),
        _ => {}
    }
    if let Some(max_keys) = wanted.max_keys {
        request = request.query("max-keys", max_keys.to_string());
    }
    let answer = pipeline.send(&request).await?;
    let listed: xml::ListAnswer = xml::parse(&answer.body)
        .map_err(|cause| pipeline.error(OPERATION, None, ErrorKind::Corrupt, cause))?;
    if listed.is_truncated && listed.next_continuation_token.is_none() {
        let message = "the listing goes on, and the answer does not say how".to_owned();
        return Err(pipeline.error(OPERATION, None, ErrorKind::Corrupt, message));
    }
    let mut page = page_of(listed);
    let left_out = keep_within(&mut page, &wanted.prefix);
    if left_out > 0 {
        tracing::debug!(
            bucket = pipeline.bucket,
            prefix = wanted.prefix,
            left_out,
            "the server listed keys outside of the prefix that it was asked for"
        );
    }
    Ok(page)
}

/// Takes out what is not below the prefix: some servers take `a//` for `a/`. Returns how much that was.
pub(super) fn keep_within(page: &mut ListPage, prefix: &str) -> usize {
    let listed = page.objects.len() + page.prefixes.len();
    page.objects.retain(|object| object.key.as_str().starts_with(prefix));
    page.prefixes.retain(|folded| folded.starts_with(prefix) && folded.len() > prefix.len());
    listed - page.objects.len() - page.prefixes.len()
}

pub(super) fn page_of(listed: xml::ListAnswer) -> ListPage {
    let is_encoded = is_encoded(listed.encoding_type.as_deref());
    let decode = |text: String| if is_encoded { decoded(&text) } else { Some(text) };
    let mut page = ListPage::default();
    for object in listed.contents {
        // Not UTF-8, or longer than any key: no request could name it.
        let Some(Ok(key)) = decode(object.key).map(RawKey::new) else {
            tracing::debug!("a listed key is not valid, and left out");
            continue;
        };
        page.objects.push(ObjectMeta {
            key,
            size: object.size,
            version: Version::from_etag(&object.etag),
            last_modified: time_of(&object.last_modified),
            attributes: None,
            checksum: None,
            md5: None,
        });
    }
    page.prefixes = listed.common_prefixes.into_iter().filter_map(|folded| decode(folded.prefix)).collect();
    page.next = listed.next_continuation_token.filter(|_| listed.is_truncated);
    page
}

/// Whether an answer's keys are percent-encoded, by the encoding that it names.
pub(super) fn is_encoded(encoding: Option<&str>) -> bool {
    encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("url"))
}

/// An encoded key; `None` where it is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|key| key.into_owned())
}

/// A time of an answer; the epoch where it cannot be read.
pub(super) fn time_of(text: &str) -> SystemTime {
    let written = text.parse::<jiff::Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok());
    written.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_are_decoded_once() {
        assert_eq!(decoded("a+b%2Bc%20d%2541").as_deref(), Some("a b+c d%41"));
        assert_eq!(decoded("%FF"), None);
    }

    #[test]
    fn what_is_outside_of_the_prefix_is_left_out() {
        let object = |key: &str| xml::ListedObject { key: key.into(), ..Default::default() };
        let folder = |prefix: &str| xml::CommonPrefix { prefix: prefix.into() };
        let mut page = page_of(xml::ListAnswer {
            contents: vec![object("a/x"), object("a//y"), object("b")],
            common_prefixes: vec![folder("a/d/"), folder("a//d/"), folder("a//")],
            ..Default::default()
        });
        assert_eq!(keep_within(&mut page, "a//"), 4);
        assert_eq!((page.objects.len(), page.objects[0].key.as_str()), (1, "a//y"));
        assert_eq!(page.prefixes, ["a//d/"]);
    }

    #[test]
    fn keys_that_came_as_they_are_stay_so() {
        let object = xml::ListedObject { key: "a+%41".into(), ..Default::default() };
        let page = page_of(xml::ListAnswer { contents: vec![object], ..Default::default() });
        assert_eq!(page.objects[0].key.as_str(), "a+%41");
        assert!(page.objects[0].version.is_unknown());
    }
}
