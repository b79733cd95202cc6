//! The commands, a file each.
//!
//! Owns: [`Command`], the list of them. A command is an arguments struct, whose doc comments are its help, and one function.

mod cluster;
mod check;
mod completion;
mod dev_server;
mod discard;
mod explain_ignore;
mod flush;
mod git_workdir;
mod launch;
mod ls;
mod mount;
mod report;
mod node;
mod shutdown;
mod status;
mod umount;

use clap::Subcommand;
use pail_control::Failure;
use std::process::ExitCode;

/// A command and its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Mount(mount::Arguments),
    Umount(umount::Arguments),
    Status(status::Arguments),
    Flush(flush::Arguments),
    Discard(discard::Arguments),
    Shutdown(shutdown::Arguments),
    Ls(ls::Arguments),
    ExplainIgnore(explain_ignore::Arguments),
    Launch(launch::Arguments),
    Check(check::Arguments),
    DevServer(dev_server::Arguments),
    Cluster(cluster::Arguments),
    Completion(completion::Arguments),
    #[command(name = report::NAME, hide = true)]
    Report(report::Arguments),
    #[command(hide = true)]
    Node(node::Arguments),
    #[command(hide = true)]
    GitWorkdir(git_workdir::Arguments),
}

impl Command {
    /// Runs the command; its exit code where it is not a failure's.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Mount(arguments) => mount::run(arguments),
            Self::Umount(arguments) => umount::run(arguments),
            Self::Status(arguments) => status::run(arguments),
            Self::Flush(arguments) => flush::run(arguments),
            Self::Discard(arguments) => discard::run(arguments),
            Self::Shutdown(arguments) => shutdown::run(arguments),
            Self::Ls(arguments) => ls::run(arguments),
            Self::ExplainIgnore(arguments) => explain_ignore::run(arguments),
            Self::Launch(arguments) => launch::run(arguments),
            Self::Check(arguments) => check::run(arguments),
            Self::DevServer(arguments) => dev_server::run(arguments),
            Self::Cluster(arguments) => cluster::run(arguments),
            Self::Completion(arguments) => completion::run(arguments),
            Self::Report(arguments) => report::run(arguments),
            Self::Node(arguments) => node::run(arguments),
            Self::GitWorkdir(arguments) => git_workdir::run(arguments),
        }
    }
}
