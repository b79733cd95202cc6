//! An entry of `file_mounts`.
//!
//! Owns: [`FileMount`] and [`Content`], and what an entry's `name`, `source` and `mode` mean together.

use super::bucket::{self, Bucket, Upload, is_uri};
use super::fields::{FILE_MOUNT, MODES, PRESETS};
use super::local::Caller;
use super::mistakes::{Mistake, Mistakes};
use super::reader::{Object, Reader, Word, check_text};
use super::store::{self, Config, StoreKeys};
use super::yaml::{Key, Node, Value};
use pail_control::opening;
use pail_store::StoreKind;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Something that a node has at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Where, as the node sees it: `~/x`, absolute, or relative to `~/sky_workdir`. Variables are replaced; `~` is the node's own home.
    pub destination: String,
    /// What is there.
    pub content: Content,
}

/// What is at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A copy of a file or a directory of this machine: absolute, and there.
    Local(PathBuf),
    /// A copy of what is in a bucket, made by the node.
    Copy(Bucket),
    /// The bucket itself.
    Mount {
        /// Which.
        bucket: Bucket,
        /// Refuse every change.
        read_only: bool,
    },
}

impl Content {
    /// The bucket, where it is one.
    pub fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Local(_) => None,
            Self::Copy(bucket) | Self::Mount { bucket, .. } => Some(bucket),
        }
    }
}

/// How the content of a bucket comes to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Mount,
    Copy,
}

/// What reading an entry needs.
pub struct Entry<'a> {
    /// Values.
    pub reader: Reader<'a>,
    /// Paths of this machine.
    pub caller: &'a Caller,
    /// What the task's `config` says of stores.
    pub config: &'a Config,
}

impl Entry<'_> {
    /// Reads what is at a destination; `None` where it has mistakes. `notes` gets what a person should know of it.
    pub fn read(
        &self,
        key: &Key,
        node: &Node,
        mistakes: &mut Mistakes,
        notes: &mut Vec<super::Note>,
    ) -> Option<Content> {
        match &node.value {
            Value::Map(_) => {
                let before = mistakes.count();
                let object = self.reader.object(node, FILE_MOUNT, mistakes);
                let parts = self.parts(&object, mistakes, notes);
                // What its keys mean together is asked only of right ones.
                if mistakes.count() > before {
                    return None;
                }
                let resolved = self.resolve(&object, parts, mistakes);
                mistakes.keep(resolved)
            }
            _ => mistakes.keep(self.copy(key, node)),
        }
    }

    /// A text in place of an object: a copy.
    fn copy(&self, key: &Key, node: &Node) -> Result<Content, Mistake> {
        let Some(source) = self.reader.word(node) else {
            let what = match node.value {
                Value::Null => format!("{:?} has no source", key.name),
                _ => format!("expected a path, a URI or an object, found {}", node.value.kind()),
            };
            return Err(Mistake::new(node.place, what).with_hint(match node.value {
                Value::List(_) => "write an entry for each destination, with one source; several sources are for `source:` beside a bucket's `name:`",
                _ => "write `DESTINATION: SOURCE`, or the keys of an object below it",
            }));
        };
        check_text(&source.value, node.place)?;
        if source.value.ends_with('/') && !source.value.ends_with("://") {
            let mistake = Mistake::new(node.place, "a source does not end in /");
            return Err(match source.shown.trim_end_matches('/') {
                "" => mistake,
                trimmed => {
                    mistake.with_hint(format!("write {trimmed}: of a directory the content is copied"))
                }
            });
        }
        if !is_uri(&source.value) {
            return Ok(Content::Local(self.caller.find(&source)?));
        }
        bucket::check_uri(&source)?;
        Ok(Content::Copy(Bucket::at(&source)))
    }

    /// The keys that can be wrong by themselves.
    fn parts(&self, object: &Object<'_>, mistakes: &mut Mistakes, notes: &mut Vec<super::Note>) -> Parts {
        let word = |name: &str| self.reader.word_of(object, name);
        let mut parts = Parts {
            name: word("name"),
            store: StoreKeys::default(),
            kind_of_name: StoreKind::S3,
            endpoint: word("endpoint"),
            sources: Vec::new(),
            is_list: false,
        };
        if let Some(endpoint) = &parts.endpoint
            && let Err(failure) = opening::check_endpoint_url(&endpoint.value)
        {
            // Its words repeat the value, which may be a secret's.
            let why = match endpoint.shown == endpoint.value {
                true => failure.causes.join(": "),
                false => "the endpoint cannot be used".to_owned(),
            };
            mistakes
                .add(Mistake::new(endpoint.place, why).with_hint("write http://HOST:PORT or https://HOST"));
        }
        if self.reader.choice_of(object, "mode", MODES) == Some("MOUNT_CACHED") {
            let place = object.get("mode").map_or(object.place, |node| node.place);
            mistakes.add(Mistake::new(place, "mode MOUNT_CACHED is to come, and is not supported yet").with_hint(
                "write mode: MOUNT, which caches what is read, and has a file in the bucket when its close returns",
            ));
        }
        parts.store = StoreKeys::read(self.reader, object, mistakes);
        if let Some(name) = &parts.name {
            let kind = parts.store.kind_of_name(name, self.caller, self.config, notes);
            // A wrong name is worth telling whatever the store.
            parts.kind_of_name = kind.unwrap_or(StoreKind::S3);
            mistakes.keep(bucket::check_name(parts.kind_of_name, name));
        }
        match object.get("source") {
            Some(Node { value: Value::List(items), place }) => {
                parts.sources = items.iter().filter_map(|item| self.reader.word(item)).collect();
                parts.is_list = true;
                if items.is_empty() {
                    mistakes.add(Mistake::new(*place, "the list of sources is empty"));
                }
                for word in parts.sources.iter().filter(|word| is_uri(&word.value)) {
                    mistakes.add(
                        Mistake::new(word.place, "a list of sources is of local paths, and this is a URI")
                            .with_hint("write an entry of its own for the bucket"),
                    );
                }
            }
            Some(node) => parts.sources.extend(self.reader.word(node)),
            None => {}
        }
        parts
    }

    /// What name and source mean together.
    fn resolve(
        &self,
        object: &Object<'_>,
        parts: Parts,
        mistakes: &mut Mistakes,
    ) -> Result<Content, Mistake> {
        let mode = match self.reader.choice_of(object, "mode", MODES) {
            Some("COPY") => Mode::Copy,
            _ => Mode::Mount,
        };
        let endpoint_url = parts.endpoint.as_ref().map(|word| word.value.clone());
        let uri = parts.sources.first().filter(|source| is_uri(&source.value));
        let bucket = match (&parts.name, uri) {
            (None, None) if parts.sources.is_empty() => {
                return Err(Mistake::new(
                    object.place,
                    "a bucket is missing: neither `name` nor `source` is here",
                )
                .with_hint("write name: BUCKET, or source: s3://BUCKET/PREFIX"));
            }
            (None, None) => {
                let place = parts.sources.first().map_or(object.place, |source| source.place);
                return Err(Mistake::new(
                    place,
                    "a local `source` needs the `name` of the bucket to upload it to",
                )
                .with_hint(
                    "add name: BUCKET; to copy it to the node without a bucket write `DESTINATION: SOURCE`",
                ));
            }
            (Some(name), Some(_)) => {
                return Err(Mistake::new(name.place, "`name` and a bucket as `source` exclude each other")
                    .with_hint("leave out `name`: the URI has it"));
            }
            (None, Some(uri)) => {
                let parsed = bucket::check_uri(uri)?;
                parts.store.check_uri(&parsed, uri)?;
                let settings = store::settings(self.reader, object, parsed.kind, self.caller)?;
                Bucket { endpoint_url, region: parts.store.region(parsed.kind), settings, ..Bucket::at(uri) }
            }
            (Some(name), None) => Bucket {
                uri: parts.store.uri_of_name(parts.kind_of_name, name, self.caller, self.config)?.to_string(),
                region: parts.store.region(parts.kind_of_name),
                settings: store::settings(self.reader, object, parts.kind_of_name, self.caller)?,
                // A copy of what is not there is a mistake, unless it is uploaded first.
                create: mode == Mode::Mount || !parts.sources.is_empty(),
                endpoint_url,
                persistent: true,
                upload: self.uploads(&parts, mistakes),
            },
        };
        let persistent = self.reader.bool_of(object, "persistent") != Some(false);
        let bucket = Bucket { persistent, ..bucket };
        Ok(match mode {
            Mode::Copy => Content::Copy(bucket),
            Mode::Mount => Content::Mount { bucket, read_only: self.is_read_only(object) },
        })
    }

    /// The local sources. Each has a name of its own.
    fn uploads(&self, parts: &Parts, mistakes: &mut Mistakes) -> Vec<Upload> {
        let mut uploads = Vec::new();
        let mut names: BTreeMap<OsString, &Word> = BTreeMap::new();
        for word in &parts.sources {
            let Some(source) = mistakes.keep(self.caller.find(word)) else { continue };
            if !parts.is_list {
                if !source.is_dir() {
                    let what = format!("{:?} is a file, and a single `source` is a directory", word.shown);
                    mistakes
                        .add(Mistake::new(word.place, what).with_hint("write it as a list: source: [FILE]"));
                }
                uploads.push(Upload { source, name: None });
                continue;
            }
            let Some(name) = base_name(&source) else {
                let what =
                    format!("{:?} has no base name, which would be its name in the bucket", word.shown);
                mistakes.add(Mistake::new(word.place, what));
                continue;
            };
            if let Some(other) = names.insert(name.clone(), word) {
                let what = format!("{:?} has the base name of {:?}", word.shown, other.shown);
                mistakes.add(Mistake::new(word.place, what).with_hint(
                    "in the bucket they would be one: rename one, or upload it by an entry of its own",
                ));
            }
            uploads.push(Upload { source, name: Some(name) });
        }
        uploads
    }

    /// Whether it is said anywhere that nothing is to be written.
    fn is_read_only(&self, object: &Object<'_>) -> bool {
        let config = object.object("config");
        let told = |mode: &str| {
            let settings = config.and_then(|config| config.object(mode));
            settings.and_then(|settings| self.reader.bool_of(settings, "read_only")) == Some(true)
        };
        let preset = self.reader.choice_of(object, "type", PRESETS);
        told("mount") || told("mount_cached") || preset.is_some_and(|preset| preset.ends_with("_RO"))
    }
}

/// The keys of an entry that are words.
struct Parts {
    name: Option<Word>,
    store: StoreKeys,
    kind_of_name: StoreKind,
    endpoint: Option<Word>,
    sources: Vec<Word>,
    is_list: bool,
}

/// The last name of a path; of `.` and `..` their real one.
fn base_name(path: &Path) -> Option<OsString> {
    match path.file_name() {
        Some(name) if !path.ends_with("..") => Some(name.to_owned()),
        _ => Some(std::fs::canonicalize(path).ok()?.file_name()?.to_owned()),
    }
}
