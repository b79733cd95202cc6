//! A place to run the real programs in: an S3 server in this process, directories of its own, and a daemon that nobody else uses.
//!
//! Owns: [`Sandbox`], which unmounts everything and ends the daemon when it is dropped, also when a test fails or the daemon hangs.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use pail_devserver::{Server, ServerConfig};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a command may take, also one that does much on a loaded machine.
const COMMAND_PATIENCE: Duration = Duration::from_secs(300);
/// How long the end of a sandbox waits before it uses force.
const END_PATIENCE: Duration = Duration::from_secs(10);

pub const BUCKET: &str = "demo-bucket";
pub const SECRET: &str = "testtest";

pub struct Sandbox {
    pub server: Server,
    pub runtime: Runtime,
    dir: TempDir,
    user: Option<u32>,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    /// A server with one empty bucket. No daemon runs yet.
    pub fn new() -> Self {
        build_daemon();
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::start(ServerConfig::default())).unwrap();
        runtime.block_on(server.create_bucket(BUCKET)).unwrap();
        Self { server, runtime, dir: tempfile::tempdir().unwrap(), user: None }
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// A path in the sandbox, as text.
    pub fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The command, with the sandbox's environment and no other.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("PAIL_RUNTIME_DIR", self.path("run"))
            .env("PAIL_CACHE_SIZE", "256M")
            .env("PAIL_MEMORY", "64M")
            .env("AWS_ENDPOINT_URL", self.server.endpoint_url())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::null());
        std::fs::create_dir_all(self.path("home")).unwrap();
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Hands the sandbox to an ordinary user, as whom `command` then runs; only root can.
    pub fn give_to(&mut self, user: u32) {
        std::fs::create_dir_all(self.path("home")).unwrap();
        for dir in [self.path(""), self.path("home")] {
            std::os::unix::fs::chown(dir, Some(user), Some(user)).unwrap();
        }
        self.user = Some(user);
    }

    /// Runs the command to its end.
    pub fn pail(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Mounts the bucket, which must go well; the mount point.
    pub fn mounted(&self) -> PathBuf {
        self.mounted_with(&[])
    }

    /// The same with more arguments.
    pub fn mounted_with(&self, arguments: &[&str]) -> PathBuf {
        let (bucket, mnt) = (format!("s3://{BUCKET}"), self.at("mnt"));
        let ran = self.pail(&[&["mount", &bucket, &mnt], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        self.path("mnt")
    }

    /// Puts an object in place without a request.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.runtime.block_on(self.server.put_object(BUCKET, key, bytes.into())).unwrap();
    }

    /// `pail status --json`.
    pub fn status(&self) -> Value {
        let ran = self.pail(&["status", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The daemon's process, if one runs.
    pub fn daemon_pid(&self) -> Option<i32> {
        self.status()["daemon"]["pid"].as_i64().map(|pid| pid as i32)
    }

    /// Sends a signal to the daemon and waits until it is gone.
    pub fn end_daemon(&self, signal: i32) {
        let pid = self.daemon_pid().expect("a daemon runs");
        // SAFETY: a signal to a process that this sandbox started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        wait_until("the daemon is gone", || !is_running(pid));
    }

    /// What the server has under a key.
    pub fn object(&self, key: &str) -> Option<String> {
        let ran = self.pail(&["ls", "-r", "--json", &format!("s3://{BUCKET}")]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let rows = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["key"] == key).map(|row| row["size"].to_string()).next()
    }

    /// An object's bytes as another client gets them: one without a signature, so that none is needed here.
    pub fn bytes_of(&self, key: &str) -> Vec<u8> {
        self.server.set_public(BUCKET).unwrap();
        let mut connection = TcpStream::connect(self.server.addr()).unwrap();
        let head = format!("GET /{BUCKET}/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{key}: {}", String::from_utf8_lossy(&answer[..body]));
        answer.split_off(body)
    }

    /// All that is mounted below the sandbox, by the kernel's word.
    pub fn kernel_mounts(&self) -> Vec<String> {
        let root = self.at("");
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let places = table.lines().filter_map(|line| line.split(' ').nth(4));
        places.filter(|place| place.starts_with(root.trim_end_matches('/'))).map(str::to_owned).collect()
    }
}

impl Sandbox {
    /// The processes that run with the sandbox's environment: the daemon, and commands that did not end.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("PAIL_RUNTIME_DIR={}", self.at("run"));
        let is_ours = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| is_ours(pid) && is_running(*pid)).collect()
    }

    /// Sends all of them a signal, and waits for their end a while.
    fn end_processes(&self, signal: i32) {
        for pid in self.processes() {
            // SAFETY: a signal to a process that this sandbox started.
            unsafe { libc::kill(pid, signal) };
        }
        let end = Instant::now() + END_PATIENCE;
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let unmounting =
            piped(&mut self.command(&["umount", "--all", "--force", "--timeout", "1s"])).spawn().unwrap();
        let ran = finish_within(unmounting, END_PATIENCE);
        self.end_processes(libc::SIGTERM);
        self.end_processes(libc::SIGKILL);
        for place in self.kernel_mounts() {
            let _ = Command::new("umount").args(["-l", &place]).status();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("state/pail/mountd.log")).unwrap_or_default();
            eprintln!("umount: {ran:?}\nthe daemon's log:\n{log}");
        }
    }
}

/// Says why a test does nothing here, past the test harness, which shows only what failed.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs a command to its end, within [`COMMAND_PATIENCE`].
pub fn run(command: &mut Command) -> Ran {
    finish(piped(command).spawn().unwrap())
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Waits for a command that was started with piped output, within [`COMMAND_PATIENCE`].
pub fn finish(child: Child) -> Ran {
    finish_within(child, COMMAND_PATIENCE).unwrap_or_else(|pid| panic!("process {pid} did not end"))
}

/// Errors: it did not end, and was killed; its process.
fn finish_within(child: Child, patience: Duration) -> Result<Ran, u32> {
    let pid = child.id();
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = output.recv_timeout(patience) else {
        // SAFETY: a signal to a child that was not waited for.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        return Err(pid);
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) })
}

/// Waits until something is so; fails with what it waited for.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A process that ended and was not waited for is gone for us, once its last thread is.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let has_ended = stat.contains(") Z ") && threads <= 1;
    !stat.is_empty() && !has_ended
}

/// The daemon is a program of another package, which cargo does not build for the tests of this one. Built as one of the workspace: by
/// itself its libraries would have fewer features, and be compiled once more. Where it is up to date that takes a moment.
pub fn build_daemon() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--workspace", "--bin", "pail-mountd"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        // Build scripts look at these, which cargo sets for this test: another value would compile what depends on them anew.
        let of_this_package =
            |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(of_this_package) {
                build.env_remove(name);
            }
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(build.arg("--manifest-path").arg(manifest).status().unwrap().success());
    });
}
