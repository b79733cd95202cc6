//! How much there is.
//!
//! Owns: [`measure`], objects and bytes below a prefix, by a listing, and [`measure_local`], the same of what an upload would send of a directory.

use crate::listing::{Found, Pages, look};
use crate::local_walk::walk;
use crate::work::Work;
use crate::{Error, Options, Source, UploadSource};
use pail_store::Store;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// So many directories are told apart; what is in more of them is counted in those above.
const DIRECTORIES_MAX: usize = 1_000_000;

/// How many, and how large together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Objects, or files.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Everything.
    pub total: Usage,
    /// The same for directories, as deep as was asked for: by what follows the prefix, which ends in `/`.
    pub below: BTreeMap<String, Usage>,
    /// Objects whose names are longer than any key that can be asked for. They are in no other number.
    pub names_too_long: u64,
    /// What a local walk could not read, or found that cannot be an object.
    pub not_counted: u64,
}

impl Measured {
    /// Counts one of this name, in its directories down to `depth`.
    fn add(&mut self, name: &str, bytes: u64, depth: usize) {
        self.total.add(bytes);
        for (slash, _) in name.match_indices('/').take(depth) {
            let directory = &name[..=slash];
            if let Some(usage) = self.below.get_mut(directory) {
                usage.add(bytes);
            } else if self.below.len() < DIRECTORIES_MAX {
                self.below.insert(directory.to_owned(), Usage { objects: 1, bytes });
            }
        }
    }
}

impl Usage {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// Measures what `source` is, and each directory in it that is at most `depth` deep. An empty bucket is nothing. Errors: nothing is there;
/// the store's.
pub async fn measure(store: Arc<dyn Store>, source: &Source, depth: usize) -> Result<Measured, Error> {
    let mut measured = Measured::default();
    let (prefix, first) = match look(&store, source).await {
        Ok(Found::Prefix { prefix, first, .. }) => (prefix, first),
        Ok(Found::Object(object)) => {
            measured.total.add(object.size);
            return Ok(measured);
        }
        Err(Error::NothingThere { .. }) if *source == Source::Prefix(String::new()) => return Ok(measured),
        Err(error) => return Err(error),
    };
    let doing = format!("list {}/{prefix}", store.uri());
    let mut pages = Pages::after(store, prefix.clone(), first);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Error::Store { doing: doing.clone(), source: Box::new(error) })?;
        for object in page.objects {
            if let Some(rest) = object.key.as_str().strip_prefix(prefix.as_str()) {
                measured.add(rest, object.size, depth);
            }
        }
        measured.names_too_long += page.names_too_long.len() as u64;
    }
    Ok(measured)
}

/// Measures the files that an upload of `path` would send. Errors: it cannot be read.
pub async fn measure_local(path: &Path, depth: usize) -> Result<Measured, Error> {
    let sources = UploadSource::content_of(path, "")?;
    let walking = move || walk(&sources, &Options::default(), None);
    let walked =
        Work::default().blocking(walking).await.map_err(crate::copy_error::CopyError::into_error)??;
    let mut measured =
        Measured { not_counted: walked.skipped.count + walked.failed.count, ..Measured::default() };
    walked.files.iter().for_each(|file| measured.add(file.key.as_str(), file.size, depth));
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_hold_what_is_below_them_down_to_the_depth() {
        let mut measured = Measured::default();
        for (name, bytes) in [("a/b/c", 1), ("a/d", 2), ("e", 4), ("a//x", 8), ("f/", 0)] {
            measured.add(name, bytes, 2);
        }
        let of = |name: &str| measured.below.get(name).map(|usage| (usage.objects, usage.bytes));
        assert_eq!((measured.total.objects, measured.total.bytes), (5, 15));
        assert_eq!(
            (of("a/"), of("a/b/"), of("a//"), of("f/")),
            (Some((3, 11)), Some((1, 1)), Some((1, 8)), Some((1, 0)))
        );
        assert_eq!(measured.below.len(), 4);
    }
}
