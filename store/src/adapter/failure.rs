//! The library's errors in this crate's terms.

use crate::contract::{Error, ErrorKind, RawKey};
use crate::http::failure::innermost;
use object_store::Error as LibraryError;

/// An error of a bucket, behind which no request is.
pub(crate) fn error(
    bucket: &str,
    operation: &'static str,
    key: Option<&RawKey>,
    kind: ErrorKind,
    message: impl Into<String>,
) -> Error {
    Error {
        kind,
        operation,
        bucket: bucket.to_owned(),
        key: key.cloned(),
        status: None,
        code: None,
        message: message.into(),
        attempts: 1,
        maybe_applied: false,
    }
}

/// What the library says of a call whose requests have left no word of their own.
pub(crate) fn of_library(
    bucket: &str,
    operation: &'static str,
    key: Option<&RawKey>,
    cause: &LibraryError,
) -> Error {
    let (kind, message) = match cause {
        LibraryError::NotFound { .. } => (ErrorKind::NotFound, "no such object".to_owned()),
        LibraryError::AlreadyExists { .. } => (ErrorKind::Precondition, "the object is there".to_owned()),
        LibraryError::Precondition { .. } | LibraryError::NotModified { .. } => {
            (ErrorKind::Precondition, "the object has another version now".to_owned())
        }
        LibraryError::NotSupported { .. } | LibraryError::NotImplemented { .. } => {
            (ErrorKind::Unsupported, innermost(cause))
        }
        LibraryError::PermissionDenied { .. } | LibraryError::Unauthenticated { .. } => {
            (ErrorKind::Denied, "access denied".to_owned())
        }
        LibraryError::InvalidPath { .. } => (ErrorKind::Unsupported, innermost(cause)),
        _ => (ErrorKind::Other, innermost(cause)),
    };
    error(bucket, operation, key, kind, message)
}
