//! The URIs of buckets: `s3://bucket/prefix`, and its like for every store.
//!
//! Owns: [`StoreKind`], [`BucketUri`], and [`InvalidUri`], which says what is wrong with one and what to write in its place. What a bucket may
//! be called is `bucket_name`'s; what other tools write in place of such a URI is `foreign_uri`'s.
//!
//! Invariants:
//! - What was parsed and is written again is parsed to the same.
//! - Nothing that may be a credential (a query with a signature, a user in front of a host) gets into an [`InvalidUri`].

use super::bucket_name::{self, Rule};
use super::foreign_uri::{self, Foreign};
use std::fmt;
use std::str::FromStr;

/// How much of a wrong part of a URI an error repeats, in characters.
const TEXT_SHOWN_CHARS_MAX: usize = 100;

/// The regions of IBM's store that a bucket can be in, by its document "Endpoints and storage locations" ("Regional").
pub const IBM_REGIONS: &[&str] =
    &["us-south", "us-east", "eu-de", "eu-gb", "eu-es", "ca-tor", "au-syd", "br-sao", "jp-osa", "jp-tok"];

/// IBM's cross-region locations and their tethered endpoints: an object's place is not one region.
const IBM_CROSS_REGIONS: &[&str] = &["us", "eu", "ap", "us-geo", "eu-geo", "ap-geo"];

/// IBM's single data centres.
const IBM_SINGLE_SITES: &[&str] =
    &["ams03", "che01", "mil01", "mon01", "par01", "sjc04", "sng01", "sao01", "osl01", "hkg02", "mex01"];

/// A kind of store, by the scheme of its URIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// `s3://`: Amazon S3, or what speaks like it at an endpoint of its own.
    S3,
    /// `gs://`: Google Cloud Storage.
    Gcs,
    /// `r2://`: Cloudflare R2.
    R2,
    /// `cos://`: IBM Cloud Object Storage.
    Ibm,
    /// `az://`: Azure Blob Storage.
    Azure,
}

impl StoreKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::S3, Self::Gcs, Self::R2, Self::Ibm, Self::Azure];

    /// The scheme of its URIs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::R2 => "r2",
            Self::Ibm => "cos",
            Self::Azure => "az",
        }
    }

    /// The kind whose URIs have that scheme.
    pub fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.scheme() == scheme)
    }

    /// How a task's `store:` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::R2 => "r2",
            Self::Ibm => "ibm",
            Self::Azure => "azure",
        }
    }

    /// The kind that a task's `store:` means, in any case.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word))
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Gcs => "Google Cloud Storage",
            Self::R2 => "Cloudflare R2",
            Self::Ibm => "IBM Cloud Object Storage",
            Self::Azure => "Azure Blob Storage",
        }
    }

    /// What holds its objects: a bucket, or as Azure calls it a container.
    pub fn noun(self) -> &'static str {
        if self == Self::Azure { "container" } else { "bucket" }
    }

    /// What its URIs look like, without the prefix.
    pub fn form(self) -> &'static str {
        match self {
            Self::S3 => "s3://BUCKET",
            Self::Gcs => "gs://BUCKET",
            Self::R2 => "r2://BUCKET",
            Self::Ibm => "cos://REGION/BUCKET",
            Self::Azure => "az://ACCOUNT/CONTAINER",
        }
    }
}

/// A bucket, and the prefix within it that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketUri {
    /// The kind of store.
    pub kind: StoreKind,
    /// What stands before the bucket: the region of `cos://`, the account of `az://`; `None` elsewhere.
    pub scope: Option<String>,
    /// The bucket's name; of S3 also an access point's alias or ARN, of Azure the container's.
    pub bucket: String,
    /// What follows the bucket and its slash, as it is: empty for the whole bucket.
    pub prefix: String,
}

/// A part of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriPart {
    /// What stands before `://`, or the whole where that is of another tool.
    Scheme,
    /// The whole, which is a web address of no store that is known.
    WebAddress,
    /// The whole, which is a file of this machine.
    File,
    /// IBM's region.
    Region,
    /// Azure's storage account.
    Account,
    /// The bucket's name.
    Bucket,
    /// What follows the bucket.
    Prefix,
}

/// Why a string is no [`BucketUri`]. Displays as a sentence that repeats the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidUri {
    /// The store, where one is meant.
    pub kind: Option<StoreKind>,
    /// The part that is wrong.
    pub part: UriPart,
    /// That part as it is written, shortened; empty where it is missing.
    pub text: String,
    /// The rule that it breaks, without any of it.
    pub rule: &'static str,
    /// What is right and near it: a name of a bucket or account, a region, a whole URI.
    pub near: Option<String>,
}

impl InvalidUri {
    /// The same with `shown` in the place of what was written, which may be a secret's.
    pub fn shown_as(&self, shown: &str) -> String {
        match self.text.as_str() {
            "" => self.to_string(),
            _ => Self { text: shown.to_owned(), ..self.clone() }.to_string(),
        }
    }

    /// What to write in its place. It may repeat what was written.
    pub fn hint(&self) -> String {
        match (self.part, &self.near) {
            (UriPart::Scheme, Some(near)) => format!("write {near}"),
            (UriPart::Region, Some(near)) => format!("did you mean {near:?}? It is cos://REGION/BUCKET"),
            (_, Some(near)) => format!("such as {near:?}"),
            (_, None) => self.form_hint(),
        }
    }

    /// What a right one looks like, without what was written.
    pub fn form_hint(&self) -> String {
        match (self.part, self.kind) {
            (UriPart::Region, _) => {
                format!("write cos://REGION/BUCKET, with one of {}", IBM_REGIONS.join(", "))
            }
            (UriPart::Prefix, Some(StoreKind::Azure)) => {
                "give the token as AZURE_STORAGE_SAS_TOKEN".to_owned()
            }
            (UriPart::Prefix, _) => "give credentials by the environment, or by a profile".to_owned(),
            (UriPart::File, _) => "leave out file://".to_owned(),
            (UriPart::WebAddress, _) => {
                "write the bucket as s3://BUCKET, and the server, where it speaks as S3 does, as the endpoint (--endpoint-url, or `endpoint:` in a task)".to_owned()
            }
            (_, Some(kind)) => format!("write {form} or {form}/PREFIX", form = kind.form()),
            (_, None) => FORMS_HINT.to_owned(),
        }
    }

    fn what(&self) -> Option<&'static str> {
        match self.part {
            UriPart::Scheme | UriPart::WebAddress | UriPart::File | UriPart::Prefix => None,
            UriPart::Region => Some("region"),
            UriPart::Account => Some("storage account's name"),
            UriPart::Bucket if self.kind == Some(StoreKind::Azure) => Some("container's name"),
            UriPart::Bucket => Some("bucket's name"),
        }
    }
}

/// What may be written, where nothing tells which store is meant.
const FORMS_HINT: &str = "write s3://BUCKET, gs://BUCKET, r2://BUCKET, cos://REGION/BUCKET or az://ACCOUNT/CONTAINER, and after it /PREFIX where not the whole is meant";

impl fmt::Display for InvalidUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.what(), self.text.as_str()) {
            (None, _) => f.write_str(self.rule),
            (Some(what), "") => {
                let article = if self.part == UriPart::Region { "the" } else { "a" };
                write!(f, "{article} {what} is missing")
            }
            (Some(what), text) => write!(f, "{text:?} cannot be a {what}: {}", self.rule),
        }
    }
}

impl std::error::Error for InvalidUri {}

impl FromStr for BucketUri {
    type Err = InvalidUri;

    fn from_str(uri: &str) -> Result<Self, InvalidUri> {
        let written = uri.split_once("://");
        let Some((kind, rest)) =
            written.and_then(|(scheme, rest)| Some((StoreKind::of_scheme(scheme)?, rest)))
        else {
            return Err(not_ours(uri));
        };
        // A secret may have slashes in it: nothing of such a text is shown.
        if !rest.starts_with("arn:") && split(rest).0.contains(':') && rest.contains('@') {
            return Err(InvalidUri {
                kind: Some(kind),
                part: UriPart::Prefix,
                text: String::new(),
                rule: "a user or a password does not belong into the URI, which is shown and kept",
                near: None,
            });
        }
        let (scope, rest) = match kind {
            StoreKind::S3 | StoreKind::Gcs | StoreKind::R2 => (None, rest),
            StoreKind::Ibm => {
                let (region, rest) = split(rest);
                check_region(region)?;
                (Some(region.to_owned()), rest)
            }
            StoreKind::Azure => {
                let (account, rest) = split(rest);
                check_account(account)?;
                (Some(account.to_owned()), rest)
            }
        };
        let (bucket, prefix) = match kind {
            StoreKind::S3 if rest.starts_with("arn:") => split_arn(rest),
            _ => split(rest),
        };
        check_bucket(kind, bucket)?;
        if kind == StoreKind::Azure && foreign_uri::has_signature(prefix) {
            return Err(InvalidUri {
                kind: Some(kind),
                part: UriPart::Prefix,
                text: String::new(),
                rule: "a SAS token does not belong into the URI, which is shown and kept",
                near: None,
            });
        }
        Ok(Self { kind, scope, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl BucketUri {
    /// The bucket's URI without the prefix.
    pub fn bucket_uri(&self) -> String {
        let scope = self.scope.as_ref().map(|scope| format!("{scope}/")).unwrap_or_default();
        format!("{}://{scope}{}", self.kind.scheme(), self.bucket)
    }
}

impl fmt::Display for BucketUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket_uri())?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

/// Checks the name of a bucket of `kind` on its own, as for one that is to be made. Errors: the rule that it breaks, and a name near it.
pub fn check_bucket_name(kind: StoreKind, name: &str) -> Result<(), InvalidUri> {
    let broken = match bucket_name::broken_rule(kind, name) {
        None if name.starts_with("arn:") || bucket_name::is_alias(name) => {
            Some("an access point has it, which no bucket can")
        }
        broken => broken,
    };
    let Some(rule) = broken else { return Ok(()) };
    let mut invalid = invalid_bucket(kind, name, rule);
    invalid.near = invalid.near.filter(|near| check_bucket_name(kind, near).is_ok());
    Err(invalid)
}

/// Checks the name of a storage account of Azure's. Errors: the rule that it breaks, and a name near it.
pub fn check_account(account: &str) -> Result<(), InvalidUri> {
    let Some(rule) = bucket_name::broken_rule_of_account(account) else { return Ok(()) };
    Err(InvalidUri {
        kind: Some(StoreKind::Azure),
        part: UriPart::Account,
        text: shown(account),
        rule,
        near: bucket_name::near_account(open(account)),
    })
}

/// Checks a region of IBM's. Errors: why it is none that a bucket can be in, and one near it.
pub fn check_region(region: &str) -> Result<(), InvalidUri> {
    if IBM_REGIONS.contains(&region) {
        return Ok(());
    }
    let lower = region.to_ascii_lowercase();
    let rule = match lower.as_str() {
        cross if IBM_CROSS_REGIONS.contains(&cross) => {
            "it is a cross-region location, and only buckets of one region are supported"
        }
        site if IBM_SINGLE_SITES.contains(&site) => "it is a single data centre, which is not supported",
        _ => "IBM has no such region",
    };
    let near = || {
        let likeness = |known: &str| strsim::jaro_winkler(&lower, known);
        let scored = IBM_REGIONS.iter().map(|known| (likeness(known), *known));
        scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness >= 0.8)
    };
    let near = (region.len() <= 64 && rule == "IBM has no such region").then(near).flatten();
    Err(InvalidUri {
        kind: Some(StoreKind::Ibm),
        part: UriPart::Region,
        text: shown(region),
        rule,
        near: near.map(|(_, near)| near.to_owned()),
    })
}

fn check_bucket(kind: StoreKind, bucket: &str) -> Result<(), InvalidUri> {
    bucket_name::broken_rule(kind, bucket).map_or(Ok(()), |rule| Err(invalid_bucket(kind, bucket, rule)))
}

fn invalid_bucket(kind: StoreKind, bucket: &str, rule: Rule) -> InvalidUri {
    InvalidUri {
        kind: Some(kind),
        part: UriPart::Bucket,
        text: shown(bucket),
        rule,
        near: bucket_name::near(kind, open(bucket)),
    }
}

/// What is wrong with a string that begins with none of the schemes.
fn not_ours(uri: &str) -> InvalidUri {
    let (part, rule, kind, near) = match foreign_uri::read(uri) {
        Foreign::Bucket { rule, uri } => (UriPart::Scheme, rule, Some(uri.kind), Some(uri.to_string())),
        Foreign::Kind { rule, kind } => (UriPart::Scheme, rule, Some(kind), None),
        Foreign::Unknown { rule, part } => (part, rule, None, None),
    };
    InvalidUri { kind, part, text: String::new(), rule, near }
}

fn split(rest: &str) -> (&str, &str) {
    rest.split_once('/').unwrap_or((rest, ""))
}

/// An ARN of an access point has a slash of its own, before the name.
fn split_arn(rest: &str) -> (&str, &str) {
    let Some((resource, after)) = rest.split_once('/') else { return (rest, "") };
    if !resource.ends_with(":accesspoint") {
        return (resource, after);
    }
    let (name, prefix) = split(after);
    (&rest[..resource.len() + 1 + name.len()], prefix)
}

/// What of a part is no credential for sure: a query may hold a signature, and a user a password.
fn open(text: &str) -> &str {
    let before = text.split('?').next().unwrap_or_default();
    before.rsplit('@').next().unwrap_or_default()
}

/// A part as an error may show it.
fn shown(text: &str) -> String {
    let open = open(text);
    let mut chars = open.chars();
    let mut shown = String::new();
    if text.contains('@') {
        shown.push('…');
    }
    shown.extend(chars.by_ref().take(TEXT_SHOWN_CHARS_MAX));
    if chars.next().is_some() || text.contains('?') {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
