//! A task: what a YAML file asks for, checked before anything runs.
//!
//! Owns: [`Task`], read from the parts of a SkyPilot task that Pail acts on. Parts that it does not act on are named once in a note;
//! mistakes in parts of its own, or in the names of them, are an error with their places, all at once.
//!
//! Layers, each knowing those before it: `yaml`, a document with places, and `plain_words`, its errors; `fields`, the tables of keys, and
//! `schema`, written from them; `reader`, which checks an object by its table; `bucket`, `destination`, `local`, what texts stand for;
//! `store`, which store a bucket is in; `file_mount`, `workdir`, `variables`, the parts of a task.
//!
//! Invariant: no message and no `Debug` shows the value of a secret.

mod bucket;
mod destination;
mod fields;
mod file_mount;
#[cfg(test)]
mod fuzz;
mod local;
mod mistakes;
mod names;
mod overlaps;
mod plain_words;
mod reader;
mod schema;
mod store;
mod substitute;
#[cfg(test)]
mod tests;
mod variables;
mod workdir;
mod yaml;

pub use bucket::{Bucket, Upload};
pub use destination::WORKDIR;
pub use file_mount::{Content, FileMount};
pub use local::Caller;
pub use schema::schema;
pub use substitute::is_name;
pub use workdir::{Workdir, WorkdirOverride};

use destination::Destination;
use fields::{IGNORED, TASK, names};
use file_mount::Entry;
use mistakes::{Mistake, Mistakes};
use names::near_miss;
use overlaps::Destinations;
use pail_control::Failure;
use reader::{Reader, expected, scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use store::Config;
use substitute::variables_in;
use variables::Variables;
use yaml::{Document, Key, Node, Place, Value};

/// How many entries `file_mounts` may have.
const FILE_MOUNTS_MAX: usize = 1000;

/// A task, with all variables replaced.
#[derive(Default)]
pub struct Task {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// On how many nodes it runs, where it says so; at least one.
    pub num_nodes: Option<u32>,
    /// Variables of setup and run that may be shown. No name is in `secrets` too.
    pub envs: BTreeMap<String, String>,
    /// Variables of setup and run that may not.
    pub secrets: BTreeMap<String, String>,
    /// The code.
    pub workdir: Option<Workdir>,
    /// Files and buckets beside it, in the file's order.
    pub file_mounts: Vec<FileMount>,
    /// Runs first.
    pub setup: Option<String>,
    /// Runs then.
    pub run: Option<String>,
    /// What a person should know: parts that are not acted on.
    pub notes: Vec<String>,
}

/// Values given on the command line, which go before the file's.
#[derive(Default)]
pub struct Overrides {
    /// Of `envs`.
    pub envs: BTreeMap<String, String>,
    /// Of `secrets`.
    pub secrets: BTreeMap<String, String>,
    /// Of `workdir`.
    pub workdir: WorkdirOverride,
    /// Of `num_nodes`.
    pub num_nodes: Option<u32>,
}

/// Something that a person should know, and where.
#[derive(Debug)]
pub struct Note {
    place: Place,
    what: String,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = |part: &dyn fmt::Debug| self.redacted(&format!("{part:?}"));
        f.debug_struct("Task")
            .field("name", &open(&self.name))
            .field("num_nodes", &self.num_nodes)
            .field("envs", &open(&self.envs))
            .field("secrets", &self.secrets.keys())
            .field("workdir", &open(&self.workdir))
            .field("file_mounts", &open(&self.file_mounts))
            .field("setup", &open(&self.setup))
            .field("run", &open(&self.run))
            .field("notes", &open(&self.notes))
            .finish()
    }
}

impl Task {
    /// Reads a task's file. Errors: its mistakes, with file, line, column and the line itself.
    pub fn read(path: &Path, overrides: &Overrides, caller: &Caller) -> Result<Self, Failure> {
        Self::from_document(&Document::read(path)?, overrides, caller)
    }

    /// The environment of setup and run.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.envs.iter().chain(&self.secrets).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// `text` as it may be shown, where secrets may have become a part of it: their values are their names again.
    pub fn redacted(&self, text: &str) -> String {
        // A shorter one is no secret, and would be found everywhere.
        const SECRET_BYTES_MIN: usize = 4;
        let mut values: Vec<_> =
            self.secrets.iter().filter(|(_, value)| value.len() >= SECRET_BYTES_MIN).collect();
        // One may be a part of another.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        values.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(value.as_str(), &format!("${{{name}}}"))
        })
    }

    fn from_document(document: &Document, overrides: &Overrides, caller: &Caller) -> Result<Self, Failure> {
        let mut mistakes = Mistakes::default();
        let mut notes = Vec::new();
        document.duplicates(&mut mistakes);
        let entries = mistakes.keep(entries(&document.root)).unwrap_or_default();
        let variables = Variables::read(entries, overrides, &mut mistakes, &mut notes);
        let reader = Reader::new(&variables);
        let written = entries.iter().rfind(|(key, _)| key.name == "workdir").map(|(_, node)| node);
        let written = written.filter(|node| !matches!(node.value, Value::Null));
        let has_workdir = written.is_some() || overrides.workdir != WorkdirOverride::None;
        let config = Config::read(reader, entries);
        let parts = Parts { reader, caller, has_workdir, config: &config };
        let mut task = Self::default();
        let mut ignored: Vec<&str> = Vec::new();
        for (key, node) in entries {
            match TASK.iter().find(|field| field.name == key.name) {
                Some(_) if matches!(node.value, Value::Null) => {}
                Some(field) => {
                    if mistakes.keep(reader.check_value(field.name, field.kind, node)).is_some() {
                        task.take(&parts, (key, node), &mut mistakes, &mut notes);
                    }
                }
                None => match near_miss_of(key) {
                    Some(mistake) => mistakes.add(mistake),
                    None if matches!(node.value, Value::Null) => {}
                    None if key.name == "config" && config.is_all => {}
                    None => ignored.push(&key.name),
                },
            }
        }
        task.workdir = Workdir::read(reader, written, &overrides.workdir, caller, &mut mistakes);
        variables.drop_consequences(&mut mistakes);
        mistakes.check(document)?;
        task.num_nodes = overrides.num_nodes.or(task.num_nodes);
        let is_empty = task.file_mounts.is_empty() && task.setup.is_none() && task.run.is_none();
        if is_empty && task.workdir.is_none() {
            // No mistake: SkyPilot takes such a task too.
            let what = "there is nothing to do: it has none of `workdir`, `file_mounts`, `setup` and `run`";
            notes.push(Note { place: Place::NONE, what: what.to_owned() });
        }
        if !ignored.is_empty() {
            task.notes.push(format!("note: not acted on in this run: {}", shown_names(&ignored)));
        }
        task.notes
            .extend(notes.iter().map(|note| format!("note: {}: {}", document.at(note.place), note.what)));
        (task.envs, task.secrets) = (variables.envs, variables.secrets);
        Ok(task)
    }

    /// Takes a value that is of the right kind.
    fn take(
        &mut self,
        parts: &Parts<'_>,
        (key, node): (&Key, &Node),
        mistakes: &mut Mistakes,
        notes: &mut Vec<Note>,
    ) {
        let word = || parts.reader.word(node).map(|word| word.value);
        match key.name.as_str() {
            "name" => self.name = word(),
            // The shell replaces the variables of commands itself.
            "setup" => self.setup = scalar(node).map(str::to_owned),
            "run" => self.run = scalar(node).map(str::to_owned),
            "num_nodes" => self.num_nodes = word().and_then(|count| count.parse().ok()),
            "file_mounts" => self.file_mounts = parts.file_mounts(node, mistakes, notes),
            // Variables are read first, and the workdir last.
            _ => {}
        }
    }
}

/// What the parts of a task are read with.
struct Parts<'a> {
    reader: Reader<'a>,
    caller: &'a Caller,
    /// There is a workdir, right or wrong.
    has_workdir: bool,
    /// What the task's `config` says of stores.
    config: &'a Config,
}

impl Parts<'_> {
    fn file_mounts(&self, node: &Node, mistakes: &mut Mistakes, notes: &mut Vec<Note>) -> Vec<FileMount> {
        let entries = mistakes.keep(self.reader.map(node)).unwrap_or_default();
        if entries.len() > FILE_MOUNTS_MAX {
            let what = format!("more than {FILE_MOUNTS_MAX} entries");
            mistakes.add(Mistake::new(node.place, what).with_hint("name a directory in place of its files"));
            return Vec::new();
        }
        let entry = Entry { reader: self.reader, caller: self.caller, config: self.config };
        let mut destinations = Destinations::default();
        let mut keys = BTreeSet::new();
        let mut mounts = Vec::new();
        for (key, node) in entries {
            let word = self.reader.substitute(&key.name, key.place);
            let destination = mistakes.keep(Destination::read(&word, &self.caller.home));
            let content = entry.read(key, node, mistakes, notes);
            let (Some(destination), Some(content)) = (destination, content) else { continue };
            // A key that is there twice is told already.
            if !keys.insert(&key.name) {
                continue;
            }
            if self.has_workdir && destination.is_workdir() {
                let what = format!("{WORKDIR} is the place of the `workdir`");
                mistakes.add(
                    Mistake::new(key.place, what).with_hint(
                        "choose another destination, such as one below it, or leave out `workdir`",
                    ),
                );
                continue;
            }
            if mistakes.keep(destinations.add(destination, &word, &content)).is_none() {
                continue;
            }
            let mount = FileMount { destination: word.value, content };
            notes.extend(variables_left(&mount, key));
            mounts.push(mount);
        }
        mounts
    }
}

/// A document's keys; none for an empty one.
fn entries(root: &Node) -> Result<&[(Key, Node)], Mistake> {
    match &root.value {
        Value::Map(entries) => Ok(entries),
        Value::Null => Ok(&[]),
        _ => Err(expected("a task's keys", root)
            .with_hint(format!("write `key: value` lines, with keys such as {}", names(TASK).join(", ")))),
    }
}

/// The mistake that a key is which can only be a slip for one that is acted on: a task whose `file_mount:` is passed over loses its
/// outputs. Any other unknown key is none of our business, since SkyPilot's own change with its versions.
fn near_miss_of(key: &Key) -> Option<Mistake> {
    let name = key.name.as_str();
    if IGNORED.contains(&name) || name.starts_with('_') {
        return None;
    }
    let near = near_miss(name, &names(TASK))?;
    let what = format!("unknown key {name:?}");
    Some(Mistake::new(key.place, what).with_hint(format!("did you mean {near:?}?")))
}

/// As in SkyPilot unknown variables stay as they are, which is seldom what was meant.
fn variables_left(mount: &FileMount, key: &Key) -> Vec<Note> {
    let source = mount.content.bucket().map_or("", |bucket| &bucket.uri);
    let names = variables_in(&format!("{}\n{source}", mount.destination));
    let note = |name: &String| Note {
        place: key.place,
        what: format!("{name} is neither in `envs` nor in `secrets`, and ${name} stays as it is written"),
    };
    names.iter().map(note).collect()
}

/// Names as a note has them: not more of them than can be read.
fn shown_names(names: &[&str]) -> String {
    const NAMES_SHOWN_MAX: usize = 20;
    const NAME_SHOWN_CHARS_MAX: usize = 60;
    let short = |name: &&str| name.chars().take(NAME_SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN_MAX).map(short).collect();
    if let more @ 1.. = names.len().saturating_sub(NAMES_SHOWN_MAX) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}
