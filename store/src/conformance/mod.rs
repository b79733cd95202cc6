//! What any [`Store`] must do, as a suite that runs against any implementation and any endpoint.
//!
//! Owns: the list of cases, each beside others of its subject in a file of its own, and [`run`], which reports all that fail and stops at none.
//! Each case works under a prefix of its own in a bucket that may hold other things, and deletes what it made.

mod attributes;
mod conditions;
mod deletions;
mod deviations;
mod listing;
mod objects;
mod steps;
mod uploads;

pub use deviations::{Deviation, KNOWN_DEVIATIONS, known_deviations};
pub use objects::ODD_KEYS;

use self::steps::all;
use crate::contract::*;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::panic::AssertUnwindSafe;

/// One case.
pub struct Case {
    /// Its name, for reports and for [`run`]'s list of deviations.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn Store, String, &'a [&'a str]) -> BoxFuture<'a, ()>,
}

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "odd_keys",
        run: |store, prefix, skipped| objects::odd_keys(store, prefix, skipped).boxed(),
    },
    Case { name: "long_key", run: |store, prefix, _| objects::long_key(store, prefix).boxed() },
    Case { name: "ranges", run: |store, prefix, _| objects::ranges(store, prefix).boxed() },
    Case { name: "absent", run: |store, prefix, _| objects::absent(store, prefix).boxed() },
    Case { name: "metadata", run: |store, prefix, _| attributes::metadata(store, prefix).boxed() },
    Case { name: "attributes", run: |store, prefix, _| attributes::attributes(store, prefix).boxed() },
    Case { name: "tags", run: |store, prefix, _| attributes::tags(store, prefix).boxed() },
    Case { name: "conditions", run: |store, prefix, _| conditions::conditions(store, prefix).boxed() },
    Case { name: "pages", run: |store, prefix, _| listing::pages(store, prefix).boxed() },
    Case { name: "multipart", run: |store, prefix, _| uploads::multipart(store, prefix).boxed() },
    Case { name: "open_uploads", run: |store, prefix, _| uploads::open_uploads(store, prefix).boxed() },
    Case { name: "upload_times", run: |store, prefix, _| uploads::upload_times(store, prefix).boxed() },
    Case { name: "aborted_upload", run: |store, prefix, _| uploads::aborted_upload(store, prefix).boxed() },
    Case {
        name: "small_part_refused",
        run: |store, prefix, _| uploads::small_part_refused(store, prefix).boxed(),
    },
    Case { name: "part_copy", run: |store, prefix, _| uploads::part_copy(store, prefix).boxed() },
    Case { name: "append", run: |store, prefix, _| uploads::append(store, prefix).boxed() },
    Case { name: "many_parts", run: |store, prefix, _| uploads::many_parts(store, prefix).boxed() },
    Case {
        name: "bulk_deletion",
        run: |store, prefix, skipped| deletions::bulk_deletion(store, prefix, skipped).boxed(),
    },
    Case { name: "rename", run: |store, prefix, _| objects::rename(store, prefix).boxed() },
];

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
