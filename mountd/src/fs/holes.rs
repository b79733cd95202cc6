//! Files of which much was never written.
//!
//! Owns: the bound on holes. A local file system has them for nothing; an object has every byte, so that `truncate -s 1T` would make a close
//! upload a tebibyte of zeros.

use super::BucketFs;
use super::error::{FsError, FsResult, Posix};
use super::inode::{Content, Inode};
use super::io::OBJECT_SIZE_BYTES_MAX;
use pail_control::quantity::ByteSize;

impl BucketFs {
    /// Whether a file may become `len` bytes long by a call that does not write what lies between. Errors: EFBIG.
    pub(super) fn check_holes(&self, inode: &Inode, len: u64) -> FsResult<()> {
        if len > OBJECT_SIZE_BYTES_MAX {
            return Err(Posix::TooLarge.into());
        }
        let limit = self.options.hole_bytes_max;
        // Where all of it is no more than may be, nothing has to be looked at.
        if len <= limit {
            return Ok(());
        }
        let content = inode.file().ok_or(Posix::IsDir)?.lock().content.clone();
        let hole_bytes = match content {
            Content::Clean { stat, .. } => len.saturating_sub(stat.size),
            Content::Dirty(dirty) if len <= dirty.len() => 0,
            Content::Dirty(dirty) => dirty.replica.hole_bytes(len),
        };
        if hole_bytes <= limit {
            return Ok(());
        }
        Err(FsError::TooManyHoles(format!(
            "{} of its {} would be zeros that nobody wrote, and would all be uploaded; at most {} may be (holes_max in config.toml, \
             which the next daemon reads)",
            ByteSize(hole_bytes).human(),
            ByteSize(len).human(),
            ByteSize(limit),
        )))
    }
}
