//! What a client of Google Cloud Storage's JSON API sees.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on is to fail")]

mod buckets;
#[path = "../client/mod.rs"]
mod client;
mod copies;
mod credentials;
mod faults;
mod gcs_client;
mod objects;
mod uploads;
