//! Names in directories, and the keys that they stand for.
//!
//! Owns: which components a path can hold, and how a key's prefix and a name make another key. Directories are
//! named by their key prefix: empty for the bucket's root, else ending in `/`.

use super::error::{FsError, FsResult, Posix};
use pail_store::RawKey;
use std::ffi::OsStr;

/// The longest name in a directory, in bytes (`NAME_MAX` of Linux).
pub const NAME_LEN_BYTES_MAX: usize = 255;

/// Whether a path can hold this component of a key.
pub fn is_showable(component: &str) -> bool {
    !component.is_empty()
        && component != "."
        && component != ".."
        && component.len() <= NAME_LEN_BYTES_MAX
        && !component.contains(['\0', '/'])
}

/// A name from the kernel as a key can hold it. Errors: EILSEQ when it is not UTF-8, ENAMETOOLONG.
pub fn parse(name: &OsStr) -> FsResult<&str> {
    let name = name.to_str().ok_or(Posix::IllegalName)?;
    if name.len() > NAME_LEN_BYTES_MAX {
        return Err(Posix::NameTooLong.into());
    }
    if !is_showable(name) {
        return Err(Posix::Invalid.into());
    }
    Ok(name)
}

/// The key of `name` in the directory `dir`. Errors: ENAMETOOLONG beyond 1,024 bytes.
pub fn key(dir: &str, name: &str) -> FsResult<RawKey> {
    RawKey::new(format!("{dir}{name}")).map_err(|_| FsError::from(Posix::NameTooLong))
}

/// The key prefix of the directory `name` in the directory `dir`; also the key of its marker.
pub fn dir_prefix(dir: &str, name: &str) -> String {
    format!("{dir}{name}/")
}
