//! A bucket of a task, and the URIs that name one.
//!
//! Owns: [`Bucket`], and [`check_uri`] and [`check_name`], which tell what is wrong with one at its place in the document.

use super::mistakes::Mistake;
use super::reader::Word;
use super::substitute::variables_in;
use pail_control::opening;
use pail_store::{BucketUri, InvalidUri, StoreKind, UriPart};
use std::ffi::OsString;
use std::path::PathBuf;

/// A bucket, or the part of one below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its URI, such as `s3://bucket/prefix`, without a slash at its end.
    pub uri: String,
    /// Create it where it is missing.
    pub create: bool,
    /// The S3 endpoint, where the task names one.
    pub endpoint_url: Option<String>,
    /// What it gets first.
    pub upload: Vec<Upload>,
}

/// Something of this machine that is uploaded to a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// A file or a directory: absolute, and there.
    pub source: PathBuf,
    /// What it is named at the bucket's root; `None` for a directory whose content goes to the root itself.
    pub name: Option<OsString>,
}

/// Whether a text is meant as a URI, not as a path.
pub fn is_uri(text: &str) -> bool {
    text.contains("://")
}

/// Checks a bucket's URI; what it names. Errors: what is wrong with it.
pub fn check_uri(word: &Word) -> Result<BucketUri, Mistake> {
    word.value.parse::<BucketUri>().map_err(|err| mistake_of(&err, word))
}

/// Checks a bucket's name on its own. Errors: the rule that it breaks.
pub fn check_name(kind: StoreKind, word: &Word) -> Result<(), Mistake> {
    let is_path = word.value.contains('/') && !word.value.starts_with("arn:");
    if is_uri(&word.value) || is_path {
        return Err(Mistake::new(word.place, "`name` is a bucket's name without scheme or path")
            .with_hint("give a URI as `source`"));
    }
    pail_store::check_bucket_name(kind, &word.value).map_err(|err| mistake_of(&err, word))
}

/// What is wrong with a URI, or with a name, that is `word`.
pub fn mistake_of(err: &InvalidUri, word: &Word) -> Mistake {
    // A part of a secret is one, too.
    let is_open = word.shown == word.value;
    let (what, hint) = match (is_open, err.part) {
        (true, UriPart::Scheme) => {
            (format!("{:?} is not a bucket: {err}", word.shown), opening::uri_hint(err))
        }
        (true, _) => (err.to_string(), err.hint()),
        (false, _) => (format!("{:?} is not a bucket: {}", word.shown, err.without_text()), err.form_hint()),
    };
    Mistake::new(word.place, what).with_hint(unknown_variable_hint(word).unwrap_or(hint))
}

/// What to do where a variable is left in a text that it spoils.
pub fn unknown_variable_hint(word: &Word) -> Option<String> {
    // Those of secrets are left in what is shown alone.
    variables_in(&word.value).first().map(|name| {
        format!(
            "{name} is neither in `envs` nor in `secrets`: write it there, or give it by --env {name}=VALUE"
        )
    })
}
