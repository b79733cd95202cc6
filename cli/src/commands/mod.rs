//! The commands, a file each.
//!
//! Owns: [`Command`], the list of them. A command is an arguments struct, whose doc comments are its help, and one function.

mod cancel;
mod check;
mod cluster;
mod completion;
mod copy_arguments;
mod cp;
mod dev_server;
mod discard;
mod down;
mod du;
mod exec;
mod explain_ignore;
mod flush;
mod git_workdir;
mod launch;
mod logs;
mod ls;
mod mount;
mod node;
mod queue;
mod report;
mod rm;
mod rsync;
mod shutdown;
mod status;
mod storage;
mod sync;
mod task_arguments;
mod two_buckets;
mod umount;
mod uris;

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
    Cp(cp::Arguments),
    Sync(sync::Arguments),
    Rm(rm::Arguments),
    Du(du::Arguments),
    Launch(launch::Arguments),
    Exec(exec::Arguments),
    Check(check::Arguments),
    Queue(queue::Arguments),
    Logs(logs::Arguments),
    Cancel(cancel::Arguments),
    Down(down::Arguments),
    Rsync(rsync::Arguments),
    Storage(storage::Arguments),
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
            Self::Cp(arguments) => cp::run(arguments),
            Self::Sync(arguments) => sync::run(arguments),
            Self::Rm(arguments) => rm::run(arguments),
            Self::Du(arguments) => du::run(arguments),
            Self::Launch(arguments) => launch::run(arguments),
            Self::Exec(arguments) => exec::run(arguments),
            Self::Check(arguments) => check::run(arguments),
            Self::Queue(arguments) => queue::run(arguments),
            Self::Logs(arguments) => logs::run(arguments),
            Self::Cancel(arguments) => cancel::run(arguments),
            Self::Down(arguments) => down::run(arguments),
            Self::Rsync(arguments) => rsync::run(arguments),
            Self::Storage(arguments) => storage::run(arguments),
            Self::DevServer(arguments) => dev_server::run(arguments),
            Self::Cluster(arguments) => cluster::run(arguments),
            Self::Completion(arguments) => completion::run(arguments),
            Self::Report(arguments) => report::run(arguments),
            Self::Node(arguments) => node::run(arguments),
            Self::GitWorkdir(arguments) => git_workdir::run(arguments),
        }
    }
}
