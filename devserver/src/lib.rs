//! An S3 and Google Cloud Storage server for the quickstart, the tests and the benchmarks.
//!
//! Owns: [`Server`], which clients cannot tell from S3 in what it implements, and from the JSON API of Google Cloud Storage on the same
//! port, of the same objects (a path below `/storage/v1/`, `/upload/storage/v1/` and the like is of that API, which is described in `gcs`), which costs little enough to rank
//! clients by, and which is slow, fails and imitates other servers on demand.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use pail_devserver::{Fault, FaultAction, Server, ServerConfig};
//! let server = Server::start(ServerConfig::default()).await?;
//! server.create_bucket("data").await?;
//! server.inject(Fault::once(Some("GetObject"), FaultAction::CutBody { after_bytes: 100_000 }));
//! println!("{} test testtest", server.endpoint_url());
//! assert_eq!(server.counters().count("GetObject"), 0);
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! The same can be done over HTTP, below `/_pail/`: see [`mod@control`].
//!
//! Invariants: a key is any UTF-8 of up to 1,024 bytes and is never a path; a conditional write is atomic; bytes in memory
//! are stored and served as the slices they arrived in.
//!
//! # Why hyper itself, and not the s3s crate
//! s3s (0.14) has the signatures, the XML and the types of the whole API, its conditions among them, and keeps keys raw. Nor is it
//! dear: a minimal server on it took 0.14 to 0.15 CPU seconds for each GiB served from memory (8 MiB ranges, four connections) and 18
//! to 24 µs for a GET of 4 KiB, where this one takes 0.17 to 0.19 and 24 to 29. But what this server is for lies beneath such a
//! layer: resetting connections in the middle of an answer or a request, before or after it took effect, a body paced by connection,
//! `If-Match` compared as it was sent (s3s takes it with quotes and without). That would have to be built around it, and it is 150,000
//! lines of mostly generated code to build, for some twenty operations.
//!
//! # What is left out
//! Versions, ACLs, TLS, HTTP/2, and the check of signatures inside
//! chunks of `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` bodies (their framing is decoded). Operations that are not there
//! answer 501 NotImplemented.

mod access;
mod archive;
mod attributes;
mod aws_chunked;
mod bucket;
mod bucket_ops;
mod call;
mod checksum;
mod condition;
mod config;
mod content;
pub mod control;
mod counters;
mod credentials;
mod encryption;
mod error;
mod express;
mod fault;
mod folder;
mod gcs;
mod ibm;
mod key_locks;
mod listing;
mod object;
mod object_ops;
mod operation;
mod pace;
mod payload;
mod r2;
mod reply;
mod server;
mod service;
mod sigv4;
mod sink;
mod tags;
mod target;
mod upload;
mod upload_checksum;
mod upload_ops;
mod xml;

pub use config::{BucketSettings, Quirks, ServerConfig, Settings};
pub use counters::{Counters, REQUEST_LOG_LEN_MAX, RequestRecord};
pub use credentials::Credential;
pub use fault::{Fault, FaultAction};
pub use gcs::GcsSettings;
pub use server::{Server, StartError};
