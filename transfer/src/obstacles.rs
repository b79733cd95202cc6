//! What has the place of a file that is to come.
//!
//! Owns: [`Obstacle`], how that is told; [`Blocked`], the objects that wait for it to go; and [`ExtraFiles::make_way`], which removes it where what is extra in the target is to go.
//!
//! # Why after everything else
//! What is in the way is extra as other files are, and goes by the same rules: only once everything that can be copied was copied without a failure, and all names of the source are known; and only when what is to have
//! its place has arrived, and was verified, under a temporary name. A directory goes as a whole or not at all, as far as can be told before: where anything in it must stay, nothing of it is removed.
//!
//! Bound: [`BLOCKED_MAX`] objects wait.

use crate::directory::Root;
use crate::extra_files::{EmptyDirectory, ExtraFiles, Place, names_in};
use crate::file_name::{RelativePath, split};
use crate::orphan_files::is_temporary;
use crate::{Error, Problems};
use pail_store::{ObjectMeta, RawKey};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::{fmt, io};

/// So many objects wait; more are told to the user, who may remove what is in the way.
const BLOCKED_MAX: usize = 200_000;
const NOT_COPIED: &str = "it stays, since not everything else could be copied";

/// What has the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Where the file is to be.
    Directory,
    /// Where a directory above it is to be.
    File,
    /// There, too; it may lead anywhere.
    Link,
}

impl Obstacle {
    /// What an error of opening, making or renaming is about.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Some(Self::Link),
            io::ErrorKind::IsADirectory => Some(Self::Directory),
            io::ErrorKind::NotADirectory => Some(Self::File),
            _ => None,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Directory => "a directory is in its place",
            Self::File => "a file is in the place of its directory",
            Self::Link => "a symbolic link is in its path, and is not followed",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str(self.what()),
            _ => write!(
                f,
                "{} (`pail sync --delete` replaces it, unless something in it must stay)",
                self.what()
            ),
        }
    }
}

/// Objects whose places are taken.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    waiting: Vec<Waiting>,
    /// Those for which there was no room.
    more: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub what: Awaited,
    pub path: RelativePath,
    pub obstacle: Obstacle,
}

/// What it becomes.
#[derive(Debug)]
pub(crate) enum Awaited {
    File(Box<ObjectMeta>),
    Directory(RawKey),
}

impl Waiting {
    pub fn key(&self) -> &str {
        match &self.what {
            Awaited::File(object) => object.key.as_str(),
            Awaited::Directory(key) => key.as_str(),
        }
    }
}

impl Blocked {
    pub fn add(&mut self, what: Awaited, path: RelativePath, obstacle: Obstacle) {
        match self.waiting.len() < BLOCKED_MAX {
            true => self.waiting.push(Waiting { what, path, obstacle }),
            false => self.more += 1,
        }
    }

    /// Those that may be placed now; where nothing `may_go` they are problems, and so are those for which there was no room.
    pub fn take(&mut self, may_go: MayGo, problems: &mut Problems) -> Vec<Waiting> {
        let Self { waiting, more } = std::mem::take(self);
        for _ in 0..more {
            problems.add("…", "its place is taken, as that of too many others: remove what is there");
        }
        let why = |obstacle: Obstacle| match may_go {
            MayGo::Yes | MayGo::NotAsked => obstacle.to_string(),
            MayGo::NotNow => format!("{}: {NOT_COPIED}", obstacle.what()),
        };
        if may_go == MayGo::Yes {
            return waiting;
        }
        waiting.iter().for_each(|one| problems.add(one.key(), why(one.obstacle)));
        Vec::new()
    }
}

/// Whether what is in the way may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayGo {
    Yes,
    /// Something else could not be copied.
    NotNow,
    /// Nothing is to be deleted.
    NotAsked,
}

/// What was found in the way.
struct InTheWay {
    place: Place,
    name: CString,
    path: Vec<u8>,
    stat: Stat,
}

impl InTheWay {
    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

/// What has the place of what is to be at `path`, or of a directory above it. Errors: why it cannot be told, or never goes.
fn in_the_way(root: &Root, path: &RelativePath, is_directory: bool) -> Result<Option<InTheWay>, String> {
    let path = path.as_bytes();
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        let is_directory_s = end < path.len() || is_directory;
        let (above, name) = split(&path[..end]);
        let Ok(name) = CString::new(name) else { return Ok(None) };
        let found = root.find(above).and_then(|directory| {
            let stat = rustix::fs::statat(&*directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((stat, Place::at(directory.try_clone()?)?))
        });
        let (stat, place) = match found {
            Ok(found) => found,
            // What is not there is in nobody's way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let is_in_the_way = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => !is_directory_s,
            FileType::RegularFile => is_directory_s,
            FileType::Symlink if !is_directory_s => false,
            // Whoever made a directory of a link has a reason, such as a larger disk.
            FileType::Symlink => return Err(Obstacle::Link.what().to_owned()),
            _ => return Err("a device, a pipe or a socket is in its place".to_owned()),
        };
        if is_in_the_way {
            return Ok(Some(InTheWay { place, name, path: path[..end].to_vec(), stat }));
        }
    }
    Ok(None)
}

impl ExtraFiles<'_> {
    /// Removes what has the place of what is to be at `path`, below the root: a file where a directory is to be, and a directory, with all that is in it, where a file is to
    /// be. May wait for the disk. Gives why it stays. Errors: stopped.
    pub fn make_way(
        &mut self,
        root: &Root,
        path: &RelativePath,
        is_directory: bool,
    ) -> Result<Result<(), String>, Error> {
        let found = match in_the_way(root, path, is_directory) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        match self.why_it_stays(&found)? {
            Some(why) => Ok(Err(why)),
            None => self.remove_obstacle(found),
        }
    }

    /// Why what has the place would stay, by a look alone: `None` where it may go, or nothing is there. Errors: stopped.
    pub fn why_no_way(
        &self,
        root: &Root,
        path: &RelativePath,
        is_directory: bool,
    ) -> Result<Option<String>, Error> {
        match in_the_way(root, path, is_directory) {
            Ok(Some(found)) => self.why_it_stays(&found),
            Ok(None) => Ok(None),
            Err(why) => Ok(Some(why)),
        }
    }

    fn why_it_stays(&self, found: &InTheWay) -> Result<Option<String>, Error> {
        let InTheWay { place, name, path, stat } = found;
        match found.is_directory() {
            true => self.kept_below(place, name, &mut path.clone()),
            false => Ok(self.why_kept(place, name, path, stat)),
        }
    }

    fn remove_obstacle(&mut self, found: InTheWay) -> Result<Result<(), String>, Error> {
        let is_directory = found.is_directory();
        let InTheWay { place, name, mut path, stat } = found;
        if is_directory {
            self.enter(&place, &name, &mut path, EmptyDirectory::Goes)?;
            // Its name is the source's, by which a walk leaves it.
            let removed = rustix::fs::unlinkat(&place.directory, &*name, AtFlags::REMOVEDIR);
            return Ok(match removed {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(format!("the directory in its place stays: {}", io::Error::from(error))),
            });
        }
        match self.remove_file(&place, &name, &path, &stat) {
            true => Ok(Ok(())),
            false => Ok(Err("what is in the place of its directory could not be removed".to_owned())),
        }
    }

    /// What of a directory must stay, and why: the first that is found.
    fn kept_below(&self, place: &Place, name: &CStr, path: &mut Vec<u8>) -> Result<Option<String>, Error> {
        let told =
            |path: &[u8], why: &str| format!("{} is in its place, and {why}", String::from_utf8_lossy(path));
        let len = path.len();
        path.push(b'/');
        if self.filters.leave_out_all_below(path) {
            return Ok(Some(told(path, LEFT_OUT)));
        }
        let below = match place.below(name) {
            Ok(below) => below,
            Err(why) => return Ok(why.map(|why| told(path, &why))),
        };
        let names = match names_in(&below.directory) {
            Ok(names) => names,
            Err(error) => return Ok(Some(told(path, &error.to_string()))),
        };
        for name in names {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            path.extend_from_slice(name.to_bytes());
            let stat = rustix::fs::statat(&below.directory, &*name, AtFlags::SYMLINK_NOFOLLOW);
            let kept = match stat {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    match self.keeps_directory(&[path, b"/".as_slice()].concat()) {
                        true => Some(told(path, OF_SOURCE)),
                        false => self.kept_below(&below, &name, path)?,
                    }
                }
                Ok(stat) => self.why_kept(&below, &name, path, &stat),
                Err(Errno::NOENT) => None,
                Err(error) => Some(told(path, &error.to_string())),
            };
            if kept.is_some() {
                return Ok(kept);
            }
            path.truncate(len + 1);
        }
        path.truncate(len);
        Ok(None)
    }

    fn why_kept(&self, place: &Place, name: &CStr, path: &[u8], stat: &Stat) -> Option<String> {
        let is_file =
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Symlink);
        let why = match () {
            () if self.kept.keeps(path) => OF_SOURCE,
            () if !self.filters.take(path) => LEFT_OUT,
            () if is_file && self.orphan_files.is_dead(&place.directory, name.to_bytes()) => return None,
            () if is_temporary(name.to_bytes()) => OF_A_RUN,
            () if !is_file => "is no file",
            () if self.is_newer(stat) => "was changed since the run began",
            () => return None,
        };
        Some(format!("{} is in its place, and {why}", String::from_utf8_lossy(path)))
    }
}

const OF_SOURCE: &str = "has a name that the source has, too";
const LEFT_OUT: &str = "is left out by the globs";
const OF_A_RUN: &str =
    "is the temporary file of a copy that may be under way (if none is, it can be removed by hand)";
