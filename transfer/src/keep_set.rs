//! What must not be deleted from a target.
//!
//! Owns: [`KeepSet`], the names that a source has, those included that could not be copied (of which the target may have what an earlier run or another program left).
//!
//! # Why hashes
//! A source may have millions of names. Eight bytes of each are kept, by a keyed hash: where two names had the same, one that is extra would
//! stay; none is ever deleted that the source has.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Names, relative to the source and the target alike.
#[derive(Debug, Default)]
pub(crate) struct KeepSet {
    hasher: RandomState,
    names: HashSet<u64>,
    /// What is below these stays, too; each ends in `/`.
    roots: Vec<String>,
    is_everything: bool,
    /// The target takes names that differ in case alone for one.
    folds_case: bool,
}

impl KeepSet {
    /// From now on, before the first name is kept, names are the same that differ in case alone.
    pub fn fold_case(&mut self) {
        self.folds_case = true;
    }

    pub fn keep(&mut self, name: &str) {
        let hash = self.hash_of(name.as_bytes());
        self.names.insert(hash);
    }

    fn hash_of(&self, name: &[u8]) -> u64 {
        match std::str::from_utf8(name) {
            Ok(name) if self.folds_case => self.hasher.hash_one(name.to_lowercase().as_bytes()),
            _ => self.hasher.hash_one(name),
        }
    }

    /// A name of the source that was not understood as a file's: whatever it might be taken for.
    pub fn keep_odd(&mut self, name: &str) {
        self.keep(name);
        let mut plain: Vec<&str> = Vec::new();
        for component in name.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(plain.pop()),
                _ => plain.push(component),
            }
        }
        self.keep(&plain.join("/"));
    }

    /// A name and all below it, of which nothing is known.
    pub fn keep_all_below(&mut self, name: &str) {
        self.keep(name);
        self.roots.push(format!("{name}/"));
    }

    /// Of the whole source nothing is known.
    pub fn keep_everything(&mut self) {
        self.is_everything = true;
    }

    pub fn keeps(&self, name: &[u8]) -> bool {
        self.is_everything
            || self.names.contains(&self.hash_of(name))
            || self.roots.iter().any(|root| name.starts_with(root.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_case_is_folded_a_name_keeps_the_other_s_file() {
        let mut kept = KeepSet::default();
        kept.fold_case();
        kept.keep("Dir/Ä");
        assert!(kept.keeps("dir/ä".as_bytes()) && !kept.keeps(b"dir/a"));
    }

    #[test]
    fn odd_names_keep_what_they_might_be_taken_for() {
        let mut kept = KeepSet::default();
        kept.keep("a/b");
        kept.keep_odd("c//d");
        kept.keep_odd("e/../../f/./g");
        kept.keep_all_below("loop");
        for name in ["a/b", "c/d", "c//d", "f/g", "loop", "loop/x/y"] {
            assert!(kept.keeps(name.as_bytes()), "{name}");
        }
        for name in ["a", "a/bb", "e", "loops", ""] {
            assert!(!kept.keeps(name.as_bytes()), "{name}");
        }
    }
}
