//! Copies between buckets and local files.
//!
//! Owns: [`download`], [`upload`] and [`copy_between`], which also bring a target in line with its source (see [`Options::delete`]), [`remove`] and [`measure`], and [`upload_stream`] and [`download_stream`] for what is no file, over any
//! [`Store`](pail_store::Store). A run has three steps that overlap: the walk (a
//! listing page by page, or a local tree), the plan (what of it is to be sent, what is as it was, what cannot be), and the engine (many
//! requests at once under one bound of connections and one of memory).
//!
//! Invariants:
//! - A file appears under its name whole, and of one version of its object, or not at all; and so does an object.
//! - Nothing outside the target is written, made or removed, whatever the keys are and whatever symbolic links are in the target.
//! - What cannot be copied is named in the [`Report`]; the rest is copied.
//! - No clock is compared with another.
//! - This crate knows nothing of mounts, caches and daemons.
//!
//! # Names of things
//! A *source* is where a run copies from, a *target* where to. A *problem* is one object or file that was not copied, with the reason.

mod attributes;
mod between;
mod buffers;
mod change;
mod collisions;
mod comparison;
mod connections;
mod copier;
mod copy_error;
mod directory;
mod disk;
mod download;
mod engine;
mod error;
mod extra_files;
mod fetch;
mod fetch_parts;
mod file_name;
mod file_reading;
mod filters;
mod keep_set;
mod key_ranges;
mod listing;
mod local_file;
mod local_walk;
mod manifest;
mod memory;
mod obstacles;
mod options;
mod orphan_files;
mod orphan_uploads;
mod part_journal;
mod part_sizes;
mod part_uploads;
mod part_writer;
mod plan;
mod progress;
mod range_listing;
mod refusals;
mod relay;
mod removal;
mod report;
mod report_builder;
mod room;
mod run_log;
mod send;
mod server_copy;
mod source;
mod streams;
mod sums;
mod target_listing;
mod target_objects;
mod target_probe;
mod temporary;
mod upload;
mod upload_journal;
mod usage;
mod work;

pub use between::{Destination, copy_between};
pub use change::{Action, Change, Changes, Reason};
pub use comparison::Comparison;
pub use download::download;
pub use error::Error;
pub use file_name::{BadName, base_name};
pub use filters::{Filters, InvalidGlob, Selection};
pub use listing::Pages;
pub use options::Options;
pub use progress::{Progress, ProgressSnapshot};
pub use removal::remove;
pub use report::{PROBLEMS_NAMED_MAX, Problem, Problems, Removals, Report};
pub use source::{Source, UploadSource};
pub use streams::{download_stream, upload_stream};
pub use tokio_util::sync::CancellationToken;
pub use upload::upload;
pub use usage::{Measured, Usage, measure, measure_local};
