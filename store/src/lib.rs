//! Object stores behind one narrow trait.
//!
//! Owns: what a bucket is to the rest of Pail. `contract` has [`Store`] and all that goes into it; `http` is under every store that speaks
//! it; `s3`, `gcs`, `azure` and `memory` are the stores, `adapter` puts those of the `object_store` library behind the trait; `wrappers` do for any store what is not a store's own; [`open`] finds the store of a
//! URI; `conformance` is the suite that any implementation and any endpoint can be run against. Each knows only what stands before it
//! (`tests/tests/imports.rs`).
//!
//! Invariants:
//! - A key reaches the server byte for byte as it is: `a//b`, `./x`, `../x`, `%41` and `d/` beside `d` are all
//!   different objects.
//! - This crate knows nothing of files, caches or mounts.

mod adapter;
mod azure;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
#[cfg(test)]
mod fuzz;
mod gcs;
mod http;
mod memory;
mod open;
mod s3;
mod wrappers;

pub use self::http::deadline::{CallLimit, PartOfCall, limited_call, one_call};
pub use adapter::{Backend, Intent, ObjectStoreAdapter, exact_path};
pub use azure::{Azure, AzureStore};
pub use contract::*;
pub use gcs::GcsStore;
pub use memory::{Listings, MemoryStore};
pub use open::{endpoint_beside_key, lend, open};
pub use s3::{Enforcement, S3Store, check_endpoint_url};
pub use wrappers::bound::Bounded;
pub use wrappers::counters::Counted;
pub use wrappers::lost_answers::{Fingerprint, LostAnswers, look_for};
pub use wrappers::rate_limit::{RateLimit, RateLimited};
