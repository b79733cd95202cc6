//! The places on a node where a task wants its files.
//!
//! Owns: [`Destination`], a place compared by what it means: `x`, `./x` and `~/sky_workdir/x` are one, and `..` is resolved by the names
//! alone. The home of a node may be another than this machine's, so `~` stays as it is.
//!
//! # Why a path below this user's home counts as below `~`
//! Where the node has the same user they are one place, as on this machine, and a task that names both means one of them.

use super::mistakes::Mistake;
use super::reader::{Word, check_text};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// Where the code is on a node.
pub const WORKDIR: &str = "~/sky_workdir";

/// A place on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Below the home, not the root.
    below_home: bool,
    /// The names on the way to it, without `.` and `..`.
    path: PathBuf,
}

impl Destination {
    /// Reads a destination. Errors: no place at all, a URI, a slash at its end, another user's home.
    pub fn read(word: &Word, home: &Path) -> Result<Self, Mistake> {
        let written = word.value.as_str();
        let mistake = |what: &str| Mistake::new(word.place, what);
        check_text(written, word.place)?;
        if written.is_empty() {
            return Err(mistake("a destination is missing").with_hint("write `DESTINATION: SOURCE`"));
        }
        if super::bucket::is_uri(written) {
            return Err(mistake("a destination is a path, not a URI")
                .with_hint("write `DESTINATION: SOURCE`: the place on the node comes first"));
        }
        if written.ends_with('/') {
            let trimmed = word.shown.trim_end_matches('/');
            let mistake = mistake("a destination does not end in /");
            return Err(match trimmed {
                "" | "~" => mistake.with_hint(format!("name a place below {trimmed}/")),
                trimmed => mistake.with_hint(format!("write {trimmed}")),
            });
        }
        if written.starts_with('~') && written != "~" && !written.starts_with("~/") {
            return Err(mistake("of the homes only your own can be named, by ~/").with_hint(
                "write ~/PATH or an absolute path; for a file whose name begins with ~, ./~NAME",
            ));
        }
        Ok(Self::resolve(written, home))
    }

    /// `home` is this user's.
    fn resolve(written: &str, home: &Path) -> Self {
        let (below_home, rest) = match written.strip_prefix('~') {
            Some(rest) => (true, PathBuf::from(rest.trim_start_matches('/'))),
            None if written.starts_with('/') => (false, PathBuf::from(written)),
            None => (true, Path::new(&WORKDIR[2..]).join(written)),
        };
        let mut path = PathBuf::new();
        for component in rest.components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => _ = path.pop(),
                _ => {}
            }
        }
        let home = home.strip_prefix("/").unwrap_or(home);
        match path.strip_prefix(home) {
            Ok(rest) if !below_home && home != Path::new("") => {
                Self { below_home: true, path: rest.to_owned() }
            }
            _ => Self { below_home, path },
        }
    }

    /// Whether it is the other's place or within it.
    pub fn is_within(&self, other: &Self) -> bool {
        let all = !other.below_home && other.path == Path::new("");
        all || (self.below_home == other.below_home && self.path.starts_with(&other.path))
    }

    /// Whether nothing but mounts and files of others is there: not the root, the home, or the place of the code.
    pub fn may_be_mount_point(&self) -> bool {
        !(self.path == Path::new("") || self.is_workdir())
    }

    /// Whether it is the place of the code.
    pub fn is_workdir(&self) -> bool {
        self.below_home && self.path.as_os_str() == OsStr::new(&WORKDIR[2..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_however_it_is_written() {
        let home = Path::new("/home/u");
        let place = |written: &str| Destination::resolve(written, home);
        for (one, other) in [
            ("x", "~/sky_workdir/x"),
            ("./x", "x"),
            ("/a//b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("../x", "~/x"),
            ("/home/u/x", "~/x"),
            ("/..", "/"),
        ] {
            assert_eq!(place(one), place(other), "{one} {other}");
        }
        assert_ne!(place("/home/user/x"), place("~/ser/x"));
        assert!(place("~/a/b").is_within(&place("~/a")) && !place("~/ab").is_within(&place("~/a")));
        assert!(place("~/a").is_within(&place("/")) && !place("/a").is_within(&place("~")));
        assert!(place(".").is_workdir() && place("/home/u/sky_workdir").is_workdir());
    }
}
