//! The names that a sync sends to one place, and how they are told apart from what is there.
//!
//! Owns: [`Names`], files, symlinks and directories in the order of their bytes, each below a directory that is listed as well;
//! their form on the wire and on disk; [`Stamp`], by which a file counts as unchanged (type, permissions, size, modification time to
//! the nanosecond, a symlink's target), as rsync's quick check has it; and the digests over groups of stamps.
//!
//! # Why groups
//! Both sides compute a digest for each [`GROUP_ENTRIES`] names. What is equal on both sides is not even listed to rsync, so that a
//! sync of 100,000 unchanged files is one request with an answer of 12 KiB, and one of a single changed file lists 64 to rsync.

use super::beneath::Beneath;
use super::ignore::{EntryKind as Listed, FileList};
use pail_control::{Failure, FailureKind};
use rustix::fs::{FileType, Stat};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Names whose stamps make one digest.
pub const GROUP_ENTRIES: usize = 64;
/// Of type and permissions, what is compared: not what a file system makes of them beyond.
const PERMISSIONS: u32 = 0o7777;

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symlink itself.
    Symlink,
    /// A directory.
    Directory,
}

/// A name and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Relative, without `.`, `..` and empty components.
    pub path: OsString,
    /// What it is.
    pub kind: Kind,
}

/// What is sent to one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

impl Names {
    /// Of a list, and the directories above its entries.
    pub fn of_list(list: &FileList) -> Self {
        let mut directories: HashSet<&[u8]> = HashSet::new();
        let mut all = Vec::with_capacity(list.entries.len());
        for entry in &list.entries {
            let mut path = entry.path.as_bytes();
            while let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
                path = &path[..at];
                if !directories.insert(path) {
                    break;
                }
            }
            let kind = match entry.kind {
                Listed::File => Kind::File,
                Listed::Symlink => Kind::Symlink,
                Listed::EmptyDir => Kind::Directory,
            };
            all.push(Name { path: entry.path.clone(), kind });
        }
        let above = directories.into_iter().map(|path| OsStr::from_bytes(path).to_owned());
        all.extend(above.map(|path| Name { path, kind: Kind::Directory }));
        Self::sorted(all)
    }

    /// Of one file.
    pub fn of_file(name: &OsStr) -> Self {
        Self(vec![Name { path: name.to_owned(), kind: Kind::File }])
    }

    /// Of names in any order.
    pub fn sorted(mut all: Vec<Name>) -> Self {
        all.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        all.dedup_by(|a, b| a.path == b.path);
        Self(all)
    }

    /// In the order of their bytes.
    pub fn all(&self) -> &[Name] {
        &self.0
    }

    /// For the wire and the disk: for each name a letter for what it is, its path, and a NUL.
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.iter().map(|name| name.path.len() + 2).sum());
        for name in &self.0 {
            bytes.push(match name.kind {
                Kind::File => b'f',
                Kind::Symlink => b'l',
                Kind::Directory => b'd',
            });
            bytes.extend_from_slice(name.path.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// Of [`Self::encoded`]. Errors: a path that could lead out of its directory, or no such encoding.
    pub fn decoded(bytes: &[u8]) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new(FailureKind::Verification, format!("a list of files {what}"));
        let mut all = Vec::new();
        for record in bytes.split_inclusive(|byte| *byte == 0) {
            let [kind, path @ .., 0] = record else { return Err(wrong("is cut short")) };
            let kind = match kind {
                b'f' => Kind::File,
                b'l' => Kind::Symlink,
                b'd' => Kind::Directory,
                _ => return Err(wrong("has an entry of no known kind")),
            };
            if path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
                return Err(wrong("has a path that leads out of its directory"));
            }
            all.push(Name { path: OsString::from_vec(path.to_vec()), kind });
        }
        Ok(Self::sorted(all))
    }

    /// Tells equal lists apart from others: the SHA-256 of [`Self::encoded`], in hexadecimal digits.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.encoded()))
    }

    /// What is below `root` under these names; `None` where there is nothing. Errors: below `root` cannot be looked.
    pub fn stamps(&self, root: &mut Beneath) -> std::io::Result<Vec<Option<Stamp>>> {
        self.0.iter().map(|name| root.stamp(&name.path)).collect()
    }
}

/// By what a file counts as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it is, where it is one of what is sent.
    pub kind: Option<Kind>,
    permissions: u32,
    /// In bytes; 0 of what is no file.
    pub size: u64,
    modified_s: i64,
    modified_ns: u32,
    /// The hash of a symlink's target.
    target: u64,
}

impl Stamp {
    /// Of what the kernel says; `target` of a symlink.
    pub fn new(stat: &Stat, target: Option<&OsStr>) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Kind::File),
            FileType::Symlink => Some(Kind::Symlink),
            FileType::Directory => Some(Kind::Directory),
            _ => None,
        };
        let is_file = kind == Some(Kind::File);
        Self {
            kind,
            permissions: if kind == Some(Kind::Symlink) { 0 } else { stat.st_mode & PERMISSIONS },
            size: if is_file { stat.st_size as u64 } else { 0 },
            modified_s: if is_file { stat.st_mtime } else { 0 },
            modified_ns: if is_file { stat.st_mtime_nsec as u32 } else { 0 },
            target: target.map_or(0, |target| xxh3_64(target.as_bytes())),
        }
    }

    fn hash_into(stamp: Option<&Self>, hash: &mut Xxh3) {
        let Some(stamp) = stamp else { return hash.update(&[0]) };
        let kind = match stamp.kind {
            None => 1_u8,
            Some(Kind::File) => 2,
            Some(Kind::Symlink) => 3,
            Some(Kind::Directory) => 4,
        };
        hash.update(&[kind]);
        hash.update(&stamp.permissions.to_le_bytes());
        hash.update(&stamp.size.to_le_bytes());
        hash.update(&stamp.modified_s.to_le_bytes());
        hash.update(&stamp.modified_ns.to_le_bytes());
        hash.update(&stamp.target.to_le_bytes());
    }
}

/// A digest for each [`GROUP_ENTRIES`] stamps, 8 bytes each.
pub fn group_digests(stamps: &[Option<Stamp>]) -> Vec<u8> {
    let digest = |group: &[Option<Stamp>]| {
        let mut hash = Xxh3::new();
        group.iter().for_each(|stamp| Stamp::hash_into(stamp.as_ref(), &mut hash));
        hash.digest().to_le_bytes()
    };
    stamps.chunks(GROUP_ENTRIES).flat_map(digest).collect()
}

/// The indices of names whose group's digest is not the same on both sides.
pub fn differing(here: &[u8], there: &[u8], names: usize) -> Vec<usize> {
    let differs = |index: &usize| {
        let at = index / GROUP_ENTRIES * 8;
        here.get(at..at + 8) != there.get(at..at + 8)
    };
    (0..names).filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::ignore::Entry;

    #[test]
    fn directories_above_entries_are_listed_and_names_survive_the_wire() {
        let entry = |path: &[u8]| Entry { path: OsStr::from_bytes(path).to_owned(), kind: Listed::File };
        let list =
            FileList { entries: vec![entry(b"a-b"), entry(b"a/b/\xff\n"), entry(b"a/c")], warnings: vec![] };
        let names = Names::of_list(&list);
        let paths: Vec<_> = names.all().iter().map(|name| name.path.as_bytes()).collect();
        assert_eq!(paths, [&b"a"[..], b"a-b", b"a/b", b"a/b/\xff\n", b"a/c"]);
        assert_eq!(Names::decoded(&names.encoded()).unwrap(), names);
    }

    #[test]
    fn a_list_that_leads_out_is_refused() {
        for wrong in ["f../x\0", "f/etc/passwd\0", "fa/../../x\0", "d.\0", "fa//b\0", "f\0", "xa\0", "fa"] {
            assert!(Names::decoded(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_groups_that_differ_are_listed() {
        let stamp = |size| {
            Some(Stamp {
                kind: Some(Kind::File),
                permissions: 0,
                size,
                modified_s: 0,
                modified_ns: 0,
                target: 0,
            })
        };
        let here: Vec<_> = (0..200).map(stamp).collect();
        let mut there = here.clone();
        let differs =
            |there: &[Option<Stamp>]| differing(&group_digests(&here), &group_digests(there), here.len());
        assert_eq!(differs(&there), Vec::<usize>::new());
        there[70] = None;
        assert_eq!(differs(&there), (64..128).collect::<Vec<_>>());
        // Nothing is there yet, or fewer names.
        assert_eq!(differing(&group_digests(&here), &[], 200).len(), 200);
    }
}
