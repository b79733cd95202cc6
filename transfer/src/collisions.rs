//! Keys that are the directories of other keys.
//!
//! Owns: [`Collisions`], which holds a key back until the listing has passed everything below it: of `a` and `a/b` only one can be in a
//! file system, and it is the directory, as in a mount. Keys come in UTF-8 byte order, in which `a!` and `a.txt` lie between `a` and `a/b`; so what is
//! held back are at most the prefixes of one key, each the beginning of the next.

/// Keys on hold, with what belongs to each.
#[derive(Debug)]
pub(crate) struct Collisions<T> {
    held: Vec<(Box<str>, T)>,
}

/// What became of a key on hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// Nothing is below it.
    File(T),
    /// It is a directory of other keys.
    Collides(T),
}

impl<T> Default for Collisions<T> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

impl<T> Collisions<T> {
    /// Takes notice of the next key (behind the prefix), a directory's with its `/`. Tells of those on hold that it decides.
    pub fn pass(&mut self, next: &str, verdicts: &mut Vec<Verdict<T>>) {
        while let Some((held, _)) = self.held.last() {
            let below = next.strip_prefix(&**held).and_then(|rest| rest.bytes().next());
            let verdict = match below {
                Some(byte) if byte < b'/' => return,
                Some(b'/') => Verdict::Collides,
                _ => Verdict::File,
            };
            if let Some((_, what)) = self.held.pop() {
                verdicts.push(verdict(what));
            }
        }
    }

    /// Puts a file's key on hold, after [`pass`](Self::pass) of the same.
    pub fn hold(&mut self, key: &str, what: T) {
        self.held.push((key.into(), what));
    }

    /// The listing is at its end.
    pub fn end(&mut self, verdicts: &mut Vec<Verdict<T>>) {
        verdicts.extend(self.held.drain(..).map(|(_, what)| Verdict::File(what)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn decide(keys: &[&str]) -> (BTreeSet<String>, BTreeSet<String>) {
        let keys: BTreeSet<&str> = keys.iter().copied().collect();
        let (mut collisions, mut verdicts) = (Collisions::default(), Vec::new());
        for key in keys {
            collisions.pass(key, &mut verdicts);
            if !key.ends_with('/') {
                collisions.hold(key, key.to_owned());
            }
        }
        collisions.end(&mut verdicts);
        let (mut files, mut colliding) = (BTreeSet::new(), BTreeSet::new());
        for verdict in verdicts {
            match verdict {
                Verdict::File(key) => files.insert(key),
                Verdict::Collides(key) => colliding.insert(key),
            };
        }
        (files, colliding)
    }

    #[test]
    fn a_directory_s_name_is_no_file_s_however_far_apart_they_are_listed() {
        let set = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect::<BTreeSet<_>>();
        let (files, colliding) =
            decide(&["a", "a!", "a!/x", "a-b", "a.txt", "a/b", "a0", "d", "d/", "e", "e!", "f"]);
        assert_eq!(files, set(&["a!/x", "a-b", "a.txt", "a/b", "a0", "e", "e!", "f"]));
        assert_eq!(colliding, set(&["a", "a!", "d"]));
    }

    #[test]
    fn every_small_set_of_keys_is_decided_as_by_looking_at_all_pairs() {
        let all = ["a", "a!", "a!/b", "a!b", "a/", "a/b", "a/b/c", "a/b!", "ab", "ab/c"];
        for bits in 0u32..1 << all.len() {
            let keys: Vec<&str> =
                (0..all.len()).filter(|index| bits >> index & 1 == 1).map(|index| all[index]).collect();
            let (files, colliding) = decide(&keys);
            for key in keys.iter().filter(|key| !key.ends_with('/')) {
                let is_directory = keys.iter().any(|other| other.starts_with(&format!("{key}/")));
                assert_eq!(colliding.contains(*key), is_directory, "{key} of {keys:?}");
                assert_eq!(files.contains(*key), !is_directory, "{key} of {keys:?}");
            }
        }
    }
}
