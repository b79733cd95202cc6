//! What is to be done with each listed key.
//!
//! Owns: [`Planner`], which takes the pages of a listing in their order and says of every key what it comes to: a [`Step`]. Looks at local files, so it may
//! wait for the disk.
//!
//! # What is unchanged
//! With an entry in the manifest: the object has the version and the file the size and time that are noted there. Without: the file has the object's
//! size, and its time is the one that the store says of the object, to the nanosecond that the store names. Both are questions of equality: no
//! clock is asked, so that one that is wrong hides no change.

use crate::attributes::FileAttributes;
use crate::collisions::{Collisions, Verdict};
use crate::directory::{LocalState, Root};
use crate::file_name::{Named, RelativePath, named};
use crate::manifest::{Entry, Manifest};
use pail_store::{KEY_LEN_BYTES_MAX, ObjectMeta, RawKey};
use std::sync::Arc;

/// Why a key is skipped that other keys are below.
pub(crate) const COLLIDES: &str = "it would be a file where other keys need a directory";
const MARKER_WITH_CONTENT: &str = "its name ends in /, as a directory's does, and it has content";

/// What a key comes to.
#[derive(Debug)]
pub(crate) enum Step {
    Fetch(ObjectMeta, RelativePath),
    MakeDirectory(RawKey, RelativePath),
    Unchanged(ObjectMeta, LocalState),
    Skip { key: String, why: String },
}

/// Goes through a listing.
pub(crate) struct Planner {
    prefix: String,
    root: Arc<Root>,
    manifest: Arc<Manifest>,
    collisions: Collisions<(ObjectMeta, RelativePath)>,
}

impl Planner {
    pub fn new(prefix: String, root: Arc<Root>, manifest: Arc<Manifest>) -> Self {
        Self { prefix, root, manifest, collisions: Collisions::default() }
    }

    /// The next page's steps; a key may have to wait for the next page.
    pub fn take(&mut self, objects: Vec<ObjectMeta>) -> Vec<Step> {
        let mut steps = Vec::with_capacity(objects.len());
        let mut verdicts = Vec::new();
        for object in objects {
            let key = object.key.clone();
            // A store that lists what is not below the prefix is not believed.
            let Some(rest) = key.as_str().strip_prefix(self.prefix.as_str()) else { continue };
            match named(rest) {
                Ok(Named::Root) if object.size == 0 => {}
                Ok(Named::Directory(path)) if object.size == 0 => {
                    self.collisions.pass(rest, &mut verdicts);
                    steps.push(Step::MakeDirectory(object.key, path));
                }
                Ok(Named::Root | Named::Directory(_)) => steps.push(skip(&object, MARKER_WITH_CONTENT)),
                Ok(Named::File(path)) => {
                    self.collisions.pass(rest, &mut verdicts);
                    self.collisions.hold(rest, (object, path));
                }
                // What cannot be a file takes no name from one that can.
                Err(why) => steps.push(skip(&object, &why.to_string())),
            }
        }
        steps.extend(verdicts.into_iter().map(|verdict| self.step_of(verdict)));
        steps
    }

    /// The steps of what was still on hold at the listing's end.
    pub fn end(&mut self) -> Vec<Step> {
        let mut verdicts = Vec::new();
        self.collisions.end(&mut verdicts);
        verdicts.into_iter().map(|verdict| self.step_of(verdict)).collect()
    }

    fn step_of(&self, verdict: Verdict<(ObjectMeta, RelativePath)>) -> Step {
        match verdict {
            Verdict::Collides((object, _)) => skip(&object, COLLIDES),
            Verdict::File((object, path)) => step_of_file(&self.root, &self.manifest, object, path),
        }
    }
}

/// Whether the object is to be fetched to `path`.
pub(crate) fn step_of_file(root: &Root, manifest: &Manifest, object: ObjectMeta, path: RelativePath) -> Step {
    match root.state_of(&path).filter(|local| is_unchanged(manifest, &object, *local)) {
        Some(local) => Step::Unchanged(object, local),
        None => Step::Fetch(object, path),
    }
}

fn is_unchanged(manifest: &Manifest, object: &ObjectMeta, local: LocalState) -> bool {
    if local.size != object.size {
        return false;
    }
    match manifest.entry(object.key.as_str()) {
        Some(Entry { version, local: noted }) => version == object.version && noted == local,
        None => FileAttributes::of_object(object, 0).mtime_ns() == local.mtime_ns,
    }
}

/// A name that no key can be.
pub(crate) fn too_long(name: String) -> Step {
    Step::Skip { key: name, why: format!("its name has more than {KEY_LEN_BYTES_MAX} bytes") }
}

fn skip(object: &ObjectMeta, why: &str) -> Step {
    Step::Skip { key: object.key.as_str().to_owned(), why: why.to_owned() }
}
