//! The mistakes of a document, which are told together: who wrote it mends them in one go.
//!
//! Owns: [`Mistakes`].

use pail_control::Failure;

/// Mistakes, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Failure>);

impl Mistakes {
    /// What went well; a mistake is kept.
    pub fn keep<T>(&mut self, done: Result<T, Failure>) -> Option<T> {
        done.map_err(|mistake| self.add(mistake)).ok()
    }

    /// Keeps a mistake.
    pub fn add(&mut self, mistake: Failure) {
        self.0.push(mistake);
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Errors: a single mistake as it is, several as one line each.
    pub fn check(mut self) -> Result<(), Failure> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            count => {
                let lines: String = self.0.iter().map(|mistake| format!("\n{}", line(mistake))).collect();
                Err(Failure::usage(format!("{count} mistakes:{lines}")))
            }
        }
    }
}

/// What is wrong and where, without the document's own line.
fn line(mistake: &Failure) -> String {
    let told = mistake.message.lines().next().unwrap_or_default();
    match &mistake.hint {
        Some(hint) => format!("{told} ({hint})"),
        None => told.to_owned(),
    }
}
