//! The YAML behind a task, with the place of every value.
//!
//! Owns: [`Document`], [`Node`] and [`Value`]; the only module that names `serde-saphyr`, so that the choice can be changed here.
//! Numbers and booleans keep the text they were written with: an environment variable `LR: 1e-4` is `1e-4`.
//!
//! Invariants: reading ends, whatever the bytes are: the file's size, its depth and what its aliases stand for have bounds. A mistake
//! that has a place has one within the file.

use super::mistakes::{Mistake, Mistakes};
use super::plain_words::in_plain_words;
use pail_control::Failure;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, DuplicateKeyPolicy, Options, Spanned};
use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file that is read. A task of thousands of lines has some hundred kilobytes.
const FILE_SIZE_BYTES_MAX: usize = 1 << 20;
/// How deep values may lie in one another.
const DEPTH_MAX: usize = 48;
/// How many values a file may have.
const NODES_MAX: usize = 100_000;
/// How many of a file's events may come from aliases, so that a few lines do not stand for gigabytes.
const ALIAS_EVENTS_MAX: usize = 100_000;
/// How much of a line is shown, in characters.
const LINE_SHOWN_CHARS_MAX: usize = 140;

/// A place in a document; lines and columns count from one, zero is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Place {
    /// The document as a whole.
    pub const NONE: Self = Self { line: 0, column: 0 };
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
    /// A boolean, and how it is written.
    Bool(bool, String),
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
        let mut bytes = Vec::new();
        let limit = u64::try_from(FILE_SIZE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|err| Failure::unreadable(path, &err))?;
        Self::parse(path, bytes)
    }

    /// Parses `bytes`, which `path` is the name of. Errors: a mistake, with its place and line.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Failure> {
        if bytes.len() > FILE_SIZE_BYTES_MAX {
            let mib = FILE_SIZE_BYTES_MAX >> 20;
            return Err(Failure::usage(format!("{} is larger than {mib} MiB", path.display()))
                .with_hint("a task is a file of YAML: is this the right one?"));
        }
        let mut document = Self {
            path: path.to_owned(),
            text: String::new(),
            root: Node { value: Value::Null, place: Place::NONE },
        };
        match document.load(bytes) {
            Ok(()) => Ok(document),
            Err(mistake) => {
                let mut mistakes = Mistakes::default();
                mistakes.add(mistake);
                mistakes.check(&document)?;
                Ok(document)
            }
        }
    }

    fn load(&mut self, bytes: Vec<u8>) -> Result<(), Mistake> {
        self.text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(err) => {
                let (bytes, valid) = (err.as_bytes(), err.utf8_error().valid_up_to());
                self.text = String::from_utf8_lossy(bytes).into_owned();
                let before = String::from_utf8_lossy(&bytes[..valid]).into_owned();
                return Err(not_utf8(bytes, valid, place_after(&before)));
            }
        };
        if let Some(rest) = self.text.strip_prefix('\u{feff}') {
            self.text = rest.to_owned();
        }
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&self.text, options()) {
            Ok(raw) => {
                self.root = node(raw, &self.text);
                Ok(())
            }
            Err(err) => {
                let place = err.location().map_or(Place::NONE, place_of);
                Err(in_plain_words(&err.without_snippet().to_string(), &self.text, place))
            }
        }
    }

    /// The keys that are there twice, in any map.
    pub fn duplicates(&self, mistakes: &mut Mistakes) {
        let mut nodes = vec![&self.root];
        while let Some(node) = nodes.pop() {
            match &node.value {
                Value::List(items) => nodes.extend(items),
                Value::Map(entries) => {
                    let mut seen: HashMap<&str, Place> = HashMap::new();
                    for (key, value) in entries {
                        if let Some(first) = seen.insert(&key.name, key.place) {
                            let what = format!("{:?} is here for a second time", key.name);
                            let hint = format!("the first is in line {}: keep one of them", first.line);
                            mistakes.add(Mistake::new(key.place, what).with_hint(hint));
                        }
                        nodes.push(value);
                    }
                }
                _ => {}
            }
        }
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// A place as it is told: file, line and column.
    pub fn at(&self, place: Place) -> String {
        match self.within(place) {
            Place { line: 0, .. } => self.name(),
            Place { line, column } => format!("{}:{line}:{column}", self.name()),
        }
    }

    /// What is wrong at a place: file, line and column, then the line itself with a mark below.
    pub fn shown(&self, place: Place, what: &str) -> String {
        let place = self.within(place);
        let at = self.at(place);
        if place.line == 0 {
            return format!("{at}: {what}");
        }
        let line: Vec<char> = self.open_line(place.line).chars().collect();
        let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(0).min(line.len());
        // A long line is shown around its place.
        let from = match line.len() > LINE_SHOWN_CHARS_MAX {
            true => column.saturating_sub(LINE_SHOWN_CHARS_MAX / 2).min(line.len() - LINE_SHOWN_CHARS_MAX),
            false => 0,
        };
        let to = line.len().min(from + LINE_SHOWN_CHARS_MAX);
        let (left, right) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
        // Tabs are kept, so that the mark stands below what it means; nothing else that moves a terminal's cursor is.
        let plain = |c: &char| if c.is_control() && *c != '\t' { '\u{fffd}' } else { *c };
        let shown: String = line[from..to].iter().map(plain).collect();
        let blank = |c: &char| if *c == '\t' { '\t' } else { ' ' };
        let pad: String = left.chars().map(|_| ' ').chain(line[from..column].iter().map(blank)).collect();
        let gutter = format!("{} | ", place.line);
        let margin = " ".repeat(gutter.len());
        format!("{at}: {what}\n  {gutter}{left}{shown}{right}\n  {margin}{pad}^")
    }

    /// The place, or the nearest one before it that is within the file.
    fn within(&self, place: Place) -> Place {
        if place.line == 0 {
            return place;
        }
        let last = place_after(&self.text);
        // The end of a text that ends its last line is the end of that line.
        let lines = if last.column == 1 { last.line.saturating_sub(1).max(1) } else { last.line };
        let line = place.line.min(lines);
        let end = u64::try_from(self.line(line).chars().count()).unwrap_or(u64::MAX).saturating_add(1);
        let column = if place.line > lines { end } else { place.column.clamp(1, end) };
        Place { line, column }
    }

    /// A line without the values of secrets, and without passwords in URLs.
    fn open_line(&self, number: u64) -> String {
        let line = self.line(number);
        if self.is_of_secrets(number) {
            let end = line.find(": ").map_or(line.len(), |colon| colon + 2);
            let hidden = if end < line.len() { "…" } else { "" };
            return format!("{}{hidden}", &line[..end]);
        }
        match line
            .split_once("://")
            .map(|(scheme, rest)| (scheme, rest, rest.split('/').next().unwrap_or_default()))
        {
            Some((scheme, rest, host)) if host.contains('@') => {
                let (user, host_name) = host.rsplit_once('@').unwrap_or_default();
                let user = user.split_once(':').map_or(user.to_owned(), |(user, _)| format!("{user}:…"));
                format!("{scheme}://{user}@{host_name}{}", &rest[host.len()..])
            }
            _ => line.to_owned(),
        }
    }

    /// Whether a line is of the part `secrets`, by the look of the text: it may be one that cannot be parsed.
    fn is_of_secrets(&self, number: u64) -> bool {
        let end = usize::try_from(number).unwrap_or(usize::MAX);
        let is_part = |line: &&str| line.starts_with(|c: char| !c.is_whitespace() && c != '#');
        let part = lines(&self.text).take(end).filter(is_part).last().unwrap_or_default();
        part.trim_start_matches(['"', '\'', '{', ' ']).starts_with("secrets")
    }

    /// A line by its number, without its end.
    fn line(&self, number: u64) -> &str {
        let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        lines(&self.text).nth(index).unwrap_or_default()
    }
}

/// The lines of a text as YAML has them: they end in `\n`, `\r\n` or `\r`.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line).split('\r')
    })
}

/// The place where a text ends.
fn place_after(text: &str) -> Place {
    let ended = text.ends_with(['\n', '\r']);
    let (count, last) = lines(text).fold((0_u64, ""), |(count, _), line| (count + 1, line));
    match ended || count == 0 {
        true => Place { line: count + 1, column: 1 },
        false => Place { line: count, column: u64::try_from(last.chars().count()).unwrap_or(0) + 1 },
    }
}

fn not_utf8(bytes: &[u8], valid: usize, place: Place) -> Mistake {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Mistake::new(place, "the file is in UTF-16").with_hint("save it as UTF-8");
    }
    Mistake::new(place, format!("the byte 0x{:02x} is not UTF-8", bytes.get(valid).copied().unwrap_or(0)))
        .with_hint("save the file as UTF-8")
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = DEPTH_MAX;
    budget.flow_nesting_limit = DEPTH_MAX;
    budget.max_nodes = NODES_MAX;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = ALIAS_EVENTS_MAX;
    // They are looked for afterwards, so that all are told.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    options
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
    // A word is where it is written, wherever an alias has it; a map or list is where it is used.
    let place = match raw.value {
        Raw::List(_) | Raw::Map(_) => place_of(raw.referenced),
        _ => place_of(raw.defined),
    };
    let written = || {
        let span = raw.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        text.get(start..end).map(|word| word.trim().to_owned()).filter(|word| !word.is_empty())
    };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value, written().unwrap_or_else(|| value.to_string())),
        Raw::Number(value) => Value::Number(written().unwrap_or(value)),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    (Key { place: place_of(key.defined), name: key.value }, node(value, text))
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
            Self::Bool(..) => "true or false",
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
        Document::parse(Path::new("task.yaml"), text.into())
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
        let shown = document.shown(Place { line: 2, column: 3 }, "wrong");
        assert_eq!(shown, "task.yaml:2:3: wrong\n  2 |   bcd: 1\n        ^");
    }

    #[test]
    fn keys_given_twice_are_mistakes_wherever_they_are() {
        let document = parse("a: 1\na: {b: 1, b: 2}\n").unwrap();
        let mut mistakes = Mistakes::default();
        document.duplicates(&mut mistakes);
        let failure = mistakes.check(&document).unwrap_err();
        assert!(failure.message.contains("task.yaml:2:1: \"a\" is here for a second time\n"), "{failure}");
        assert!(failure.message.contains("task.yaml:2:11: \"b\" is here for a second time\n"), "{failure}");
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
