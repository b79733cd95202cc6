//! The ssh that git uses.
//!
//! Owns: [`SshHost`], what the client's SSH configuration says of a host, which goes to the nodes; [`command`], the command line of ssh.
//! Invariants: a host key is accepted once and never replaced; nothing asks at a terminal; no connection is shared with the user's own, or
//! outlives git.

use super::process::Call;
use super::url::GitUrl;
use pail_control::Failure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the client knows of an SSH host: a node has neither the user's aliases nor their known hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshHost {
    /// The name or address to connect to.
    pub host_name: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The name that its key is known by, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_alias: Option<String>,
    /// Its lines of the client's known_hosts. Empty: no key is known yet.
    #[serde(default)]
    pub known_hosts: Vec<String>,
}

/// The user's SSH configuration for a host.
#[derive(Debug, Default)]
pub struct Configuration {
    /// What goes to the nodes.
    pub host: SshHost,
    /// Key files that the configuration names for this host; not those that ssh looks for by itself.
    pub identity_files: Vec<String>,
    /// An agent that it names.
    pub identity_agent: Option<String>,
    /// Whether it refuses hosts whose key is not known yet.
    pub is_strict: bool,
}

/// Which host keys are taken.
#[derive(Debug, Clone, Copy)]
pub enum HostKeys<'a> {
    /// Those of the user's known_hosts, and once a new one, which is written there.
    AcceptNew,
    /// Those of the user's known_hosts.
    Known,
    /// Those of one file.
    Only(&'a Path),
}

/// Asks ssh what it would do for a host.
pub async fn configuration(url: &GitUrl) -> Result<Configuration, Failure> {
    let text = ask(url, &[]).await?;
    let values = |text: &str, key: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
    };
    let first = |key: &str| values(&text, key).into_iter().next();
    // ssh lists the files that it looks for by itself where the configuration names none.
    let without = ask(url, &["-F", "none"]).await?;
    let mut identity_files = values(&text, "identityfile");
    if identity_files == values(&without, "identityfile") {
        identity_files.clear();
    }
    let mut host = SshHost {
        host_name: first("hostname").unwrap_or_else(|| url.host.clone()),
        port: first("port").and_then(|port| port.parse().ok()).or(url.port).unwrap_or(22),
        user: first("user").or_else(|| url.user.clone()).unwrap_or_default(),
        key_alias: first("hostkeyalias").filter(|alias| alias != "none"),
        known_hosts: Vec::new(),
    };
    let files = [first("userknownhostsfile"), first("globalknownhostsfile")].into_iter().flatten();
    let files: Vec<String> =
        files.flat_map(|files| files.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    host.known_hosts = known_hosts(&host, &files).await?;
    let identity_agent = first("identityagent").filter(|agent| agent != "none" && agent != "SSH_AUTH_SOCK");
    let is_strict = first("stricthostkeychecking").is_some_and(|value| value == "true" || value == "yes");
    Ok(Configuration { host, identity_files, identity_agent, is_strict })
}

async fn ask(url: &GitUrl, arguments: &[&str]) -> Result<String, Failure> {
    let mut call = Call::program("ssh", format!("read the SSH configuration for {}", url.host))
        .args(["-G"])
        .args(arguments);
    if let Some(port) = url.port {
        call = call.args(["-p", &port.to_string()]);
    }
    if let Some(user) = &url.user {
        call = call.args(["-l", user]);
    }
    Ok(String::from_utf8_lossy(&call.args(["--", &url.host]).output().await?).into_owned())
}

/// The lines of known_hosts files that are about a host, hashed names as well.
async fn known_hosts(host: &SshHost, files: &[String]) -> Result<Vec<String>, Failure> {
    let name = match (&host.key_alias, host.port) {
        (Some(alias), _) => alias.clone(),
        (None, 22) => host.host_name.clone(),
        (None, port) => format!("[{}]:{port}", host.host_name),
    };
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| Path::new(file.as_str()).is_file()) {
        let call = Call::program("ssh-keygen", "look the host's key up").args(["-F", &name, "-f", file]);
        // It exits with 1 where there is none.
        let found = call.run().await?;
        let text = String::from_utf8_lossy(&found.out).into_owned();
        lines.extend(
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned),
        );
    }
    Ok(lines)
}

/// The command line of ssh as `GIT_SSH_COMMAND` takes it, which a shell reads.
///
/// `socket` is an agent's: one key of it is meant, and it is offered before any other.
pub fn command(host: Option<&SshHost>, socket: Option<&Path>, keys: HostKeys<'_>) -> String {
    let mut options: Vec<String> = [
        "BatchMode=yes",
        "ConnectTimeout=30",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "ControlMaster=no",
        "ControlPath=none",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "RequestTTY=no",
    ]
    .map(str::to_owned)
    .to_vec();
    match keys {
        HostKeys::Only(file) => {
            options.push(format!("UserKnownHostsFile={}", literal(file)));
            options.push("GlobalKnownHostsFile=/dev/null".to_owned());
            options.push("StrictHostKeyChecking=yes".to_owned());
        }
        HostKeys::Known => options.push("StrictHostKeyChecking=yes".to_owned()),
        HostKeys::AcceptNew => options.push("StrictHostKeyChecking=accept-new".to_owned()),
    }
    if let Some(host) = host {
        options.push(format!("HostName={}", host.host_name));
        options.push(format!("Port={}", host.port));
        if !host.user.is_empty() {
            options.push(format!("User={}", host.user));
        }
        if let Some(alias) = &host.key_alias {
            options.push(format!("HostKeyAlias={alias}"));
        }
    }
    if let Some(socket) = socket {
        options.push(format!("IdentityAgent={}", literal(socket)));
        match public_key_beside(socket) {
            // The one key, by its public half, and none that ssh finds by itself.
            Some(key) => {
                options.push("IdentitiesOnly=yes".to_owned());
                options.push(format!("IdentityFile={}", literal(&key)));
            }
            None => options.push("IdentitiesOnly=no".to_owned()),
        }
    }
    let quoted = options.iter().map(|option| format!(" -o {}", quoted(option)));
    format!("ssh{}", quoted.collect::<String>())
}

/// The public half of the key of a private agent, which is kept beside its socket.
pub fn public_key_beside(socket: &Path) -> Option<PathBuf> {
    let file = socket.with_extension("pub");
    file.is_file().then_some(file)
}

/// A path in which ssh expands nothing.
fn literal(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// An option as the shell takes it, its value as ssh takes it: blanks stay in it.
fn quoted(option: &str) -> String {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let value = if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() };
    format!("'{}'", format!("{name}={value}").replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_survives_the_shell() {
        let host = SshHost { host_name: "h".into(), port: 2222, user: "it's".into(), ..SshHost::default() };
        let text = command(Some(&host), Some(Path::new("/tmp/a b/agent")), HostKeys::AcceptNew);
        let script = format!("ssh() {{ for x; do echo \"$x\"; done; }}; {text}");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines.contains(&"User=it's"), "{lines:?}");
        assert!(lines.contains(&"IdentityAgent=\"/tmp/a b/agent\""), "{lines:?}");
        assert!(lines.contains(&"StrictHostKeyChecking=accept-new"), "{lines:?}");
    }
}
