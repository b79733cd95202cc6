//! Files and directories of this machine that a task names.
//!
//! Owns: [`Caller`], from where and for whom paths are meant; and finding what they name, with the nearest name where nothing is there.

use super::mistakes::Mistake;
use super::names::nearest;
use super::reader::Word;
use super::substitute::variables_in;
use pail_control::{CallerEnvironment, Failure};
use rustix::fs::{Access, access};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// How many names of a directory are looked through for the nearest one.
const NAMES_SEARCHED_MAX: usize = 10_000;

/// Who calls, and from where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What `~` stands for; absolute.
    pub home: PathBuf,
    /// Where relative paths begin; absolute.
    pub current_dir: PathBuf,
    /// What says which stores they have credentials for, and where buckets are by default.
    pub variables: CallerEnvironment,
}

impl Caller {
    /// Of this process. Errors: no home, no directory that it runs in.
    pub fn of_this_process() -> Result<Self, Failure> {
        let home = std::env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| Failure::usage("HOME is not set").with_hint("set it to your home directory"))?;
        let current_dir = std::env::current_dir()
            .map_err(|err| Failure::from_io("the directory that this runs in cannot be told", &err))?;
        Ok(Self { home, current_dir, variables: CallerEnvironment::of_this_process() })
    }

    /// A path as a shell would have it: `~` and `~/x` are the home's, `~name/x` another user's, a relative one begins where the command runs.
    pub fn expand(&self, path: &Path) -> PathBuf {
        // A lone `.` among the names says nothing.
        self.expanded(path).components().collect()
    }

    fn expanded(&self, path: &Path) -> PathBuf {
        let mut components = path.components();
        let first = match components.next() {
            Some(Component::Normal(first)) => first.to_str(),
            _ => None,
        };
        match first.and_then(|first| first.strip_prefix('~')) {
            Some("") => self.home.join(components.as_path()),
            Some(user) => match nix::unistd::User::from_name(user) {
                Ok(Some(user)) => user.dir.join(components.as_path()),
                _ => self.current_dir.join(path),
            },
            None => self.current_dir.join(path),
        }
    }

    /// What a task's text names. Errors: nothing is there, with the nearest name that is; it is neither file nor directory, or may not
    /// be read.
    pub fn find(&self, word: &Word) -> Result<PathBuf, Mistake> {
        let path = self.expand(Path::new(&word.value));
        let told = format!("{:?}", word.shown);
        if word.value.is_empty() {
            return Err(Mistake::new(word.place, "a path is missing")
                .with_hint("write . for the directory that the command runs in"));
        }
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(err) => return Err(self.not_there(word, &path, &err)),
        };
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_dir() {
            let what = match kind {
                kind if kind.is_socket() => "a socket",
                kind if kind.is_fifo() => "a pipe",
                _ => "a device",
            };
            return Err(Mistake::new(
                word.place,
                format!("{told} is {what}, neither a file nor a directory"),
            ));
        }
        let wanted = if kind.is_dir() { Access::READ_OK | Access::EXEC_OK } else { Access::READ_OK };
        match access(&path, wanted) {
            Ok(()) => Ok(path),
            Err(err) => Err(Mistake::new(word.place, format!("{told} cannot be read: {err}"))),
        }
    }

    /// The same for what has to be a directory.
    pub fn find_dir(&self, word: &Word) -> Result<PathBuf, Mistake> {
        let path = self.find(word)?;
        match path.is_dir() {
            true => Ok(path),
            false => {
                let what = format!("{:?} is a file, and a directory is expected", word.shown);
                Err(Mistake::new(word.place, what)
                    .with_hint("name the directory that it is in, or put a single file into `file_mounts`"))
            }
        }
    }

    fn not_there(&self, word: &Word, path: &Path, err: &std::io::Error) -> Mistake {
        let told = format!("{:?}", word.shown);
        match err.kind() {
            std::io::ErrorKind::NotFound => {}
            _ => return Mistake::new(word.place, format!("{told} cannot be read: {err}")),
        }
        if let Ok(target) = std::fs::read_link(path) {
            let what = format!("{told} is a link to {}, which is not there", target.display());
            return Mistake::not_found(word.place, what);
        }
        let mistake = Mistake::not_found(word.place, format!("{told} is not there"));
        match () {
            () if word.value.starts_with("$HOME") || word.value.starts_with("${HOME}") => {
                mistake.with_hint("write ~ in place of $HOME: only the variables of `envs` and `secrets` are replaced")
            }
            () if word.shown != word.value => mistake,
            () => match (variables_in(&word.value).first(), bucket_meant(&word.value)) {
                (Some(name), _) => mistake.with_hint(format!(
                    "{name} is neither in `envs` nor in `secrets`: write it there, or give it by --env {name}=VALUE"
                )),
                (None, Some(uri)) => mistake.with_hint(format!("did you mean the bucket {uri:?}?")),
                (None, None) => mistake.with_hint(self.nearest(word, path)),
            },
        }
    }

    /// The nearest existing path, or where it was looked for.
    fn nearest(&self, word: &Word, path: &Path) -> String {
        let mut missing = path;
        let mut dir = path;
        while let Some(parent) = dir.parent() {
            (missing, dir) = (dir, parent);
            if dir.is_dir() {
                break;
            }
        }
        let name = missing.file_name().unwrap_or_default().to_string_lossy();
        let names: Vec<String> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .take(NAMES_SEARCHED_MAX)
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        match nearest(&name, &names) {
            Some(near) => format!("did you mean {:?}?", self.as_written(word, &dir.join(near))),
            None => format!("there is no {name:?} in {}", dir.display()),
        }
    }

    /// A path in the way in which `word` is written: from the home, from where the command runs, or from the root.
    fn as_written(&self, word: &Word, path: &Path) -> String {
        let from = |base: &Path| path.strip_prefix(base).ok().map(|rest| rest.display().to_string());
        let shown = match word.value.chars().next() {
            Some('~') => from(&self.home).map(|rest| format!("~/{rest}")),
            Some('/') => None,
            Some('.') => from(&self.current_dir).map(|rest| format!("./{rest}")),
            _ => from(&self.current_dir),
        };
        shown.unwrap_or_else(|| path.display().to_string())
    }
}

/// The URI that a path was probably meant to be.
fn bucket_meant(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(":/").or_else(|| text.split_once("//"))?;
    pail_store::StoreKind::of_scheme(scheme)?;
    Some(format!("{scheme}://{}", rest.trim_start_matches('/')))
}
