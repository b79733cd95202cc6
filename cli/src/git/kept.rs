//! What was in a checkout's way.
//!
//! Owns: [`Kept`], which moves a user's or a job's files out of a checkout to `~/.pail/kept/TIME/NAME/…`, where NAME is the checkout's
//! directory, or to `.git/pail-kept/TIME/…` in it where the home is on another file system. Nothing removes them.
//!
//! Invariants: a file is moved by one rename, so it is at its old place or at its new one; a rename never replaces another file, as each
//! checkout that keeps something makes a directory of its own.

use crate::terminal;
use pail_control::Failure;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How many names a report has.
const NAMES_MAX: usize = 20;

/// Files moved aside by one checkout.
pub struct Kept {
    dir: PathBuf,
    home: Option<PathBuf>,
    root: Option<PathBuf>,
    names: Vec<String>,
}

impl Kept {
    /// Nothing is kept yet. `dir` is the checkout.
    pub fn new(dir: &Path) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Self { dir: dir.to_owned(), home, root: None, names: Vec::new() }
    }

    /// Moves a file or directory below the checkout aside.
    pub fn keep(&mut self, path: &[u8]) -> Result<(), Failure> {
        let relative = OsStr::from_bytes(path);
        let from = self.dir.join(relative);
        let shown = terminal::escaped(&from.display().to_string());
        let failed = |err: &std::io::Error| {
            Failure::from_io(format!("cannot keep {shown} aside"), err)
                .with_hint("move it out of the way yourself, and try again")
        };
        let to = self.root().map_err(|err| failed(&err))?.join(relative);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(|err| failed(&err))?;
        }
        match std::fs::rename(&from, &to) {
            Err(err) if err.kind() == ErrorKind::CrossesDevices && from.is_file() && !from.is_symlink() => {
                std::fs::copy(&from, &to)
                    .and_then(|_| std::fs::File::open(&to)?.sync_all())
                    .map_err(|err| failed(&err))?;
                std::fs::remove_file(&from).map_err(|err| failed(&err))?;
            }
            other => other.map_err(|err| failed(&err))?,
        }
        let slash = if to.is_dir() && !to.is_symlink() { "/" } else { "" };
        self.names.push(terminal::escaped(&format!("{}{slash}", String::from_utf8_lossy(path))));
        Ok(())
    }

    /// Where the files are, if there are any.
    pub fn place(&self) -> Option<&Path> {
        self.root.as_deref().filter(|_| !self.names.is_empty())
    }

    /// Their names below the checkout, as they may be shown.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A line for the user, if there are any.
    pub fn report(&self) -> Option<String> {
        let place = self.place()?;
        let (count, shown) =
            (self.names.len(), self.names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", "));
        let more = if count > NAMES_MAX { format!(" and {} more", count - NAMES_MAX) } else { String::new() };
        let files =
            if count == 1 { "1 file that was".to_owned() } else { format!("{count} files that were") };
        Some(format!(
            "kept aside {files} changed in {} or in the way of the commit: {shown}{more}; now below {}",
            self.dir.display(),
            place.display()
        ))
    }

    fn root(&mut self) -> std::io::Result<PathBuf> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let name = self.dir.file_name().unwrap_or(OsStr::new("workdir")).to_owned();
        let in_home = self.home.as_ref().map(|home| home.join(".pail/kept"));
        let root = match in_home.map(|base| made(&base).map(|root| root.join(&name))) {
            Some(Ok(root)) if self.can_rename_to(&root) => root,
            _ => made(&self.dir.join(".git/pail-kept"))?,
        };
        std::fs::create_dir_all(&root)?;
        Ok(self.root.insert(root).clone())
    }

    /// Whether a file of the checkout can be renamed into a directory: mounts of the same file system differ as well.
    fn can_rename_to(&self, root: &Path) -> bool {
        let (from, to) = (self.dir.join(".pail-probe"), root.join(".pail-probe"));
        let moved = std::fs::create_dir_all(root)
            .and_then(|()| std::fs::write(&from, ""))
            .and_then(|()| std::fs::rename(&from, &to))
            .and_then(|()| std::fs::remove_file(&to));
        if moved.is_err() {
            let _ = std::fs::remove_file(&from);
            // Empty directories are no use to anyone.
            let _ = std::fs::remove_dir(root);
            let _ = root.parent().map(std::fs::remove_dir);
        }
        moved.is_ok()
    }
}

/// A new directory named by the time.
pub fn made(base: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(base)?;
    let time = stamp();
    for count in 1.. {
        let path = base.join(if count == 1 { time.clone() } else { format!("{time}-{count}") });
        match std::fs::create_dir(&path) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(|()| path),
        }
    }
    unreachable!("some number is free")
}

/// The time as names have it, in UTC.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}
