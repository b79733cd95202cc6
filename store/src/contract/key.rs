//! The exact name of an object.
//!
//! Owns: [`RawKey`]. A bucket's keys are strings of 1 to 1,024 bytes of UTF-8 in which nothing is special: no
//! component is normalised, decoded or refused. (Path types of object-store libraries normalise; that is why this
//! type exists.) Source: Amazon S3 User Guide, "Naming Amazon S3 objects".

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest key that the S3 family accepts, in bytes of UTF-8.
pub const KEY_LEN_BYTES_MAX: usize = 1024;

/// An object's key, exactly as the bucket has it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawKey(Arc<str>);

/// Why a string cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The empty string names the bucket, not an object.
    #[error("an object key cannot be empty")]
    Empty,
    /// Longer than [`KEY_LEN_BYTES_MAX`].
    #[error("an object key has at most {KEY_LEN_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
}

impl RawKey {
    /// Takes a key as it is. Errors: [`InvalidKey`] when it is empty or over 1,024 bytes.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, InvalidKey> {
        let key = key.into();
        match key.len() {
            0 => Err(InvalidKey::Empty),
            n if n > KEY_LEN_BYTES_MAX => Err(InvalidKey::TooLong(n)),
            _ => Ok(Self(key)),
        }
    }

    /// The key as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RawKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for RawKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Control characters are escaped, so that a key never breaks a log line or a terminal.
impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
