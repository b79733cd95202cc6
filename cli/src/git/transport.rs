//! How git reaches one remote.
//!
//! Owns: [`Transport`], which sets up a command of git's for the repository's address and what the user has for it.

use super::askpass::Askpass;
use super::credentials::Access;
use super::ssh::{self, HostKeys, SshHost};
use super::url::{GitUrl, Scheme};
use pail_control::Failure;
use std::io::Write;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::process::Command;

/// How long a look at a remote's refs may take.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(90);
/// How long a fetch may take; one in which nothing arrives ends after about a minute by itself.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(2 * 3600);

/// The way to a remote, with what it needs for as long as it lives.
pub struct Transport {
    askpass: Option<Askpass>,
    ssh_command: String,
    is_http: bool,
    /// Authorities' certificates, in a file for git, for as long as this lives.
    authorities: Option<NamedTempFile>,
}

impl Transport {
    /// A way to `url`. `host` is what the client knows of an SSH host, for a node; `keys` are the host keys to take.
    pub fn new(
        url: &GitUrl,
        access: &Access,
        host: Option<&SshHost>,
        keys: HostKeys<'_>,
    ) -> Result<Self, Failure> {
        let askpass = match access {
            Access::Token(token) if matches!(url.scheme, Scheme::Https | Scheme::Http) => {
                let served = Askpass::serve(token.clone(), url);
                Some(served.map_err(|err| Failure::from_io("cannot let git ask for the token", &err))?)
            }
            _ => None,
        };
        let socket = match access {
            Access::Agent(socket) => Some(socket.as_path()),
            _ => None,
        };
        // Submodules may be reached by SSH wherever the repository itself is.
        let ssh_command = ssh::command(host, socket, keys);
        Ok(Self {
            askpass,
            ssh_command,
            is_http: matches!(url.scheme, Scheme::Https | Scheme::Http),
            authorities: None,
        })
    }

    /// The same, that trusts the client's authorities where this process is given none of its own. Errors: the local disk's.
    pub fn trusting(mut self, authorities: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = authorities.filter(|_| std::env::var_os("GIT_SSL_CAINFO").is_none()) else {
            return Ok(self);
        };
        let write = || {
            let mut file = NamedTempFile::new()?;
            file.write_all(text.as_bytes())?;
            Ok(file)
        };
        let written: std::io::Result<_> = write();
        self.authorities =
            Some(written.map_err(|err| Failure::from_io("cannot write the certificates for git", &err))?);
        Ok(self)
    }

    /// Sets up a command that has no subcommand yet.
    pub fn apply(&self, command: &mut Command) -> std::io::Result<()> {
        command.env("GIT_SSH_COMMAND", &self.ssh_command).env("GIT_SSH_VARIANT", "ssh");
        if let Some(authorities) = &self.authorities {
            command.env("GIT_SSL_CAINFO", authorities.path());
        }
        if self.is_http {
            // A redirect is followed for the first request; the token is asked for anew by the new origin's name, and not given to it.
            command.args(["-c", "http.followRedirects=initial"]);
        }
        if let Some(askpass) = &self.askpass {
            // Helpers would be asked first, and told the token to keep.
            command.args([
                "-c",
                "credential.helper=",
                "-c",
                "core.askPass=",
                "-c",
                "http.extraHeader=",
                "-c",
                "credential.useHttpPath=false",
            ]);
            askpass.lend(command)?;
        }
        Ok(())
    }
}
