//! Objects that another client replaces or deletes while this mount still believes an earlier listing, as programs see them through
//! the kernel: the new version whole, and never a mixture of two.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_mountd::fs::FsOptions;
use pail_store::{Condition, RawKey, Store};
use pail_tests::mounted::{Mounted, blocking};
use pail_tests::mounted_test;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// For how long a name is believed: the default, that of a read-only mount, and not at all.
const TTLS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(60), Duration::ZERO];
const OLD_LEN: usize = 1000;
const OLD: u8 = 20;
const NEW: u8 = 130;
const NEW_LENS: [usize; 4] = [10, OLD_LEN, 5000, 0];

fn options(metadata_ttl: Duration) -> FsOptions {
    FsOptions { metadata_ttl, ..FsOptions::default() }
}

/// Bytes that are no zeros, and of two seeds none the same at the same place.
fn bytes_of(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed + (at % 100) as u8).collect()
}

type Reader = fn(&Path) -> std::io::Result<Vec<u8>>;

/// The ways in which programs read a whole file.
const READERS: [(&str, Reader); 4] =
    [("read", |path| std::fs::read(path)), ("pread", pread), ("mmap", mapped), ("sendfile", sent)];

fn pread(path: &Path) -> std::io::Result<Vec<u8>> {
    let (file, mut bytes, mut at) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        match file.read_at(&mut bytes[at..at + 700], at as u64)? {
            0 => break,
            count => at += count,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

fn mapped(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the file is not changed through this mount while it is mapped.
    Ok(unsafe { memmap2::Mmap::map(&file)? }.to_vec())
}

/// Without a look at its length.
fn sent(path: &Path) -> std::io::Result<Vec<u8>> {
    let (file, mut copy) = (File::open(path)?, tempfile::tempfile()?);
    loop {
        // SAFETY: both descriptors are open, and no offset is given.
        match unsafe { libc::sendfile(copy.as_raw_fd(), file.as_raw_fd(), std::ptr::null_mut(), 1 << 20) } {
            0 => break,
            count if count < 0 => return Err(std::io::Error::last_os_error()),
            _ => {}
        }
    }
    copy.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes)?;
    Ok(bytes)
}

type Writer = fn(&Path) -> std::io::Result<Vec<u8>>;

/// The ways in which programs change a file that is there. Each gives what it read of it, if it did.
const WRITERS: [(&str, Writer); 3] = [("r+", rewrite), ("a+", read_and_append), ("append", append)];

/// Reads all, writes it back, and cuts the file behind that, as editors of configurations do.
fn rewrite(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    Ok(bytes)
}

fn read_and_append(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.write_all(b"+")?;
    file.sync_all()?;
    Ok(bytes)
}

fn append(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(b"+")?;
    file.sync_all()?;
    Ok(Vec::new())
}

/// What was done with the old version before it was replaced.
type Before = fn(&Path);

fn looked_at(path: &Path) {
    std::fs::metadata(path).unwrap();
}

mounted_test! {
    // SEMANTICS: reading.2, writing.5
    async fn a_file_known_from_a_listing_is_read_and_changed_as_it_is_now() {
        for ttl in TTLS {
            let m = Mounted::new(options(ttl)).await;
            for len in NEW_LENS {
                for (name, reader) in READERS {
                    let (file, new) = (format!("{len:04}-{name}"), bytes_of(NEW, len));
                    replace(&m, &file, bytes_of(OLD, OLD_LEN), new.clone(), looked_at).await;
                    let path = m.at(&file);
                    let read = blocking(move || reader(&path)).await;
                    assert_eq!(told(&read), told(&Ok(new)), "{name} of {len} bytes, {ttl:?}");
                }
                for (name, writer) in WRITERS {
                    let (file, new) = (format!("{len:04}-{name}"), bytes_of(NEW, len));
                    replace(&m, &file, bytes_of(OLD, OLD_LEN), new.clone(), looked_at).await;
                    changed_as_it_is(&m, &file, new, (name, writer), ttl).await;
                }
            }
        }
    }
}

async fn changed_as_it_is(m: &Mounted, file: &str, new: Vec<u8>, way: (&str, Writer), ttl: Duration) {
    let (name, writer) = way;
    let (path, len) = (m.at(file), new.len());
    let read = blocking(move || writer(&path)).await;
    let expected = [&new[..], if name == "r+" { b"" } else { b"+" }].concat();
    assert_eq!(
        told(&read),
        told(&Ok(if name == "append" { Vec::new() } else { new })),
        "{name} of {len} bytes, {ttl:?}"
    );
    let object = m.files.get(file).await.unwrap();
    assert_eq!(
        told(&Ok(object.to_vec())),
        told(&Ok(expected)),
        "the object after {name} of {len} bytes, {ttl:?}"
    );
}

/// Puts `old`, does something with it through the mount, and replaces it by `new` as another client does.
async fn replace(m: &Mounted, file: &str, old: Vec<u8>, new: Vec<u8>, before: Before) {
    m.files.put(file, old).await;
    // A name that was looked at before it was there would be missing for the TTL.
    let path = m.at(file);
    blocking(move || before(&path)).await;
    m.files.put(file, new).await;
}

/// Bytes as a short text: length, and where they begin and end.
fn told(bytes: &std::io::Result<Vec<u8>>) -> String {
    match bytes {
        Ok(bytes) => format!(
            "{} bytes, {:?} … {:?}, sum {}",
            bytes.len(),
            &bytes[..bytes.len().min(4)],
            &bytes[bytes.len().saturating_sub(4)..],
            bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        ),
        Err(error) => error.to_string(),
    }
}

/// Of 40 MiB, what a reader of the beginning has fetched ahead is a part.
const LARGE: usize = 40 << 20;

fn read_in_part(path: &Path) {
    File::open(path).unwrap().read_exact_at(&mut vec![0; 1 << 20], 0).unwrap();
}

fn appended(path: &Path) {
    append(path).unwrap();
}

mounted_test! {
    // SEMANTICS: reading.2
    async fn a_file_that_nobody_has_open_is_read_as_if_for_the_first_time() {
        let m = Mounted::new(options(Duration::from_secs(60))).await;
        let cases: [(&str, Before); 2] = [("read in part", read_in_part), ("appended", appended)];
        for (what, before) in cases {
            for (name, reader) in READERS {
                let (file, new) = (format!("{what}-{name}"), bytes_of(NEW, LARGE / 2));
                replace(&m, &file, bytes_of(OLD, LARGE), new.clone(), before).await;
                let path = m.at(&file);
                let read = blocking(move || if name == "pread" { std::fs::read(&path) } else { reader(&path) }).await;
                assert_eq!(told(&read), told(&Ok(new)), "{what}, then {name}");
            }
            for (name, writer) in WRITERS {
                let (file, new) = (format!("{what}-{name}"), bytes_of(NEW, OLD_LEN));
                replace(&m, &file, bytes_of(OLD, LARGE), new.clone(), before).await;
                changed_as_it_is(&m, &file, new, (name, writer), Duration::from_secs(60)).await;
            }
        }
        // One that was read whole is changed as it is now, too.
        for (name, writer) in WRITERS {
            let (file, new) = (format!("whole-{name}"), bytes_of(NEW, 10));
            replace(&m, &file, bytes_of(OLD, OLD_LEN), new.clone(), |path| assert_eq!(std::fs::read(path).unwrap().len(), OLD_LEN)).await;
            changed_as_it_is(&m, &file, new, (name, writer), Duration::from_secs(60)).await;
        }
    }
}

mounted_test! {
    // SEMANTICS: names.1, reading.2
    async fn what_was_deleted_elsewhere_is_gone_once_that_was_seen() {
        let m = Mounted::new(options(Duration::from_secs(3600))).await;
        m.files.put("name", "a file").await;
        // All names are known, by one listing, before any of them goes.
        for what in ["small", "large"] {
            m.files.put(what, "x").await;
        }
        assert_eq!(m.sh("stat name >/dev/null; ls").await, "large\nname\nsmall\n");
        for what in ["small", "large"] {
            m.files.put(what, bytes_of(OLD, if what == "small" { OLD_LEN } else { LARGE })).await;
            let path = m.at(what);
            blocking(move || if path.ends_with("large") { read_in_part(&path) } else { looked_at(&path) }).await;
            m.files.bucket.delete(&RawKey::new(what).unwrap(), Condition::None).await.unwrap();
            let path = m.at(what);
            let read = blocking(move || {
                let first = std::fs::read(&path);
                (first, std::fs::read(&path), std::fs::metadata(&path))
            }).await;
            assert_eq!(read.0.unwrap_err().kind(), ErrorKind::NotFound, "{what}");
            assert_eq!(read.1.unwrap_err().kind(), ErrorKind::NotFound, "{what}");
            assert_eq!(read.2.unwrap_err().kind(), ErrorKind::NotFound, "{what}");
        }
        assert_eq!(m.sh("ls").await, "name\n");
        // Where a directory has taken its place, that is found.
        m.files.bucket.delete(&RawKey::new("name").unwrap(), Condition::None).await.unwrap();
        m.files.put("name/in it", "x").await;
        let output = m.try_sh("cat name").await;
        assert!(String::from_utf8_lossy(&output.stderr).contains("Is a directory"), "{output:?}");
        assert_eq!(m.sh("ls name").await, "in it\n");
    }
}

mounted_test! {
    // SEMANTICS: writing.5
    async fn a_log_that_another_client_began_is_appended_to_though_its_name_was_missing() {
        for ttl in TTLS {
            let m = Mounted::new(options(ttl)).await;
            m.sh("ls; test ! -e log; test ! -e written").await;
            m.files.put("log", "theirs\n").await;
            m.files.put("written", "theirs\n").await;
            m.sh("echo ours >> log").await;
            assert_eq!(&m.files.get("log").await.unwrap()[..], b"theirs\nours\n", "{ttl:?}");
            let path = m.at("written");
            blocking(move || {
                let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
                file.write_all_at(b"T", 0).unwrap();
                file.sync_all().unwrap();
            }).await;
            assert_eq!(&m.files.get("written").await.unwrap()[..], b"Theirs\n", "{ttl:?}");
        }
    }
}

mounted_test! {
    // SEMANTICS: writing.5, writing.7
    async fn a_file_that_is_cut_to_nothing_is_empty_whatever_another_client_wrote_meanwhile() {
        let m = Mounted::new(options(Duration::from_secs(60))).await;
        for (name, old) in [("was empty", Vec::new()), ("had bytes", bytes_of(OLD, OLD_LEN))] {
            replace(&m, name, old.clone(), bytes_of(NEW, 10), looked_at).await;
            let path = m.at(name);
            blocking(move || {
                let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
                // SAFETY: a path that ends in NUL. Not by an open file.
                assert_eq!(unsafe { libc::truncate(path.as_ptr(), 0) }, 0);
            }).await;
            assert_eq!(m.files.get(name).await.unwrap().len(), 0, "{name}");

            let open = format!("open, {name}");
            m.files.put(&open, old).await;
            let path = m.at(&open);
            let file = blocking(move || File::options().write(true).open(path).unwrap()).await;
            m.files.put(&open, bytes_of(NEW, 10)).await;
            blocking(move || {
                file.set_len(0).unwrap();
                file.sync_all().unwrap();
            }).await;
            assert_eq!(m.files.get(&open).await.unwrap().len(), 0, "{open}");
        }
    }
}

mounted_test! {
    // SEMANTICS: reading.4
    async fn what_this_mount_publishes_is_no_replacement_to_its_readers() {
        let m = Mounted::new(options(Duration::from_secs(5))).await;
        m.sh("echo 0 > f").await;
        let (path, read) = (m.at("f"), m.at("f"));
        let writer = tokio::task::spawn_blocking(move || {
            for _ in 0..300 {
                append(&path).unwrap();
            }
        });
        blocking(move || {
            let mut len = 0;
            while len < 302 {
                let now = std::fs::read(&read).unwrap().len();
                assert!(now >= len, "{now} bytes after {len}");
                len = now;
            }
        }).await;
        writer.await.unwrap();
    }
}

mounted_test! {
    // SEMANTICS: changing names.3
    async fn a_renamed_file_that_was_replaced_shows_the_new_version_also_where_the_old_is_open() {
        let m = Mounted::new(options(Duration::from_secs(3600))).await;
        m.files.put("from", bytes_of(OLD, OLD_LEN)).await;
        let (from, to) = (m.at("from"), m.at("to"));
        let open = blocking(move || {
            let mut file = File::open(&from).unwrap();
            file.read_to_end(&mut Vec::new()).unwrap();
            file
        }).await;
        m.files.put("from", bytes_of(NEW, 10)).await;
        let from = m.at("from");
        blocking(move || std::fs::rename(&from, &to).unwrap()).await;
        let to = m.at("to");
        blocking(move || {
            let end = std::time::Instant::now() + Duration::from_secs(60);
            // The kernel is told by a thread of its own.
            while std::fs::read(&to).unwrap() != bytes_of(NEW, 10) {
                assert!(std::time::Instant::now() < end, "the new version did not come to be seen");
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut old = vec![0; OLD_LEN];
            open.read_exact_at(&mut old, 0).unwrap();
            assert_eq!(old, bytes_of(OLD, OLD_LEN), "who has the old one open keeps it");
        }).await;
    }
}

mounted_test! {
    // SEMANTICS: changing names.3
    async fn what_was_replaced_elsewhere_is_renamed_and_cut_as_it_is_now() {
        let m = Mounted::new(options(Duration::from_secs(3600))).await;
        replace(&m, "from", bytes_of(OLD, OLD_LEN), bytes_of(NEW, 10), looked_at).await;
        let (from, to) = (m.at("from"), m.at("to"));
        blocking(move || {
            std::fs::rename(&from, &to).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), bytes_of(NEW, 10));
        }).await;
        assert_eq!(m.files.get("to").await.unwrap(), bytes_of(NEW, 10));
        assert!(m.files.get("from").await.is_none());

        replace(&m, "cut", bytes_of(OLD, OLD_LEN), bytes_of(NEW, 10), looked_at).await;
        let path = m.at("cut");
        blocking(move || {
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: a path that ends in NUL. Not by an open file.
            assert_eq!(unsafe { libc::truncate(path.as_ptr(), 500) }, 0);
        }).await;
        let expected = [bytes_of(NEW, 10), vec![0; 490]].concat();
        assert_eq!(m.files.get("cut").await.unwrap(), expected);
        let path = m.at("cut");
        assert_eq!(blocking(move || std::fs::read(path)).await.unwrap(), expected);
    }
}
