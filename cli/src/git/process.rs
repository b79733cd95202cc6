//! Running git and the programs beside it.
//!
//! Owns: [`Call`], one program with its arguments, environment, input and time limit. Invariants: a program never waits for a terminal, has
//! none of the variables that would point git to another repository, and is ended with all that it started when its time is over or the
//! call is dropped. Tokens of the environment are not handed on.

use super::transport::Transport;
use super::trouble;
use super::url::redacted;
use pail_control::{Failure, FailureKind};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long work on local files may take, which is much for the first checkout of a large repository on a slow disk.
pub const LOCAL_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// What holds for every call: nothing that a repository brings runs, and nothing works on in the background.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.sparseCheckout=false",
    "init.templateDir=",
    "init.defaultBranch=main",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.prune=false",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
    "core.quotePath=false",
    "color.ui=false",
    // A server that sends nothing for a minute is given up.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// Variables of git's that are the user's way to the network or to their configuration; all others of git's are left out.
const KEPT_VARIABLES: &[&str] = &[
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EXEC_PATH",
    "GIT_PROXY_COMMAND",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_PROXY_SSL_CERT",
    "GIT_PROXY_SSL_KEY",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
    "GIT_SSL_VERSION",
];

/// One program to run.
pub struct Call {
    command: Command,
    program: String,
    input: Vec<u8>,
    limit: Duration,
    about: String,
}

/// What a program came to.
pub struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: Vec<u8>,
    /// Its standard error, without passwords.
    pub err: String,
}

impl Ended {
    /// Whether it exited with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as a line of text.
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end().to_owned()
    }
}

impl Call {
    /// A program by name, which what it is for follows in failures ("cannot {about}").
    pub fn program(program: &str, about: impl Into<String>) -> Self {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env_remove("GIT_TOKEN").process_group(0).kill_on_drop(true);
        Self {
            command,
            program: program.to_owned(),
            input: Vec::new(),
            limit: LOCAL_TIME_MAX,
            about: about.into(),
        }
    }

    /// git, in no repository.
    pub fn git(about: impl Into<String>) -> Self {
        let mut call = Self::program("git", about);
        for (name, _) in std::env::vars_os() {
            let of_git = name.as_encoded_bytes().starts_with(b"GIT_");
            // GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0 and so on are configuration that the user set for this shell.
            let kept = KEPT_VARIABLES.iter().any(|kept| name == OsStr::new(kept))
                || ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"]
                    .iter()
                    .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
            if of_git && !kept {
                call.command.env_remove(&name);
            }
        }
        call.command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_OPTIONAL_LOCKS", "0");
        for setting in SETTINGS {
            call.command.args(["-c", setting]);
        }
        call
    }

    /// git, in the repository whose `.git` is in `dir`, whoever owns that, and not in one around it.
    pub fn git_in(dir: &Path, about: impl Into<String>) -> Self {
        let mut call = Self::git(about);
        call.command.current_dir(dir).args(["--git-dir=.git", "--work-tree=."]);
        call
    }

    /// git, in a repository without files.
    pub fn git_bare(dir: &Path, about: impl Into<String>) -> Self {
        let mut call = Self::git(about);
        call.command.current_dir(dir).args(["--git-dir=."]);
        call
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives standard input.
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// Sets the time limit.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Lets git reach a remote; only before the subcommand.
    pub fn over(mut self, transport: &Transport) -> Result<Self, Failure> {
        transport
            .apply(&mut self.command)
            .map_err(|err| Failure::from_io("cannot let git ask for the token", &err))?;
        Ok(self)
    }

    /// Runs it. Errors: the program is not there, its time is over, or it cannot be waited for.
    pub async fn run(mut self) -> Result<Ended, Failure> {
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|err| self.not_started(&err))?;
        let group = Group(child.id());
        let mut stdin = child.stdin.take();
        let input = std::mem::take(&mut self.input);
        let write = async move {
            if let Some(stdin) = &mut stdin {
                // A program that fails early does not read all; its exit code says so.
                let _ = stdin.write_all(&input).await;
            }
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1 };
        let Ok(output) = tokio::time::timeout(self.limit, both).await else {
            drop(group);
            let limit_s = self.limit.as_secs_f32();
            return Err(Failure::new(FailureKind::Unreachable, format!("cannot {}", self.about))
                .because(format!("{} did not end within {limit_s} s", self.program))
                .with_hint("try again; if it stays so, run git by hand to see what it waits for"));
        };
        let output =
            output.map_err(|err| Failure::from_io(format!("cannot wait for {}", self.program), &err))?;
        std::mem::forget(group);
        Ok(Ended {
            code: output.status.code(),
            out: output.stdout,
            err: redacted(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// Runs it and gives its output. Errors: as `run` has them, and where it fails, in its own words.
    pub async fn output(self) -> Result<Vec<u8>, Failure> {
        let message = format!("cannot {}", self.about);
        let ended = self.run().await?;
        if ended.ok() { Ok(ended.out) } else { Err(trouble::failure(&message, &ended.err)) }
    }

    fn not_started(&self, err: &std::io::Error) -> Failure {
        let failure = Failure::from_io(format!("cannot {}", self.about), err);
        if err.kind() != std::io::ErrorKind::NotFound {
            return failure;
        }
        let package = if self.program == "git" { "git" } else { "openssh-client" };
        let failure = Failure::new(FailureKind::NotFound, format!("cannot {}", self.about));
        failure
            .because(format!("{} is not installed, or the directory is not there", self.program))
            .with_hint(format!(
                "install it: apt-get install {package} (Debian, Ubuntu), dnf install {package} (Fedora, RHEL)"
            ))
    }
}

/// Ends a program with all that it started, unless it is forgotten.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended just now.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 1000 & echo $! $$ > {}; wait", pids.display());
        let call = Call::program("sh", "wait").args(["-c", &script]).limit(Duration::from_millis(500));
        let failure = call.run().await.err().unwrap();
        assert_eq!(failure.kind, FailureKind::Unreachable);
        let text = std::fs::read_to_string(&pids).unwrap();
        for pid in text.split_whitespace() {
            // A killed orphan may wait for its new parent to take note of it.
            let ended = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Err(_) => true,
                Ok(stat) => stat.contains(") Z "),
            };
            while !ended() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn much_input_and_much_output_at_a_time_do_not_block() {
        let input = b"line\n".repeat(200_000);
        let output = Call::program("cat", "copy").input(input.clone()).output().await.unwrap();
        assert_eq!(output, input);
    }

    #[tokio::test]
    async fn a_missing_program_is_told_with_its_package() {
        let failure = Call::program("ssh-no-such-program", "look").run().await.err().unwrap();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert!(failure.hint.unwrap().contains("openssh-client"));
    }
}
