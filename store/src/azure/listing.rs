//! List Blobs.
//!
//! Owns: [`list`]. It is a request of our own: the library fails a whole page for one key that its paths cannot name, matches prefixes by whole
//! segments, and hides what ends in a slash. Here every key comes back as it is, and whoever cannot show it can count it.
//! Source: Azure, "List Blobs" (Storage REST API). `startFrom` begins at a key, which it includes; Azurite does not know it, so what lies
//! before is left out here too.

use super::{Pipeline, md5, xml};
use crate::contract::*;
use crate::http::request::ApiRequest;
use http::Method;
use std::time::SystemTime;

const OPERATION: &str = "ListObjectsV2";
/// Azure takes 5,000, and answers with fewer where it likes.
const PAGE_KEYS_MAX: u32 = 1000;
/// Between a marker and what `start_after` was, in a token.
const TOKEN_SEPARATOR: char = '\n';

/// One page, which is empty only where nothing follows.
pub(super) async fn list(pipeline: &Pipeline, request: &ListRequest) -> Result<ListPage> {
    let (mut marker, after) = match &request.token {
        Some(token) => {
            let (marker, after) = token.split_once(TOKEN_SEPARATOR).unwrap_or((token, ""));
            (Some(marker.to_owned()), Some(after.to_owned()).filter(|after| !after.is_empty()))
        }
        None => (None, request.start_after.clone()),
    };
    let mut names_too_long = Vec::new();
    loop {
        let answer = pipeline.send(&http_request(request, marker.as_deref(), after.as_deref())).await?;
        let corrupt = |cause| pipeline.error(OPERATION, None, ErrorKind::Corrupt, cause);
        let listed = xml::listing(&answer.body).map_err(corrupt)?;
        let next = Some(listed.next_marker.clone()).filter(|next| !next.is_empty());
        if next.is_some() && next == marker {
            return Err(corrupt("the listing goes on where it began".to_owned()));
        }
        let mut page = page_of(listed, request, after.as_deref());
        page.next = next.as_ref().map(|next| match &after {
            Some(after) => format!("{next}{TOKEN_SEPARATOR}{after}"),
            None => next.clone(),
        });
        names_too_long.append(&mut page.names_too_long);
        if page.next.is_none() || !page.objects.is_empty() || !page.prefixes.is_empty() {
            return Ok(ListPage { names_too_long, ..page });
        }
        marker = next;
    }
}

/// Whether the container holds any blob, whatever its name.
pub(super) async fn holds_any(pipeline: &Pipeline) -> Result<bool> {
    let request = ListRequest { max_keys: Some(1), ..ListRequest::default() };
    let mut marker: Option<String> = None;
    loop {
        let answer = pipeline.send(&http_request(&request, marker.as_deref(), None)).await?;
        let corrupt = |cause| pipeline.error(OPERATION, None, ErrorKind::Corrupt, cause);
        let listed = xml::listing(&answer.body).map_err(corrupt)?;
        if !listed.blobs.is_empty() {
            return Ok(true);
        }
        if listed.next_marker.is_empty() {
            return Ok(false);
        }
        if marker.as_ref() == Some(&listed.next_marker) {
            return Err(corrupt("the listing goes on where it began".to_owned()));
        }
        marker = Some(listed.next_marker);
    }
}

fn http_request(request: &ListRequest, marker: Option<&str>, after: Option<&str>) -> ApiRequest<'static> {
    let limit = request.max_keys.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX);
    let mut http_request = ApiRequest::new(OPERATION, Method::GET)
        .query("restype", "container")
        .query("comp", "list")
        .query("maxresults", limit.to_string());
    if !request.prefix.is_empty() {
        http_request = http_request.query("prefix", request.prefix.as_str());
    }
    if request.delimiter {
        http_request = http_request.query("delimiter", "/");
    }
    match (marker, after) {
        (Some(marker), _) => http_request.query("marker", marker),
        (None, Some(after)) => http_request.query("startFrom", after),
        (None, None) => http_request,
    }
}

pub(super) fn page_of(listed: xml::ListAnswer, request: &ListRequest, after: Option<&str>) -> ListPage {
    let is_wanted = |name: &str| name.starts_with(&request.prefix) && after.is_none_or(|after| name > after);
    let mut page = ListPage::default();
    for blob in listed.blobs {
        // A directory of a hierarchical namespace is what its blobs' names say, and no object.
        if !is_wanted(&blob.name) || blob.resource_type == "directory" {
            continue;
        }
        let key = match RawKey::new(blob.name.as_str()) {
            Ok(key) => key,
            Err(InvalidKey::TooLong(_)) => {
                page.names_too_long.push(blob.name);
                continue;
            }
            Err(InvalidKey::Empty) => continue,
        };
        page.objects.push(ObjectMeta {
            key,
            size: blob.size.unwrap_or_default(),
            version: Version::from_etag(&blob.etag),
            last_modified: httpdate::parse_http_date(&blob.last_modified).unwrap_or(SystemTime::UNIX_EPOCH),
            attributes: None,
            checksum: None,
            md5: md5::kept(Some(&blob.kind), Some(&blob.md5)),
        });
    }
    // Keys that are folded may come after one that is within what they are folded into.
    let is_begun = |folded: &str| after.is_some_and(|after| after.starts_with(folded));
    page.prefixes = listed.prefixes;
    page.prefixes
        .retain(|folded| is_wanted(folded) || folded.starts_with(&request.prefix) && is_begun(folded));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_no_path_can_show_are_listed_with_the_others() {
        let blob = |name: &str| xml::ListedBlob { name: name.into(), size: Some(1), ..Default::default() };
        let listed = || xml::ListAnswer {
            blobs: ["a//b", "a/../c", "a/\u{1}", "a/d", "b"].map(blob).into(),
            prefixes: vec!["a/x/".into(), "a//".into()],
            ..Default::default()
        };
        let request = ListRequest { prefix: "a/".into(), ..Default::default() };
        let keys = |page: &ListPage| {
            page.objects.iter().map(|object| object.key.as_str().to_owned()).collect::<Vec<_>>()
        };
        let page = page_of(listed(), &request, None);
        assert_eq!(keys(&page), ["a//b", "a/../c", "a/\u{1}", "a/d"], "and none beside the prefix");
        let page = page_of(listed(), &request, Some("a//b"));
        assert_eq!(keys(&page), ["a/d"]);
        assert_eq!(page.prefixes, ["a/x/", "a//"]);
    }
}
