//! The variables of a task: its `envs` and `secrets`, after what the command line says.
//!
//! Owns: [`Variables`], and reading them. Invariant: the value of a secret is in no message.

use super::fields::Kind;
use super::mistakes::{Mistake, Mistakes};
use super::reader::{Reader, expected, refuse_zero, scalar};
use super::substitute::{is_name, substitute, variables_in};
use super::yaml::{Key, Node, Place, Value};
use super::{Note, Overrides};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Variables by name.
#[derive(Default)]
pub struct Variables {
    /// Those that may be shown.
    pub envs: BTreeMap<String, String>,
    /// Those that may not.
    pub secrets: BTreeMap<String, String>,
    /// Both; a secret goes first.
    all: BTreeMap<String, String>,
    /// Names that are written there and have no right value, which is told.
    broken: BTreeSet<String>,
    /// The places of texts that have them. What is wrong with such a text is wrong with the variable.
    broken_texts: RefCell<Vec<Place>>,
}

impl Variables {
    /// Reads both parts.
    pub fn read(
        entries: &[(Key, Node)],
        overrides: &Overrides,
        mistakes: &mut Mistakes,
        notes: &mut Vec<Note>,
    ) -> Self {
        let mut broken = BTreeSet::new();
        let envs = read_part(entries, "envs", &overrides.envs, mistakes, &mut broken);
        let secrets = read_part(entries, "secrets", &overrides.secrets, mistakes, &mut broken);
        let mut all = envs.clone();
        all.extend(secrets.clone());
        for name in envs.keys().filter(|name| secrets.contains_key(*name)) {
            let place = entries.iter().find(|(key, _)| key.name == "secrets").map(|(key, _)| key.place);
            let what = format!("{name} is in `envs` and in `secrets`: the secret is taken");
            notes.push(Note { place: place.unwrap_or(Place::NONE), what });
        }
        let envs = envs.into_iter().filter(|(name, _)| !secrets.contains_key(name)).collect();
        Self { envs, secrets, all, broken, broken_texts: RefCell::default() }
    }

    /// Keeps the place of a text that has a variable without a right value.
    pub fn note_broken(&self, text: &str, place: Place) {
        if !self.broken.is_empty() && variables_in(text).iter().any(|name| self.broken.contains(name)) {
            self.broken_texts.borrow_mut().push(place);
        }
    }

    /// Drops what is wrong with texts only for a variable that is told itself.
    pub fn drop_consequences(&self, mistakes: &mut Mistakes) {
        let places = self.broken_texts.borrow();
        mistakes.retain(|mistake| !places.contains(&mistake.place));
    }

    /// `text` with the variables replaced.
    pub fn replace(&self, text: &str) -> String {
        substitute(text, &self.all)
    }

    /// The same with secrets left as they are written.
    pub fn replace_for_show(&self, text: &str) -> String {
        substitute(text, &self.envs)
    }
}

/// The variables of `envs` or `secrets`.
fn read_part(
    entries: &[(Key, Node)],
    part: &str,
    overrides: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
    broken: &mut BTreeSet<String>,
) -> BTreeMap<String, String> {
    let nothing = Variables::default();
    let reader = Reader::new(&nothing);
    let mut values = BTreeMap::new();
    for (_, node) in entries.iter().filter(|(key, _)| key.name == part) {
        if mistakes.keep(reader.check_value(part, Kind::Variables, node)).is_none() {
            continue;
        }
        for (key, node) in mistakes.keep(reader.map(node)).unwrap_or_default() {
            match mistakes.keep(variable((key, node), part, overrides)) {
                Some(value) => _ = values.insert(key.name.clone(), value),
                None => _ = broken.insert(key.name.clone()),
            }
        }
    }
    values.extend(overrides.clone());
    values
}

/// A variable's value. Errors: a name that no shell takes; a value that is neither in the file nor on the command line.
fn variable(
    (key, node): (&Key, &Node),
    part: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<String, Mistake> {
    let name = &key.name;
    if !is_name(name) {
        return Err(Mistake::new(key.place, format!("{name:?} cannot be a variable's name"))
            .with_hint("names are of letters, digits and underscores, and do not begin with a digit"));
    }
    match (overrides.get(name).map(String::as_str).or_else(|| scalar(node)), &node.value) {
        (Some(value), _) => refuse_zero(value, node.place).map(|()| value.to_owned()),
        (None, Value::Null) => Err(Mistake::new(key.place, format!("{name} has no value")).with_hint(
            if part == "envs" {
                format!("give it by --env {name}=VALUE, or by --env {name} from your environment; {name}: \"\" is an empty one")
            } else {
                // On the command line itself others can see it.
                format!("give it by --secret {name}, which takes it from your environment")
            },
        )),
        (None, _) => Err(expected("text", node).with_hint("a variable is text: put the whole value into quotes")),
    }
}
