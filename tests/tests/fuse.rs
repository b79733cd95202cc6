//! Programs on a bucket that is mounted through the kernel.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_mountd::fs::FsOptions;
use pail_store::{ListRequest, Store};
use pail_tests::files::{Files, rename_request};
use pail_tests::mounted::{Mounted, blocking};
use pail_tests::mounted_test;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

mounted_test! {
    async fn programs_copy_append_list_and_remove() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("echo one > a; echo two >> a; mkdir -p d/e; cp a d/e/b; cat d/e/b").await;
        assert_eq!(&m.files.get("d/e/b").await.unwrap()[..], b"one\ntwo\n");
        assert_eq!(m.sh("ls -1 d/e; ls -1 .").await, "b\na\nd\n");
        m.sh("mv d/e/b c; rm a; rmdir d/e d; test ! -e a; test ! -e d").await;
        assert_eq!(m.sh("find . -type f").await, "./c\n");
        m.sh("mkdir x; touch x/1 x/2 x/3; rm -r x; test ! -e x").await;
        m.sh("mkdir old; echo 1 > old/f; mv old new; cat new/f; test ! -e old").await;
    }
}

mounted_test! {
    async fn a_child_writes_to_the_log_it_inherited() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("{ echo a; /bin/echo b; (echo c); } > log; python3 - <<'P'\nimport subprocess\nwith open('pylog','w') as f:\n subprocess.run(['/bin/echo','from the child'],stdout=f,check=True)\n f.seek(0,2); f.write('and the parent\\n')\nP").await;
        assert_eq!(&m.files.get("log").await.unwrap()[..], b"a\nb\nc\n");
        assert_eq!(&m.files.get("pylog").await.unwrap()[..], b"from the child\nand the parent\n");
    }
}

mounted_test! {
    async fn one_small_file_is_one_request_once_its_directory_is_known() {
        let m = Mounted::new(FsOptions { metadata_ttl: Duration::from_secs(600), ..FsOptions::default() }).await;
        let page = m.files.requests.list(ListRequest::default()).await.unwrap();
        m.files.fs.prime(&page, Instant::now());
        m.files.requests.take();
        m.sh("echo hello > greeting").await;
        assert_eq!(m.files.requests.take(), ["put greeting"]);
        m.sh("cat greeting greeting").await;
        assert_eq!(m.files.requests.take(), Vec::<String>::new());
    }
}

mounted_test! {
    async fn mmap_writes_and_reads() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("python3 - <<'P'\nimport mmap\nwith open('f','w+b') as f:\n f.truncate(1000000)\n with mmap.mmap(f.fileno(),0) as m:\n  m[500000:500005]=b'hello'\n  m.flush()\n  assert m[500000:500005]==b'hello'\nP").await;
        let bytes = m.files.get("f").await.unwrap();
        assert_eq!((bytes.len(), &bytes[500_000..500_005]), (1_000_000, &b"hello"[..]));
    }
}

mounted_test! {
    async fn two_handles_of_one_file_agree() {
        let m = Mounted::new(FsOptions::default()).await;
        m.files.put("f", vec![1u8; 300_000]).await;
        let path = m.at("f");
        blocking(move || {
            let mut reader = std::fs::File::open(&path).unwrap();
            let mut bytes = vec![0; 10];
            reader.read_exact(&mut bytes).unwrap();
            let mut writer = std::fs::File::options().write(true).open(&path).unwrap();
            writer.seek(SeekFrom::Start(5)).unwrap();
            writer.write_all(&[2; 10]).unwrap();
            reader.seek(SeekFrom::Start(0)).unwrap();
            reader.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
        }).await;
    }
}

mounted_test! {
    // SEMANTICS: attributes.3
    async fn what_a_bucket_cannot_hold_is_refused_and_locks_hold() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("echo x > f; test $(stat -f -c %a .) -gt 1000000000").await;
        let at = m.path().to_owned();
        blocking(move || {
            let error = |done: std::io::Result<()>| done.map_err(|error| error.raw_os_error().unwrap()).err();
            let [file, made] = ["f", "made"].map(|name| at.join(name));
            assert_eq!(error(std::os::unix::fs::symlink("f", &made)), Some(libc::EPERM));
            assert_eq!(error(std::fs::hard_link(&file, &made)), Some(libc::EPERM));
            for kind in [libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFBLK, libc::S_IFCHR] {
                assert_eq!(error(make_node(&made, kind)), Some(libc::EPERM), "{kind:o}");
            }
            assert_eq!(error(set_attribute(&file)), Some(libc::EOPNOTSUPP));
            assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1, "nothing was made");

            let open = || std::fs::File::options().write(true).open(&file).unwrap();
            let (one, other) = (open(), open());
            one.try_lock().unwrap();
            assert!(matches!(other.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
            one.unlock().unwrap();
            other.try_lock().unwrap();
        }).await;
        // Locks of fcntl are a process's.
        let output = m.sh("python3 - <<'P'
import errno, fcntl, subprocess, sys
take = 'import fcntl; fcntl.lockf(open(\"f\", \"r+\"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
with open('f', 'r+') as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    taken = subprocess.run([sys.executable, '-c', take], stderr=subprocess.PIPE, text=True)
    print(taken.returncode, 'BlockingIOError' in taken.stderr)
    fcntl.lockf(file, fcntl.LOCK_UN)
    print(subprocess.run([sys.executable, '-c', take]).returncode)
P").await;
        assert_eq!(output, "1 True\n0\n");
    }
}

/// mknod(2).
fn make_node(path: &std::path::Path, kind: libc::mode_t) -> std::io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path is a string of C.
    match unsafe { libc::mknod(path.as_ptr(), kind | 0o600, libc::makedev(1, 3)) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// setxattr(2).
fn set_attribute(path: &std::path::Path) -> std::io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: path and name are strings of C, and the value has as many bytes as are said.
    match unsafe { libc::setxattr(path.as_ptr(), c"user.a".as_ptr(), c"b".as_ptr().cast(), 1, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

mounted_test! {
    async fn errors_reach_programs() {
        let m = Mounted::new(FsOptions::default()).await;
        m.files.requests.fail("put", "denied", pail_store::ErrorKind::Denied, 9);
        let output = m.try_sh("cp /etc/hostname denied").await;
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"));
        m.sh("mkdir -p x/y").await;
        let at = m.at("x");
        blocking(move || {
            assert_eq!(std::fs::remove_dir(at).unwrap_err().raw_os_error(), Some(libc::ENOTEMPTY));
        }).await;
        drop(m);
        let read_only = Mounted::over(Files::with(FsOptions { read_only: true, ..FsOptions::default() })).await;
        let output = read_only.try_sh("echo x > f").await;
        assert!(String::from_utf8_lossy(&output.stderr).contains("Read-only file system"));
    }
}

mounted_test! {
    async fn a_tree_unpacked_is_the_tree_packed() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("mkdir -p /tmp/pail-tree.$$; cd /tmp/pail-tree.$$; for i in $(seq 60); do mkdir -p d$((i%7))/e$i; head -c $((i*997)) /dev/urandom > d$((i%7))/e$i/f; done; cd - >/dev/null; tar -C /tmp/pail-tree.$$ -cf - . | tar xf -; diff -r /tmp/pail-tree.$$ .; rm -rf /tmp/pail-tree.$$").await;
    }
}

mounted_test! {
    async fn the_session_ends_when_anybody_unmounts() {
        let m = Mounted::new(FsOptions::default()).await;
        m.sh("echo x > f").await;
        let path = m.path().to_owned();
        blocking(move || assert!(std::process::Command::new("umount").arg(path).status().unwrap().success())).await;
        tokio::time::timeout(Duration::from_secs(20), m.mount.ended()).await.unwrap();
    }
}

/// What a thread of the churn below was answered, other than what a local disk answers.
fn churn(dir: &std::path::Path, thread: u32, rounds: u32) -> Vec<String> {
    let (name, own) = (dir.join("name"), dir.join(format!("own-{thread}")));
    let mut odd = Vec::new();
    let mut check = |step: &str, round: u32, result: std::io::Result<()>| {
        if let Err(error) = result
            && !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EEXIST))
        {
            odd.push(format!("{step} in round {round} of {thread}: {error}"));
        }
    };
    for round in 0..rounds {
        match (round + thread) % 4 {
            0 => check("create", round, std::fs::write(&name, format!("{thread} {round}"))),
            1 => check(
                "create anew",
                round,
                std::fs::File::create_new(&name).and_then(|mut f| f.write_all(b"new")),
            ),
            2 => {
                check("write", round, std::fs::write(&own, b"own"));
                check("rename", round, std::fs::rename(&own, &name));
            }
            _ => check("unlink", round, std::fs::remove_file(&name)),
        }
        check("read", round, std::fs::read(&name).map(drop));
        check("stat", round, std::fs::metadata(&name).map(drop));
    }
    odd
}

mounted_test! {
    // SEMANTICS: changing names.5
    async fn churn_of_one_name_is_answered_as_on_a_local_disk() {
        let m = Mounted::new(FsOptions::default()).await;
        let at = m.path().to_owned();
        let odd = blocking(move || {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..8).map(|thread| { let at = &at; scope.spawn(move || churn(at, thread, 200)) }).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            })
        }).await;
        let errors = m.files.fs.status().last_errors;
        assert!(odd.is_empty(), "{} odd answers:\n{}\n{:?}", odd.len(), odd.join("\n"), errors);
    }
}

/// Runs a program in the mount, sends it a signal once a held request was reached, and gives how it ended.
async fn interrupted(
    m: &Mounted,
    held: &pail_tests::recorder::Held,
    script: &str,
) -> std::process::ExitStatus {
    // In place of the shell, so that the signal goes to the program; which hears it also where the tests were told to ignore it, as
    // what runs in the background is.
    let mut command = std::process::Command::new("env");
    command.args(["--default-signal=INT", "bash", "-c", &format!("exec {script}")]);
    let mut child = command.current_dir(m.path()).spawn().unwrap();
    held.reached().await;
    let pid = child.id().to_string();
    blocking(move || {
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        child.wait().unwrap()
    })
    .await
}

mounted_test! {
    // SEMANTICS: errors
    async fn a_signal_ends_the_wait_for_a_bucket_that_does_not_answer() {
        use std::os::unix::process::ExitStatusExt;
        let m = Mounted::new(FsOptions { metadata_ttl: Duration::ZERO, ..FsOptions::default() }).await;
        m.files.put("dir/f", "x").await;
        for script in ["ls dir", "cat dir/f", "stat none", "rm dir/f"] {
            let operation = match script { "cat dir/f" => "get", "rm dir/f" => "delete", _ => "list" };
            let held = m.files.requests.hold(operation, if script == "stat none" { "none" } else { "dir" });
            assert_eq!(interrupted(&m, &held, script).await.signal(), Some(libc::SIGINT), "{script}");
        }
        // A handler runs, and decides.
        let held = m.files.requests.hold("list", "none");
        let script = "python3 -c 'import os,sys\ntry: os.stat(\"none\")\nexcept KeyboardInterrupt: sys.exit(7)'";
        assert_eq!(interrupted(&m, &held, script).await.code(), Some(7));
        drop(held);

        // Who is gone does not wait for its bytes to be published; they are, all the same.
        let held = m.files.requests.hold("put", "kept");
        assert_eq!(interrupted(&m, &held, "cp /etc/hostname kept").await.signal(), Some(libc::SIGINT));
        drop(held);
        assert_eq!(m.files.fs.flush("").await.remaining.len(), 0);
        assert_eq!(m.files.get("kept").await.unwrap(), std::fs::read("/etc/hostname").unwrap());
    }
}

/// Waits until `is_so`, for as long as anything may take here: what the kernel is told, it is told by a thread of its own.
async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool + Send + 'static) {
    let what = what.to_owned();
    blocking(move || {
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(std::time::Instant::now() < end, "{what} did not come to be");
            std::thread::sleep(Duration::from_millis(5));
        }
    })
    .await;
}

/// Names that the kernel does not ask for again by itself.
fn long_ttl() -> FsOptions {
    FsOptions { metadata_ttl: Duration::from_secs(3600), ..FsOptions::default() }
}

mounted_test! {
    // SEMANTICS: errors
    async fn what_a_killed_rm_or_mv_goes_on_to_do_is_seen_by_the_kernel() {
        use std::os::unix::process::ExitStatusExt;
        let m = Mounted::new(long_ttl()).await;
        m.sh("echo 1 > removed; echo 2 > moved; echo 3 > replaced; stat removed moved replaced").await;
        for (operation, key, script) in [("delete", "removed", "rm removed"), (rename_request(), "moved", "mv moved replaced")] {
            let held = m.files.requests.hold(operation, key);
            assert_eq!(interrupted(&m, &held, script).await.signal(), Some(libc::SIGINT), "{script}");
            assert_eq!(m.files.fs.left_calls(), 1, "{script} goes on");
            drop(held);
            m.files.fs.left_calls_done().await;
        }
        let at = ["removed", "moved", "replaced"].map(|name| m.at(name));
        wait_until("what they did", move || {
            let read = at.each_ref().map(|path| std::fs::read_to_string(path).ok());
            read == [None, None, Some("2\n".to_owned())]
        }).await;
        assert_eq!(m.sh("ls").await, "replaced\n");
        m.sh("echo 4 > removed; test $(cat removed) = 4").await;
    }
}

mounted_test! {
    // SEMANTICS: reading.3
    async fn a_new_open_after_estale_sees_the_new_version() {
        let m = Mounted::new(long_ttl()).await;
        m.files.put("f", vec![1; 40 << 20]).await;
        let at = m.at("f");
        let open = blocking(move || {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::open(at).unwrap();
            // With it comes what a program that reads in order asks for first, and no more.
            file.read_exact_at(&mut [0; 4096], 0).unwrap();
            file
        }).await;
        m.files.put("f", "new").await;
        blocking(move || {
            use std::os::unix::fs::FileExt;
            let error = open.read_exact_at(&mut [0; 4096], 30 << 20).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
        }).await;
        let at = m.at("f");
        wait_until("the new version", move || std::fs::read(&at).is_ok_and(|bytes| bytes == b"new")).await;
    }
}
