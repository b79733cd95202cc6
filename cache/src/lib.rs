//! Replicas of objects, in memory and on local disk.
//!
//! Knows nothing of stores, files or FUSE: whoever reads brings a [`Fetch`] for what is not here.

mod surface;

pub use surface::*;
