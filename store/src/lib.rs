//! Object stores behind one narrow trait.
//!
//! Owns: what a bucket is to the rest of Pail. [`Store`] is the contract, [`RawKey`] the exact name of an object,
//! [`Error`] what can go wrong; `s3` is the implementation for the S3 family and `conformance` the suite that any
//! implementation and any endpoint can be run against.
//!
//! Invariants:
//! - A key reaches the server byte for byte as it is: `a//b`, `./x`, `../x`, `%41` and `d/` beside `d` are all
//!   different objects.
//! - This crate knows nothing of files, caches or mounts.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod key;
mod memory;
mod s3;
mod store;
mod types;
mod uri;

pub use error::{Error, ErrorKind, Result};
pub use key::{InvalidKey, KEY_LEN_BYTES_MAX, RawKey};
pub use memory::MemoryStore;
pub use s3::{
    CallerVariables, CounterSnapshot, Enforcement, PartOfCall, S3Options, S3Store, check_endpoint_url, lend,
    one_call,
};
pub use store::Store;
pub use types::*;
pub use uri::{BucketUri, InvalidUri};
