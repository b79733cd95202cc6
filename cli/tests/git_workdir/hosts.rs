//! Git hosts for tests: a repository, a server over HTTPS with a token, one over SSH with a key, and a place to run the command in.
//!
//! Owns: [`Place`], whose directories are gone with it; [`Https`] and [`Ssh`], whose servers end with them, also when a test fails.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The answer of a step that must have gone well.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// A failure with its exit code, all of whose texts it must have told.
    pub fn fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        }
    }
}

/// A home, a repository to fetch from, and a directory to check out to.
pub struct Place {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    /// With a repository of no commits.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "srv"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = Self { dir, variables: Vec::new() };
        place.git(&["init", "-q", "-b", "main", &place.at("src")]);
        place.git(&["init", "-q", "--bare", "-b", "main", &place.at("srv/r.git")]);
        place
    }

    /// With a first commit on `main`: `a`, `d/b` and an executable `run.sh`.
    pub fn with_a_commit() -> (Self, String) {
        let place = Self::new();
        let commit = place.commit(&[("a", "a\n"), ("d/b", "b\n"), ("run.sh", "#!/bin/sh\n")]);
        (place, commit)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    pub fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The repository's address for this machine.
    pub fn url(&self) -> String {
        format!("file://{}", self.at("srv/r.git"))
    }

    /// The checkout.
    pub fn workdir(&self, name: &str) -> PathBuf {
        self.path("home/sky_workdir").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.workdir(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.workdir(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A variable of all commands from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A program with the environment of this place and no other.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("GIT_AUTHOR_NAME", "t")
            .env("GIT_AUTHOR_EMAIL", "t@t")
            .env("GIT_COMMITTER_NAME", "t")
            .env("GIT_COMMITTER_EMAIL", "t@t")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// git, which must go well; its output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let ran = Ran::of(self.command("git").current_dir(self.path("")).args(arguments).output().unwrap());
        assert_eq!(ran.code, 0, "git {arguments:?}: {ran:?}");
        ran.out.trim_end().to_owned()
    }

    /// git in the sources from which is pushed.
    pub fn source(&self, arguments: &[&str]) -> String {
        self.git(&[&["-C", "src"], arguments].concat())
    }

    /// git in the checkout.
    pub fn checkout(&self, arguments: &[&str]) -> String {
        self.git(&[&["-C", "home/sky_workdir"], arguments].concat())
    }

    /// Commits files and pushes; the commit. `*.sh` are executable.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.path("src").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            if name.ends_with(".sh") {
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        self.source(&["add", "-A"]);
        self.source(&["commit", "-q", "--allow-empty", "-m", "one"]);
        self.push();
        self.source(&["rev-parse", "HEAD"])
    }

    /// Pushes all branches and tags.
    pub fn push(&self) {
        let to = self.at("srv/r.git");
        self.source(&["push", "-q", "--force", &to, "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"]);
    }

    /// Begins a step of the command.
    pub fn begin(&self, request: &Value) -> Child {
        self.begin_as(self.command(env!("CARGO_BIN_EXE_pail")), request)
    }

    fn begin_as(&self, mut command: Command, request: &Value) -> Child {
        command.arg("git-workdir").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
        child
    }

    /// A step of the command.
    pub fn step(&self, request: &Value) -> Ran {
        Ran::of(self.begin(request).wait_with_output().unwrap())
    }

    /// The same as root of a system whose password file has this place's home: ssh asks that, and not HOME.
    pub fn step_at_home(&self, request: &Value) -> Ran {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let home = self.at("home");
        let changed = passwd.lines().map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            ["root", x, uid, gid, name, _, shell] => {
                ["root", x, uid, gid, name, &home, shell].join(":") + "\n"
            }
            _ => line.to_owned() + "\n",
        });
        std::fs::write(self.path("passwd"), changed.collect::<String>()).unwrap();
        let mut command = self.command("unshare");
        let script = "mount --bind \"$0\" /etc/passwd && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, &self.at("passwd"), env!("CARGO_BIN_EXE_pail")]);
        Ran::of(self.begin_as(command, request).wait_with_output().unwrap())
    }

    pub fn resolve(&self, url: &str, git_ref: Option<&str>) -> Ran {
        self.step(&json!({"step": "resolve", "url": url, "git_ref": git_ref}))
    }

    /// A checkout of what the ref means now.
    pub fn launch(&self, url: &str, git_ref: Option<&str>) -> Ran {
        self.step(&self.launching(url, git_ref))
    }

    pub fn launching(&self, url: &str, git_ref: Option<&str>) -> Value {
        json!({"step": "launch", "url": url, "git_ref": git_ref, "dir": self.workdir("")})
    }

    /// A checkout as a node has it: with what was resolved elsewhere, and the token in the request.
    pub fn check_out(&self, resolved: &Value, token: Option<&str>) -> Ran {
        self.step(&self.checking_out(resolved, token))
    }

    pub fn checking_out(&self, resolved: &Value, token: Option<&str>) -> Value {
        json!({"step": "check_out", "dir": self.workdir(""), "resolved": resolved, "token": token})
    }
}

/// A server over HTTPS with a certificate of its own.
pub struct Https {
    server: Child,
    port: u16,
    pub token: String,
    root: PathBuf,
}

impl Https {
    /// Serves the place's repository; the place's commands trust its certificate.
    pub fn serve(place: &mut Place) -> Self {
        let (cert, key) = (place.at("cert.pem"), place.at("key.pem"));
        if !Path::new(&cert).exists() {
            let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
            let request = [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
                "-addext", names,
            ];
            let made = Command::new("openssl")
                .args(request)
                .args(["-keyout", &key, "-out", &cert])
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            place.set("GIT_SSL_CAINFO", &cert);
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = format!("hunter2-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/git_workdir/https_server.py");
        let root = place.path("srv");
        let mut command = Command::new("python3");
        command
            .args([script, root.to_str().unwrap(), &cert, &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        writeln!(server.stdin.as_mut().unwrap(), "{}", json!({"token": token})).unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { server, port: line.trim().parse().unwrap(), token, root }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    /// Method, path and user of each request since this was asked last.
    pub fn requests(&self) -> Vec<String> {
        let path = self.root.join("requests");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        text.lines().map(str::to_owned).collect()
    }

    /// Lets fetches wait.
    pub fn hold(&self) {
        let _ = std::fs::remove_file(self.root.join("holding"));
        std::fs::write(self.root.join("hold"), "").unwrap();
    }

    pub fn until_held(&self) {
        until("a fetch waits", || self.root.join("holding").exists().then_some(()));
    }

    pub fn release(&self) {
        let _ = std::fs::remove_file(self.root.join("hold"));
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.release();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A server over SSH that lets keys fetch and nothing else.
pub struct Ssh {
    server: Child,
    pub port: u16,
    dir: PathBuf,
}

impl Ssh {
    /// Serves this machine's repositories to no key yet.
    pub fn serve(place: &Place) -> Self {
        let dir = place.path("sshd");
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        make_key(&dir.join("host_key"), "");
        std::fs::write(dir.join("authorized_keys"), "").unwrap();
        let (server, port) = Self::start(&dir);
        Self { server, port, dir }
    }

    fn start(dir: &Path) -> (Child, u16) {
        // The port may be taken between its choice and its use.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Self::start_at(dir, port);
            let since = Instant::now();
            while server.try_wait().unwrap().is_none() && since.elapsed() < PATIENCE {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && server.try_wait().unwrap().is_none() {
                    return (server, port);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = server.kill();
            let _ = server.wait();
        }
        panic!("sshd does not start: {}", std::fs::read_to_string(dir.join("log")).unwrap_or_default());
    }

    fn start_at(dir: &Path, port: u16) -> Child {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let lines = [
            format!("ListenAddress 127.0.0.1:{port}"),
            format!("HostKey {}", at("host_key")),
            format!("AuthorizedKeysFile {}", at("authorized_keys")),
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no".to_owned(),
            "PermitRootLogin prohibit-password\nMaxStartups 50:30:100\nLogLevel VERBOSE".to_owned(),
        ];
        std::fs::write(dir.join("config"), lines.join("\n") + "\n").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-f", &at("config"), "-E", &at("log")]).stdin(Stdio::null());
        command.spawn().expect("sshd (openssh-server) is installed")
    }

    /// The address with its port.
    pub fn url(&self, place: &Place) -> String {
        format!("ssh://root@127.0.0.1:{}{}", self.port, place.at("srv/r.git"))
    }

    /// Accepts one key, by its private half's file, and no other any more.
    pub fn accept(&self, key: &Path) {
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let line = format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {public}");
        std::fs::write(self.dir.join("authorized_keys"), line).unwrap();
    }

    /// Starts again at the same port, as another host would answer there.
    pub fn change_host_key(&mut self) {
        self.end();
        std::fs::remove_file(self.dir.join("host_key")).unwrap();
        make_key(&self.dir.join("host_key"), "");
        self.server = until("sshd at the same port", || {
            let mut server = Self::start_at(&self.dir, self.port);
            loop {
                if server.try_wait().unwrap().is_some() {
                    return None;
                }
                if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                    return Some(server);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }

    fn end(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a key pair.
pub fn make_key(path: &Path, passphrase: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
}
