//! What is known of the names in one directory.
//!
//! Owns: [`Dir`]: the names seen and the spans of keys that listings covered. `namespace` says why spans, and holds the directories.

use super::namespace::Known;
use super::object_stat::ObjectStat;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Spans remembered of one directory.
const SPANS_MAX: usize = 64;

/// One name.
pub struct Entry {
    /// What it stands for.
    pub known: Known,
    /// When the request was sent that told so.
    pub as_of: Instant,
    /// A listing told of the file, which hides it where it has a directory of the same name: until the listing has passed the place of
    /// that it may be one (see `lookup`).
    may_be_hidden: bool,
}

/// Keys relative to the directory, from `lo` to `hi` (`None`: to the end), both included.
pub struct Span {
    pub lo: String,
    pub hi: Option<String>,
    pub as_of: Instant,
}

impl Span {
    fn covers(&self, name: &str) -> bool {
        self.lo.as_str() <= name && self.hi.as_deref().is_none_or(|hi| after_descendants(name).as_str() <= hi)
    }
}

/// The first string after every key that begins with `name/`.
fn after_descendants(name: &str) -> String {
    format!("{name}0")
}

/// What is known of one directory.
#[derive(Default)]
pub struct Dir {
    /// Whether the bucket has an object `dir/` that keeps the directory when it is empty.
    pub marker: bool,
    /// The names seen.
    pub names: BTreeMap<Arc<str>, Entry>,
    /// What listings covered.
    pub spans: Vec<Span>,
}

impl Dir {
    /// Takes in a word on one name. Returns whether the name was added.
    pub fn put(&mut self, name: &str, known: Known, as_of: Instant) -> bool {
        self.take(name, Entry { known, as_of, may_be_hidden: false })
    }

    /// Takes in an object that a listing told of, of which the directory may still follow. Returns whether the name was added.
    pub fn put_listed(&mut self, name: &str, stat: ObjectStat, as_of: Instant) -> bool {
        self.take(name, Entry { known: Known::File(stat), as_of, may_be_hidden: true })
    }

    fn take(&mut self, name: &str, new: Entry) -> bool {
        match self.names.get_mut(name) {
            Some(entry) => {
                // A directory hides the file of the same name, which a listing names first.
                let hidden = entry.as_of == new.as_of && entry.known == Known::Dir;
                if entry.as_of <= new.as_of && !hidden {
                    *entry = new;
                }
                false
            }
            None => {
                self.names.insert(name.into(), new);
                true
            }
        }
    }

    /// A listing whose request was sent at `as_of` told all from `lo` to `hi`.
    pub fn cover(&mut self, lo: &str, hi: Option<String>, as_of: Instant) {
        let joined = self.spans.iter_mut().find(|s| s.as_of == as_of && s.hi.as_deref() == Some(lo));
        match joined {
            Some(span) => span.hi = hi,
            None => {
                // What a newer span covers whole is no longer asked.
                self.spans.retain(|s| {
                    !(lo <= s.lo.as_str()
                        && s.as_of <= as_of
                        && match (&s.hi, &hi) {
                            (_, None) => true,
                            (None, Some(_)) => false,
                            (Some(old), Some(new)) => old <= new,
                        })
                });
                if self.spans.len() >= SPANS_MAX {
                    self.spans.remove(0);
                }
                self.spans.push(Span { lo: lo.to_owned(), hi, as_of });
            }
        }
    }

    /// What `name` is, as far as requests sent at `oldest` or later told, and when that one was sent. Of a file that was listed, nothing
    /// was told before it is certain that it has no directory.
    pub fn lookup(&self, name: &str, oldest: Instant) -> Option<(Known, Instant)> {
        let covered =
            self.spans.iter().filter(|s| s.as_of >= oldest && s.covers(name)).map(|s| s.as_of).max();
        match self.names.get(name) {
            Some(entry) if entry.as_of >= oldest && covered.is_none_or(|at| at <= entry.as_of) => {
                let is_told = !entry.may_be_hidden || covered == Some(entry.as_of);
                is_told.then(|| (entry.known.clone(), entry.as_of))
            }
            _ => covered.map(|at| (Known::Absent, at)),
        }
    }
}
