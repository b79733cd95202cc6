//! What a target's file system is like.
//!
//! Owns: [`TargetProbe`], which finds out whether it takes names for one that differ in case, and what its clock says at a run's beginning, and [`FoldedNames`], by which of two keys that differ only in case the first is written, and the
//! second is told, where the second would else overwrite the first. What file systems fold beside case (forms of Unicode) is not looked for.
//!
//! Bounds: the memory of all names of a run, on such a file system alone.

use crate::directory::Root;
use crate::orphan_files::OrphanFiles;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashSet;

/// What a file told that was made in the directory and removed again. Where none can be made, of which the run will tell, it is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TargetProbe {
    /// A name is the same in upper case.
    pub folds_case: bool,
    /// The change time of a file that was made, in seconds and nanoseconds: that of what changed later is greater, whoever's clock it is.
    pub began: Option<(i64, i64)>,
}

impl TargetProbe {
    /// May wait for the disk.
    pub fn of(root: &Root, orphan_files: &OrphanFiles) -> Self {
        probe(root, orphan_files).unwrap_or_default()
    }
}

fn probe(root: &Root, orphan_files: &OrphanFiles) -> Option<TargetProbe> {
    let directory = root.find(b"").ok()?;
    let name = orphan_files.name_of_whole(b"case");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&*directory, &*name, flags, Mode::from_raw_mode(0o600)).ok()?;
    let began = rustix::fs::fstat(&file).ok().map(|stat| (stat.st_ctime, stat.st_ctime_nsec as i64));
    let found = rustix::fs::statat(&*directory, name.to_ascii_uppercase(), AtFlags::SYMLINK_NOFOLLOW);
    if let Err(error) = rustix::fs::unlinkat(&*directory, &*name, AtFlags::empty()) {
        tracing::warn!(name = %name.escape_ascii(), %error, "a temporary file could not be removed");
    }
    Some(TargetProbe { folds_case: found.is_ok(), began })
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
    use crate::orphan_files::RunId;
    use crate::part_journal::CopyId;

    #[test]
    fn a_directory_that_tells_cases_apart_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let found = TargetProbe::of(&root, &OrphanFiles::new(RunId::new(), Vec::new(), CopyId::of("a")));
        assert!(!found.folds_case && found.began.is_some());
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
