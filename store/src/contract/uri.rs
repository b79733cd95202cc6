//! `s3://bucket/prefix`.
//!
//! Owns: [`BucketUri`] and the rules for bucket names of the S3 family, which are checked before anything runs.
//! Source: Amazon S3 User Guide, "General purpose bucket naming rules".

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A kind of store, by the scheme of its URIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
}

/// A bucket, and the prefix within it that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketUri {
    /// The kind of store.
    pub kind: StoreKind,
    /// What stands before the bucket: the region of `cos://`, the account of `az://`; `None` elsewhere.
    pub scope: Option<String>,
    /// The bucket's name.
    pub bucket: String,
    /// What follows the bucket and its slash, as it is: empty for the whole bucket.
    pub prefix: String,
}

/// Why a string is no [`BucketUri`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUri {
    /// Another scheme, or none.
    #[error("it does not begin with s3://")]
    Scheme(String),
    /// The name breaks a rule, which is given.
    #[error("{name:?} cannot be a bucket's name: {rule}")]
    Name {
        /// The name.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl FromStr for BucketUri {
    type Err = InvalidUri;

    fn from_str(uri: &str) -> Result<Self, InvalidUri> {
        let rest = uri.strip_prefix("s3://").ok_or_else(|| InvalidUri::Scheme(uri.to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        match broken_rule(bucket) {
            Some(rule) => Err(InvalidUri::Name { name: bucket.to_owned(), rule }),
            None => Ok(Self {
                kind: StoreKind::S3,
                scope: None,
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            }),
        }
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

fn broken_rule(name: &str) -> Option<&'static str> {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    if !bytes.iter().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'-')) {
        return Some("it may have only lower-case letters, digits, dots and hyphens");
    }
    if !(3..=63).contains(&bytes.len()) {
        return Some("it must have 3 to 63 characters");
    }
    if !bytes.first().is_some_and(is_plain) || !bytes.last().is_some_and(is_plain) {
        return Some("it must begin and end with a letter or a digit");
    }
    if name.contains("..") {
        return Some("it may not have two dots in a row");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some("it may not look like an IP address");
    }
    if name.starts_with("xn--") {
        return Some("it may not begin with xn--");
    }
    if name.ends_with("-s3alias") || name.ends_with("--ol-s3") {
        return Some("it may not end in -s3alias or --ol-s3");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_kept_as_they_are() {
        for (uri, bucket, prefix) in [
            ("s3://data", "data", ""),
            ("s3://data/", "data", ""),
            ("s3://data/a//b/", "data", "a//b/"),
            ("s3://data//x", "data", "/x"),
        ] {
            let parsed: BucketUri = uri.parse().unwrap();
            assert_eq!((parsed.bucket.as_str(), parsed.prefix.as_str()), (bucket, prefix), "{uri}");
        }
    }

    #[test]
    fn names_that_no_bucket_can_have_are_refused() {
        for uri in [
            "gs://data",
            "data",
            "s3://",
            "s3://ab",
            "s3://Data",
            "s3://-ab",
            "s3://ab-",
            "s3://a..b",
            "s3://10.0.0.1",
            "s3://xn--a",
            "s3://a-s3alias",
            "s3://a--ol-s3",
            "s3://a_b",
        ] {
            assert!(uri.parse::<BucketUri>().is_err(), "{uri}");
        }
        assert!(format!("s3://{}", "a".repeat(64)).parse::<BucketUri>().is_err());
    }
}
