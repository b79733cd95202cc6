//! A sync to this machine's own places.
//!
//! Owns: [`to_here`]: the same plan, the same removals and the same record as on a node, with files shared by reflink where the file system
//! can, else copied without their holes. A file is copied beside its place and renamed.

use super::agent::{BegunItem, Ready, begin_item};
use super::beneath::Beneath;
use super::manifest::Record;
use super::names::{Kind, Name, Stamp};
use super::nodes::{fed_names, session};
use super::rsync;
use super::trouble::{named, of_rsync};
use super::{NotDone, Planned, Stats, SyncPlan, SyncProgress};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::Failure;
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is copied by one call.
const COPY_BYTES_MAX: usize = 16 << 20;

/// Brings a plan's files to this machine's places. Errors: a place cannot be made or written, or is its own source. What of it fails for
/// single files is in the result.
pub async fn to_here(plan: &SyncPlan, home: &Path, progress: &SyncProgress) -> Result<Stats, Failure> {
    // Work on the local disk, which is to hold up no other task; the plan is borrowed, so it is not handed to another thread.
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| sync_here(plan, home, progress))
        }
        _ => sync_here(plan, home, progress),
    }
}

fn sync_here(plan: &SyncPlan, home: &Path, progress: &SyncProgress) -> Result<Stats, Failure> {
    let session = session();
    let mut stats = Stats::default();
    let mut done_bytes = 0;
    for item in &plan.items {
        let bytes = item.stamps.iter().flatten().map(|stamp| stamp.size).sum::<u64>();
        if !is_its_own_place(item, home)? {
            let (begun, _lock) = begin_item(&item.asked(true), &session, home)?;
            let BegunItem::Ready(place) = begun else {
                return Err(Failure::other(format!("{} was not made ready", item.destination)));
            };
            let record = Record::by_key(&place.key, home);
            record.set_serving(&session)?;
            copy_item(item, &place, &mut stats, &|bytes| progress.step(0, done_bytes + bytes))?;
            record.clear_serving();
            record.set_ended()?;
        }
        done_bytes += bytes;
        progress.step(0, done_bytes);
    }
    progress.end(0);
    Ok(stats)
}

/// Whether source and destination are the same. Errors: one is inside of the other, so that files would be copied over, or removed
/// with, those that they come from.
fn is_its_own_place(item: &Planned, home: &Path) -> Result<bool, Failure> {
    let place = crate::place::resolve(&item.destination, home)?;
    let (Ok(place), Ok(source)) = (place.canonicalize(), item.source.canonicalize()) else {
        return Ok(false);
    };
    if place == source {
        return Ok(true);
    }
    if !item.is_file && (place.starts_with(&source) || source.starts_with(&place)) {
        let (source, place) = (source.display(), place.display());
        return Err(Failure::usage(format!(
            "{source} cannot be synced to {place}: one is inside of the other"
        ))
        .with_hint("name a source outside of its destination"));
    }
    Ok(false)
}

fn copy_item(
    item: &Planned,
    place: &Ready,
    stats: &mut Stats,
    progress: &dyn Fn(u64),
) -> Result<(), Failure> {
    stats.deleted += place.removed;
    stats.notes.extend(place.note.clone());
    let path = Path::new(&place.path);
    let could_not =
        |why: &String| NotDone { path: item.destination.clone(), why: format!("cannot remove {why}") };
    stats.not_done.extend(place.not_removed.iter().map(could_not));
    let root = if item.is_file { path.parent().unwrap_or(path) } else { path };
    let looked = |err: std::io::Error| Failure::from_io(format!("cannot look into {}", root.display()), &err);
    let mut there = Beneath::open(root).map_err(looked)?;
    let digests = BASE64.decode(&place.digests).unwrap_or_default();
    let indices = item.differing(&digests);
    if place.by_sudo {
        return if indices.is_empty() { Ok(()) } else { copy_by_sudo(item, place, &indices, stats) };
    }
    let mut done_bytes = 0;
    for index in indices {
        let name = &item.names.all()[index];
        let target = match (item.is_file, path.file_name()) {
            (true, Some(file)) => file.to_owned(),
            _ => name.path.clone(),
        };
        let wanted = item.stamps[index];
        stats.listed += 1;
        done_bytes += wanted.map_or(0, |stamp| stamp.size);
        match there.stamp(&target) {
            Ok(stamp) if stamp == wanted => {}
            Ok(stamp) => match copy(item, name, &mut there, &target, stamp) {
                Ok(bytes) => {
                    stats.files += u64::from(name.kind == Kind::File);
                    stats.bytes += bytes;
                }
                Err(err) if is_full(&err) => {
                    return Err(Failure::from_io(format!("cannot write {}", path.display()), &err));
                }
                Err(err) => stats.not_done.push(not_done(item, name, &err)),
            },
            Err(err) => stats.not_done.push(not_done(item, name, &err)),
        }
        progress(done_bytes);
    }
    Ok(())
}

/// Copies as root, which rsync does as well.
fn copy_by_sudo(item: &Planned, place: &Ready, indices: &[usize], stats: &mut Stats) -> Result<(), Failure> {
    let names = (!item.is_file).then(|| fed_names(item, indices));
    let cannot = |err: &std::io::Error| Failure::from_io("cannot run rsync by sudo", err);
    let report =
        rsync::run_here_by_sudo(&item.source, names.as_deref(), &place.path).map_err(|err| cannot(&err))?;
    stats.listed += indices.len() as u64;
    stats.files += report.files;
    stats.bytes += report.literal_bytes;
    if let Some(trouble) = of_rsync(&report, &item.destination, None) {
        return Err(trouble.failure);
    }
    if report.code != Some(0) {
        stats.not_done.extend(named(&report.stderr));
    }
    Ok(())
}

fn is_full(err: &std::io::Error) -> bool {
    matches!(err.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn not_done(item: &Planned, name: &Name, err: &std::io::Error) -> NotDone {
    let why = match err.kind() {
        std::io::ErrorKind::NotFound => super::trouble::VANISHED.to_owned(),
        std::io::ErrorKind::DirectoryNotEmpty => {
            "a directory with files that no sync sent is in its place".to_owned()
        }
        _ => err.to_string(),
    };
    NotDone { path: item.path_of(name).to_string_lossy().into_owned(), why }
}

/// Makes one name as it is at the source; how many bytes were written or shared.
fn copy(
    item: &Planned,
    name: &Name,
    there: &mut Beneath,
    target: &OsStr,
    found: Option<Stamp>,
) -> std::io::Result<u64> {
    let source = item.path_of(name);
    let bytes = target.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'/');
    let dir = OsStr::from_bytes(at.map_or(&b""[..], |at| &bytes[..at]));
    let file = OsStr::from_bytes(at.map_or(bytes, |at| &bytes[at + 1..]));
    let found = found.and_then(|stamp| stamp.kind);
    if let (Some(Kind::Directory), false) = (found, name.kind == Kind::Directory) {
        rustix::fs::unlinkat(there.directory(dir)?, file, AtFlags::REMOVEDIR)?;
    }
    if name.kind == Kind::Directory {
        let mode = Mode::from_raw_mode(rustix::fs::stat(&source)?.st_mode);
        let dir = there.directory(dir)?;
        if found != Some(Kind::Directory) {
            if found.is_some() {
                rustix::fs::unlinkat(dir, file, AtFlags::empty())?;
            }
            rustix::fs::mkdirat(dir, file, Mode::RWXU)?;
        }
        let made = rustix::fs::openat(
            dir,
            file,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::fs::fchmod(made, mode)?;
        return Ok(0);
    }
    let dir = there.directory(dir)?;
    let mut new = OsString::from(".");
    new.push(OsStr::from_bytes(&file.as_bytes()[..file.len().min(200)]));
    new.push(format!(".pail-{}", &session()[..12]));
    let result = in_writable(dir, || match name.kind {
        Kind::Symlink => {
            let link = std::fs::read_link(&source)?;
            rustix::fs::symlinkat(&link, dir, &new)?;
            Ok(0)
        }
        _ => copy_file(&source, dir, &new),
    });
    let result = result.and_then(|bytes| {
        in_writable(dir, || Ok(rustix::fs::renameat(dir, &new, dir, file)?))?;
        Ok(bytes)
    });
    if result.is_err() {
        // It may not have been made.
        let _ = rustix::fs::unlinkat(dir, &new, AtFlags::empty());
    }
    result
}

/// Does what needs a directory to be writable, also where its owner made it read-only.
fn in_writable<T>(dir: BorrowedFd<'_>, work: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    match work() {
        Err(err) if err.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode);
            if mode.contains(Mode::WUSR) {
                return Err(err);
            }
            rustix::fs::fchmod(dir, mode | Mode::RWXU)?;
            let again = work();
            rustix::fs::fchmod(dir, mode)?;
            again
        }
        other => other,
    }
}

fn copy_file(source: &Path, dir: BorrowedFd<'_>, new: &OsStr) -> std::io::Result<u64> {
    let from = rustix::fs::open(source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = rustix::fs::openat(dir, new, flags, Mode::RUSR | Mode::WUSR)?;
    let size = stat.st_size as u64;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        copy_data(&from, &to, size)?;
    }
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::futimens(&to, &Timestamps { last_access: now, last_modification: modified })?;
    Ok(size)
}

/// Copies what is not a hole.
fn copy_data(from: &OwnedFd, to: &OwnedFd, size: u64) -> std::io::Result<()> {
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(at)).unwrap_or(size).min(size);
        let (mut read_at, mut write_at) = (at, at);
        while read_at < end {
            let length = usize::try_from(end - read_at).unwrap_or(COPY_BYTES_MAX).min(COPY_BYTES_MAX);
            match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
                // It was cut meanwhile.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let mut buffer = vec![0; length.min(1 << 20)];
                    let read = rustix::io::pread(from.as_fd(), &mut buffer, read_at)?;
                    if read == 0 {
                        return Ok(());
                    }
                    let written = rustix::io::pwrite(to.as_fd(), &buffer[..read], write_at)? as u64;
                    read_at += written;
                    write_at += written;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        at = end.max(at + 1);
    }
    Ok(())
}
