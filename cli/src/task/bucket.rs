//! A bucket of a task, and the URIs that name one.
//!
//! Owns: [`Bucket`], and [`check_uri`], which knows the stores' URIs: `s3://bucket[/key]`, `gs://`, `r2://`, `cos://region/bucket[/key]`.
//! A URI's own mistakes are told before its store is called unsupported, so that a file can be mended for any store.

use super::bucket_name;
use super::mistakes::Mistake;
use super::names::nearest;
use super::reader::Word;
use super::substitute::variables_in;
use pail_control::opening;
use std::ffi::OsString;
use std::path::PathBuf;

/// The regions of IBM's store.
const IBM_REGIONS: &[&str] =
    &["us-south", "us-east", "eu-de", "eu-gb", "eu-es", "ca-tor", "au-syd", "br-sao", "jp-osa", "jp-tok"];

/// The stores' schemes.
const SCHEMES: &[(&str, &str)] = &[("s3", "s3"), ("gs", "gcs"), ("r2", "r2"), ("cos", "ibm")];

/// A bucket, or the part of one below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// `s3://bucket[/prefix]`, without a slash at its end.
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

/// Checks a bucket's URI; the store that it names. Errors: what is wrong with it; a store that is not supported yet.
pub fn check_uri(word: &Word) -> Result<(), Mistake> {
    let (scheme, rest) = word.value.split_once("://").unwrap_or(("", &word.value));
    let Some(store) = store_of(scheme) else { return Err(unknown_scheme(word, scheme)) };
    let named = match store {
        "ibm" => in_region(word, rest)?,
        _ => rest,
    };
    let name = named.split('/').next().unwrap_or_default();
    bucket_name::check(store, name, word)?;
    supported(store, word)
}

/// Checks a bucket's name on its own. Errors: the rule that it breaks; a store that is not supported yet.
pub fn check_name(store: &str, word: &Word) -> Result<(), Mistake> {
    if is_uri(&word.value) || word.value.contains('/') {
        return Err(Mistake::new(word.place, "`name` is a bucket's name without scheme or path")
            .with_hint("give a URI as `source`"));
    }
    bucket_name::check(store, &word.value, word)
}

/// The store that a URI's scheme stands for.
pub fn store_of(scheme: &str) -> Option<&'static str> {
    SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, store)| *store)
}

fn unknown_scheme(word: &Word, scheme: &str) -> Mistake {
    let lower = scheme.to_ascii_lowercase();
    if store_of(&lower).is_some() {
        return Mistake::new(word.place, format!("{scheme}:// is written in lower case"))
            .with_hint(format!("write {lower}://"));
    }
    if lower == "file" {
        return Mistake::new(word.place, "a file of this machine is named by its path alone")
            .with_hint("leave out file://");
    }
    Mistake::new(word.place, format!("{:?} is of a store that is not supported yet", word.shown))
        .with_hint(opening::scheme_hint(&word.shown))
}

/// What follows the region.
fn in_region<'w>(word: &Word, rest: &'w str) -> Result<&'w str, Mistake> {
    let (region, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if IBM_REGIONS.contains(&region) {
        return Ok(rest);
    }
    let hint = match nearest(region, IBM_REGIONS).filter(|_| word.shown == word.value) {
        Some(near) => format!("did you mean {near:?}? It is cos://REGION/BUCKET"),
        None => format!("write cos://REGION/BUCKET, with one of {}", IBM_REGIONS.join(", ")),
    };
    let what = format!("{:?} does not begin with a region of IBM's", word.shown);
    Err(Mistake::new(word.place, what).with_hint(unknown_variable_hint(word).unwrap_or(hint)))
}

fn supported(store: &str, word: &Word) -> Result<(), Mistake> {
    if store == "s3" {
        return Ok(());
    }
    Err(Mistake::new(word.place, format!("{:?} is of a store that is not supported yet", word.shown))
        .with_hint(opening::scheme_hint(&word.shown)))
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
