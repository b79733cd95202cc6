//! The store of a URI.
//!
//! Owns: [`open`], the one place that knows which kind of URI is which store.

use crate::azure;
use crate::contract::{BucketUri, CallerVariables, Result, Store, StoreKind, StoreOptions};
use crate::gcs::{self, GcsStore};
use crate::s3::{self, S3Store};
use crate::wrappers::lost_answers::LostAnswers;
use std::sync::Arc;
use std::time::SystemTime;

/// Prepares the store of a bucket; nothing is sent to its endpoint yet. Errors: `Configuration` (an endpoint that cannot be), `Credentials`
/// (they were found, and cannot be loaded).
pub async fn open(options: StoreOptions) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match options.bucket.kind {
        StoreKind::S3 | StoreKind::R2 | StoreKind::Ibm => S3Store::open(options).await?,
        StoreKind::Gcs => GcsStore::open(options).await?,
        StoreKind::Azure => azure::open(options).await?,
    };
    Ok(LostAnswers::resolved(store))
}

/// What `options` come to for another machine that has neither this one's files nor its instance role, as variables that the store of that
/// machine takes from its caller's environment; and when they expire. Errors: a sentence without any secret.
pub async fn lend(
    options: &StoreOptions,
) -> std::result::Result<(CallerVariables, Option<SystemTime>), String> {
    match options.bucket.kind {
        StoreKind::S3 | StoreKind::R2 | StoreKind::Ibm => s3::lend(options).await,
        StoreKind::Gcs => gcs::lend(options).await,
        StoreKind::Azure => azure::lend(options).await,
    }
}

/// Where the bucket at `uri` is, where a variable says it that may not be kept, since it holds a key as well.
pub fn endpoint_beside_key(uri: &BucketUri, variables: &CallerVariables) -> Option<String> {
    match (uri.kind, &uri.scope) {
        (StoreKind::Azure, Some(account)) => azure::endpoint_in_connection_string(account, variables),
        _ => None,
    }
}

#[cfg(test)]
mod fuzz;
