//! Listings by the library alone.
//!
//! Owns: [`list`], for stores whose listings the library reads without failing on a key. The library matches prefixes by whole segments, and so
//! is asked for the segments before the last; what remains is compared here.

use super::failure::of_library;
use crate::contract::*;
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::time::SystemTime;

const PAGE_KEYS_MAX: u32 = 1000;

/// One page.
pub(super) async fn list(objects: &dyn ObjectStore, bucket: &str, request: &ListRequest) -> Result<ListPage> {
    let limit = request.max_keys.unwrap_or(PAGE_KEYS_MAX).min(PAGE_KEYS_MAX) as usize;
    let within = request.prefix.rsplit_once('/').and_then(|(segments, _)| Path::parse(segments).ok());
    let after = request.token.as_ref().or(request.start_after.as_ref());
    // A token is the last key or folded prefix; what is folded into it comes again, and is passed over.
    let folded = request.token.as_deref().filter(|token| request.delimiter && token.ends_with('/'));
    let offset = after.and_then(|after| Path::parse(after.trim_end_matches('/')).ok());
    let mut found = match &offset {
        Some(offset) => objects.list_with_offset(within.as_ref(), offset),
        None => objects.list(within.as_ref()),
    };
    let mut page = ListPage::default();
    while let Some(object) = found.next().await {
        let object = object.map_err(|cause| of_library(bucket, "ListObjectsV2", None, &cause))?;
        let key = object.location.as_ref();
        let Some(rest) = key.strip_prefix(request.prefix.as_str()) else { continue };
        let is_passed = after.is_some_and(|after| key <= after.as_str())
            || folded.is_some_and(|folded| key.starts_with(folded))
            || page.prefixes.last().is_some_and(|last| key.starts_with(last.as_str()));
        if is_passed {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == limit {
            let last_key = page.objects.last().map(|last| last.key.as_str());
            page.next = last_key.max(page.prefixes.last().map(String::as_str)).map(str::to_owned);
            break;
        }
        match rest.find('/').filter(|_| request.delimiter) {
            Some(slash) => page.prefixes.push(key[..request.prefix.len() + slash + 1].to_owned()),
            None => page.objects.extend(meta_of(&object)),
        }
    }
    Ok(page)
}

/// What the library says of an object; nothing where no key is so long.
fn meta_of(object: &object_store::ObjectMeta) -> Option<ObjectMeta> {
    let key = RawKey::new(object.location.as_ref()).ok()?;
    Some(super::meta::meta_of(&key, object, None))
}

/// A time of the library's.
pub(super) fn time_of(time: &(impl Clone + Into<SystemTime>)) -> SystemTime {
    time.clone().into()
}
