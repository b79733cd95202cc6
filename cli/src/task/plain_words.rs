//! The YAML library's words, as who wrote the file needs them.
//!
//! Owns: [`in_plain_words`].

use super::yaml::Place;

/// What the library says for programmers, by a part of it; what it means to who wrote the file; and what to do about it.
const PLAIN_WORDS: &[(&str, &str, &str)] = &[
    (
        "cannot deserialize null into string",
        "a key is missing here (a lone ~ means nothing in YAML: put it into quotes)",
        "",
    ),
    ("expected string scalar", "a key must be text", ""),
    ("multiple YAML documents", "a second document begins here, and a task is one", ""),
    ("recursive references", "an alias within what it stands for", ""),
    ("non-finite float", "not a number that can be used: put it into quotes", ""),
    ("invalid u64", "not a whole number", ""),
    ("YAML merge value", "`<<` takes a map, or a list of maps", ""),
    ("simple key expected", "expected `key: value`", ""),
    ("found a tab", "a tab, where YAML wants spaces", ""),
];

/// What is wrong and what to do, for what the library says of `text` at a place: without the place in its end, which is told already,
/// and without what is for programmers alone.
pub fn in_plain_words(what: &str, _text: &str, _place: Place) -> (String, Option<String>) {
    if let Some((_, plain, hint)) = PLAIN_WORDS.iter().find(|(part, ..)| what.contains(part)) {
        return ((*plain).to_owned(), Some((*hint).to_owned()).filter(|hint| !hint.is_empty()));
    }
    let what = what.split(" at line ").next().unwrap_or(what);
    (what.split(", set ").next().unwrap_or(what).to_owned(), None)
}
