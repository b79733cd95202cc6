//! The mistakes of a document, which are told together: who wrote it mends them in one go.
//!
//! Owns: [`Mistake`] and [`Mistakes`].

use super::yaml::{Document, Place};
use crate::terminal;
use pail_control::{Failure, FailureKind};

/// How much of what is wrong, and of a hint, is shown, in characters: names in it may be of any length.
const TEXT_SHOWN_CHARS_MAX: usize = 600;
/// How many mistakes are shown; the others are counted.
const MISTAKES_SHOWN_MAX: usize = 20;

/// Something wrong at a place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong. Without the values of secrets.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    kind: FailureKind,
}

impl Mistake {
    /// What is wrong at a place.
    pub fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), hint: None, kind: FailureKind::Usage }
    }

    /// A file that the document names and that is not there.
    pub fn not_found(place: Place, what: impl Into<String>) -> Self {
        Self { kind: FailureKind::NotFound, ..Self::new(place, what) }
    }

    /// The same of an option of the command line.
    #[must_use]
    pub fn of(self, option: &str) -> Self {
        Self { what: format!("{option}: {}", self.what), ..self }
    }

    /// Gives advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Gives advice where there is some.
    #[must_use]
    pub fn with_hint_if(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

/// Mistakes, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// What went well; a mistake is kept.
    pub fn keep<T>(&mut self, done: Result<T, Mistake>) -> Option<T> {
        done.map_err(|mistake| self.add(mistake)).ok()
    }

    /// Keeps a mistake.
    pub fn add(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// Keeps only those that are worth telling.
    pub fn retain(&mut self, is_kept: impl FnMut(&Mistake) -> bool) {
        self.0.retain(is_kept);
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Errors: all mistakes in the order of the document, each with its place and line. The kind is theirs where they agree, else usage.
    pub fn check(mut self, document: &Document) -> Result<(), Failure> {
        // One value may be read by several, and an anchor's by every alias.
        self.0.sort_by_key(|mistake| (mistake.place.line, mistake.place.column));
        self.0.dedup();
        let Some(kind) = self.0.first().map(|first| first.kind) else { return Ok(()) };
        let agree = self.0.iter().all(|mistake| mistake.kind == kind);
        let kind = if agree { kind } else { FailureKind::Usage };
        for mistake in &mut self.0 {
            mistake.what = plain(&mistake.what);
            mistake.hint = mistake.hint.as_deref().map(plain);
        }
        if let [only] = &self.0[..] {
            let failure = Failure::new(kind, document.shown(only.place, &only.what));
            return Err(Failure { hint: only.hint.clone(), ..failure });
        }
        let mut message = format!("{} mistakes in {}", self.0.len(), document.name());
        for mistake in self.0.iter().take(MISTAKES_SHOWN_MAX) {
            message.push_str(&format!("\n\n{}", document.shown(mistake.place, &mistake.what)));
            if let Some(hint) = &mistake.hint {
                message.push_str(&format!("\n  hint: {hint}"));
            }
        }
        if let more @ 1.. = self.0.len().saturating_sub(MISTAKES_SHOWN_MAX) {
            message.push_str(&format!("\n\nand {more} more"));
        }
        Err(Failure::new(kind, message))
    }
}

/// A text that a terminal shows as it is, in one line.
fn plain(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = terminal::escaped(&chars.by_ref().take(TEXT_SHOWN_CHARS_MAX).collect::<String>());
    if chars.next().is_some() {
        plain.push('…');
    }
    plain
}
