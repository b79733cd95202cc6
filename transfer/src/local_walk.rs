//! The walk of local sources.
//!
//! Owns: [`walk`], which finds all files that an upload is to send, and what cannot be sent.
//!
//! # Symbolic links
//! Links are followed, to files and to directories: a bucket has none, and a dataset that is put together of links is meant with what they
//! lead to. A directory that is one of its own parents, by device and inode, ends there and is named. Where links are not followed, those below a source are
//! left out like what the filters leave out; a source that is a link itself was named, and is followed. Empty directories have no object.

use crate::keep_set::KeepSet;
use crate::orphan_files::is_temporary;
use crate::report::Problems;
use crate::{Error, Options, UploadSource};
use pail_store::{KEY_LEN_BYTES_MAX, RawKey};
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many files a run takes; each is about 300 bytes of memory.
const FILES_MAX: usize = 5_000_000;

/// A file that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub path: PathBuf,
    pub key: RawKey,
    pub size: u64,
    /// Both as in [`LocalState`](crate::directory::LocalState).
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub files: Vec<LocalFile>,
    pub skipped: Problems,
    pub failed: Problems,
    /// How many are left out: by the filters, or as links.
    pub left_out: u64,
    /// All names below the source's prefix that are there, whether they can be sent or not, where that was asked for.
    pub kept: Option<KeepSet>,
}

/// Finds the files of all sources that the filters take, by their names below a source that is a directory. With `kept`, all names are put there. Errors: a source that is not there or cannot be read; more files than [`FILES_MAX`].
pub(crate) fn walk(
    sources: &[UploadSource],
    options: &Options,
    kept: Option<KeepSet>,
) -> Result<Walked, Error> {
    let found = Walked { kept, ..Walked::default() };
    let mut walk = Walk { found, options, prefix_len: 0, parents: Vec::new() };
    for UploadSource { path, key } in sources {
        let local = |source| Error::Local { doing: "read", path: path.clone(), source };
        let metadata = std::fs::metadata(path).map_err(local)?;
        if metadata.is_dir() {
            std::fs::read_dir(path).map_err(local)?;
        }
        walk.prefix_len = key.len();
        walk.visit(path.clone(), key.clone(), &metadata)?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    found: Walked,
    options: &'a Options,
    /// How much of a key is the source's.
    prefix_len: usize,
    /// Device and inode of the directories that it is in.
    parents: Vec<(u64, u64)>,
}

impl Walk<'_> {
    /// `key` is a file's key, or what the keys of a directory's content begin with.
    fn visit(&mut self, path: PathBuf, key: String, metadata: &Metadata) -> Result<(), Error> {
        if let Some(kept) = &mut self.found.kept {
            kept.keep(&key[self.prefix_len..]);
        }
        if key.len() > KEY_LEN_BYTES_MAX {
            self.skip(&path, &format!("its key would have more than {KEY_LEN_BYTES_MAX} bytes"));
        } else if metadata.is_dir() {
            self.enter(&path, &key, metadata)?;
        } else if metadata.is_file() {
            match RawKey::new(key) {
                Ok(key) => {
                    let ns = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
                    let mtime_ns = ns(metadata.mtime(), metadata.mtime_nsec());
                    let ctime_ns = ns(metadata.ctime(), metadata.ctime_nsec());
                    self.found.files.push(LocalFile { path, key, size: metadata.len(), mtime_ns, ctime_ns });
                }
                Err(error) => self.skip(&path, &error.to_string()),
            }
        } else {
            self.skip(&path, kind_of(metadata.file_type()));
        }
        Ok(())
    }

    fn enter(&mut self, dir: &Path, prefix: &str, metadata: &Metadata) -> Result<(), Error> {
        let identity = (metadata.dev(), metadata.ino());
        if self.parents.contains(&identity) {
            self.keep_all_below(prefix);
            self.skip(dir, "a symbolic link leads back to a directory that it is in");
            return Ok(());
        }
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.fail(dir, &error);
                return Ok(());
            }
        };
        self.parents.push(identity);
        for entry in entries {
            if self.options.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            match entry {
                Ok(entry) => self.visit_entry(&entry.path(), prefix)?,
                Err(error) => self.fail(dir, &error),
            }
            if self.found.files.len() > FILES_MAX {
                return Err(Error::TooMany { path: dir.to_owned(), max: FILES_MAX });
            }
        }
        self.parents.pop();
        if self.found.kept.is_some() {
            self.check_still_there(dir, prefix, identity);
        }
        Ok(())
    }

    /// What is missing in a directory that was moved, removed or unmounted meanwhile is no reason to delete anything: it is a failure.
    fn check_still_there(&mut self, dir: &Path, prefix: &str, identity: (u64, u64)) {
        let now = std::fs::metadata(dir);
        if !now.as_ref().is_ok_and(|now| (now.dev(), now.ino()) == identity) {
            self.keep_all_below(prefix);
            self.found
                .failed
                .add(dir.to_string_lossy(), "it was moved, removed or unmounted while it was read");
        }
    }

    fn visit_entry(&mut self, path: &Path, prefix: &str) -> Result<(), Error> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let key = format!("{prefix}{}", name.to_string_lossy());
        if !self.options.follows_links && std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) {
            self.found.left_out += 1;
            self.keep_all_below(&key);
            return Ok(());
        }
        let metadata = std::fs::metadata(path);
        if self.is_left_out(&key, metadata.as_ref().is_ok_and(Metadata::is_dir)) {
            self.found.left_out += 1;
            return Ok(());
        }
        if name.to_str().is_none() {
            self.skip(path, "its name is not UTF-8, which a key must be");
            return Ok(());
        }
        if is_temporary(name.as_bytes()) {
            tracing::debug!(path = %path.display(), "left out: the temporary file of a download");
            self.found.left_out += 1;
            self.keep_all_below(&key);
            return Ok(());
        }
        match metadata {
            Ok(metadata) if metadata.is_dir() => self.visit(path.to_owned(), format!("{key}/"), &metadata),
            Ok(metadata) => self.visit(path.to_owned(), key, &metadata),
            Err(error) => {
                self.miss(path, &key, &error);
                Ok(())
            }
        }
    }

    /// Whether the filters leave out a file, or all that can be in a directory.
    fn is_left_out(&self, key: &str, is_dir: bool) -> bool {
        let name = &key[self.prefix_len..];
        match is_dir {
            true => self.options.filters.leave_out_all_below(format!("{name}/").as_bytes()),
            false => !self.options.filters.take(name.as_bytes()),
        }
    }

    /// A name whose file cannot be looked at.
    fn miss(&mut self, path: &Path, key: &str, error: &io::Error) {
        match (error.kind(), error.raw_os_error()) {
            // Removed since the directory was read, unless it is a link.
            (io::ErrorKind::NotFound, _) if std::fs::symlink_metadata(path).is_err() => return,
            (io::ErrorKind::NotFound, _) => self.skip(path, "a symbolic link to nothing"),
            (_, Some(code)) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                self.skip(path, "a symbolic link that leads to itself");
            }
            _ => self.fail(path, error),
        }
        self.keep_all_below(key);
    }

    /// Of what is there under this name nothing is known.
    fn keep_all_below(&mut self, key: &str) {
        if let Some(kept) = &mut self.found.kept {
            let name = key.get(self.prefix_len..).unwrap_or_default().trim_end_matches('/');
            match name.is_empty() {
                true => kept.keep_everything(),
                false => kept.keep_all_below(name),
            }
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.found.skipped.add(path.to_string_lossy(), why);
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.found.failed.add(path.to_string_lossy(), error.to_string());
    }
}

fn kind_of(kind: FileType) -> &'static str {
    match () {
        () if kind.is_fifo() => "it is a pipe",
        () if kind.is_socket() => "it is a socket",
        () => "it is no regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_cannot_be_an_object_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("src/sub/empty")).unwrap();
        std::fs::create_dir(at("elsewhere")).unwrap();
        std::fs::write(at("src/a"), "1").unwrap();
        std::fs::write(at("src/sub/b\n"), "22").unwrap();
        std::fs::write(at("elsewhere/c"), "333").unwrap();
        symlink("../elsewhere", at("src/link")).unwrap();
        symlink("sub/b\n", at("src/alias")).unwrap();
        symlink("..", at("src/sub/up")).unwrap();
        symlink("nothing", at("src/dangling")).unwrap();
        symlink("self", at("src/self")).unwrap();
        std::os::unix::net::UnixListener::bind(at("src/socket")).unwrap();
        std::fs::write(at("src").join(OsStr::from_bytes(b"latin\xe9")), "4").unwrap();

        let found =
            walk(&[UploadSource { path: at("src"), key: "p/".into() }], &Options::default(), None).unwrap();
        let mut keys: Vec<_> = found.files.iter().map(|file| (file.key.as_str(), file.size)).collect();
        keys.sort();
        assert_eq!(keys, [("p/a", 1), ("p/alias", 2), ("p/link/c", 3), ("p/sub/b\n", 2)]);
        let mut skipped: Vec<_> = found
            .skipped
            .named
            .iter()
            .map(|it| (it.name.rsplit('/').next().unwrap(), it.why.split(' ').next_back().unwrap()))
            .collect();
        skipped.sort();
        let expected = [
            ("dangling", "nothing"),
            ("latin\u{fffd}", "be"),
            ("self", "itself"),
            ("socket", "socket"),
            ("up", "in"),
        ];
        assert_eq!(skipped, expected);
        assert_eq!(found.failed.count, 0);

        let options = Options { follows_links: false, ..Options::default() };
        let found =
            walk(&[UploadSource { path: at("src"), key: "p/".into() }], &options, Some(KeepSet::default()));
        let found = found.unwrap();
        let mut keys: Vec<_> = found.files.iter().map(|file| file.key.as_str()).collect();
        keys.sort();
        assert_eq!((keys, found.skipped.count, found.left_out), (vec!["p/a", "p/sub/b\n"], 2, 5));
        assert!(found.kept.unwrap().keeps(b"link/c"), "what is left out is not deleted");

        options.stop.cancel();
        let stopped = walk(&[UploadSource { path: at("src"), key: "p/".into() }], &options, None);
        assert!(matches!(stopped, Err(Error::Stopped)), "a run that is stopped walks no further");
    }
}
