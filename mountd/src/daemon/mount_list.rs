//! The list of mounts that outlives the daemon.
//!
//! Owns: `mounts.json`. Invariants: the file is replaced as a whole, after its content is on disk, so that a crash leaves
//! the old list or the new one; and it holds no secret.

use pail_control::Failure;
use pail_control::saved_mount::SavedMount;
use parking_lot::Mutex;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The list, in memory and on disk alike.
#[derive(Debug)]
pub struct MountList {
    file: PathBuf,
    /// Held while the file is written and the list follows it, by one at a time. Before `mounts`.
    changing: Mutex<()>,
    /// Guards the list, which is what was written last: whoever asks for it waits for no disk. A leaf.
    mounts: Mutex<Vec<SavedMount>>,
}

impl MountList {
    /// Reads the list; one that cannot be understood is put aside under another name, and said so in the log.
    pub fn open(file: PathBuf) -> Result<Self, Failure> {
        let mounts = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).or_else(|err| {
                let aside = file.with_extension("json.unreadable");
                tracing::error!(file = %file.display(), error = %err, aside = %aside.display(), "the list of mounts cannot be read, and was put aside");
                std::fs::rename(&file, &aside).map(|()| Vec::new())
            }),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(err),
        }
        .map_err(|err| Failure::from_io(format!("cannot read {}", file.display()), &err))?;
        Ok(Self { file, changing: Mutex::default(), mounts: Mutex::new(mounts) })
    }

    /// All mounts.
    pub fn all(&self) -> Vec<SavedMount> {
        self.mounts.lock().clone()
    }

    /// The mount at `mount_point`.
    pub fn at(&self, mount_point: &Path) -> Option<SavedMount> {
        self.mounts.lock().iter().find(|mount| mount.spec.mount_point == mount_point).cloned()
    }

    /// Adds a mount, or replaces the one at its place. Blocks. Errors: the local disk's; the list is then as it was.
    pub fn put(&self, mount: SavedMount) -> Result<(), Failure> {
        let _alone = self.changing.lock();
        let mut next = self.all();
        next.retain(|other| other.spec.mount_point != mount.spec.mount_point);
        next.push(mount);
        self.write(&next)?;
        *self.mounts.lock() = next;
        Ok(())
    }

    /// Takes a mount off the list; returns it if it was there. Blocks. Errors: the local disk's; the list is then as it was.
    pub fn remove(&self, mount_point: &Path) -> Result<Option<SavedMount>, Failure> {
        let _alone = self.changing.lock();
        let mut next = self.all();
        let Some(index) = next.iter().position(|mount| mount.spec.mount_point == mount_point) else {
            return Ok(None);
        };
        let removed = next.remove(index);
        self.write(&next)?;
        *self.mounts.lock() = next;
        Ok(Some(removed))
    }

    fn write(&self, mounts: &[SavedMount]) -> Result<(), Failure> {
        let replace = || -> std::io::Result<()> {
            let dir = self.file.parent().unwrap_or(Path::new("/"));
            // Created with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            serde_json::to_writer_pretty(&mut file, mounts)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&self.file)?;
            std::fs::File::open(dir)?.sync_all()
        };
        replace().map_err(|err| Failure::from_io(format!("cannot write {}", self.file.display()), &err))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pail_control::CallerEnvironment;
    use pail_control::quantity::{Period, Permissions};
    use pail_control::types::MountSpec;

    pub fn mount(place: &str, source: &str) -> SavedMount {
        SavedMount {
            spec: MountSpec {
                source: source.into(),
                mount_point: place.into(),
                endpoint_url: None,
                region: None,
                profile: None,
                read_only: false,
                metadata_ttl: Period::default(),
                uid: 1,
                gid: 1,
                file_mode: Permissions(0o644),
                dir_mode: Permissions(0o755),
                new_file_mode: None,
                new_dir_mode: None,
                allow_other: false,
                settings: Default::default(),
            },
            environment: CallerEnvironment::default(),
            keys_were_given: true,
            proxy_user_was_given: false,
            created_directories: vec![],
        }
    }

    #[test]
    fn survives_being_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mounts.json");
        let list = MountList::open(file.clone()).unwrap();
        list.put(mount("/a", "s3://one")).unwrap();
        list.put(mount("/b", "s3://two")).unwrap();
        list.put(mount("/a", "s3://three")).unwrap();
        assert_eq!(list.remove(Path::new("/b")).unwrap(), Some(mount("/b", "s3://two")));
        assert_eq!(list.remove(Path::new("/b")).unwrap(), None);
        assert_eq!(MountList::open(file).unwrap().all(), [mount("/a", "s3://three")]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_could_not_be_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        std::fs::create_dir(&gone).unwrap();
        let list = MountList::open(gone.join("mounts.json")).unwrap();
        list.put(mount("/a", "s3://one")).unwrap();
        std::fs::remove_dir_all(&gone).unwrap();
        list.put(mount("/b", "s3://two")).unwrap_err();
        list.remove(Path::new("/a")).unwrap_err();
        assert_eq!(list.all(), [mount("/a", "s3://one")]);
        std::fs::create_dir(&gone).unwrap();
        assert_eq!(list.remove(Path::new("/a")).unwrap(), Some(mount("/a", "s3://one")));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mounts.json");
        std::fs::write(&file, "{torn").unwrap();
        assert!(MountList::open(file.clone()).unwrap().all().is_empty());
        assert_eq!(std::fs::read_to_string(dir.path().join("mounts.json.unreadable")).unwrap(), "{torn");
        assert!(!file.exists());
    }
}
