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
    std::io::stdout().write_all(&script(arguments.shell)).map_err(|err| terminal::output_lost(&err))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut for_people(), "pail", &mut script);
    script
}

/// Without the commands that only programs use, which the generator would offer, too: clap hides them in help alone, and takes none away.
fn for_people() -> clap::Command {
    let all = crate::Arguments::command();
    clap::Command::new("pail")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn commands_for_programs_are_not_offered() {
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            assert!(script.contains("umount") && !script.contains("_report"), "{shell}");
        }
    }
}
