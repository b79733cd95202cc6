//! URIs as users type them.
//!
//! Owns: what tells a URI from a local name, and the hints at likely slips.

use pail_control::command_line::word;
use pail_control::{Failure, FailureKind};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether an argument is a URI. Errors: one that is not UTF-8; what is likely to be a slip.
pub(super) fn uri_of(argument: &OsStr) -> Result<Option<&str>, Failure> {
    if argument == "-" {
        return Err(Failure::usage("- is standard input or output, which `pail cp` alone reads and writes")
            .with_hint("a file of that name is ./-"));
    }
    if let Some((scheme, path)) = argument.to_str().and_then(|text| text.split_once(":/"))
        && ["s3", "gs", "r2", "cos", "az"].contains(&scheme)
        && !path.starts_with('/')
    {
        return Err(Failure::usage(format!("{} is not a URI", argument.display()))
            .with_hint(format!("a bucket is {scheme}://NAME; a directory of that name is ./{scheme}:")));
    }
    let scheme_end = argument.as_bytes().windows(3).position(|window| window == b"://");
    let is_scheme = |end: usize| argument.as_bytes()[..end].iter().all(u8::is_ascii_alphanumeric);
    match scheme_end.is_some_and(|end| end > 0 && is_scheme(end)) {
        false => Ok(None),
        true => argument.to_str().map(Some).ok_or_else(|| Failure::usage("a URI must be UTF-8")),
    }
}

/// What is not there may have been meant as a glob: then with a hint at what is to be typed, which `instead` makes of the prefix and the glob below it.
pub(super) fn hint_at_globs(
    failure: Failure,
    uri: &str,
    instead: impl FnOnce(&str, &str) -> String,
) -> Failure {
    let scheme_end = uri.find("://").map_or(0, |at| at + 3);
    let glob_at = uri[scheme_end..].find('*').map(|at| at + scheme_end);
    match glob_at.filter(|_| failure.kind == FailureKind::NotFound) {
        Some(at) => {
            let slash = uri[..at].rfind('/').map_or(at, |slash| slash + 1);
            // A bucket has no glob in its name.
            let (prefix, glob) = uri.split_at(slash);
            let instead = instead(&word(prefix), &word(glob));
            failure.with_hint(format!("* is a character like others in a URI: {instead}"))
        }
        None => failure,
    }
}

/// Whether a URI's path is one of a directory: a bucket's root, or one that ends in `/`.
pub(super) fn is_directory_s(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// What keys begin with that are below a path.
pub(super) fn prefix_of(path: String) -> String {
    if is_directory_s(&path) { path } else { format!("{path}/") }
}
