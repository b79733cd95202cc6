//! Reading objects out of a document by the tables of their keys.
//!
//! Owns: [`Reader`], which checks keys and values and replaces variables; [`Object`], what was right of an object; [`Word`], a text and
//! how it may be shown.

use super::fields::{Field, Kind, STORES_MEANT, names};
use super::mistakes::{Mistake, Mistakes};
use super::names::nearest;
use super::substitute::SUBSTITUTED_BYTES_MAX;
use super::variables::Variables;
use super::yaml::{Key, Node, Place, Value};
use std::collections::BTreeMap;

/// Reads values, with a task's variables replaced.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    variables: &'a Variables,
}

/// A text of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// With all variables replaced.
    pub value: String,
    /// With the values of secrets left out, for messages.
    pub shown: String,
    /// Where it is.
    pub place: Place,
}

/// The keys of an object whose values are what they should be.
#[derive(Debug)]
pub struct Object<'n> {
    /// Where it is.
    pub place: Place,
    values: BTreeMap<&'static str, Checked<'n>>,
}

#[derive(Debug)]
enum Checked<'n> {
    Value(&'n Node),
    Object(Object<'n>),
}

impl<'n> Object<'n> {
    /// The value of a key, where it is there and right.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        match self.values.get(name)? {
            Checked::Value(node) => Some(node),
            Checked::Object(_) => None,
        }
    }

    /// The object that is a key's value.
    pub fn object(&self, name: &str) -> Option<&Object<'n>> {
        match self.values.get(name)? {
            Checked::Value(_) => None,
            Checked::Object(object) => Some(object),
        }
    }
}

impl<'a> Reader<'a> {
    /// Replaces `variables`.
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables }
    }

    /// `text` with the task's variables replaced.
    pub fn substitute(&self, text: &str, place: Place) -> Word {
        self.variables.note_broken(text, place);
        Word { value: self.variables.replace(text), shown: self.variables.replace_for_show(text), place }
    }

    /// A text, or a number or boolean as it is written; variables replaced. Nothing for a list, a map and nothing.
    pub fn word(&self, node: &Node) -> Option<Word> {
        Some(self.substitute(scalar(node)?, node.place))
    }

    /// The text of an object's key.
    pub fn word_of(&self, object: &Object<'_>, name: &str) -> Option<Word> {
        self.word(object.get(name)?)
    }

    /// The boolean of an object's key.
    pub fn bool_of(&self, object: &Object<'_>, name: &str) -> Option<bool> {
        boolean(object.get(name)?, self)
    }

    /// The word of an object's key as its table has it, in place of `words` in any case.
    pub fn choice_of(&self, object: &Object<'_>, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let word = self.word_of(object, name)?;
        words.iter().find(|known| known.eq_ignore_ascii_case(&word.value)).copied()
    }

    /// A map's entries; nothing is an empty one.
    pub fn map<'n>(&self, node: &'n Node) -> Result<&'n [(Key, Node)], Mistake> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            _ => Err(expected("a map of `key: value` lines", node)),
        }
    }

    /// An object of `fields` alone. What is wrong with it is kept as mistakes, and left out.
    pub fn object<'n>(&self, node: &'n Node, fields: &[Field], mistakes: &mut Mistakes) -> Object<'n> {
        let mut object = Object { place: node.place, values: BTreeMap::new() };
        for (key, value) in mistakes.keep(self.map(node)).unwrap_or_default() {
            match fields.iter().find(|field| field.name == key.name) {
                Some(field) => {
                    if let Some(checked) = self.check(field, value, mistakes) {
                        object.values.insert(field.name, checked);
                    }
                }
                None => mistakes.add(unknown_key(key, fields)),
            }
        }
        object
    }

    fn check<'n>(&self, field: &Field, node: &'n Node, mistakes: &mut Mistakes) -> Option<Checked<'n>> {
        if matches!(node.value, Value::Null) {
            return None;
        }
        match (field.kind, &node.value) {
            (Kind::Object(fields), _) | (Kind::TextOrObject(fields), Value::Map(_)) => {
                Some(Checked::Object(self.object(node, fields, mistakes)))
            }
            (kind, _) => {
                mistakes.keep(self.check_value(field.name, kind, node)).map(|()| Checked::Value(node))
            }
        }
    }

    /// Checks a value that is no object with a table. Errors: what it should have been.
    pub fn check_value(&self, name: &str, kind: Kind, node: &Node) -> Result<(), Mistake> {
        let place = node.place;
        let word = self.word(node);
        match (kind, &node.value, word) {
            (Kind::Text | Kind::TextOrList | Kind::TextOrObject(_), _, Some(word)) => {
                check_text(&word.value, place)
            }
            (Kind::Text, ..) => Err(expected("text", node)),
            (Kind::TextOrObject(_), Value::Map(_), _) => Ok(()),
            (Kind::TextOrObject(fields), ..) => {
                let keys = listed(&names(fields));
                Err(expected("text, or an object", node)
                    .with_hint(format!("write `{name}: TEXT`, or below it the keys {keys}")))
            }
            (Kind::TextOrList, Value::List(items), _) => {
                items.iter().try_for_each(|item| self.check_value(name, Kind::Text, item))
            }
            (Kind::TextOrList, ..) => Err(expected("text, or a list of texts", node)),
            (Kind::Command, Value::Text(command), _) => refuse_zero(command, place),
            (Kind::Command, Value::List(_), _) => Err(expected("commands as text", node)
                .with_hint(format!("write `{name}: |`, and the commands in the lines below it"))),
            (Kind::Command, _, Some(word)) => Err(expected_word("a command", node, self)
                .with_hint(format!("put it into quotes: {:?}", word.shown))),
            (Kind::Command, ..) => Err(expected("a command", node)),
            (Kind::Bool, ..) => match boolean(node, self) {
                Some(_) => Ok(()),
                None => Err(expected_word("true or false", node, self)),
            },
            (Kind::Count(min), _, word) => match word.filter(|_| !matches!(node.value, Value::Bool(..))) {
                Some(word)
                    if word.value.parse::<u32>().is_ok_and(|count| count >= min)
                        && word.value.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    Ok(())
                }
                _ => Err(expected_word(&format!("a whole number of at least {min}"), node, self)),
            },
            (Kind::Size, _, Some(word)) if is_size(&word.value) => Ok(()),
            (Kind::Size, ..) => Err(expected_word("a size", node, self)
                .with_hint("write a number and B, K, M, G, T or P, such as 64M")),
            (Kind::Duration, _, Some(word)) if is_duration(&word.value) => Ok(()),
            (Kind::Duration, ..) => Err(expected_word("a duration", node, self)
                .with_hint("write a number and ms, s, m, h or d, such as 30s or 5m")),
            (Kind::Word(words), _, Some(word)) => {
                match words.iter().any(|known| known.eq_ignore_ascii_case(&word.value)) {
                    true => Ok(()),
                    false => Err(unknown_word(&word, name, words)),
                }
            }
            (Kind::Word(words), ..) => Err(expected(&format!("one of {}", listed(words)), node)),
            (Kind::Variables, ..) => self
                .map(node)
                .map(|_| ())
                .map_err(|mistake| mistake.with_hint("write `NAME: value`, a line each")),
            (Kind::Places(_), ..) => self
                .map(node)
                .map(|_| ())
                .map_err(|mistake| mistake.with_hint("write `DESTINATION: SOURCE`, a line each")),
            (Kind::Object(_), ..) => self.map(node).map(|_| ()),
        }
    }
}

/// A scalar's text; nothing for what is none.
pub fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(word) | Value::Number(word) | Value::Bool(_, word) => Some(word),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

fn boolean(node: &Node, reader: &Reader<'_>) -> Option<bool> {
    match &node.value {
        Value::Bool(value, _) => Some(*value),
        // As text it may come from a variable.
        Value::Text(text) => reader.substitute(text, node.place).value.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// Refuses what cannot be a path or a name: a zero byte, or more than 64 KiB with the variables replaced.
pub fn check_text(text: &str, place: Place) -> Result<(), Mistake> {
    match text.len() > SUBSTITUTED_BYTES_MAX {
        true => Err(Mistake::new(place, "this text is longer than 64 KiB with its variables replaced")),
        false => refuse_zero(text, place),
    }
}

/// Refuses what no path, variable or argument can hold.
pub fn refuse_zero(text: &str, place: Place) -> Result<(), Mistake> {
    match text.contains('\0') {
        true => Err(Mistake::new(
            place,
            "a zero byte is in this text, which no path, variable or command can have",
        )),
        false => Ok(()),
    }
}

/// `^[0-9]+[bkmgtp]?$`, in any case.
fn is_size(text: &str) -> bool {
    let number = text.strip_suffix(|unit: char| "bkmgtp".contains(unit.to_ascii_lowercase())).unwrap_or(text);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let found = ["ms", "s", "m", "h", "d", "w"].into_iter().find_map(|known| unit.strip_prefix(known));
        match found {
            Some(after) if unit.len() < rest.len() => rest = after,
            _ => return false,
        }
    }
    !text.is_empty()
}

/// A value of another kind than the one that is expected.
pub fn expected(what: &str, node: &Node) -> Mistake {
    Mistake::new(node.place, format!("expected {what}, found {}", node.value.kind()))
}

/// The same, with the value itself where it is a short one.
fn expected_word(what: &str, node: &Node, reader: &Reader<'_>) -> Mistake {
    let found = match (reader.word(node).filter(|word| word.shown.chars().count() <= 60), &node.value) {
        (Some(word), Value::Text(_)) => format!("{:?}", word.shown),
        (Some(word), _) => word.shown,
        (None, value) => value.kind().to_owned(),
    };
    Mistake::new(node.place, format!("expected {what}, found {found}"))
}

/// A key that is none of `fields`.
pub fn unknown_key(key: &Key, fields: &[Field]) -> Mistake {
    unknown(key.place, &format!("unknown key {:?}", key.name), &key.name, &names(fields))
}

/// A word that is none of `known`.
fn unknown_word(word: &Word, what: &str, known: &[&str]) -> Mistake {
    if let Some(meant) = store_meant(&word.shown).filter(|meant| known.contains(meant)) {
        return Mistake::new(word.place, format!("unknown {what} {:?}", word.shown))
            .with_hint(format!("did you mean {meant:?}?"));
    }
    unknown(word.place, &format!("unknown {what} {:?}", word.shown), &word.shown, known)
}

/// The store that has another name among people.
fn store_meant(name: &str) -> Option<&'static str> {
    let plain = name.trim_end_matches("://").to_ascii_lowercase().replace(['-', '_', ' '], "");
    STORES_MEANT.iter().find(|(other, _)| *other == plain).map(|(_, store)| *store)
}

fn unknown(place: Place, what: &str, name: &str, known: &[&str]) -> Mistake {
    let mistake = Mistake::new(place, what);
    match nearest(name, known) {
        Some(near) => mistake.with_hint(format!("did you mean {near:?}?")),
        None => mistake.with_hint(format!("known are {}", listed(known))),
    }
}

/// Names as they are told.
fn listed(names: &[&str]) -> String {
    names.join(", ")
}
