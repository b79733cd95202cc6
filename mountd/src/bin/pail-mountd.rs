//! The daemon's program: arguments in, exit code out. Everything else is in the library.

use clap::Parser;
use pail_control::quantity::{ByteSize, Period};
use pail_control::settings::Limits;
use pail_control::types::DrainReport;
use pail_control::{Failure, FailureKind};
use pail_mountd::daemon::process::{self, Mode};
use pail_mountd::daemon::{foreground, once};
use std::path::PathBuf;
use std::process::ExitCode;

/// Holds the mounts of one user on this node; `pail mount` starts it when it is needed.
///
/// Budgets and directories come from these flags, else from the PAIL_* variables, else from config.toml, else from the
/// defaults.
#[derive(Debug, Parser)]
#[command(name = "pail-mountd", version)]
struct Arguments {
    /// Log to standard error and stay until a signal ends it (for supervisors; the default)
    #[arg(long)]
    foreground: bool,

    /// Detach, log to a file and end without mounts (what `pail mount` does)
    #[arg(long, hide = true, conflicts_with = "foreground")]
    on_demand: bool,

    /// Hold the one mount that standard input describes (what `pail mount --foreground` does)
    #[arg(long, hide = true, exclusive = true)]
    for_mount: bool,

    /// Do what standard input asks for, and end (what commands use that find no daemon)
    #[arg(long, hide = true, exclusive = true)]
    once: bool,

    /// Directory of cached objects [default: $XDG_CACHE_HOME/pail]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Disk budget of cached objects, such as 10G; 0 keeps none [default: half of what is free, at most 20G]
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<ByteSize>,

    /// Memory budget, such as 512M [default: a quarter of the memory or of the cgroup's limit, at most 1G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,

    /// How long to go on publishing when told to stop [default: 110s]
    #[arg(long, value_name = "TIME")]
    drain_timeout: Option<Period>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.once {
        return once::run().map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS);
    }
    match run(arguments) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FailureKind::Partial.exit_code()),
        Err(failure) => fail(&failure),
    }
}

fn run(arguments: Arguments) -> Result<DrainReport, Failure> {
    if arguments.for_mount {
        return foreground::run();
    }
    let limits =
        Limits { cache_dir: arguments.cache_dir, cache_size: arguments.cache_size, memory: arguments.memory };
    let drain_timeout = arguments.drain_timeout.map(|period| period.0);
    match arguments.on_demand {
        true => process::run_on_demand(&limits, drain_timeout),
        false => process::run(Mode::Foreground, &limits, drain_timeout),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", failure.message);
    for cause in &failure.causes {
        eprintln!("caused by: {cause}");
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(failure.kind.exit_code())
}
