//! The FUSE adapter: decodes, calls, replies. The only module that names `fuser`.
//!
//! Owns: [`FuseMount`], the life of one mounted session. `requests` are the kernel's, `arguments` what they mean, `adapter` says where they are
//! carried out, `replies` encodes the answers, `root` mounts without a helper, and `waiting` tells who waits for none any longer.

mod adapter;
mod arguments;
mod replies;
mod requests;
mod root;
mod waiting;

use crate::fs::{BucketFs, Stale, StaleReceiver};
use adapter::Adapter;
use fuser::{Config, INodeNo, MountOption, Notifier, Session, SessionACL};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// What the kernel reads ahead of a program, in KiB. With the default of 128 a buffered stream is a third slower.
const READ_AHEAD_KIB: u32 = 4096;

/// How the kernel sees the mount.
#[derive(Debug, Clone)]
pub struct FuseOptions {
    /// The source shown in `mount` and mountinfo, such as `s3://bucket/prefix`.
    pub fs_name: String,
    /// Mount read-only.
    pub read_only: bool,
    /// Let other users in (`allow_other`).
    pub allow_other: bool,
    /// Threads that take requests from the kernel.
    pub threads: usize,
    /// A mount without a daemon is at the mount point: this one takes its place.
    pub replaces_dead: bool,
}

/// A mounted file system. Dropping it does not unmount.
pub struct FuseMount {
    dir: PathBuf,
    ended: watch::Receiver<bool>,
    unmounting: Arc<AtomicBool>,
}

impl FuseMount {
    /// Mounts `fs` at `dir` and serves it on threads of its own, with asynchronous work on `runtime`.
    /// Errors: those of mount(2) or fusermount3, in their own words.
    pub fn start(
        fs: Arc<BucketFs>,
        dir: &Path,
        options: &FuseOptions,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![
            // Commas end an option, and a bucket's prefix may hold one.
            MountOption::FSName(options.fs_name.replace('\\', "\\\\").replace(',', "\\,")),
            MountOption::Subtype("pail".into()),
            MountOption::DefaultPermissions,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoAtime,
            if options.read_only { MountOption::RO } else { MountOption::RW },
        ];
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(options.threads.max(1));
        let stale = fs.take_stale();
        let adapter = Adapter::new(fs, runtime);
        let (session, placing) = match root::mount(dir, options)? {
            Some((device, placing)) => {
                (Session::from_fd(adapter, device, config.acl, config)?, Some(placing))
            }
            None => {
                if options.replaces_dead {
                    // fusermount3 asks the directory first, which a dead mount does not answer: a moment between there must be.
                    unmount(dir, true)?;
                }
                (Session::new(adapter, dir, &config)?, None)
            }
        };
        let session = session.spawn()?;
        let unmounting = Arc::new(AtomicBool::new(false));
        if let Some(stale) = stale {
            forward_stale(session.notifier(), stale, unmounting.clone())?;
        }
        let (tell, ended) = watch::channel(false);
        let mount_point = dir.to_owned();
        std::thread::Builder::new().name("fuse-session".into()).spawn(move || {
            if let Err(error) = session.join() {
                tracing::warn!(mount = %mount_point.display(), error = %error, "the FUSE session ended with an error");
                // Nobody answers there any more. Somebody else's mount at the same place is not dead.
                if matches!(rustix::fs::statvfs(&mount_point), Err(Errno::NOTCONN | Errno::CONNABORTED)) {
                    let _ = unmount(&mount_point, true);
                }
            }
            // Nobody is listening when the daemon is on its way out.
            let _ = tell.send(true);
        })?;
        if let Some(placing) = placing {
            placing.finish()?;
        }
        raise_read_ahead(dir);
        Ok(Self { dir: dir.to_owned(), ended, unmounting })
    }

    /// Unmounts; `lazy` detaches a busy mount point (open files live on until closed). Errors: EBUSY.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        if *self.ended.borrow() {
            return Ok(());
        }
        self.unmounting.store(true, Ordering::Release);
        let done = unmount(&self.dir, lazy);
        self.unmounting.store(done.is_ok(), Ordering::Release);
        done
    }

    /// Resolves when the kernel has ended the session (unmounted by us or by anyone).
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error says that the thread is gone, and the session with it.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// Unmounts what is at `dir`: as root by umount2(2), else through fusermount3. Errors: EBUSY, EINVAL, fusermount3's words.
pub fn unmount(dir: &Path, lazy: bool) -> io::Result<()> {
    use rustix::mount::UnmountFlags;
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(dir, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => {}
        done => return done.map_err(io::Error::from),
    }
    let mut command = std::process::Command::new("fusermount3");
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(dir);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let kind = if words.contains("busy") { io::ErrorKind::ResourceBusy } else { io::ErrorKind::Other };
    Err(io::Error::new(kind, words))
}

/// Tells the kernel what to ask for again.
///
/// # Why a thread of its own
/// An invalidation may wait for a page that an unanswered read holds, or for a directory that an unanswered call has locked: sent by
/// a thread that answers requests, or during an unmount, it would deadlock.
fn forward_stale(
    notifier: Notifier,
    mut stale: StaleReceiver,
    unmounting: Arc<AtomicBool>,
) -> io::Result<()> {
    std::thread::Builder::new().name("fuse-notify".into()).spawn(move || {
        while let Some(stale) = stale.blocking_recv() {
            if unmounting.load(Ordering::Acquire) {
                continue;
            }
            // An error says that the kernel does not know the inode or the name.
            let _ = match stale {
                // A negative offset concerns attributes alone.
                Stale::Attributes(ino) => notifier.inval_inode(INodeNo(ino), -1, 0),
                Stale::Name(parent, name) => notifier.inval_entry(INodeNo(parent), OsStr::new(&*name)),
            };
        }
    })?;
    Ok(())
}

/// Raises the mount's read-ahead. Only root may; without, reads are correct and somewhat slower.
fn raise_read_ahead(dir: &Path) {
    let raised = std::fs::metadata(dir).and_then(|meta| {
        let (major, minor) = (rustix::fs::major(meta.st_dev()), rustix::fs::minor(meta.st_dev()));
        std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB.to_string())
    });
    if let Err(error) = raised {
        tracing::debug!(mount = %dir.display(), error = %error, "the kernel's read-ahead stays at its default");
    }
}
