//! What is to be copied.
//!
//! Owns: [`Source`] of a download, and [`UploadSource`] with the rules by which local paths become keys.

use crate::Error;
use pail_store::RawKey;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What of a bucket is to be copied, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The object of exactly this key, to a file.
    Object(RawKey),
    /// Everything below this prefix, which is empty or ends in `/`, to a directory.
    Prefix(String),
    /// What a person means by `s3://bucket/NAME`: everything below `NAME/` to a directory, where something is there, else the object `NAME`
    /// to a file. Where both are there it is the directory, as in a mount, and the object is named as skipped.
    Either(String),
}

impl Source {
    /// What the part of a URI behind the bucket means.
    pub fn of_uri_path(path: &str) -> Self {
        match path.is_empty() || path.ends_with('/') {
            true => Self::Prefix(path.to_owned()),
            false => Self::Either(path.to_owned()),
        }
    }

    /// As it goes into the identity of a manifest.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Object(key) => format!("object {}", key.as_str()),
            Self::Prefix(prefix) => format!("prefix {prefix}"),
            // The same target has the same files, whichever way it was named.
            Self::Either(name) => format!("prefix {name}/"),
        }
    }
}

/// A local file or directory, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSource {
    /// Where it is. A symbolic link is followed.
    pub path: PathBuf,
    /// Of a file, its key. Of a directory, what the keys of its content begin with: empty, or ending in `/`.
    pub key: String,
}

impl UploadSource {
    /// One path whose content goes right below `prefix` (empty, or ending in `/`): a directory's without its name, a file under its own.
    /// Errors: it is not there, or has a name that no key can have.
    pub fn content_of(path: &Path, prefix: &str) -> Result<Vec<Self>, Error> {
        let key = match is_dir(path)? {
            true => prefix.to_owned(),
            false => format!("{prefix}{}", name_of(path)?),
        };
        Ok(vec![Self { path: path.to_owned(), key }])
    }

    /// Several paths below `prefix` (empty, or ending in `/`), each under its own name. Errors: two of the same name; as of
    /// [`content_of`](Self::content_of).
    pub fn each_of(paths: &[PathBuf], prefix: &str) -> Result<Vec<Self>, Error> {
        let mut names: HashMap<String, &Path> = HashMap::new();
        let mut sources = Vec::new();
        for path in paths {
            let name = name_of(path)?;
            let slash = if is_dir(path)? { "/" } else { "" };
            let key = format!("{prefix}{name}{slash}");
            if let Some(first) = names.insert(name.clone(), path) {
                return Err(Error::SameName { name, first: first.to_owned(), second: path.clone() });
            }
            sources.push(Self { path: path.clone(), key });
        }
        Ok(sources)
    }
}

fn is_dir(path: &Path) -> Result<bool, Error> {
    let found = std::fs::metadata(path);
    let found = found.map_err(|source| Error::Local { doing: "read", path: path.to_owned(), source })?;
    Ok(found.is_dir())
}

/// The last component; that of the real path where it has none of its own (`.`, `dir/..`).
fn name_of(path: &Path) -> Result<String, Error> {
    let unusable = |why: &str| Error::Unusable { path: path.to_owned(), why: why.to_owned() };
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let real = std::fs::canonicalize(path).map_err(|source| Error::Local {
                doing: "read",
                path: path.to_owned(),
                source,
            })?;
            real.file_name().ok_or_else(|| unusable("it has no name"))?.to_owned()
        }
    };
    name.into_string().map_err(|_| unusable("its name is not UTF-8, which a key must be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_puts_files_at_the_root_and_directories_under_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("data")).unwrap();
        std::fs::create_dir_all(at("other")).unwrap();
        std::fs::write(at("file"), "x").unwrap();
        std::fs::write(at("other/file"), "x").unwrap();
        let keys = |sources: Vec<UploadSource>| sources.into_iter().map(|it| it.key).collect::<Vec<_>>();
        let several = UploadSource::each_of(&[at("file"), at("data"), at("other/../other")], "p/").unwrap();
        assert_eq!(keys(several), ["p/file", "p/data/", "p/other/"]);
        assert_eq!(keys(UploadSource::content_of(&at("data"), "p/").unwrap()), ["p/"]);
        assert_eq!(keys(UploadSource::content_of(&at("file"), "").unwrap()), ["file"]);
        let same = UploadSource::each_of(&[at("file"), at("other/file")], "").unwrap_err();
        assert!(matches!(same, Error::SameName { .. }), "{same}");
        assert!(UploadSource::each_of(&[at("missing")], "").is_err());
    }
}
