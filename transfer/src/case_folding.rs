//! Names that a file system takes for one.
//!
//! Owns: [`folds_case`], which finds out whether it does, and [`FoldedNames`], by which of two keys that differ only in case the first is written, and the
//! second is told, where the second would else overwrite the first. What file systems fold beside case (forms of Unicode) is not looked for.
//!
//! Bounds: the memory of all names of a run, on such a file system alone.

use crate::directory::Root;
use crate::leftovers::Leftovers;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashSet;

/// Whether the directory takes a name for the same in upper case: found out by a file. False where none can be made, of which the run will tell. May wait for the disk.
pub(crate) fn folds_case(root: &Root, leftovers: &Leftovers) -> bool {
    let Ok(directory) = root.find(b"") else { return false };
    let name = leftovers.name_of_whole(b"case");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if rustix::fs::openat(&*directory, &*name, flags, Mode::from_raw_mode(0o600)).is_err() {
        return false;
    }
    let found = rustix::fs::statat(&*directory, name.to_ascii_uppercase(), AtFlags::SYMLINK_NOFOLLOW);
    if let Err(error) = rustix::fs::unlinkat(&*directory, &*name, AtFlags::empty()) {
        tracing::warn!(name = %name.escape_ascii(), %error, "a temporary file could not be removed");
    }
    found.is_ok()
}

/// The names of a run.
#[derive(Debug, Default)]
pub(crate) struct FoldedNames(HashSet<Box<str>>);

impl FoldedNames {
    /// Takes notice of a name; false where one that differs in case alone was there before.
    pub fn take(&mut self, name: &str) -> bool {
        self.0.insert(name.to_lowercase().into_boxed_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leftovers::RunId;

    #[test]
    fn a_directory_that_tells_cases_apart_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        assert!(!folds_case(&root, &Leftovers::new(RunId::new(), Vec::new())));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn of_names_that_differ_in_case_alone_the_first_is_taken() {
        let mut names = FoldedNames::default();
        for (name, is_first) in
            [("a/B", true), ("a/b", false), ("A/B", false), ("a/c", true), ("Ä", true), ("ä", false)]
        {
            assert_eq!(names.take(name), is_first, "{name}");
        }
    }
}
