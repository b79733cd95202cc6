//! Reading values out of a document, with mistakes that show their place.
//!
//! Owns: [`Reader`], which holds the document and the task's variables; and the search for the name that was meant.

use super::substitute::{substitute, variables_in};
use super::yaml::{Document, Key, Node, Place, Value};
use pail_control::Failure;
use std::collections::BTreeMap;

/// How like two names must be (0 to 1) for one to be offered in place of the other.
const LIKENESS_MIN: f64 = 0.7;

/// A document and the variables that stand in it.
pub struct Reader<'a> {
    document: &'a Document,
    variables: &'a BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    /// Reads `document`, replacing `variables`.
    pub fn new(document: &'a Document, variables: &'a BTreeMap<String, String>) -> Self {
        Self { document, variables }
    }

    /// A mistake at a place.
    pub fn mistake(&self, place: Place, what: &str) -> Failure {
        self.document.mistake(place, what)
    }

    /// `text` with the task's variables replaced.
    pub fn substitute(&self, text: &str) -> String {
        substitute(text, self.variables)
    }

    /// The variables in a text that [`substitute`](Self::substitute) has been over.
    pub fn left_as_they_are(&self, text: &str) -> Vec<String> {
        variables_in(text)
    }

    /// A note on a place, of one line.
    pub fn note(&self, place: Place, what: &str) -> String {
        format!("note: {}: {what}", self.document.at(place))
    }

    /// A word: text, or a number or boolean as it is written; variables replaced. Errors: a list, a map, nothing.
    pub fn text(&self, node: &Node) -> Result<String, Failure> {
        match scalar(node) {
            Some(word) => Ok(self.substitute(&word)),
            None => Err(self.mistake(node.place, &format!("expected text, found {}", node.value.kind()))),
        }
    }

    /// A map's entries; nothing is an empty one.
    pub fn map<'n>(&self, node: &'n Node) -> Result<&'n [(Key, Node)], Failure> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            other => Err(self.mistake(node.place, &format!("expected a map, found {}", other.kind()))),
        }
    }

    /// A key that is none of `known`.
    pub fn unknown_key(&self, key: &Key, known: &[&str]) -> Failure {
        self.unknown(key.place, &format!("unknown key {:?}", key.name), &key.name, known)
    }

    /// A value of `what` that is none of `known`.
    pub fn unknown_value(&self, place: Place, what: &str, value: &str, known: &[&str]) -> Failure {
        self.unknown(place, &format!("unknown {what} {value:?}"), value, known)
    }

    fn unknown(&self, place: Place, message: &str, name: &str, known: &[&str]) -> Failure {
        let failure = self.mistake(place, message);
        match nearest(name, known) {
            Some(near) => failure.with_hint(format!("did you mean {near:?}?")),
            None => failure.with_hint(format!("known are {}", known.join(", "))),
        }
    }
}

/// A scalar's text; nothing for what is none.
pub fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(word) | Value::Number(word) => Some(word.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// The one of `known` that `name` surely was meant to be: they differ in case, in hyphens and underscores, or by a slip of the
/// fingers. Closer than [`nearest`], for places where a name that is not known may be right all the same.
pub fn near_miss<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    let typed = plain(name);
    let slips = |candidate: &str| {
        let meant = plain(candidate);
        let slips = strsim::damerau_levenshtein(&typed, &meant);
        (slips <= if meant.len() > 5 { 2 } else { 1 }).then_some(slips)
    };
    let near = known.iter().filter_map(|candidate| Some((slips(candidate)?, *candidate)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

/// The one of `known` that `name` was probably meant to be.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}
