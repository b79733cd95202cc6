//! A node and the ways to it.
//!
//! Owns: [`Node`], one host of a cluster; [`Route`], how ssh is called for all of them: shared connections (ControlMaster), their
//! directory, and the file of defaults.
//!
//! Invariants: a command that is started again was not started before: its first output is [`MARK`], and only without it is a failed
//! connection replaced by a fresh one. A node that does not answer is noticed within [`ALIVE_SECS`] × [`ALIVE_COUNT`] seconds.
//!
//! # Why a file of defaults
//! ssh takes an option's first value, so an option on the command line overrules the user's files, and `ssh -G` does not tell a value that
//! the user wrote from ssh's own default. A file given by `-F` that includes the user's files first and then has our defaults is
//! less than what the user wrote and more than what ssh would do; jump hosts, for which ssh calls itself with the same `-F`, have it too.

use super::explain;
use super::ssh_config::ConfigFile;
use pail_control::settings::{Directories, prepare_private, process_environment};
use pail_control::{Failure, FailureKind};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How long a connection may take to be made, unless the user's configuration says otherwise.
const CONNECT_SECS: u32 = 15;
/// Between two questions whether the node is there, on a connection that is silent.
const ALIVE_SECS: u32 = 5;
/// How many of them may go unanswered.
const ALIVE_COUNT: u32 = 3;
/// How long a connection is kept for the next command.
const PERSIST_SECS: u32 = 600;
/// A socket's path, with the end that ssh adds while it makes one (17 bytes) and the closing zero, as the strictest system has it.
const SOCKET_PATH_BYTES_MAX: usize = 104 - 18;
/// What `%C` comes to.
const CONNECTION_HASH_BYTES: usize = 40;
/// How much of what a command writes is kept, of each stream.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// How long standard error is read after ssh has ended: releases before 8.5 leave it open in the process that keeps the connection.
const STDERR_GRACE: Duration = Duration::from_millis(200);
/// How long a node may take from ssh's start to a command's: a connection, a log-in by however slow a directory of users, a shell.
const BEGIN_MAX: Duration = Duration::from_secs(120);
/// The line before the output of a command: what a login shell's own files print comes earlier.
const MARK: &[u8] = b"pail-begin\n";

/// How ssh is called.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The file of defaults.
    defaults: PathBuf,
    /// `ControlPath`, with ssh's `%C`.
    control: OsString,
}

impl Route {
    /// Makes the directory and the file of defaults. Errors: they cannot be made.
    pub(super) fn prepare(config: &ConfigFile) -> Result<Arc<Self>, Failure> {
        let text = defaults_text(config);
        // Another configuration may reach the same address otherwise: it has connections of its own.
        let id = hex::encode(&Sha256::digest(text.as_bytes())[..4]);
        let dir = sockets_dir(&id)?;
        let defaults = dir.join(format!("{id}.conf"));
        if std::fs::read(&defaults).ok().as_deref() != Some(text.as_bytes()) {
            write_private(&defaults, text.as_bytes())
                .map_err(|err| Failure::from_io(format!("cannot write {}", defaults.display()), &err))?;
        }
        let mut control = dir.into_os_string();
        control.push(format!("/{id}.%C"));
        Ok(Arc::new(Self { defaults, control }))
    }

    /// The options of every call.
    fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = vec!["-F".into(), self.defaults.clone().into(), "-T".into()];
        let alive = format!("ServerAliveInterval={ALIVE_SECS}");
        let count = format!("ServerAliveCountMax={ALIVE_COUNT}");
        // What a person's own sessions to the host do besides would fail, or answer, in the place of a command.
        let fixed = [
            "BatchMode=yes",
            "RemoteCommand=none",
            "ClearAllForwardings=yes",
            "LogLevel=ERROR",
            &alive,
            &count,
        ];
        for option in fixed {
            options.extend(["-o".into(), option.into()]);
        }
        options
    }

    fn shared(&self) -> Vec<OsString> {
        let mut options = self.options();
        let persist = format!("ControlPersist={PERSIST_SECS}");
        let mut path = OsString::from("ControlPath=");
        path.push(quoted(&self.control));
        for option in ["ControlMaster=auto".into(), persist.into(), path] {
            options.extend(["-o".into(), option]);
        }
        options
    }
}

/// One host of a cluster.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its alias in the SSH configuration.
    pub host: String,
    /// 0 is the head; workers follow.
    pub rank: u32,
    route: Arc<Route>,
}

impl Node {
    pub(super) fn new(host: String, rank: u32, route: Arc<Route>) -> Self {
        Self { host, rank, route }
    }

    /// ssh to this node over the shared connection. The caller adds the command, which the user's login shell there runs, and pipes what it
    /// likes; ssh ends when the caller drops it.
    pub fn ssh(&self) -> Command {
        self.command(self.route.shared())
    }

    /// The same over a connection of its own, which forwards the agent at that socket, if one is given.
    pub fn ssh_apart(&self, agent_socket: Option<&Path>) -> Command {
        let mut options = self.route.options();
        options.extend(["-o", "ControlMaster=no", "-o", "ControlPath=none"].map(OsString::from));
        let mut forward = OsString::from("ForwardAgent=");
        match agent_socket {
            Some(socket) => forward.push(quoted(socket.as_os_str())),
            None => forward.push("no"),
        }
        options.extend(["-o".into(), forward]);
        let mut command = self.command(options);
        // ssh forwards no agent at all, whatever its path, where it finds none for itself.
        let own = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        if let Some(socket) = agent_socket.filter(|_| !own.is_some_and(|own| own.exists())) {
            command.env("SSH_AUTH_SOCK", socket);
        }
        command
    }

    fn command(&self, options: Vec<OsString>) -> Command {
        let mut command = Command::new("ssh");
        command.args(options).arg("--").arg(&self.host);
        command.kill_on_drop(true);
        command
    }

    /// The same as one word for `rsync -e`, which splits it at spaces outside of quotes.
    pub fn rsync_shell(&self) -> OsString {
        let mut shell = OsString::from("ssh");
        for option in self.route.shared() {
            shell.push(" ");
            // rsync doubles a quote that is within quotes; sockets_dir and the file of defaults have none.
            shell.push(quoted_with(&option, b'\''));
        }
        shell
    }

    /// Runs a command of sh(1), whatever the login shell is, with `stdin` as its input; its standard output. Errors: as of
    /// [`Node::explain`], also where the command ends with another exit code than 0.
    pub async fn run(&self, command: &str, stdin: &[u8]) -> Result<Vec<u8>, Failure> {
        let ran = self.output(command, stdin).await?;
        match ran.status.success() {
            true => Ok(ran.stdout),
            false => Err(self.explain(ran.status, &ran.stderr)),
        }
    }

    /// The same, whatever the command ends with. Starts it anew where the connection was found dead before the command began. Errors: the
    /// connection's.
    pub async fn output(&self, command: &str, stdin: &[u8]) -> Result<Output, Failure> {
        let first = self.attempt(command, stdin).await?;
        let ran = match first.has_begun
            || !explain::is_lost_connection(first.output.status, &first.output.stderr)
        {
            true => first,
            false => {
                self.disconnect().await;
                self.attempt(command, stdin).await?
            }
        };
        match ran.has_begun && ran.output.status.code() != Some(explain::SSH_FAILED) {
            true => Ok(ran.output),
            false => Err(ran.failure(self)),
        }
    }

    /// One attempt of [`Node::output`].
    async fn attempt(&self, command: &str, stdin: &[u8]) -> Result<Attempt, Failure> {
        let (remote, script) = wrapped(command);
        let mut ssh = self.ssh();
        ssh.arg(remote).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ssh.spawn().map_err(|err| no_ssh(&err))?;
        let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::other("ssh was started without pipes"));
        };
        let write = async move {
            // A command that ends without reading all of it says why itself.
            let _ = input.write_all(script.as_bytes()).await;
            let _ = input.write_all(stdin).await;
            let _ = input.shutdown().await;
        };
        let stderr = tokio::spawn(read_all(errors));
        let has_begun = AtomicBool::new(false);
        let silence = async {
            tokio::time::sleep(BEGIN_MAX).await;
            if has_begun.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let talk = async { tokio::join!(write, read_marked(output, &has_begun), child.wait()) };
        let ((), stdout, status) = tokio::select! {
            talked = talk => talked,
            () = silence => return Err(silent(&self.host)),
        };
        let status = status.map_err(|err| Failure::from_io("cannot wait for ssh", &err))?;
        let abort = stderr.abort_handle();
        let stderr = tokio::time::timeout(STDERR_GRACE, stderr).await.ok().and_then(Result::ok);
        abort.abort();
        let begin = end_of_mark(&stdout);
        let (has_begun, stdout) = match begin {
            Some(begin) => (true, stdout[begin..].to_vec()),
            None => (false, stdout),
        };
        Ok(Attempt { has_begun, output: Output { status, stdout, stderr: stderr.unwrap_or_default() } })
    }

    /// Ends the shared connection, also one that hangs. Whatever runs over it ends too.
    pub async fn disconnect(&self) {
        let mut ssh = Command::new("ssh");
        ssh.args(self.route.shared()).args(["-O", "exit", "--", &self.host]);
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        // Without a connection there is nothing to end.
        let _ = tokio::time::timeout(Duration::from_secs(u64::from(ALIVE_SECS)), ssh.status()).await;
    }

    /// What a call of [`Node::ssh`] failed of, by its exit code and standard error. Errors' kinds: `Unreachable`; `Credentials`, this user
    /// or the node's key was refused; `Usage`, a mistake in the configuration; `NoSpace` and `Other` are the command's own.
    pub fn explain(&self, exit: ExitStatus, stderr: &[u8]) -> Failure {
        explain::explain(&self.host, exit, stderr)
    }

    /// What the connection failed of, by the standard error of a program that calls ssh itself, as rsync; `None` where it was not ssh.
    pub fn explain_connection(&self, stderr: &[u8]) -> Option<Failure> {
        explain::connection(&self.host, &String::from_utf8_lossy(stderr))
    }

    /// What ssh would do for this node (`ssh -G`), by option in lower case; the last value of each.
    pub async fn resolved(&self) -> Result<std::collections::BTreeMap<String, String>, Failure> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&self.route.defaults).args(["-G", "--", &self.host]).stdin(Stdio::null());
        let output = ssh.output().await.map_err(|err| no_ssh(&err))?;
        if !output.status.success() {
            return Err(self.explain(output.status, &output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(option, value)| (option.to_owned(), value.to_owned())).collect())
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote, without what a login shell's own files print.
    pub stdout: Vec<u8>,
    /// What it and ssh wrote to standard error.
    pub stderr: Vec<u8>,
}

/// One start of a command.
struct Attempt {
    /// Whether the node began to run it.
    has_begun: bool,
    output: Output,
}

impl Attempt {
    fn failure(&self, node: &Node) -> Failure {
        let Output { status, stdout, stderr } = &self.output;
        // A login shell that refuses (nologin, a forced command) says so on either stream.
        let said = if !self.has_begun && stderr.trim_ascii().is_empty() { stdout } else { stderr };
        if self.has_begun || status.code() == Some(explain::SSH_FAILED) {
            return node.explain(*status, said);
        }
        Failure::other(format!("{} runs no commands for this user ({status})", node.host))
            .because(format!("it says {:?}", String::from_utf8_lossy(said).trim()))
            .with_hint("an account with an ordinary shell is needed there")
    }
}

/// The remote command line and the script that goes before the input. Any login shell takes it (csh and fish included), there is no limit
/// of length, and other users of the node see nothing of it: only `dd` reads a pipe without ever taking too much.
fn wrapped(command: &str) -> (String, String) {
    let mark = String::from_utf8_lossy(MARK);
    let script = format!("echo {}\n{command}\n", mark.trim_end());
    (format!("exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'", script.len()), script)
}

/// Where what follows the mark begins.
fn end_of_mark(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|window| window == MARK).map(|start| start + MARK.len())
}

/// All of a stream; `has_begun` is set when the mark came.
async fn read_marked(stream: impl AsyncRead + Unpin, has_begun: &AtomicBool) -> Vec<u8> {
    let mut stream = stream.take(OUTPUT_BYTES_MAX);
    let mut bytes = Vec::new();
    // What came before an error is all there is.
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        if !has_begun.load(Ordering::Relaxed) && end_of_mark(&bytes).is_some() {
            has_begun.store(true, Ordering::Relaxed);
        }
    }
    bytes
}

fn silent(host: &str) -> Failure {
    let message = format!("{host} let nothing be heard for {} s", BEGIN_MAX.as_secs());
    Failure::new(FailureKind::Unreachable, message).with_hint(format!("try `ssh {host} true`"))
}

async fn read_all(stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error is all there is.
    let _ = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    bytes
}

pub(super) fn no_ssh(err: &std::io::Error) -> Failure {
    let failure = Failure::from_io("cannot start ssh", err);
    match err.kind() {
        std::io::ErrorKind::NotFound => {
            failure.with_hint("install the OpenSSH client (openssh-client or openssh-clients)")
        }
        _ => failure,
    }
}

fn defaults_text(config: &ConfigFile) -> String {
    let path = quoted_glob(&config.path);
    // With -F ssh reads no other file; a configuration that was named is all there is.
    let system = if config.is_named { "" } else { "Include /etc/ssh/ssh_config\n" };
    format!(
        "# Written by pail: the user's configuration first, which goes before what follows it.\n\
         Include {path}\n{system}Host *\n  StrictHostKeyChecking accept-new\n  ConnectTimeout {CONNECT_SECS}\n  \
         ServerAliveInterval {ALIVE_SECS}\n  ServerAliveCountMax {ALIVE_COUNT}\n  BatchMode yes\n"
    )
}

/// The private directory of sockets: below the runtime directory, or in /tmp where that one's path is too long for a socket.
fn sockets_dir(id: &str) -> Result<PathBuf, Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = Directories::from_environment(&process_environment, uid)?.runtime;
    let own = runtime.join("ssh");
    let path_bytes = own.as_os_str().len() + 1 + id.len() + 1 + CONNECTION_HASH_BYTES;
    let dir = match path_bytes <= SOCKET_PATH_BYTES_MAX && !own.as_os_str().as_bytes().contains(&b'%') {
        true => {
            prepare_private(&runtime, uid)?;
            own
        }
        false => PathBuf::from(format!("/tmp/pail-ssh-{uid}")),
    };
    prepare_private(&dir, uid)?;
    Ok(dir)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Closed to others from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|err| err.error).map(drop)
}

/// As one argument of ssh_config(5).
fn quoted(text: &OsStr) -> OsString {
    quoted_with(text, b'"')
}

fn quoted_with(text: &OsStr, quote: u8) -> OsString {
    match text.as_bytes().iter().any(|byte| byte.is_ascii_whitespace() || b"\"'".contains(byte)) {
        false => text.to_owned(),
        true => OsString::from_vec([&[quote], text.as_bytes(), &[quote]].concat()),
    }
}

/// A path for `Include`, which takes `*`, `?` and `[` for a pattern.
fn quoted_glob(path: &Path) -> String {
    let mut text = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '*' | '?' | '[' => text.extend(['\\', '\\', c]),
            '\\' => text.push_str("\\\\\\\\"),
            '"' => text.push_str("\\\""),
            c => text.push(c),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(dir: &str) -> Node {
        let route = Route { defaults: format!("{dir}/a.conf").into(), control: format!("{dir}/a.%C").into() };
        Node::new("dev".into(), 0, Arc::new(route))
    }

    fn words(command: &Command) -> Vec<String> {
        command.as_std().get_args().map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_host_comes_last_and_cannot_be_an_option() {
        let shared = words(&node("/run/x").ssh());
        assert!(shared.ends_with(&["--".into(), "dev".into()]), "{shared:?}");
        assert!(
            shared.contains(&"ControlPath=/run/x/a.%C".into()) && shared.contains(&"BatchMode=yes".into())
        );
        let apart = words(&node("/run/x").ssh_apart(Some(Path::new("/run/a b.sock"))));
        assert!(apart.contains(&"ControlPath=none".into()), "{apart:?}");
        assert!(apart.contains(&"ForwardAgent=\"/run/a b.sock\"".into()), "{apart:?}");
        assert!(!apart.iter().any(|word| word.starts_with("ControlPersist")));
        assert!(words(&node("/x").ssh_apart(None)).contains(&"ForwardAgent=no".into()));
    }

    #[test]
    fn the_shell_of_rsync_is_one_word_with_quotes_where_it_must() {
        let shell = node("/run/a b").rsync_shell().into_string().unwrap();
        assert!(shell.starts_with("ssh -F '/run/a b/a.conf' -T -o BatchMode=yes "), "{shell}");
        assert!(shell.ends_with(r#"-o 'ControlPath="/run/a b/a.%C"'"#), "{shell}");
    }

    #[test]
    fn the_script_is_counted_to_the_byte() {
        let (remote, script) = wrapped("echo 'ü'");
        assert_eq!(remote, format!("exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'", script.len()));
        let mut sh = std::process::Command::new("sh");
        let mut child =
            sh.args(["-c", &remote]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all((script + "the input").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8(output).unwrap(), "pail-begin\nü\n");
    }

    #[test]
    fn paths_are_no_patterns_in_an_include() {
        assert_eq!(quoted_glob(Path::new("/a b/[x]*")), r#""/a b/\\[x]\\*""#);
    }
}
