//! objects.list.
//!
//! Owns: one page of a listing. What uploads leave under way ([`uploads`](super::uploads)) is not in it.

use super::Pipeline;
use super::resource::{FACTS, FIELDS, ObjectResource};
use super::uploads;
use crate::contract::{ErrorKind, ListPage, ListRequest, Result};
use crate::http::request::ApiRequest;
use http::Method;
use serde::Deserialize;

pub(super) const OPERATION: &str = "ListObjectsV2";

/// A page as the API writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Listed {
    pub items: Vec<ObjectResource>,
    pub prefixes: Vec<String>,
    pub next_page_token: Option<String>,
}

/// One page, which is empty only where nothing follows; see [`Store::list`](crate::Store::list).
pub(super) async fn list(pipeline: &Pipeline, mut wanted: ListRequest) -> Result<ListPage> {
    let after = wanted.start_after.clone().filter(|key| wanted.token.is_none() && !key.is_empty());
    loop {
        let page = page_of(
            raw(pipeline, wanted.clone()).await?,
            &wanted.prefix,
            after.as_deref(),
            wanted.attributes,
        );
        if page.next.is_some() && page.next == wanted.token {
            let message = "the listing goes on where it began".to_owned();
            return Err(pipeline.error(OPERATION, None, ErrorKind::Corrupt, message));
        }
        // Parts of uploads may fill pages.
        if page.next.is_none() || !page.objects.is_empty() || !page.prefixes.is_empty() {
            return Ok(page);
        }
        wanted.token = page.next;
    }
}

/// One page as the API has it: from `start_after` on, and with parts of uploads.
pub(super) async fn raw(pipeline: &Pipeline, wanted: ListRequest) -> Result<Listed> {
    let fields = if wanted.attributes { FIELDS } else { FACTS };
    let mut request = ApiRequest::new(OPERATION, Method::GET)
        .path(format!("{}/o", pipeline.service.endpoint.bucket_path()))
        .query("fields", format!("items({fields}),prefixes,nextPageToken"));
    if !wanted.prefix.is_empty() {
        request = request.query("prefix", wanted.prefix);
    }
    if wanted.delimiter {
        request = request.query("delimiter", "/");
    }
    match (wanted.token, wanted.start_after) {
        (Some(token), _) => request = request.query("pageToken", token),
        (None, Some(key)) if !key.is_empty() => request = request.query("startOffset", key),
        _ => {}
    }
    if let Some(max_keys) = wanted.max_keys {
        request = request.query("maxResults", max_keys.to_string());
    }
    let answer = pipeline.send(&request).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|cause| pipeline.error(OPERATION, None, ErrorKind::Corrupt, cause.to_string()))
}

/// `after` is left out, at which the API began, and what is not below the prefix. `attributes`: they were asked for.
pub(super) fn page_of(listed: Listed, prefix: &str, after: Option<&str>, attributes: bool) -> ListPage {
    let is_within = |name: &str| name.starts_with(prefix) && !uploads::is_hidden(name);
    let is_wanted = |name: &str| after != Some(name) && is_within(name);
    let objects = listed.items.iter().filter(|object| is_wanted(&object.name));
    ListPage {
        objects: objects.filter_map(|object| object.listed(attributes)).collect(),
        prefixes: listed
            .prefixes
            .into_iter()
            .filter(|folded| folded.len() > prefix.len() && is_within(folded))
            .collect(),
        next: listed.next_page_token.filter(|token| !token.is_empty()),
        ..ListPage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_uploads_and_the_start_are_left_out() {
        let text = r#"{"items":[{"name":"a","size":"1"},{"name":"b","size":"2"},{"name":"x/.pail-uploads/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-0000000000000007-/00001"},
            {"name":"x.pail-uploads"}],"prefixes":["c/",".pail-uploads/"],"nextPageToken":"t"}"#;
        let page = page_of(serde_json::from_str(text).unwrap(), "", Some("a"), false);
        let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["b", "x.pail-uploads"]);
        assert_eq!((page.prefixes, page.next.as_deref()), (vec!["c/".to_owned()], Some("t")));
        assert!(page_of(serde_json::from_str("{}").unwrap(), "", None, false).next.is_none());
    }
}
