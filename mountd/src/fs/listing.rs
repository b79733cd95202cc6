//! Listings as the file system takes them.
//!
//! Owns: `list`, which asks the store, and `keep_within`, which leaves out what was not asked for.
//!
//! # Why a listing may hold other keys
//! Some servers take `a//` for `a/`, and answer with the keys of that. They are not what stands under the prefix; and who cuts the prefix off
//! them cuts them in two.

use super::BucketFs;
use super::error::FsResult;
use pail_store::{ListPage, ListRequest};
use std::sync::atomic::Ordering;

impl BucketFs {
    /// One page of a listing, with nothing in it that does not begin with the prefix. Errors: the store's.
    pub(super) async fn list(&self, request: ListRequest) -> FsResult<ListPage> {
        let prefix = request.prefix.clone();
        let mut page = self.store.list(request).await?;
        self.keep_within(&prefix, &mut page);
        Ok(page)
    }

    /// Leaves out what does not begin with the prefix that was asked for, counts it, and tells the log of the first.
    pub(super) fn keep_within(&self, prefix: &str, page: &mut ListPage) {
        page.names_too_long.retain(|name| name.starts_with(prefix));
        let told = page.objects.len() + page.prefixes.len();
        let first = page.objects.iter().map(|object| object.key.as_str());
        let first =
            first.chain(page.prefixes.iter().map(String::as_str)).find(|key| !key.starts_with(prefix));
        let Some(first) = first.map(str::to_owned) else { return };
        page.objects.retain(|object| object.key.as_str().starts_with(prefix));
        page.prefixes.retain(|key| key.starts_with(prefix));
        let left_out = (told - page.objects.len() - page.prefixes.len()) as u64;
        if self.counters.left_out.fetch_add(left_out, Ordering::Relaxed) == 0 {
            tracing::warn!(mount = %self.options.mount_name, prefix = %prefix.escape_debug(), key = %first.escape_debug(),
                "the server's listing holds keys that do not begin with the prefix that was asked for; they are left out");
        }
    }
}
