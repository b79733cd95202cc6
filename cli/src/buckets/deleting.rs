//! The end of a bucket.
//!
//! Owns: [`delete`], which refuses what holds objects unless it is told to delete those too.

use crate::progress;
use crate::terminal;
use futures::{StreamExt, TryStreamExt, stream};
use pail_control::opening::OpenBucket;
use pail_control::{Failure, FailureKind};
use pail_store::{Condition, ErrorKind, ListRequest};

/// Deletions that are under way at a time.
const DELETIONS_MAX: usize = 64;
/// How often a bucket is emptied that is not empty then: somebody writes to it, or it keeps old versions.
const ROUNDS_MAX: usize = 3;

/// Deletes the bucket, which was opened at its root with all of its keys, and with `force` the objects in it; how many those were. Errors:
/// it holds objects; the store's.
pub async fn delete(bucket: &OpenBucket, uri: &str, force: bool) -> Result<u64, Failure> {
    let failed = |err: &pail_store::Error| Failure::from_store(format!("cannot delete {uri}"), err);
    if !force && let Some(object) = bucket.first_page.objects.first() {
        let more = match (bucket.first_page.objects.len(), bucket.first_page.next.is_some()) {
            (1, false) => "1 object".to_owned(),
            (count, false) => format!("{count} objects"),
            (count, true) => format!("more than {count} objects"),
        };
        return Err(Failure::new(FailureKind::Partial, format!("{uri} is not empty, and was not deleted"))
            .because(format!("it holds {more}, {} among them", terminal::shown(object.key.as_str())))
            .with_hint("--force deletes the objects too; there is no way back"));
    }
    let mut deleted = 0;
    for round in 1..=ROUNDS_MAX {
        if force {
            deleted += progress::while_waiting(&format!("deleting the objects of {uri}"), empty(bucket))
                .await
                .map_err(|err| failed(&err))?;
        }
        match bucket.store.delete_bucket().await {
            Ok(()) => return Ok(deleted),
            Err(err) if err.kind == ErrorKind::NotEmpty && force && round < ROUNDS_MAX => {}
            Err(err) if err.kind == ErrorKind::NotEmpty => {
                return Err(failed(&err).with_hint(
                    "somebody writes to it, or it keeps old versions or unfinished uploads; delete those by the store's own tools",
                ));
            }
            Err(err) => return Err(failed(&err)),
        }
    }
    Ok(deleted)
}

async fn empty(bucket: &OpenBucket) -> pail_store::Result<u64> {
    let mut deleted = 0;
    loop {
        // From the beginning each time: what a page's token means is not said once its keys are gone.
        let page = bucket.store.list(ListRequest::default()).await?;
        if page.objects.is_empty() {
            return Ok(deleted);
        }
        deleted += page.objects.len() as u64;
        let deletions = page.objects.iter().map(|object| bucket.store.delete(&object.key, Condition::None));
        stream::iter(deletions).buffer_unordered(DELETIONS_MAX).try_collect::<Vec<()>>().await?;
    }
}
