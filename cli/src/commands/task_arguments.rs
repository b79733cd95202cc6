//! What the command line says of a task, for every command that reads one.
//!
//! Owns: [`TaskArguments`]. They go before the file's own values: `--env` and `--secret` before `envs` and `secrets`, `--workdir` or
//! `--git-url` and `--git-ref` before `workdir`, `--num-nodes` before `num_nodes`. Invariant: no error shows the value of a secret.

use crate::task::{Overrides, WorkdirOverride, is_name};
use pail_control::Failure;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options that go before the values of a task's file.
#[derive(Debug, clap::Args)]
pub struct TaskArguments {
    /// Set a variable of the task: NAME=VALUE, or NAME to take it from this environment; may be given several times
    #[arg(long = "env", value_name = "NAME=VALUE")]
    envs: Vec<String>,

    /// Take variables of the task from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,

    /// Set a secret of the task, which is shown nowhere but where `file_mounts` names a place by it: NAME to take it from this environment, or NAME=VALUE, which others can see in the list of processes
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    secrets: Vec<String>,

    /// Take the code from this directory, in place of the task's `workdir`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["git_url", "git_ref"])]
    workdir: Option<PathBuf>,

    /// Take the code from this git repository, in place of the task's `workdir`
    #[arg(long, value_name = "URL")]
    git_url: Option<String>,

    /// Take this branch, tag or commit of the repository
    #[arg(long, value_name = "REF")]
    git_ref: Option<String>,

    /// Run on this many nodes, in place of the task's `num_nodes`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    num_nodes: Option<u32>,
}

impl TaskArguments {
    /// What they say. Errors: something that is no assignment; a variable that is not set; a file that cannot be read.
    pub fn overrides(&self) -> Result<Overrides, Failure> {
        let mut overrides =
            Overrides { workdir: self.workdir(), num_nodes: self.num_nodes, ..Overrides::default() };
        if let Some(path) = &self.env_file {
            let text = std::fs::read_to_string(path).map_err(|err| Failure::unreadable(path, &err))?;
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            for (index, line) in text.lines().map(str::trim).enumerate() {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let line = line.strip_prefix("export ").unwrap_or(line);
                let (name, value) =
                    assignment(line, &format!("--env-file {} line {}", path.display(), index + 1))?;
                overrides.envs.insert(name, unquoted(&value).to_owned());
            }
        }
        for told in &self.envs {
            overrides.envs.extend([assignment(told, "--env")?]);
        }
        for told in &self.secrets {
            overrides.secrets.extend([assignment(told, "--secret")?]);
        }
        Ok(overrides)
    }

    fn workdir(&self) -> WorkdirOverride {
        match (&self.workdir, &self.git_url, &self.git_ref) {
            (Some(dir), _, _) => WorkdirOverride::Local(dir.clone()),
            (None, Some(url), git_ref) => WorkdirOverride::Url(url.clone(), git_ref.clone()),
            (None, None, Some(git_ref)) => WorkdirOverride::Ref(git_ref.clone()),
            (None, None, None) => WorkdirOverride::None,
        }
    }
}

/// `NAME=VALUE`, or the value that this process's environment has for `NAME`. `place` is where it was given. Errors never show the
/// value, and nothing of what was given but for `--env`.
fn assignment(told: &str, place: &str) -> Result<(String, String), Failure> {
    let (name, value) = match told.split_once('=') {
        Some((name, value)) => (name.trim(), Some(Ok(value.to_owned()))),
        None => (told.trim(), std::env::var_os(told.trim()).map(OsString::into_string)),
    };
    let names = "names are of letters, digits and underscores, and do not begin with a digit";
    match value {
        Some(Ok(value)) if is_name(name) && !value.contains('\0') => Ok((name.to_owned(), value)),
        // With its NAME forgotten, any of it may be the secret.
        _ if place != "--env" => Err(Failure::usage(format!(
            "{place}: expected NAME=VALUE, or the NAME of a variable that is set and whose value is UTF-8 without zero bytes"
        ))
        .with_hint(names)),
        _ if !is_name(name) => {
            // Without an equals sign it may be the value.
            let shown = if told.contains('=') { format!("{name:?}") } else { "what is given".to_owned() };
            Err(Failure::usage(format!("{place}: {shown} cannot be a variable's name")).with_hint(names))
        }
        Some(_) => Err(Failure::usage(format!("{place} {name}: its value is not UTF-8 without zero bytes"))),
        None => Err(Failure::usage(format!("{place} {name}: it is not set in this environment"))
            .with_hint(format!("set it, or write {place} {name}=VALUE"))),
    }
}

/// Without the one pair of quotes that may be around it.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let between = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_keep_what_is_after_the_first_equals_sign() {
        assert_eq!(assignment("A=b=c", "--env").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(assignment("A=", "--env").unwrap(), ("A".into(), String::new()));
        let unset = assignment("PAIL_TEST_IS_NOT_SET_ANYWHERE", "--env").unwrap_err();
        assert_eq!(unset.message, "--env PAIL_TEST_IS_NOT_SET_ANYWHERE: it is not set in this environment");
        assert_eq!(assignment("PATH", "--env").unwrap().1, std::env::var("PATH").unwrap());
        for wrong in ["", "=x", "1A=x", "A B=x"] {
            assert!(assignment(wrong, "--env").unwrap_err().message.contains("cannot be a variable's name"));
        }
        for place in ["--secret", "--env-file f line 2"] {
            for (secret, part) in [("hunter2", "hunter"), ("ab+c==", "ab+c"), ("a b", "a b")] {
                let failure = assignment(secret, place).unwrap_err();
                assert!(!format!("{failure:?}").contains(part), "{failure:?}");
                assert!(failure.message.starts_with(place), "{failure:?}");
            }
        }
        assert_eq!(unquoted(" \"a b\" "), "a b");
        assert_eq!(unquoted("'a"), "'a");
    }
}
