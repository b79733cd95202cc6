//! What is to be done with each listed key.
//!
//! Owns: [`Planner`], which takes the pages of a listing in their order and says of every key what it comes to: a [`Step`]. Looks at local files, so it may
//! wait for the disk.
//!
//! Whether a file is as it was, `comparison` decides.

use crate::change::Reason;
use crate::collisions::{Collisions, Verdict};
use crate::comparison::{Judgement, judge};
use crate::directory::{LocalState, Occupant, Root};
use crate::file_name::{Named, RelativePath, named};
use crate::keep_set::KeepSet;
use crate::manifest::{Entry, Manifest};
use crate::obstacles::Obstacle;
use crate::target_probe::FoldedNames;
use crate::{Comparison, Filters, Options};
use pail_store::{KEY_LEN_BYTES_MAX, ObjectMeta, RawKey};
use std::sync::Arc;

/// Why a key is skipped that other keys are below.
pub(crate) const COLLIDES: &str = "it would be a file where other keys need a directory";
const FOLDED: &str = "its name differs in case alone from another's, and this file system takes both for one";
const MARKER_WITH_CONTENT: &str = "its name ends in /, as a directory's does, and it has content";

/// What a key comes to.
#[derive(Debug)]
pub(crate) enum Step {
    Fetch(ObjectMeta, RelativePath, Reason),
    /// Whether it is to be fetched takes a closer look.
    Compare(ObjectMeta, RelativePath, LocalState),
    /// It is to be fetched, and something else has its place.
    Blocked(ObjectMeta, RelativePath, Obstacle),
    MakeDirectory(RawKey, RelativePath),
    Unchanged(ObjectMeta, Entry),
    Skip {
        key: String,
        why: String,
    },
}

/// Goes through a listing.
pub(crate) struct Planner {
    prefix: String,
    root: Arc<Root>,
    manifest: Arc<Manifest>,
    filters: Filters,
    comparison: Comparison,
    /// The names that were seen, where the others are to be deleted.
    kept: Option<KeepSet>,
    collisions: Collisions<(ObjectMeta, RelativePath)>,
    /// A file was listed that is taken.
    has_any: bool,
    /// Where the target folds case.
    folded: Option<FoldedNames>,
}

impl Planner {
    pub fn new(prefix: String, root: Arc<Root>, manifest: Arc<Manifest>, options: &Options) -> Self {
        Self {
            prefix,
            root,
            manifest,
            filters: options.filters.clone(),
            comparison: options.comparison,
            kept: options.delete.then(KeepSet::default),
            collisions: Collisions::default(),
            has_any: false,
            folded: None,
        }
    }

    /// Whether a file was listed that is taken.
    pub fn has_any(&self) -> bool {
        self.has_any
    }

    /// The target takes names that differ in case alone for one.
    pub fn fold_case(&mut self) {
        self.folded = Some(FoldedNames::default());
        self.kept.iter_mut().for_each(KeepSet::fold_case);
    }

    /// What must stay in the target, if the rest is to go.
    pub fn into_kept(self) -> Option<KeepSet> {
        self.kept
    }

    /// The next page's steps; a key may have to wait for the next page.
    pub fn take(&mut self, objects: Vec<ObjectMeta>) -> Vec<Step> {
        let mut steps = Vec::with_capacity(objects.len());
        let mut verdicts = Vec::new();
        for object in objects {
            let key = object.key.clone();
            // A store that lists what is not below the prefix is not believed.
            let Some(rest) = key.as_str().strip_prefix(self.prefix.as_str()) else { continue };
            self.keep(rest);
            if !self.filters.take(rest.as_bytes()) {
                continue;
            }
            match named(rest) {
                Ok(Named::Root) if object.size == 0 => {}
                Ok(Named::Directory(path)) if object.size == 0 => {
                    self.collisions.pass(rest, &mut verdicts);
                    steps.push(Step::MakeDirectory(object.key, path));
                }
                Ok(Named::Root | Named::Directory(_)) => steps.push(skip(&object, MARKER_WITH_CONTENT)),
                Ok(Named::File(path)) => {
                    self.has_any = true;
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

    /// A name that no key can be.
    pub fn take_too_long(&mut self, name: String) -> Option<Step> {
        let rest = name.strip_prefix(self.prefix.as_str()).unwrap_or(&name);
        self.keep(rest);
        let is_taken = self.filters.take(rest.as_bytes());
        let why = format!("its name has more than {KEY_LEN_BYTES_MAX} bytes");
        is_taken.then_some(Step::Skip { key: name, why })
    }

    fn keep(&mut self, rest: &str) {
        let Some(kept) = &mut self.kept else { return };
        match named(rest) {
            Ok(Named::Root) => {}
            Ok(Named::File(_)) => kept.keep(rest),
            // With its slash, for a file of that name is none of the source's.
            Ok(Named::Directory(_)) => kept.keep(rest),
            Err(_) => kept.keep_odd(rest),
        }
    }

    /// The steps of what was still on hold at the listing's end.
    pub fn end(&mut self) -> Vec<Step> {
        let mut verdicts = Vec::new();
        self.collisions.end(&mut verdicts);
        verdicts.into_iter().map(|verdict| self.step_of(verdict)).collect()
    }

    fn step_of(&mut self, verdict: Verdict<(ObjectMeta, RelativePath)>) -> Step {
        match verdict {
            Verdict::Collides((object, _)) => skip(&object, COLLIDES),
            Verdict::File((object, _)) if !self.takes(&object) => skip(&object, FOLDED),
            Verdict::File((object, path)) => {
                step_of_file(&self.root, &self.manifest, self.comparison, object, path)
            }
        }
    }

    fn takes(&mut self, object: &ObjectMeta) -> bool {
        let rest = object.key.as_str().strip_prefix(self.prefix.as_str()).unwrap_or_default();
        self.folded.as_mut().is_none_or(|folded| folded.take(rest))
    }
}

/// Whether the object is to be fetched to `path`.
pub(crate) fn step_of_file(
    root: &Root,
    manifest: &Manifest,
    comparison: Comparison,
    object: ObjectMeta,
    path: RelativePath,
) -> Step {
    let local = match root.look(&path) {
        Occupant::File(local) => local,
        Occupant::Nothing => return Step::Fetch(object, path, Reason::New),
        Occupant::Obstacle(obstacle) => return Step::Blocked(object, path, obstacle),
    };
    let entry = manifest.entry(object.key.as_str(), comparison);
    match judge(comparison, entry.as_ref(), &object, local) {
        Judgement::Same { is_by_time } => {
            let version = object.version.clone();
            Step::Unchanged(object, Entry { version, local, is_by_time })
        }
        Judgement::Differs(reason) => Step::Fetch(object, path, reason),
        Judgement::Undecided => Step::Compare(object, path, local),
    }
}

fn skip(object: &ObjectMeta, why: &str) -> Step {
    Step::Skip { key: object.key.as_str().to_owned(), why: why.to_owned() }
}
