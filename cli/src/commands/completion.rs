//! `pail completion`.

use crate::terminal;
use clap::CommandFactory;
use pail_control::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Print a completion script for a shell
///
/// For bash: pail completion bash > ~/.local/share/bash-completion/completions/pail
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "pail", &mut script);
    std::io::stdout().write_all(&script).map_err(|err| terminal::output_lost(&err))?;
    Ok(ExitCode::SUCCESS)
}
