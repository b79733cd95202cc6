//! What the user has to reach a repository with.
//!
//! Owns: [`Credentials`], found on the client; [`Access`], what of them git is given, there or on a node; [`Secret`].

use super::agent::Agent;
use super::url::{GitUrl, Scheme};
use pail_control::Failure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A token. Serialized as it is, for a request on a pipe and for nothing else; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What git is given for one call, where it runs.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nothing: a public repository, or what the user's own helpers and keys give where git runs.
    None,
    /// A token for the repository's own origin.
    Token(Secret),
    /// The socket of an agent: the private one on the client, the forwarded one on a node.
    Agent(PathBuf),
}

/// What was found on the client; an agent ends with it.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// `GIT_TOKEN`, for HTTP.
    Token(Secret),
    /// A private agent with the one key, for SSH.
    Key(Agent),
    /// The user's own agent, for SSH, where the key is in that alone.
    OwnAgent(PathBuf),
}

impl Credentials {
    /// Looks for what goes with the repository: `GIT_TOKEN` for HTTP, a key for SSH (`GIT_SSH_KEY_PATH`, what the user's SSH configuration
    /// names for the host, `~/.ssh/id_rsa`, `~/.ssh/id_ed25519` where there is no id_rsa, the user's agent).
    ///
    /// `environment` gives variables of the client. Errors: usage, for a token that would go over the network in plain text; credentials
    /// or not found, for a key that cannot be used.
    pub async fn find(
        url: &str,
        environment: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Self, Failure> {
        let url = GitUrl::parse(url)?;
        let token =
            environment("GIT_TOKEN").map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        match (url.scheme, token) {
            (Scheme::Ssh, _) => super::agent::credentials(&url, environment).await,
            (Scheme::File, _) | (_, None) => Ok(Self::None),
            (Scheme::Http, Some(_)) if !url.is_loopback() => {
                Err(Failure::usage(format!("GIT_TOKEN is not sent to {url}"))
                    .because("http:// is plain text: everybody on the way could read it")
                    .with_hint("use https://, or unset GIT_TOKEN if the repository is public"))
            }
            (_, Some(token)) if token.contains(char::is_control) => {
                Err(Failure::usage("GIT_TOKEN holds a line break or another control character"))
            }
            (_, Some(token)) => Ok(Self::Token(Secret::new(token))),
        }
    }

    /// What git is given on this machine.
    pub fn access(&self) -> Access {
        match self {
            Self::None => Access::None,
            Self::Token(token) => Access::Token(token.clone()),
            Self::Key(agent) => Access::Agent(agent.socket().to_owned()),
            Self::OwnAgent(socket) => Access::Agent(socket.clone()),
        }
    }

    /// The socket to forward to nodes (`ssh -A` with this as `SSH_AUTH_SOCK`, over a connection of its own).
    pub fn agent_socket(&self) -> Option<&Path> {
        match self {
            Self::Key(agent) => Some(agent.socket()),
            Self::OwnAgent(socket) => Some(socket),
            Self::None | Self::Token(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_goes_to_https_and_to_this_machine_and_nowhere_in_plain_text() {
        let environment = |name: &str| (name == "GIT_TOKEN").then(|| " hunter2\n".to_owned());
        for url in ["https://h.org/r", "http://localhost:1/r", "http://[::1]/r"] {
            let credentials = Credentials::find(url, &environment).await.unwrap();
            assert!(
                matches!(&credentials, Credentials::Token(token) if token.expose() == "hunter2"),
                "{url}"
            );
            assert!(!format!("{credentials:?} {:?}", credentials.access()).contains("hunter2"));
        }
        let failure = Credentials::find("http://h.org/r", &environment).await.unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"));
        assert_eq!(failure.kind.exit_code(), 2);
    }
}
