//! A file that is not there yet.
//!
//! Owns: [`Temporary`], a file under a temporary name in the directory of its final one, which it takes by a rename. A small one has a name of its own and is removed when it
//! is dropped before that. One that is fetched in parts has a name that the next run finds again, derived from the object and its version, and a journal of its
//! parts: dropped, it stays, if there is something to go on with.
//!
//! Invariants: a name that somebody else made is never opened; a file in parts is one run's at a time, by a lock: another that wants it at the same time makes a file of its own, without a
//! journal.

use crate::attributes::FileAttributes;
use crate::comparison::file_md5;
use crate::directory::{LocalState, Root};
use crate::file_name::RelativePath;
use crate::orphan_files::{Opened, OrphanFiles, open_locked};
use crate::part_journal::{ObjectIdentity, PartJournal, Written};
use crate::sums::of_file_range;
use pail_store::Checksum;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio_util::sync::CancellationToken;

/// Attempts to find a name that nobody has, or to open one that others move meanwhile.
const NAMES_TRIED_MAX: usize = 16;
/// What is written at a time. The kernel takes page cache in as large pieces as are written, and where memory is fragmented it moves pages to make room for those of 1 MiB: 4 GiB
/// by `dd` cost 3.1 to 5.3 s of system time in writes of 1 MiB, and 1.0 to 2.8 s in writes of 64 to 256 KiB (Linux 6.18, ext4, in random turns).
const WRITE_BYTES: usize = 128 << 10;

/// Where a file goes.
#[derive(Clone)]
pub(crate) struct FilePlace {
    pub path: RelativePath,
    /// Something else has its place, or that of its directory, which this removes once the file is there whole. May wait for the disk. Errors: why that stays.
    pub make_way: Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>,
}

impl FilePlace {
    /// One that is free, or has a file that is replaced.
    pub fn free(path: RelativePath) -> Self {
        Self { path, make_way: None }
    }

    /// The directory in which the file is made: its own, or the next one above it as long as something has the place of that.
    fn staging<'a>(&'a self, root: &Root) -> io::Result<(&'a [u8], Arc<OwnedFd>)> {
        let (relative, _) = self.path.split();
        match self.make_way {
            None => Ok((relative, root.make(relative)?)),
            Some(_) => root.find_deepest(relative),
        }
    }
}

/// A file on its way to its name.
#[derive(Debug)]
pub(crate) struct Temporary {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    file: File,
    parts: Option<PartJournal>,
    /// Dropped, it stays whatever is in it.
    is_left: bool,
    is_placed: bool,
    is_useless: AtomicBool,
}

impl Temporary {
    /// Makes an empty file beside its place, and the directories that lead there.
    pub fn create(root: &Root, place: &FilePlace, orphan_files: &OrphanFiles) -> io::Result<Self> {
        let (_, final_name) = place.path.split();
        let (relative, directory) = place.staging(root)?;
        orphan_files.clear_before_whole(relative, &directory);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAMES_TRIED_MAX {
            let name = orphan_files.name_of_whole(final_name);
            match rustix::fs::openat(&*directory, &*name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Self::new(directory, name, file.into())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file in parts of `what`, with those that are there, beside its place; or a new one of parts of `part_size`.
    pub fn resume(
        root: &Root,
        place: &FilePlace,
        orphan_files: &OrphanFiles,
        what: &ObjectIdentity,
        part_size: u64,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let (own_directory, final_name) = place.path.split();
        let (relative, directory) = place.staging(root)?;
        let name = OrphanFiles::name_of_parts(final_name, &what.digits());
        if relative == own_directory {
            orphan_files.clear_before_parts(relative, &directory, final_name, &name);
        }
        for _ in 0..NAMES_TRIED_MAX {
            match open_locked(&directory, &name)? {
                Opened::Ours(file) => {
                    let mut opened = Self::new(directory, name, file);
                    let parts = PartJournal::open(&opened.file, what, orphan_files.copy(), part_size, stop);
                    // What a run that is stopped has not read to its end stays as it is.
                    opened.is_left = parts.is_err() && stop.is_cancelled();
                    opened.parts = Some(parts?);
                    return Ok(opened);
                }
                Opened::Moved => {}
                Opened::NotOurs => break,
            }
        }
        Self::create(root, place, orphan_files)
    }

    fn new(directory: Arc<OwnedFd>, name: Vec<u8>, file: File) -> Self {
        Self {
            directory,
            name,
            file,
            parts: None,
            is_left: false,
            is_placed: false,
            is_useless: AtomicBool::new(false),
        }
    }

    /// Bytes on the disk that [`resume`](Self::resume) would go on with, or free.
    pub fn held_bytes(
        root: &Root,
        path: &RelativePath,
        orphan_files: &OrphanFiles,
        what: &ObjectIdentity,
    ) -> u64 {
        let (relative, final_name) = path.split();
        let own = OrphanFiles::name_of_parts(final_name, &what.digits());
        let directory = root.find(relative);
        directory.map_or(0, |directory| orphan_files.held_bytes(relative, &directory, final_name, &own))
    }

    /// The parts that are there, where they are noted.
    pub fn parts(&self) -> Option<&PartJournal> {
        self.parts.as_ref()
    }

    /// Keeps in mind that these bytes of a part are written, where that is done; `note`, for a later run even if this one is killed.
    pub fn mark(&self, index: usize, written: Written, note: bool) -> io::Result<()> {
        self.parts.as_ref().map_or(Ok(()), |parts| parts.mark(&self.file, index, written, note))
    }

    /// The checksum, of the kind of `kind`, of a range of what is written.
    pub fn sum_of(
        &self,
        kind: Checksum,
        range: Range<u64>,
        stop: &CancellationToken,
    ) -> io::Result<Checksum> {
        of_file_range(&self.file, kind, range, stop)
    }

    /// Nobody will go on with it: dropped, it is removed.
    pub fn discard(&self) {
        self.is_useless.store(true, Relaxed);
    }

    /// Takes room on the disk for `len` bytes, where the file system can.
    pub fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for piece in bytes.chunks(WRITE_BYTES) {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// The MD5 of its first `len` bytes.
    pub fn md5(&self, len: u64, stop: &CancellationToken) -> io::Result<[u8; 16]> {
        file_md5(&self.file, len, stop)
    }

    /// Gives it attributes and its final name, in place of whatever file or link has that. Returns its state as it is then.
    pub fn place(
        mut self,
        root: &Root,
        place: &FilePlace,
        attributes: &FileAttributes,
    ) -> io::Result<LocalState> {
        let (relative, name) = place.path.split();
        let directory = match &place.make_way {
            None => self.directory.clone(),
            Some(make_way) => {
                make_way()?;
                root.make(relative)?
            }
        };
        // From here on it has no journal: what fails now is not gone on with.
        self.discard();
        if let Some(parts) = &self.parts {
            parts.cut(&self.file)?;
        }
        match rustix::fs::fchmod(&self.file, Mode::from_raw_mode(attributes.mode)) {
            // File systems without modes.
            Err(error @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                tracing::debug!(name = %self.name.escape_ascii(), %error, "the file keeps the mode that it has");
            }
            changed => changed?,
        }
        let time = Timespec { tv_sec: attributes.mtime_secs, tv_nsec: attributes.mtime_nanos.into() };
        rustix::fs::futimens(&self.file, &Timestamps { last_access: time, last_modification: time })?;
        let state = LocalState::of(&rustix::fs::fstat(&self.file)?);
        check_place(&directory, name)?;
        rustix::fs::renameat(&*self.directory, &*self.name, &*directory, name)?;
        self.is_placed = true;
        // A rename changes the change time. What others have done to the file since then is no part of what is noted.
        let placed = rustix::fs::fstat(&self.file).ok().map(|stat| LocalState::of(&stat));
        let ctime_ns = placed.filter(|placed| placed.is_like(&state)).and_then(|placed| placed.ctime_ns);
        Ok(LocalState { ctime_ns, ..state })
    }

    fn is_kept(&self) -> bool {
        !self.is_useless.load(Relaxed) && self.parts.as_ref().is_some_and(PartJournal::has_any)
    }
}

/// Errors: what has the name is neither a file nor a link: a device, a pipe or a socket is not replaced.
fn check_place(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            // A rename onto a directory is refused by the kernel.
            FileType::RegularFile | FileType::Symlink | FileType::Directory => Ok(()),
            _ => Err(io::Error::other("a device, a pipe or a socket is in its place")),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_placed || self.is_left {
            return;
        }
        if self.is_kept() {
            if let Some(Err(error)) = self.parts.as_ref().map(|parts| parts.flush(&self.file)) {
                tracing::debug!(%error, "how far the parts under way are is not noted");
            }
        } else if let Err(error) = rustix::fs::unlinkat(&*self.directory, &*self.name, AtFlags::empty()) {
            tracing::warn!(name = %self.name.escape_ascii(), %error, "a temporary file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orphan_files::RunId;
    use crate::part_journal::CopyId;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    fn names(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn orphan_files() -> OrphanFiles {
        OrphanFiles::new(RunId::new(), Vec::new(), CopyId::of("a"))
    }

    fn at(path: &RelativePath) -> FilePlace {
        FilePlace::free(path.clone())
    }

    fn resume(root: &Root, path: &RelativePath, orphan_files: &OrphanFiles, etag: &str) -> Temporary {
        let stop = CancellationToken::new();
        Temporary::resume(root, &at(path), orphan_files, &identity(etag), PART, &stop).unwrap()
    }

    const PART: u64 = 5 << 20;
    const ATTRIBUTES: FileAttributes = FileAttributes { mode: 0o644, mtime_secs: 7, mtime_nanos: 0 };

    fn identity(etag: &str) -> ObjectIdentity {
        let object = pail_store::ObjectMeta {
            key: pail_store::RawKey::new("k").unwrap(),
            size: 2 * PART,
            version: pail_store::Version::from_etag(etag),
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            attributes: None,
            checksum: None,
            md5: None,
        };
        ObjectIdentity::of("store", &object, b"file")
    }

    /// As a run leaves it that ended after one of two parts.
    fn interrupted(root: &Root, path: &RelativePath, etag: &str) {
        let temporary = resume(root, path, &orphan_files(), etag);
        temporary.write_at(&[1; PART as usize], 0).unwrap();
        let sum = Checksum::crc64_of(&[1; PART as usize]);
        temporary.mark(0, Written { len: PART, sum }, true).unwrap();
    }

    fn parts_there(temporary: &Temporary) -> Option<usize> {
        Some(temporary.parts()?.written().iter().flatten().count())
    }

    #[test]
    fn a_file_in_parts_is_gone_on_with_by_one_at_a_time_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let again = |etag: &str| resume(&root, &path, &orphan_files(), etag);
        drop(again("1"));
        assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing to go on with");

        interrupted(&root, &path, "1");
        let first = again("1");
        assert_eq!(parts_there(&first), Some(1));
        assert_eq!(parts_there(&again("1")), None, "another run has it");
        first.place(&root, &at(&path), &ATTRIBUTES).unwrap();
        assert_eq!(names(dir.path()), ["file"]);
        assert_eq!(std::fs::metadata(dir.path().join("file")).unwrap().len(), 2 * PART);

        interrupted(&root, &path, "1");
        again("1").discard();
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn another_version_begins_anew_and_takes_the_old_one_s_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        interrupted(&root, &path, "1");
        let held = resume(&root, &path, &orphan_files(), "1");
        interrupted(&root, &path, "2");
        assert_eq!(names(dir.path()).len(), 2, "a run is at it");
        drop(held);
        interrupted(&root, &path, "3");
        assert_eq!(names(dir.path()).len(), 1);
        // Of the other file of the directory nothing is known yet.
        let other = RelativePath::last_of(Path::new("other")).unwrap();
        interrupted(&root, &other, "1");
        assert_eq!(names(dir.path()).len(), 2);
        let third = resume(&root, &path, &orphan_files(), "3");
        assert_eq!(parts_there(&third), Some(1));
        let again = resume(&root, &other, &orphan_files(), "2");
        assert_eq!(parts_there(&again), Some(0));
        drop((third, again));
        assert_eq!(names(dir.path()).len(), 1);
        // A run that writes to the directory finds it: where it was of all of the copy, or of a part of it, or another copy.
        let ends = |copy: &str, is_all_below: bool| {
            let run = OrphanFiles::new(RunId::new(), Vec::new(), CopyId::of(copy));
            drop(resume(&root, &other, &run, "9"));
            run.clear_at_end(&root, is_all_below);
            names(dir.path()).len()
        };
        assert_eq!([ends("b", true), ends("a", false), ends("a", true)], [1, 1, 0]);
    }

    #[test]
    fn names_that_are_cut_off_do_not_take_each_other_s_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        for end in ["1", "2"] {
            let name = format!("{}{end}", "n".repeat(220));
            interrupted(&root, &RelativePath::last_of(Path::new(&name)).unwrap(), end);
        }
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn what_was_left_long_ago_is_removed_whatever_it_was_of() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let at = |name: &str| RelativePath::last_of(Path::new(name)).unwrap();
        for name in ["old", "held", "recent"] {
            interrupted(&root, &at(name), "1");
        }
        let week = std::time::Duration::from_secs(8 * 24 * 3600);
        let own = |name: &str| {
            let name = OrphanFiles::name_of_parts(name.as_bytes(), &identity("1").digits());
            dir.path().join(String::from_utf8(name).unwrap())
        };
        let held = resume(&root, &at("held"), &orphan_files(), "1");
        std::fs::write(own("mine"), "not by a copy").unwrap();
        for name in ["old", "held", "mine"] {
            let file = File::options().write(true).open(own(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - week).unwrap();
        }
        let run = OrphanFiles::new(RunId::new(), Vec::new(), CopyId::of("b"));
        drop(resume(&root, &at("other"), &run, "1"));
        let left = || ["old", "held", "recent", "mine"].map(|name| own(name).exists());
        assert_eq!(left(), [true; 4], "the run may go on with them");
        run.clear_at_end(&root, true);
        assert_eq!(left(), [false, true, true, true]);
        drop(held);
    }

    #[test]
    fn what_others_put_in_its_place_is_neither_written_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let name = String::from_utf8(OrphanFiles::name_of_parts(b"file", &identity("1").digits())).unwrap();
        let at = dir.path().join(&name);
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        let put = || {
            let all = orphan_files();
            let temporary = resume(&root, &path, &all, "1");
            assert_eq!(parts_there(&temporary), None);
            temporary.write_at(b"bytes", 0).unwrap();
            drop(temporary);
            all.clear_at_end(&root, true);
            assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
            assert_eq!(names(dir.path()).len(), 2);
        };
        symlink(&victim, &at).unwrap();
        put();
        std::fs::remove_file(&at).unwrap();
        std::fs::hard_link(&victim, &at).unwrap();
        put();
        std::fs::remove_file(&at).unwrap();
        std::fs::create_dir(&at).unwrap();
        put();
        // A file of one's own that merely has such a name is no leftover of another version.
        let other = dir.path().join(format!(".file.pail-parts-{}", "0".repeat(16)));
        std::fs::write(&other, "mine, too").unwrap();
        let all = orphan_files();
        drop(resume(&root, &path, &all, "1"));
        all.clear_at_end(&root, true);
        assert_eq!(std::fs::read(&other).unwrap(), b"mine, too");
    }

    #[test]
    fn small_files_of_dead_runs_are_removed_and_those_of_live_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let (dead, alive) = (RunId::new(), RunId::new());
        for run in [&dead, &alive] {
            let name = OrphanFiles::new(run.clone(), Vec::new(), CopyId::of("a")).name_of_whole(b"small");
            std::fs::write(dir.path().join(String::from_utf8(name).unwrap()), "x").unwrap();
        }
        let next = OrphanFiles::new(RunId::new(), vec![dead], CopyId::of("a"));
        drop(Temporary::create(&root, &at(&path), &next).unwrap());
        let left = names(dir.path());
        assert!(left.len() == 1 && left[0].contains(alive.as_str()), "{left:?}");
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        // As long as a name can be, and of letters of two bytes.
        let name = format!("n{}", "ü".repeat(127));
        let path = RelativePath::last_of(Path::new(&name)).unwrap();
        let attributes = FileAttributes { mode: 0o640, mtime_secs: 1_000_000, mtime_nanos: 7 };
        let temporary = Temporary::create(&root, &at(&path), &orphan_files()).unwrap();
        temporary.write_at(b"half", 0).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(temporary);
        assert_eq!(names(dir.path()), Vec::<String>::new());

        symlink("/dev/null", dir.path().join(&name)).unwrap();
        let temporary = Temporary::create(&root, &at(&path), &orphan_files()).unwrap();
        temporary.write_at(b"whole", 0).unwrap();
        let state = temporary.place(&root, &at(&path), &attributes).unwrap();
        assert_eq!((state.size, state.mtime_ns), (5, 1_000_000_000_000_007));
        assert_eq!(names(dir.path()), std::slice::from_ref(&name));
        let found = std::fs::symlink_metadata(dir.path().join(&name)).unwrap();
        assert_eq!(state.ctime_ns, Some(found.ctime() * 1_000_000_000 + found.ctime_nsec()));
        assert_eq!((found.is_file(), found.mode() & 0o777, found.mtime_nsec()), (true, 0o640, 7));

        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let path = RelativePath::last_of(Path::new("pipe")).unwrap();
        let placed = Temporary::create(&root, &at(&path), &orphan_files()).unwrap().place(
            &root,
            &at(&path),
            &attributes,
        );
        assert!(placed.unwrap_err().to_string().contains("a pipe"));
        assert!(!std::fs::symlink_metadata(&pipe).unwrap().is_file());
    }
}
