//! A bucket of a task, and the URIs that name one.
//!
//! Owns: [`Bucket`], and [`check_uri`] and [`check_name`], which tell what is wrong with one at its place in the document.

use super::mistakes::Mistake;
use super::reader::Word;
use super::substitute::variables_in;
use pail_control::BucketSettings;
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
    /// The endpoint, where the task names one.
    pub endpoint_url: Option<String>,
    /// The region, where the task names one.
    pub region: Option<String>,
    /// How it is asked, and what new objects get.
    pub settings: BucketSettings,
    /// It stays when the task has ended.
    pub persistent: bool,
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

impl Bucket {
    /// The bucket that is there at a URI, reached and used by default.
    pub fn at(uri: &Word) -> Self {
        Self {
            uri: uri.value.trim_end_matches('/').to_owned(),
            create: false,
            endpoint_url: None,
            region: None,
            settings: BucketSettings::default(),
            persistent: true,
            upload: Vec::new(),
        }
    }
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
    pail_store::check_bucket_name(kind, &word.value).map_err(|err| {
        // A URI is not what is to be written here.
        let near = err.near.as_ref().filter(|_| word.shown == word.value).map(|_| err.hint());
        let hint = unknown_variable_hint(word).or(near);
        let mut mistake = mistake_of(&err, word);
        mistake.hint = hint;
        mistake
    })
}

/// What is wrong with a URI, or with a name, that is `word`.
pub fn mistake_of(err: &InvalidUri, word: &Word) -> Mistake {
    // A part of a secret is one, too.
    let is_open = word.shown == word.value;
    let of_whole = matches!(err.part, UriPart::Scheme | UriPart::WebAddress | UriPart::File);
    let what = match (of_whole, is_open) {
        (true, _) => format!("{:?} is not a bucket: {err}", word.shown),
        (false, true) => err.to_string(),
        (false, false) => err.shown_as(&word.shown),
    };
    let hint = match (is_open, err.part) {
        (true, _) => Some(err.hint()),
        (false, UriPart::Bucket | UriPart::Account) => None,
        (false, _) => Some(err.form_hint()),
    };
    Mistake::new(word.place, what).with_hint_if(unknown_variable_hint(word).or(hint))
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
