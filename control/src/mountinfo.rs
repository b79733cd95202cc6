//! What the kernel has mounted where.
//!
//! Owns: [`MountInfo`] and the reading of `/proc/self/mountinfo`. Source: proc_pid_mountinfo(5). Reading it never touches the
//! mounted file systems, so it is safe where a `stat` would hang on a dead one.

use pail_store::StoreKind;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type of Pail's mounts.
const PAIL_FSTYPE: &str = "fuse.pail";
/// The type of those that root's daemons made once, and that a killed one may have left: their source tells them apart.
const FUSE_FSTYPE: &str = "fuse";

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its type, such as `ext4` or `fuse.pail`.
    pub fs_type: String,
    /// Its source, such as `/dev/sda1` or `s3://bucket`.
    pub source: OsString,
}

impl MountInfo {
    /// Whether it is one of Pail's, of whichever daemon.
    pub fn is_pail(&self) -> bool {
        // Other bucket file systems call theirs by their own name.
        let source = self.source.to_str().and_then(|source| source.split_once("://"));
        let named = source.is_some_and(|(scheme, _)| StoreKind::of_scheme(scheme).is_some());
        self.fs_type == PAIL_FSTYPE || (self.fs_type == FUSE_FSTYPE && named)
    }
}

/// Everything that is mounted, in the kernel's order: of several at one place the last is on top.
pub fn read() -> std::io::Result<Vec<MountInfo>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// What is mounted exactly at `place`, the topmost.
pub fn at<'a>(mounts: &'a [MountInfo], place: &Path) -> Option<&'a MountInfo> {
    mounts.iter().rev().find(|mount| mount.mount_point == place)
}

/// The Pail mount that `place` lies in, below its mount point.
pub fn pail_above<'a>(mounts: &'a [MountInfo], place: &Path) -> Option<&'a MountInfo> {
    let above = place.parent()?;
    let mut best: Option<&MountInfo> = None;
    for mount in mounts.iter().filter(|mount| above.starts_with(&mount.mount_point)) {
        // The innermost mount is the one that the path is on; of equals the later covers the earlier.
        if best.is_none_or(|best| mount.mount_point.starts_with(&best.mount_point)) {
            best = Some(mount);
        }
    }
    best.filter(|mount| mount.is_pail())
}

fn parse(text: &[u8]) -> Vec<MountInfo> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext3 /dev/root rw`: the optional fields end with a lone `-`.
fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_point = unescape(fields.nth(4)?);
    fields.by_ref().find(|field| *field == b"-")?;
    let fs_type = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    Some(MountInfo {
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        fs_type: String::from_utf8_lossy(&fs_type).into_owned(),
        source: OsString::from_vec(source),
    })
}

/// Space, tab, newline, `#` and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        36 22 0:30 / /mnt/with\\040space rw,nosuid shared:7 master:2 - fuse.pail s3://a/b\\054c rw\n\
        37 22 0:31 / /mnt/back\\134slash rw - fuse.s3fs s3fs rw\n\
        38 22 0:32 / /mnt/twice rw - tmpfs tmpfs rw\n\
        39 38 0:33 / /mnt/twice rw - fuse.pail s3://top rw\n\
        40 36 0:34 / /mnt/with\\040space/tmp rw - tmpfs inner rw\n\
        broken line\n";

    #[test]
    fn escapes_optional_fields_and_broken_lines() {
        let mounts = parse(SAMPLE);
        assert_eq!(mounts.len(), 6);
        let spaced = at(&mounts, Path::new("/mnt/with space")).unwrap();
        assert_eq!((spaced.fs_type.as_str(), spaced.source.to_str()), (PAIL_FSTYPE, Some("s3://a/b,c")));
        assert_eq!(at(&mounts, Path::new("/mnt/back\\slash")).unwrap().fs_type, "fuse.s3fs");
        assert_eq!(at(&mounts, Path::new("/mnt/twice")).unwrap().source, "s3://top");
        assert_eq!(at(&mounts, Path::new("/mnt")), None);
    }

    #[test]
    fn pails_own_are_known_by_type_or_source() {
        let is_pail = |fs_type: &str, source: &str| {
            MountInfo { mount_point: "/m".into(), fs_type: fs_type.into(), source: source.into() }.is_pail()
        };
        assert!(is_pail("fuse.pail", "whatever"));
        assert!(is_pail("fuse", "s3://bucket"));
        assert!(is_pail("fuse", "az://account/container/prefix"));
        assert!(!is_pail("fuse", "bucket:gs"));
        assert!(!is_pail("fuse", "mountpoint-s3"));
        assert!(!is_pail("fuse.s3fs", "s3://bucket"));
    }

    #[test]
    fn only_the_innermost_mount_counts_as_above() {
        let mounts = parse(SAMPLE);
        let above = |path: &str| pail_above(&mounts, Path::new(path)).map(|mount| mount.mount_point.clone());
        assert_eq!(above("/mnt/with space/a/b"), Some("/mnt/with space".into()));
        assert_eq!(above("/mnt/with space"), None);
        assert_eq!(above("/mnt/with space/tmp/x"), None);
        assert_eq!(above("/mnt/with spaces/x"), None);
    }

    #[test]
    fn this_system_has_a_root() {
        assert!(at(&read().unwrap(), Path::new("/")).is_some());
    }
}
