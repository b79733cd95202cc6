//! What is known of the bucket's names: the listing cache.
//!
//! Owns: for each directory, the names seen and the spans of keys that listings covered, each with the moment at
//! which the request that told so was sent. Pure data, no I/O.
//!
//! # Why spans
//! A listing says as much by what it leaves out as by what it holds: a flat listing of `a/b` that came back whole
//! tells every file below it and that nothing else is there. Remembering which span of keys a listing covered makes
//! one LIST prime the lookups of whole subtrees, missing names included.
//!
//! Invariants:
//! - The newest word wins: an entry is believed unless a span of a later moment covers it without naming it, and a
//!   page whose request was sent before a local change never undoes that change.
//! - A name is covered by a span only when every key `name/…` is, too: else it could be a directory unseen. So a file that a listing
//!   told of is believed to be one only once the listing has passed the place of its directory, which may be pages later.
//! - Entries and spans are bounded; what was used longest ago is forgotten first, a directory at a time.

use super::hidden::HiddenKeys;
use super::known_dir::Dir;
use super::name::is_showable;
use super::object_stat::ObjectStat;
use lru::LruCache;
use pail_store::{ListPage, ObjectMeta};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Names remembered in all directories together.
const ENTRIES_MAX: usize = 200_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// An object.
    File(ObjectStat),
    /// A marker or a common prefix.
    Dir,
    /// Nothing.
    Absent,
}

/// The last string that begins with `prefix`, for comparing.
fn last_with_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

/// The listing cache of one mount.
pub struct Namespace {
    dirs: LruCache<String, Dir>,
    entries: usize,
    hidden: HiddenKeys,
}

impl Default for Namespace {
    fn default() -> Self {
        Self { dirs: LruCache::unbounded(), entries: 0, hidden: HiddenKeys::default() }
    }
}

impl Namespace {
    /// What `name` in `dir` is, as far as requests sent at `oldest` or later told, and when that one was sent.
    pub fn lookup(&mut self, dir: &str, name: &str, oldest: Instant) -> Option<(Known, Instant)> {
        self.dirs.get(dir)?.lookup(name, oldest)
    }

    /// All names of `dir`, if one listing sent at `oldest` or later told them all.
    pub fn complete(&mut self, dir: &str, oldest: Instant) -> Option<Vec<(Arc<str>, Known)>> {
        let dir = self.dirs.get(dir)?;
        let whole = dir.spans.iter().filter(|s| s.lo.is_empty() && s.hi.is_none()).map(|s| s.as_of).max()?;
        if whole < oldest {
            return None;
        }
        let seen = dir.names.iter().filter(|(_, entry)| entry.as_of >= whole).map(|(name, entry)| {
            // A later listing of some of the names may have left this one out.
            let known = dir.lookup(name, whole).map_or_else(|| entry.known.clone(), |(known, _)| known);
            (name.clone(), known)
        });
        Some(seen.filter(|(_, known)| *known != Known::Absent).collect())
    }

    /// What the last listing, if it was sent at `moment` or later, told of the object `name` itself, whether or not there is a directory of
    /// that name.
    pub fn listed(&mut self, dir: &str, name: &str, moment: Instant) -> Option<Known> {
        let entry = self.dirs.get(dir)?.names.get(name)?;
        (entry.as_of >= moment).then(|| entry.known.clone())
    }

    /// The names of `dir` that were told of after `moment`.
    pub fn newer(&mut self, dir: &str, moment: Instant) -> Vec<(Arc<str>, Known)> {
        let Some(dir) = self.dirs.get(dir) else { return Vec::new() };
        let newer = dir.names.iter().filter(|(_, entry)| entry.as_of > moment);
        newer.map(|(name, entry)| (name.clone(), entry.known.clone())).collect()
    }

    /// Remembers one name: what a HEAD or a change made here says.
    pub fn put(&mut self, dir: &str, name: &str, known: Known, as_of: Instant) {
        let added = self.dir(dir).put(name, known, as_of);
        self.entries += usize::from(added);
        self.shrink();
    }

    /// Takes in a page of a flat listing of `prefix` from its beginning.
    pub fn absorb_flat(&mut self, prefix: &str, page: &ListPage, as_of: Instant) {
        let top = &prefix[..prefix.rfind('/').map_or(0, |at| at + 1)];
        let last = page.next.as_ref().and(last_key(page)).map(str::to_owned);
        let mut seen_dirs: HashSet<&str> = HashSet::new();
        for object in &page.objects {
            self.absorb_key(top, object.key.as_str(), Some(object), as_of, &mut seen_dirs);
        }
        for name in &page.names_too_long {
            self.absorb_key(top, name, None, as_of, &mut seen_dirs);
        }
        if page.next.is_some() && last.is_none() {
            // There is more, and nothing says from where on.
            return;
        }
        self.hidden.cover_flat(prefix, last.as_deref(), as_of);
        let partial = &prefix[top.len()..];
        let hi = match &last {
            Some(last) => Some(last[top.len()..].to_owned()),
            None if partial.is_empty() => None,
            None => Some(last_with_prefix(partial)),
        };
        self.dir(top).cover(partial, hi, as_of);
        for dir in seen_dirs {
            let hi = last.as_deref().and_then(|last| last.strip_prefix(dir)).map(str::to_owned);
            self.dir(dir).cover("", hi, as_of);
        }
        self.shrink();
    }

    /// Takes in the name of an object, or of one that no key can be.
    fn absorb_key<'p>(
        &mut self,
        top: &str,
        key: &'p str,
        object: Option<&ObjectMeta>,
        as_of: Instant,
        seen: &mut HashSet<&'p str>,
    ) {
        let mut start = top.len();
        while let Some(slash) = key[start..].find('/').map(|at| start + at) {
            let name = &key[start..slash];
            if !is_showable(name) {
                self.hidden.note(key, as_of);
                return;
            }
            self.hide_file_of(&key[..start], name, as_of);
            let added = self.dir(&key[..start]).put(name, Known::Dir, as_of);
            self.entries += usize::from(added);
            start = slash + 1;
            seen.insert(&key[..start]);
        }
        let name = &key[start..];
        let Some(object) = object else {
            self.hidden.note(key, as_of);
            return;
        };
        if name.is_empty() {
            self.absorb_marker(object, as_of);
            return;
        }
        if !is_showable(name) {
            self.hidden.note(key, as_of);
            return;
        }
        let added = self.dir(&key[..start]).put_listed(name, object.into(), as_of);
        self.entries += usize::from(added);
    }

    /// Takes in a page of a delimited listing of `dir`. `after` is where the page before ended (what that call returned), or
    /// empty. Returns where this one ended, or `None` at the end of the directory.
    pub fn absorb_page(&mut self, dir: &str, after: &str, page: &ListPage, as_of: Instant) -> Option<String> {
        for object in &page.objects {
            let key = object.key.as_str();
            match key.strip_prefix(dir) {
                Some("") => self.absorb_marker(object, as_of),
                None => {}
                Some(name) if is_showable(name) => {
                    let added = self.dir(dir).put_listed(name, object.into(), as_of);
                    self.entries += usize::from(added);
                }
                Some(_) => self.hidden.note(key, as_of),
            }
        }
        page.names_too_long.iter().for_each(|name| self.hidden.note(name, as_of));
        for prefix in &page.prefixes {
            match prefix.strip_prefix(dir).and_then(|p| p.strip_suffix('/')) {
                Some(name) if is_showable(name) => {
                    self.hide_file_of(dir, name, as_of);
                    let added = self.dir(dir).put(name, Known::Dir, as_of);
                    self.entries += usize::from(added);
                }
                _ => self.hidden.note(prefix, as_of),
            }
        }
        let end = page.next.as_ref().map(|_| page_end(dir, page));
        self.dir(dir).cover(after, end.clone(), as_of);
        self.hidden.cover_page(dir, (after, end.as_deref()), page, as_of);
        self.shrink();
        end
    }

    /// A marker keeps its directory; one that has bytes is a file that no path shows, too.
    fn absorb_marker(&mut self, object: &ObjectMeta, as_of: Instant) {
        let key = object.key.as_str();
        self.dir(key).marker = true;
        if object.size > 0 {
            self.hidden.note(key, as_of);
        }
    }

    /// A directory hides the object of its name, which the same listing has named before.
    fn hide_file_of(&mut self, dir: &str, name: &str, as_of: Instant) {
        let entry = self.dirs.peek(dir).and_then(|dir| dir.names.get(name));
        if entry.is_some_and(|entry| entry.as_of == as_of && matches!(entry.known, Known::File(_))) {
            self.hidden.note(&format!("{dir}{name}"), as_of);
        }
    }

    /// A directory was made here: it has a marker, and nothing is in it.
    pub fn put_new_dir(&mut self, parent: &str, name: &str, as_of: Instant) {
        self.put(parent, name, Known::Dir, as_of);
        let dir = self.dir(&format!("{parent}{name}/"));
        dir.marker = true;
        dir.cover("", None, as_of);
    }

    /// A directory was given a marker.
    pub fn mark(&mut self, dir: &str) {
        self.dir(dir).marker = true;
    }

    /// Whether the directory is known to be empty, and to vanish unless a marker keeps it.
    pub fn is_vanishing(&mut self, dir: &str, oldest: Instant) -> bool {
        let marked = self.dirs.get(dir).is_some_and(|dir| dir.marker);
        !marked && self.complete(dir, oldest).is_some_and(|names| names.is_empty())
    }

    /// Forgets all below and including the directory `dir`, given by its prefix.
    pub fn forget_tree(&mut self, dir: &str) {
        let gone: Vec<String> =
            self.dirs.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with(dir)).collect();
        for name in gone {
            if let Some(dir) = self.dirs.pop(&name) {
                self.entries -= dir.names.len();
            }
        }
    }

    /// How many keys were seen that no path can show.
    pub fn hidden_keys(&self) -> u64 {
        self.hidden.count()
    }

    fn dir(&mut self, dir: &str) -> &mut Dir {
        self.dirs.get_or_insert_mut_ref(dir, Dir::default)
    }

    fn shrink(&mut self) {
        while self.entries > ENTRIES_MAX && self.dirs.len() > 1 {
            let Some((_, dir)) = self.dirs.pop_lru() else { return };
            self.entries -= dir.names.len();
        }
    }
}

fn last_key(page: &ListPage) -> Option<&str> {
    let named = page.objects.last().map(|object| object.key.as_str());
    named.max(page.names_too_long.last().map(String::as_str))
}

/// The last key or prefix of a page, relative to `dir`, such that everything up to it has been told.
pub fn page_end(dir: &str, page: &ListPage) -> String {
    let object = last_key(page).unwrap_or_default();
    let prefix = page.prefixes.last().map(String::as_str).unwrap_or_default();
    if prefix > object {
        last_with_prefix(prefix.strip_prefix(dir).unwrap_or_default())
    } else {
        object.strip_prefix(dir).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pail_store::{RawKey, Version};
    use std::time::SystemTime;

    fn object(key: &str) -> ObjectMeta {
        ObjectMeta {
            key: RawKey::new(key).unwrap(),
            size: key.len() as u64,
            version: Version::from_etag(key),
            last_modified: SystemTime::UNIX_EPOCH,
            attributes: None,
            checksum: None,
            md5: None,
        }
    }

    fn page(keys: &[&str], prefixes: &[&str], more: bool) -> ListPage {
        ListPage {
            objects: keys.iter().map(|k| object(k)).collect(),
            prefixes: prefixes.iter().map(|p| p.to_string()).collect(),
            next: more.then(|| "token".to_owned()),
            ..ListPage::default()
        }
    }

    fn look(ns: &mut Namespace, dir: &str, name: &str, oldest: Instant) -> Option<Known> {
        ns.lookup(dir, name, oldest).map(|(known, _)| known)
    }

    fn is_file(known: Option<Known>) -> bool {
        matches!(known, Some(Known::File(_)))
    }

    #[test]
    fn a_whole_flat_listing_tells_the_tree_and_what_is_not_in_it() {
        let (mut ns, t) = (Namespace::default(), Instant::now());
        ns.absorb_flat("a", &page(&["a/b/c.txt", "a/d"], &[], false), t);
        assert_eq!(look(&mut ns, "", "a", t), Some(Known::Dir));
        assert_eq!(look(&mut ns, "a/", "b", t), Some(Known::Dir));
        assert!(is_file(look(&mut ns, "a/b/", "c.txt", t)));
        assert_eq!(look(&mut ns, "a/b/", "zzz", t), Some(Known::Absent));
        assert_eq!(look(&mut ns, "", "ab", t), Some(Known::Absent), "begins with the prefix");
        assert_eq!(look(&mut ns, "", "b", t), None, "the listing did not cover it");
        assert_eq!(ns.complete("a/", t).unwrap().len(), 2);
        assert!(ns.complete("", t).is_none());
    }

    #[test]
    fn a_truncated_listing_tells_only_what_it_reached() {
        let (mut ns, t) = (Namespace::default(), Instant::now());
        ns.absorb_flat("", &page(&["a/1", "a/2", "b", "c-x"], &[], true), t);
        assert_eq!(look(&mut ns, "a/", "3", t), Some(Known::Absent), "a/ was passed");
        assert_eq!(look(&mut ns, "", "aa", t), Some(Known::Absent));
        assert_eq!(look(&mut ns, "", "c", t), None, "c/ sorts after c-x");
        assert_eq!(look(&mut ns, "", "d", t), None);
        ns.absorb_flat("d/", &page(&["d/e/1"], &[], true), t);
        assert_eq!(look(&mut ns, "d/", "e", t), Some(Known::Dir));
        assert_eq!(look(&mut ns, "d/e/", "2", t), None);
        assert_eq!(look(&mut ns, "d/e/", "0", t), Some(Known::Absent));
    }

    #[test]
    fn pages_of_a_directory_add_up() {
        let (mut ns, t) = (Namespace::default(), Instant::now());
        let end = ns.absorb_page("p/", "", &page(&["p/", "p/a"], &["p/b/"], true), t).unwrap();
        assert!(ns.complete("p/", t).is_none());
        assert_eq!(ns.absorb_page("p/", &end, &page(&["p/c"], &[], false), t), None);
        let names: Vec<_> = ns.complete("p/", t).unwrap().into_iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(look(&mut ns, "p/", "bb", t), Some(Known::Absent));
    }

    #[test]
    fn a_page_asked_for_before_a_local_change_does_not_undo_it() {
        let mut ns = Namespace::default();
        let before = Instant::now();
        let after = before + std::time::Duration::from_millis(1);
        ns.put("", "new", Known::File((&object("new")).into()), after);
        ns.put("", "gone", Known::Absent, after);
        ns.absorb_page("", "", &page(&["gone"], &[], false), before);
        assert!(is_file(look(&mut ns, "", "new", before)));
        assert_eq!(look(&mut ns, "", "gone", before), Some(Known::Absent));
        let names: Vec<_> = ns.complete("", before).unwrap();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn what_a_later_listing_leaves_out_is_gone() {
        let mut ns = Namespace::default();
        let first = Instant::now();
        let later = first + std::time::Duration::from_millis(1);
        ns.absorb_page("", "", &page(&["a", "b"], &[], false), first);
        ns.absorb_page("", "", &page(&["a"], &[], false), later);
        assert_eq!(look(&mut ns, "", "b", first), Some(Known::Absent));
        assert_eq!(ns.complete("", first).unwrap().len(), 1);
    }

    #[test]
    fn a_directory_hides_the_file_of_its_name_and_odd_keys_are_counted_once() {
        let (mut ns, t) = (Namespace::default(), Instant::now());
        for _ in 0..2 {
            ns.absorb_page("", "", &page(&["x", "nul\0"], &["x/", "/"], false), t);
            ns.absorb_flat("", &page(&["a//b", "x", "x/../y", "x/y"], &[], false), t);
        }
        assert_eq!(look(&mut ns, "", "x", t), Some(Known::Dir));
        assert_eq!(ns.hidden_keys(), 5);
        let later = t + std::time::Duration::from_millis(1);
        ns.absorb_flat("", &page(&["a//b", "x", "x/z"], &[], false), later);
        assert_eq!(ns.hidden_keys(), 2, "those that are gone are not counted any more");
        ns.absorb_page("", "", &page(&["x"], &["a/"], false), later + std::time::Duration::from_millis(1));
        assert_eq!(ns.hidden_keys(), 1, "no directory hides x now");
    }

    #[test]
    fn names_longer_than_a_key_are_hidden_and_keep_their_directories() {
        let mut ns = Namespace::default();
        let now = Instant::now();
        let long = format!("d/{}end", format!("{}/", "n".repeat(200)).repeat(6));
        let told = |names: &[&String], page: ListPage| ListPage {
            names_too_long: names.iter().map(|name| name.to_string()).collect(),
            ..page
        };
        ns.absorb_flat("", &told(&[&long], page(&["a"], &[], false)), now);
        assert_eq!(look(&mut ns, "", "d", now), Some(Known::Dir));
        assert_eq!(ns.hidden_keys(), 1);
        let later = Instant::now();
        ns.absorb_flat("", &page(&["a"], &[], false), later);
        assert_eq!(ns.hidden_keys(), 0, "it is gone");
        ns.absorb_page("d/", "", &told(&[&long], page(&["d/a"], &[], true)), later);
        assert_eq!(ns.hidden_keys(), 1);
        assert!(is_file(look(&mut ns, "d/", "a", later)));
        // The next page begins behind it.
        let (end, later) = (page_end("d/", &told(&[&long], page(&["d/a"], &[], true))), Instant::now());
        ns.absorb_page("d/", &end, &page(&["d/z"], &[], false), later);
        assert_eq!(ns.hidden_keys(), 1);
    }
}
