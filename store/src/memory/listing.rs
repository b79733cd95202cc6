//! Listings of the memory store.
//!
//! Owns: one page of a listing, and [`Listings`], what some servers leave out of theirs or mistake in them.

use super::Object;
use crate::contract::{ListPage, ListRequest, ObjectMeta, RawKey, Version};
use std::collections::BTreeMap;
use std::ops::Bound;

const PAGE_KEYS_MAX: u32 = 1000;

/// How a server's listings differ from what the others' tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listings {
    /// They leave the versions out.
    pub without_versions: bool,
    /// Slashes in a row within the prefix that is asked for are taken for one, so that the answer is about other keys.
    pub fold_slashes: bool,
}

/// Where a page begins. A token is a bound: `=` and the key itself, or `>` and the key before it.
fn first_key(request: &ListRequest) -> Bound<String> {
    if let Some(token) = &request.token {
        return match token.strip_prefix('=') {
            Some(key) => Bound::Included(key.to_owned()),
            None => Bound::Excluded(token.strip_prefix('>').unwrap_or(token).to_owned()),
        };
    }
    match &request.start_after {
        Some(key) if key.as_str() >= request.prefix.as_str() => Bound::Excluded(key.clone()),
        _ => Bound::Included(request.prefix.clone()),
    }
}

fn token_of(bound: &Bound<String>) -> String {
    match bound {
        Bound::Included(key) => format!("={key}"),
        Bound::Excluded(key) => format!(">{key}"),
        Bound::Unbounded => String::new(),
    }
}

/// The prefix that a server takes the one of the request for.
fn folded(prefix: &str) -> String {
    let mut folded = prefix.to_owned();
    while folded.contains("//") {
        folded = folded.replace("//", "/");
    }
    folded
}

/// One page of a listing of `objects`.
pub(super) fn page(
    objects: &BTreeMap<RawKey, Object>,
    listings: &Listings,
    request: &ListRequest,
) -> ListPage {
    let folded =
        listings.fold_slashes.then(|| ListRequest { prefix: folded(&request.prefix), ..request.clone() });
    let request = folded.as_ref().unwrap_or(request);
    let listed = |meta: ObjectMeta| match listings.without_versions {
        true => ObjectMeta { version: Version::Unknown, ..meta },
        false => meta,
    };
    let limit = request.max_keys.unwrap_or(PAGE_KEYS_MAX).min(PAGE_KEYS_MAX) as usize;
    let mut page = ListPage::default();
    let mut from = first_key(request);
    while let Some((key, object)) =
        objects.range::<str, _>((from.as_ref().map(String::as_str), Bound::Unbounded)).next()
    {
        let Some(rest) = key.as_str().strip_prefix(request.prefix.as_str()) else { break };
        let taken = page.objects.len() + page.prefixes.len();
        if taken == limit {
            page.next = (limit > 0).then(|| token_of(&from));
            break;
        }
        match rest.find('/').filter(|_| request.delimiter) {
            Some(slash) => {
                let folded = &key.as_str()[..request.prefix.len() + slash + 1];
                // The first key behind all that begin with `folded`: `0` follows `/` in UTF-8.
                from = Bound::Included(format!("{}0", &folded[..folded.len() - 1]));
                page.prefixes.push(folded.to_owned());
            }
            None => {
                page.objects.push(listed(object.meta(key, false)));
                from = Bound::Excluded(key.as_str().to_owned());
            }
        }
    }
    page
}
