//! `pail git-workdir`, which is not for people: one step of a git workdir, as a request in JSON on standard input.
//!
//! Owns: the steps `resolve` (on the client), `check_out` (on a node) and `launch` (both, on this machine), so that programs and tests
//! reach each by itself. A token arrives in the request or in `GIT_TOKEN`, in no argument.

use crate::git::{self, Access, CheckoutOptions, Credentials, Resolved, Secret};
use crate::{block_on, terminal};
use pail_control::Failure;
use serde::Deserialize;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// One step of a git workdir, as a request on standard input
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step", deny_unknown_fields)]
enum Request {
    /// Prints a [`Resolved`].
    Resolve { url: String, git_ref: Option<String> },
    /// Prints a `Checkout`; notes go to standard error. `agent`: the one of `SSH_AUTH_SOCK` has the key.
    CheckOut {
        dir: PathBuf,
        resolved: Box<Resolved>,
        token: Option<Secret>,
        #[serde(default)]
        agent: bool,
        #[serde(default)]
        options: CheckoutOptions,
    },
    /// Both.
    Launch {
        dir: PathBuf,
        url: String,
        git_ref: Option<String>,
        #[serde(default)]
        options: CheckoutOptions,
    },
}

pub fn run(_: Arguments) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|err| Failure::from_io("cannot read standard input", &err))?;
    let request = serde_json::from_str(&text)
        .map_err(|err| Failure::usage("that is no request").because(err.to_string()))?;
    block_on(answer(request))?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(request: Request) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut report = |note: String| terminal::note(&note);
    match request {
        Request::Resolve { url, git_ref } => {
            let credentials = Credentials::find(&url, &environment).await?;
            terminal::json(
                &git::resolve(&url, git_ref.as_deref(), &credentials.access(), &environment).await?,
            )
        }
        Request::CheckOut { dir, resolved, token, agent, options } => {
            let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|_| agent).map(PathBuf::from);
            let access = match (token, socket) {
                (Some(token), _) => Access::Token(token),
                (None, Some(socket)) => Access::Agent(socket),
                (None, None) => Access::None,
            };
            terminal::json(&git::check_out(&dir, &resolved, &access, &options, &mut report).await?)
        }
        Request::Launch { dir, url, git_ref, options } => {
            let credentials = Credentials::find(&url, &environment).await?;
            let access = credentials.access();
            let resolved = git::resolve(&url, git_ref.as_deref(), &access, &environment).await?;
            resolved.notes.iter().for_each(|note| terminal::note(note));
            terminal::json(&git::check_out(&dir, &resolved, &access, &options, &mut report).await?)
        }
    }
}
