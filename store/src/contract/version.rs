//! Which version of an object is meant.
//!
//! Owns: [`Version`], in the words of each kind of store, and the one text that caches and manifests keep it as.

use super::Part;
use md5::{Digest, Md5};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What begins the text of a generation, and of an ETag that could be taken for one.
const GENERATION: &str = "generation=";
const ETAG: &str = "etag=";

/// One version of an object. Equal versions that are known have equal bytes.
///
/// Two that are unknown may be two versions: what compares them says so ([`Version::is`]).
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// The ETag of the S3 family and of Azure, without its quotes; never empty.
    Etag(Arc<str>),
    /// The generation of Google Cloud Storage.
    Generation(u64),
    /// The store did not say which (some servers leave the ETag out of listings). To a read it pins nothing, and a write on condition of it
    /// fails; a HEAD tells the object's version.
    #[default]
    Unknown,
}

impl Version {
    /// Takes an ETag with or without quotes; an empty one says nothing.
    pub fn from_etag(etag: &str) -> Self {
        match etag.trim().trim_matches('"') {
            "" => Self::Unknown,
            etag => Self::Etag(etag.into()),
        }
    }

    /// What Amazon S3 and most others make an object of these parts: the MD5 of the parts' MD5s, and their count. `None` where the parts'
    /// ETags are no MD5s. Others make it otherwise, so that only what is equal tells something.
    pub fn of_parts(parts: &[Part]) -> Option<Self> {
        let mut hasher = Md5::new();
        for part in parts {
            let digest = hex::decode(&part.etag).ok().filter(|digest| digest.len() == 16)?;
            hasher.update(digest);
        }
        Some(Self::from_etag(&format!("{}-{}", hex::encode(hasher.finalize()), parts.len())))
    }

    /// Whether the store did not say which version it is.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// Whether both are known to be the same version.
    pub fn is(&self, other: &Self) -> bool {
        !self.is_unknown() && self == other
    }

    /// The ETag without quotes, where it is one.
    pub fn etag(&self) -> Option<&str> {
        match self {
            Self::Etag(etag) => Some(etag),
            Self::Generation(_) | Self::Unknown => None,
        }
    }

    /// The version as caches and manifests keep it: an ETag as it is. [`Version::from_text`] reads it; empty is unknown.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Etag(etag) if etag.starts_with(GENERATION) || etag.starts_with(ETAG) => {
                format!("{ETAG}{etag}").into()
            }
            Self::Etag(etag) => Cow::Borrowed(etag),
            Self::Generation(generation) => format!("{GENERATION}{generation}").into(),
            Self::Unknown => Cow::Borrowed(""),
        }
    }

    /// Reads what [`Version::to_text`] wrote.
    pub fn from_text(text: &str) -> Self {
        if let Some(generation) = text.strip_prefix(GENERATION).and_then(|number| number.parse().ok()) {
            return Self::Generation(generation);
        }
        match text.strip_prefix(ETAG).unwrap_or(text) {
            "" => Self::Unknown,
            etag => Self::Etag(etag.into()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etag(etag) => write!(f, "{}", etag.escape_debug()),
            Self::Generation(generation) => write!(f, "{generation}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_s_etag_is_that_of_its_parts() {
        let part = |etag: &str| Part { number: 1, etag: etag.into(), size: 1, checksum: None };
        let md5_of_a = "0cc175b9c0f1b6a831c399e269772661";
        let etag = Version::of_parts(&[part(md5_of_a), part(md5_of_a)]);
        assert_eq!(etag, Some(Version::from_etag("7b3c799ee8b11a11c798c8b41bed8502-2")));
        assert_eq!(Version::of_parts(&[part("opaque")]), None);
    }

    #[test]
    fn what_is_kept_as_text_comes_back() {
        let etag = |etag: &str| Version::Etag(etag.into());
        for version in [
            etag("0cc175b9c0f1b6a831c399e269772661-2"),
            etag("generation=7"),
            etag("etag=generation=7"),
            etag("é\n"),
            Version::Generation(0),
            Version::Generation(u64::MAX),
            Version::Unknown,
        ] {
            assert_eq!(Version::from_text(&version.to_text()), version);
        }
        assert_eq!(etag("abc").to_text(), "abc", "what was kept before generations were known");
    }

    #[test]
    fn unknown_versions_are_not_the_same() {
        assert!(!Version::Unknown.is(&Version::Unknown));
        assert!(Version::Generation(1).is(&Version::Generation(1)));
        assert!(Version::from_etag("\"\"").is_unknown());
    }
}
