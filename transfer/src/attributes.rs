//! Time and mode of a file, as objects carry them.
//!
//! Owns: [`FileAttributes`] and their form in user metadata: `mtime`, seconds since 1970 with up to nine decimals, as rclone writes it, and `mode`, `st_mode` as a
//! decimal number, as s3fs writes it. Without them a file has the time at which its object was written, and 0666 less the umask.
//! Invariant: of a stored mode only the nine permission bits count, less the umask.

use pail_store::{ObjectMeta, UserMetadata};
use rustix::fs::Stat;
use std::time::{SystemTime, UNIX_EPOCH};

const MTIME: &str = "mtime";
const MODE: &str = "mode";
const NANOS: i64 = 1_000_000_000;

/// What a new file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileAttributes {
    /// Permission bits.
    pub mode: u32,
    pub mtime_secs: i64,
    pub mtime_nanos: u32,
}

impl FileAttributes {
    /// Those of an object, under a umask.
    pub fn of_object(meta: &ObjectMeta, umask: u32) -> Self {
        let stored = |name: &str| {
            // Some stores keep the case of what a client wrote, and some clients write `Mtime`.
            let mut metadata = meta.attributes.as_ref()?.metadata.iter();
            metadata.find(|(stored, _)| stored.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let mode = stored(MODE).and_then(parsed_mode).unwrap_or(0o666) & 0o777 & !umask;
        let time = stored(MTIME).and_then(parsed_time).unwrap_or_else(|| split(meta.last_modified));
        Self { mode, mtime_secs: time.0, mtime_nanos: time.1 }
    }

    /// The modification time in nanoseconds since 1970.
    pub fn mtime_ns(&self) -> i64 {
        self.mtime_secs.saturating_mul(NANOS).saturating_add(self.mtime_nanos.into())
    }

    /// A file's, as user metadata.
    pub fn metadata_of(stat: &Stat) -> UserMetadata {
        let mtime = time_text(stat.st_mtime, stat.st_mtime_nsec as u32);
        UserMetadata::from([(MTIME.to_owned(), mtime), (MODE.to_owned(), stat.st_mode.to_string())])
    }
}

/// The umask of this process, which only changing it would tell otherwise; 022 where the kernel does not say.
pub(crate) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    value.and_then(|value| u32::from_str_radix(value.trim(), 8).ok()).unwrap_or(0o022)
}

/// Decimal, or octal with a leading zero.
fn parsed_mode(text: &str) -> Option<u32> {
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// Seconds and nanoseconds, which go forward, as in `stat`: half a second before 1970 is -1 and 500,000,000. `None` for what is no time.
fn parsed_time(text: &str) -> Option<(i64, u32)> {
    let (is_before_1970, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (secs, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if secs.is_empty() || !is_number(secs) || !is_number(decimals) {
        return None;
    }
    let nanos = format!("{:0<9}", decimals.get(..9).unwrap_or(decimals));
    let (secs, nanos): (i64, u32) = (secs.parse().ok()?, nanos.parse().ok()?);
    Some(match (is_before_1970, nanos) {
        (false, _) => (secs, nanos),
        (true, 0) => (-secs, 0),
        (true, _) => (-secs - 1, NANOS as u32 - nanos),
    })
}

/// The same the other way round.
fn time_text(secs: i64, nanos: u32) -> String {
    let mut text = match secs < 0 && nanos > 0 {
        true => format!("-{}.{:09}", -(secs + 1), NANOS as u32 - nanos),
        false => format!("{secs}.{nanos:09}"),
    };
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text
}

fn split(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
        Err(_) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pail_store::{RawKey, Version};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn what_tools_store_is_read_and_what_nobody_wrote_is_the_store_s_time() {
        let of = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let meta = ObjectMeta {
                key: RawKey::new("k").unwrap(),
                size: 0,
                version: Version::Unknown,
                last_modified: UNIX_EPOCH + Duration::from_millis(5_500),
                attributes: Some(Arc::new(pail_store::Attributes {
                    metadata: entries.collect(),
                    ..pail_store::Attributes::default()
                })),
                checksum: None,
                md5: None,
            };
            FileAttributes::of_object(&meta, 0o022)
        };
        let at = |mode, mtime_secs, mtime_nanos| FileAttributes { mode, mtime_secs, mtime_nanos };
        assert_eq!(of(&[]), at(0o644, 5, 500_000_000));
        assert_eq!(
            of(&[("mtime", "1700000000.25"), ("mode", "33261")]),
            at(0o755, 1_700_000_000, 250_000_000)
        );
        assert_eq!(of(&[("mtime", "7"), ("mode", "0666")]), at(0o644, 7, 0));
        assert_eq!(of(&[("mtime", "1.1234567899")]), at(0o644, 1, 123_456_789));
        // No set-user-ID bit, nor anything that is no number.
        assert_eq!(of(&[("mtime", "-1"), ("mode", "35309")]), at(0o755, -1, 0));
        for (secs, nanos, text) in [
            (0, 0, "0"),
            (100, 0, "100"),
            (7, 500_000_000, "7.5"),
            (-1, 500_000_000, "-0.5"),
            (-6, 1, "-5.999999999"),
        ] {
            assert_eq!((time_text(secs, nanos).as_str(), parsed_time(text)), (text, Some((secs, nanos))));
        }
        assert_eq!(of(&[("mtime", "--1")]), at(0o644, 5, 500_000_000));
        assert_eq!(of(&[("mtime", "now"), ("mode", "rwx")]), at(0o644, 5, 500_000_000));
    }
}
