//! `pail node`: what a client runs on a node. Hidden; a request in JSON on standard input, an answer on standard output.

use crate::block_on;
use crate::node::serve;
use crate::sync::agent::{self, Step};
use crate::sync::serving;
use crate::sync::{pull, relay};
use pail_control::Failure;
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Steps that a client runs on a node
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    step: NodeStep,
}

#[derive(Debug, clap::Subcommand)]
enum NodeStep {
    /// One request, and its answer
    Call,
    /// Stay with a stage of a job until it is over
    Supervise,
    /// Make places ready for a sync
    SyncBegin,
    /// End a sync
    SyncCommit,
    /// Remove names below a directory
    SyncRemove,
    /// Hand on to other nodes what a sync sent here
    SyncRelay,
    /// Become a rsync that fetches from another node
    SyncPull,
    /// Connect standard input and output to another node
    SyncLink {
        request: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rsync: Vec<OsString>,
    },
    /// Become the node's rsync
    SyncServe {
        /// Write as root
        #[arg(long)]
        sudo: bool,
        key: String,
        session: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rsync: Vec<OsString>,
    },
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let home = serve::home()?;
    match arguments.step {
        NodeStep::Call => block_on(serve::call()).map(|()| ExitCode::SUCCESS),
        NodeStep::Supervise => block_on(serve::supervise()).map(|()| ExitCode::SUCCESS),
        NodeStep::SyncBegin => step(Step::Begin, home),
        NodeStep::SyncCommit => step(Step::Commit, home),
        NodeStep::SyncRemove => step(Step::Remove, home),
        NodeStep::SyncRelay => block_on(relay::hand_on(&home)).map(|()| ExitCode::SUCCESS),
        NodeStep::SyncPull => {
            let mut request = Vec::new();
            let read = std::io::stdin().read_to_end(&mut request);
            read.map_err(|err| Failure::from_io("cannot read the request", &err))?;
            Ok(ExitCode::from(pull::pull(&request, &home)))
        }
        NodeStep::SyncLink { request, rsync } => Ok(ExitCode::from(pull::link(&request, &rsync))),
        NodeStep::SyncServe { sudo, key, session, rsync } => {
            Ok(ExitCode::from(serving::serve(&key, &session, sudo, &rsync, &home)))
        }
    }
}

/// Prints the answer, or the failure as JSON.
fn step(step: Step, home: PathBuf) -> Result<ExitCode, Failure> {
    let mut request = Vec::new();
    let read = std::io::stdin().read_to_end(&mut request);
    let answer = read
        .map_err(|err| Failure::from_io("cannot read the request", &err))
        .and_then(|_| agent::run_step(step, &request, &home));
    match answer {
        Ok(answer) => crate::terminal::line(&answer).map(|()| ExitCode::SUCCESS),
        Err(failure) => {
            let code = failure.kind.exit_code();
            let text = serde_json::to_string(&failure)
                .map_err(|err| Failure::other("cannot write the failure as JSON").because(err.to_string()))?;
            crate::terminal::line(&text).map(|()| ExitCode::from(code))
        }
    }
}
