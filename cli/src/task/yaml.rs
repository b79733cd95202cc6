//! The YAML behind a task, with the place of every value.
//!
//! Owns: [`Document`], [`Node`] and [`Value`]; the only module that names `serde-saphyr`, so that the choice can be changed here.
//! Numbers and booleans keep the text they were written with: an environment variable `LR: 1e-4` is `1e-4`.

use pail_control::Failure;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a document; lines and columns count from one, zero is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// A value and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it is.
    pub place: Place,
}

/// A value of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `null`, `~`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the document's order.
    Map(Vec<(Key, Node)>),
}

/// A map's key and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it is.
    pub place: Place,
}

/// A file of YAML.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    /// Its one value.
    pub root: Node,
}

impl Document {
    /// Reads and parses a file. Errors: one that cannot be read; a mistake, with its place and line.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|err| Failure::unreadable(path, &err))?;
        Self::parse(path, text)
    }

    /// Parses `text`, which `path` is the name of.
    pub fn parse(path: &Path, text: String) -> Result<Self, Failure> {
        match serde_saphyr::from_str::<Spanned<Raw>>(&text) {
            Ok(raw) => {
                let root = node(raw, &text);
                Ok(Self { path: path.to_owned(), text, root })
            }
            Err(err) => {
                let place = err.location().map_or(Place { line: 0, column: 0 }, place_of);
                let what = err.without_snippet().to_string();
                let empty = Node { value: Value::Null, place };
                let document = Self { path: path.to_owned(), text, root: empty };
                Err(document.mistake(place, in_plain_words(&what)))
            }
        }
    }

    /// A place as it is told: file, line and column.
    pub fn at(&self, place: Place) -> String {
        match place.line {
            0 => self.path.display().to_string(),
            line => format!("{}:{line}:{}", self.path.display(), place.column),
        }
    }

    /// A mistake at a place: file, line and column, then the line itself with a mark below.
    pub fn mistake(&self, place: Place, what: &str) -> Failure {
        let at = self.at(place);
        let index = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let shown = match (place.line, self.text.lines().nth(index)) {
            (0, _) | (_, None) => String::new(),
            (line, Some(text)) => {
                let before = usize::try_from(place.column.saturating_sub(1)).unwrap_or(0);
                // Tabs are kept, so that the mark stands below what it means.
                let pad: String =
                    text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let gutter = format!("{line} | ");
                format!("\n  {gutter}{text}\n  {}{pad}^", " ".repeat(gutter.len()))
            }
        };
        Failure::usage(format!("{at}: {what}{shown}"))
    }
}

/// What the library says for programmers, by a part of it, and what it means to who wrote the file.
const PLAIN_WORDS: &[(&str, &str)] = &[
    (
        "cannot deserialize null into string",
        "a key is missing here (a lone ~ means nothing in YAML: put it into quotes)",
    ),
    ("expected string scalar", "a key must be text"),
    ("multiple YAML documents", "a second document begins here, and a task is one"),
    ("recursive references", "an alias within what it stands for"),
    ("non-finite float", "not a number that can be used: put it into quotes"),
    ("invalid u64", "not a whole number"),
    ("YAML merge value", "`<<` takes a map, or a list of maps"),
    ("simple key expected", "expected `key: value`"),
    ("found a tab", "a tab, where YAML wants spaces"),
];

/// The library's words without the place in their end, which is told already, and without what is for programmers alone.
fn in_plain_words(what: &str) -> &str {
    let plain = PLAIN_WORDS.iter().find(|(part, _)| what.contains(part));
    let what = plain.map_or(what, |(_, plain)| plain);
    let what = what.split(" at line ").next().unwrap_or(what);
    // As in "duplicate mapping key: a, set DuplicateKeyPolicy in Options if acceptable".
    what.split(", set ").next().unwrap_or(what)
}

/// A value as the library hands it over.
#[derive(Debug)]
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn place_of(location: serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let place = place_of(raw.referenced);
    let written = || {
        let span = raw.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        text.get(start..end).map(|word| word.trim().to_owned()).filter(|word| !word.is_empty())
    };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number(value) => Value::Number(written().unwrap_or(value)),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    (Key { place: place_of(key.referenced), name: key.value }, node(value, text))
                })
                .collect(),
        ),
    };
    Node { value, place }
}

impl Value {
    /// What it is, for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, Failure> {
        Document::parse(Path::new("task.yaml"), text.to_owned())
    }

    #[test]
    fn values_know_where_they_are_and_how_they_were_written() {
        let document = parse("a: 1e-4\nb:\n  - yes\n  - x\n").unwrap();
        let Value::Map(entries) = &document.root.value else { panic!("{:?}", document.root) };
        assert_eq!(entries[0].0, Key { name: "a".into(), place: Place { line: 1, column: 1 } });
        assert_eq!(entries[0].1.value, Value::Number("1e-4".into()));
        assert_eq!(entries[0].1.place, Place { line: 1, column: 4 });
        let Value::List(items) = &entries[1].1.value else { panic!("{:?}", entries[1]) };
        assert_eq!(items[1], Node { value: Value::Text("x".into()), place: Place { line: 4, column: 5 } });
    }

    #[test]
    fn a_mistake_shows_its_line() {
        let failure = parse("name: a\nenvs: [1, 2\nrun: b\n").unwrap_err();
        assert!(failure.message.starts_with("task.yaml:"), "{failure}");
        assert_eq!(failure.kind.exit_code(), 2);
        let document = parse("a:\n  bcd: 1\n").unwrap();
        let shown = document.mistake(Place { line: 2, column: 3 }, "wrong").message;
        assert_eq!(shown, "task.yaml:2:3: wrong\n  2 |   bcd: 1\n        ^");
    }

    #[test]
    fn a_key_given_twice_is_a_mistake() {
        let failure = parse("a: 1\na: 2\n").unwrap_err();
        assert!(failure.message.starts_with("task.yaml:2:1: duplicate mapping key: a\n"), "{failure}");
    }

    #[test]
    fn mistakes_are_told_to_who_wrote_the_file() {
        for (text, told) in [
            ("? [a]\n: b\n", "a key must be text"),
            (": x\n", "a key is missing here"),
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            ("&a [*a]\n", "an alias within what it stands for"),
            ("a: .inf\n", "not a number that can be used"),
            ("a: !!int x\n", "not a whole number"),
            ("<<: 3\n", "`<<` takes a map"),
            ("a: |\n b\nc\n", "expected `key: value`"),
            ("name: a\n\trun: b\n", "a tab, where YAML wants spaces"),
        ] {
            let failure = parse(text).unwrap_err();
            assert!(failure.message.contains(told), "{text:?}: {failure}");
        }
    }
}
