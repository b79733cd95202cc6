//! Destinations that lie one within the other.
//!
//! Owns: [`Destinations`], those of a task so far. What is decided: two entries with one destination are a mistake. A bucket that is mounted
//! has its place alone: what is copied into it would be uploaded, or hidden by it. Within a directory that is copied there may be other
//! files, and mounts.

use super::destination::{Destination, WORKDIR};
use super::file_mount::Content;
use super::mistakes::Mistake;
use super::reader::Word;

/// The destinations of a task, with what is there.
#[derive(Debug, Default)]
pub struct Destinations(Vec<Taken>);

#[derive(Debug)]
struct Taken {
    destination: Destination,
    shown: String,
    line: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mount,
    File,
    Other,
}

impl Destinations {
    /// Adds a destination, which is written as `word`. Errors: it is taken, or lies within or around one that bears no other.
    pub fn add(&mut self, destination: Destination, word: &Word, content: &Content) -> Result<(), Mistake> {
        let kind = match content {
            Content::Mount { .. } => Kind::Mount,
            Content::Local(path) if path.is_file() => Kind::File,
            Content::Local(_) | Content::Copy(_) => Kind::Other,
        };
        let mistake = |what: String| Mistake::new(word.place, what);
        if kind == Kind::Mount && !destination.may_be_mount_point() {
            return Err(mistake(format!("{} cannot be a mount point of a task", word.shown))
                .with_hint("mount it at a directory of its own, such as ~/data"));
        }
        if kind == Kind::File && !destination.may_be_mount_point() {
            return Err(mistake(format!("{} is a directory, and the source is a file", word.shown))
                .with_hint(format!("write the file's name too, such as {WORKDIR}/NAME")));
        }
        let taken = Taken { destination, shown: word.shown.clone(), line: word.place.line, kind };
        self.0.iter().try_for_each(|other| taken.check(other, word))?;
        self.0.push(taken);
        Ok(())
    }
}

impl Taken {
    fn check(&self, other: &Self, word: &Word) -> Result<(), Mistake> {
        let mistake = |what: String| Mistake::new(word.place, what);
        if self.destination == other.destination {
            let what = format!("{} is a destination for a second time", self.shown);
            return Err(mistake(what)
                .with_hint(format!("line {} has it as {}: keep one of them", other.line, other.shown)));
        }
        let (inner, outer) = match () {
            () if self.destination.is_within(&other.destination) => (self, other),
            () if other.destination.is_within(&self.destination) => (other, self),
            () => return Ok(()),
        };
        match (outer.kind, inner.kind) {
            (Kind::Mount, Kind::Mount) => {
                Err(mistake(format!("{} and {} lie one within the other", self.shown, other.shown))
                    .with_hint(
                        "mount each at a directory of its own, or the bucket or prefix that holds both",
                    ))
            }
            (Kind::Mount, _) => Err(mistake(format!(
                "{} lies within {}, where a bucket is mounted",
                inner.shown, outer.shown
            ))
            .with_hint("copy it to another place, or put it into the bucket")),
            (Kind::File, _) => {
                Err(mistake(format!("{} lies within {}, which is a file", inner.shown, outer.shown)))
            }
            (Kind::Other, _) => Ok(()),
        }
    }
}
