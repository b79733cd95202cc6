//! A private ssh-agent with one key.
//!
//! Owns: [`Agent`], and which key is chosen for a host. A node then signs with a key that never leaves this machine: its own file and
//! memory hold nothing of it.
//!
//! Invariants: the socket is in a directory that only this user may enter. The agent ends with the [`Agent`], and also with this process
//! when that is killed: ssh-agent watches the program that it was started for, which is `cat` on a pipe that only this process holds.

use super::credentials::Credentials;
use super::process::Call;
use super::ssh::{self, Configuration};
use super::url::GitUrl;
use pail_control::{Failure, FailureKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the agent keeps the key, should nothing else end it.
const KEY_TIME_MAX: Duration = Duration::from_secs(4 * 3600);
/// How long a question to ssh-keygen, ssh-add or the agent may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(20);

/// A private agent; it ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    process: Option<rustix::process::Pid>,
    /// What the agent was started for; ends when its standard input does.
    _watched: Child,
    _dir: tempfile::TempDir,
}

impl Agent {
    /// Starts an agent and gives it the key of a file. Errors: credentials, where the key cannot be used as it is.
    pub async fn with_key(path: &Path) -> Result<Self, Failure> {
        let failed = |err: &std::io::Error| Failure::from_io("cannot start a private ssh-agent", err);
        let dir = tempfile::Builder::new()
            .prefix("pail-agent-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|err| failed(&err))?;
        let socket = dir.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command
            .arg("-t")
            .arg(KEY_TIME_MAX.as_secs().to_string())
            .arg("-a")
            .arg(&socket)
            .args(["sh", "-c", "echo $SSH_AGENT_PID; exec cat >/dev/null"])
            .env_remove("GIT_TOKEN")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut watched = command.spawn().map_err(|err| failed(&err).with_hint("install openssh-client"))?;
        let mut line = String::new();
        if let Some(stdout) = watched.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            let read = tokio::time::timeout(ASK_TIME_MAX, stdout.read_line(&mut line)).await;
            read.map_err(|_| Failure::other("the private ssh-agent does not start"))?
                .map_err(|err| failed(&err))?;
        }
        let process = line.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let agent = Self { socket, process, _watched: watched, _dir: dir };
        agent.add(path).await?;
        Ok(agent)
    }

    /// The socket, as `SSH_AUTH_SOCK` takes it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    async fn add(&self, path: &Path) -> Result<(), Failure> {
        let call = Call::program("ssh-add", format!("use the SSH key {}", path.display()));
        let added = call
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS_REQUIRE", "never")
            .args([std::ffi::OsStr::new("-q"), path.as_os_str()])
            .limit(ASK_TIME_MAX)
            .run()
            .await?;
        if !added.ok() {
            return Err(unusable(path, &added.err));
        }
        // For ssh, which names a key of an agent by its public half.
        let listed = Call::program("ssh-add", "list the key")
            .env("SSH_AUTH_SOCK", &self.socket)
            .args(["-L"])
            .output()
            .await?;
        std::fs::write(self.socket.with_extension("pub"), listed)
            .map_err(|err| Failure::from_io("cannot write below the temporary directory", &err))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(process) = self.process {
            // It may be gone with its time.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
    }
}

/// Where ssh-add or ssh-keygen refuses a key file.
fn unusable(path: &Path, err: &str) -> Failure {
    let shown = path.display();
    let failure = Failure::new(FailureKind::Credentials, format!("cannot use the SSH key {shown}"));
    if err.contains("UNPROTECTED") || err.contains("too open") || err.contains("bad permissions") {
        return failure
            .because("others can read it, and ssh refuses such a key")
            .with_hint(format!("chmod 600 {shown}"));
    }
    let words = err
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.contains("@@@@"))
        .unwrap_or("ssh-add failed");
    failure.because(words.to_owned())
}

/// Chooses the key for a host, and an agent that has it.
pub async fn credentials(
    url: &GitUrl,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Credentials, Failure> {
    let configuration = ssh::configuration(url).await?;
    let own_agent = configuration
        .identity_agent
        .clone()
        .or_else(|| environment("SSH_AUTH_SOCK"))
        .filter(|socket| !socket.is_empty());
    let own_agent = own_agent.map(|socket| PathBuf::from(expanded(&socket, environment)));
    let Some(key) = chosen(&configuration, environment)? else {
        return match own_agent {
            Some(socket) if has_keys(&socket).await => Ok(Credentials::OwnAgent(socket)),
            _ => Err(Failure::new(FailureKind::Credentials, format!("there is no SSH key for {url}"))
                .because(
                    "neither GIT_SSH_KEY_PATH nor an IdentityFile of ~/.ssh/config for this host is there, nor ~/.ssh/id_rsa, \
                     ~/.ssh/id_ed25519, or a key in an ssh-agent",
                )
                .with_hint("GIT_SSH_KEY_PATH=~/.ssh/KEY pail …, or an https:// URL with GIT_TOKEN")),
        };
    };
    // A public key names one that is in an agent or a token of hardware alone.
    let is_public = std::fs::read(&key).is_ok_and(|bytes| {
        bytes.starts_with(b"ssh-") || bytes.starts_with(b"ecdsa-") || bytes.starts_with(b"sk-")
    });
    if !is_public && opens_without_passphrase(&key).await? {
        return Agent::with_key(&key).await.map(Credentials::Key);
    }
    if let Some(socket) = own_agent
        && holds(&socket, &key).await
    {
        return Ok(Credentials::OwnAgent(socket));
    }
    let shown = key.display();
    let (why, hint) = match is_public {
        true => (
            "it is a public key, and no ssh-agent holds its private half",
            "start the agent that has it".to_owned(),
        ),
        false => {
            ("it has a passphrase, and no ssh-agent holds it", format!("ssh-add {shown}, and try again"))
        }
    };
    Err(Failure::new(FailureKind::Credentials, format!("cannot use the SSH key {shown}"))
        .because(why)
        .with_hint(hint))
}

/// The key file: `GIT_SSH_KEY_PATH`, the first that the configuration names for the host, `~/.ssh/id_rsa`, `~/.ssh/id_ed25519`.
fn chosen(
    configuration: &Configuration,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = environment("GIT_SSH_KEY_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(expanded(&path, environment));
        return match std::fs::metadata(&path) {
            Ok(_) => Ok(Some(path)),
            Err(err) => Err(Failure::unreadable(&path, &err)
                .with_hint("GIT_SSH_KEY_PATH names the private key file for git")),
        };
    }
    let named = configuration.identity_files.iter().map(String::as_str).filter(|file| *file != "none");
    let mut candidates = named
        .chain(["~/.ssh/id_rsa", "~/.ssh/id_ed25519"])
        .map(|file| PathBuf::from(expanded(file, environment)));
    Ok(candidates.find(|path| path.exists()))
}

fn expanded(path: &str, environment: &(dyn Fn(&str) -> Option<String> + Sync)) -> String {
    match (path.strip_prefix("~/"), environment("HOME")) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

/// Whether ssh-keygen reads the private key with an empty passphrase. Errors: it is no key, or others can read it.
async fn opens_without_passphrase(key: &Path) -> Result<bool, Failure> {
    let call = Call::program("ssh-keygen", "read the SSH key").args(["-y", "-P", "", "-f"]).args([key]);
    let read = call.env("SSH_ASKPASS_REQUIRE", "never").limit(ASK_TIME_MAX).run().await?;
    if read.ok() {
        return Ok(true);
    }
    if read.err.contains("incorrect passphrase") {
        return Ok(false);
    }
    Err(unusable(key, &read.err))
}

async fn has_keys(socket: &Path) -> bool {
    listed(socket).await.is_some_and(|text| !text.is_empty())
}

/// Whether an agent holds the key of a file, by its fingerprint, which also a file with a passphrase tells.
async fn holds(socket: &Path, key: &Path) -> bool {
    let call =
        Call::program("ssh-keygen", "read the SSH key").args(["-l", "-f"]).args([key]).limit(ASK_TIME_MAX);
    let Ok(shown) = call.run().await else { return false };
    let text = shown.line();
    let Some(fingerprint) = text.split(' ').nth(1) else { return false };
    shown.ok() && listed(socket).await.is_some_and(|text| text.contains(fingerprint))
}

async fn listed(socket: &Path) -> Option<String> {
    let call =
        Call::program("ssh-add", "list keys").env("SSH_AUTH_SOCK", socket).args(["-l"]).limit(ASK_TIME_MAX);
    let ended = call.run().await.ok()?;
    ended.ok().then(|| ended.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment_of(
        home: &Path,
        extra: &[(&str, String)],
    ) -> impl Fn(&str) -> Option<String> + Sync + use<> {
        let mut variables = vec![("HOME".to_owned(), home.to_str().unwrap().to_owned())];
        variables.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        move |name| variables.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn keys_are_chosen_in_their_order() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(".ssh").join(name);
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let explicit = Configuration {
            identity_files: vec!["~/.ssh/absent".into(), "~/.ssh/work".into()],
            ..Configuration::default()
        };
        let environment = environment_of(home.path(), &[]);
        assert_eq!(chosen(&explicit, &environment).unwrap(), None);
        // From the last in the order to the first.
        for name in ["id_ed25519", "id_rsa", "work"] {
            std::fs::write(path(name), "").unwrap();
            assert_eq!(chosen(&explicit, &environment).unwrap(), Some(path(name)));
        }
        assert_eq!(chosen(&Configuration::default(), &environment).unwrap(), Some(path("id_rsa")));
        let named = environment_of(home.path(), &[("GIT_SSH_KEY_PATH", "~/.ssh/id_ed25519".into())]);
        assert_eq!(chosen(&explicit, &named).unwrap(), Some(path("id_ed25519")));
        let absent = environment_of(home.path(), &[("GIT_SSH_KEY_PATH", "~/.ssh/none".into())]);
        assert_eq!(chosen(&explicit, &absent).unwrap_err().kind, FailureKind::NotFound);
    }

    async fn made_key(path: &Path, passphrase: &str) {
        let call = Call::program("ssh-keygen", "make a key")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .args([path]);
        call.output().await.unwrap();
    }

    #[tokio::test]
    async fn a_private_agent_holds_the_one_key_and_ends_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        made_key(&key, "").await;
        let agent = Agent::with_key(&key).await.unwrap();
        let socket = agent.socket().to_owned();
        assert!(holds(&socket, &key).await);
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(socket.parent().unwrap()).unwrap());
        assert_eq!(mode & 0o777, 0o700);
        let process = agent.process.unwrap();
        drop(agent);
        while rustix::process::test_kill_process(process).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn keys_that_cannot_be_used_are_told_why() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        made_key(&key, "secret").await;
        let url = GitUrl::parse("git@pail-test.invalid:r.git").unwrap();
        let named = [("GIT_SSH_KEY_PATH", key.to_str().unwrap().to_owned())];
        let failure = credentials(&url, &environment_of(home.path(), &named)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Credentials);
        assert!(failure.to_string().contains("passphrase"), "{failure}");
        assert!(failure.hint.unwrap().contains("ssh-add"));
        // Its public half alone does not do either.
        let public = [("GIT_SSH_KEY_PATH", key.with_extension("pub").to_str().unwrap().to_owned())];
        let failure = credentials(&url, &environment_of(home.path(), &public)).await.unwrap_err();
        assert!(failure.to_string().contains("public key"), "{failure}");
        let open = home.path().join("open");
        made_key(&open, "").await;
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let named = [("GIT_SSH_KEY_PATH", open.to_str().unwrap().to_owned())];
        let failure = credentials(&url, &environment_of(home.path(), &named)).await.unwrap_err();
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }
}
