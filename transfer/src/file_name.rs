//! Which keys can be files.
//!
//! Owns: [`RelativePath`], a key below a prefix that has been checked component by component, and [`BadName`], why one cannot be.
//! Invariant: a [`RelativePath`] has no empty, `.` or `..` component, so that it names the same place to the kernel as to a reader.
//! (That nothing outside the target is reached is held by the kernel all the same: see `directory`.)

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest name of a file that Linux takes, in bytes (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// Why a key cannot be a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing is left behind the prefix, or between two slashes.
    #[error("a name between its slashes is empty")]
    Empty,
    /// A component that means another directory.
    #[error("`.` and `..` cannot be names of files")]
    Dots,
    /// A zero byte.
    #[error("it has a zero byte")]
    Zero,
    /// A component of more than 255 bytes.
    #[error("a name in it has more than {NAME_BYTES_MAX} bytes")]
    TooLong,
}

/// Where a file is below a directory, with `/` between components. Bytes, since the one file that a person names need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RelativePath(Box<[u8]>);

/// What a key below a prefix is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    File(RelativePath),
    /// The key ends in `/`.
    Directory(RelativePath),
    /// The key is the prefix itself.
    Root,
}

impl RelativePath {
    /// The last component of a path that a person gave. `None` where it has none.
    pub fn last_of(path: &Path) -> Option<Self> {
        path.file_name().map(|name| Self(name.as_bytes().into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory, empty for the root, and the name in it.
    pub fn split(&self) -> (&[u8], &[u8]) {
        split(&self.0)
    }
}

/// A path's directory, empty where there is none, and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The first `len` bytes of a text, or fewer, so that no character is cut.
pub(crate) fn beginning_of(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What the rest of a key behind its prefix is. Errors: why it cannot be a file or a directory.
pub(crate) fn named(rest: &str) -> Result<Named, BadName> {
    if rest.is_empty() {
        return Ok(Named::Root);
    }
    let (path, is_directory) = match rest.strip_suffix('/') {
        Some(path) => (path, true),
        None => (rest, false),
    };
    path.split('/').try_for_each(check)?;
    let path = RelativePath(path.as_bytes().into());
    Ok(if is_directory { Named::Directory(path) } else { Named::File(path) })
}

/// The name under which an object is copied into a directory: what follows the last `/` of its key. Errors: that cannot be a file's.
pub fn base_name(key: &str) -> Result<&str, BadName> {
    let name = key.rsplit('/').next().unwrap_or(key);
    check(name).map(|()| name)
}

fn check(component: &str) -> Result<(), BadName> {
    match component {
        "" => Err(BadName::Empty),
        "." | ".." => Err(BadName::Dots),
        _ if component.contains('\0') => Err(BadName::Zero),
        _ if component.len() > NAME_BYTES_MAX => Err(BadName::TooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_file_is_told_from_what_is_merely_odd() {
        let path = |text: &str| RelativePath(text.as_bytes().into());
        for odd in ["a", "a/b", "...", "..a", "a\\b", "\n", "~", "-rf", " ", "a:b", "%2e%2e", "ü"] {
            assert_eq!(named(odd), Ok(Named::File(path(odd))), "{odd:?}");
        }
        assert_eq!(named("a/b/"), Ok(Named::Directory(path("a/b"))));
        assert_eq!(named(""), Ok(Named::Root));
        for (bad, why) in [
            ("/", BadName::Empty),
            ("/a", BadName::Empty),
            ("a//b", BadName::Empty),
            ("a//", BadName::Empty),
            ("..", BadName::Dots),
            ("../x", BadName::Dots),
            ("x/../y", BadName::Dots),
            ("x/./y", BadName::Dots),
            ("x/..", BadName::Dots),
            ("../", BadName::Dots),
            ("a\0b", BadName::Zero),
        ] {
            assert_eq!(named(bad), Err(why), "{bad:?}");
        }
        assert_eq!(named(&"n".repeat(256)), Err(BadName::TooLong));
        assert_eq!(base_name("a/b"), Ok("b"));
        assert_eq!(base_name("a/.."), Err(BadName::Dots));
        assert_eq!(path("a/b/c").split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(path("c").split(), (&b""[..], &b"c"[..]));
    }
}
