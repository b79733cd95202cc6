//! Configuration files as AWS's tools know them, in a caller's environment.

use crate::http::environment::Environment;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use std::path::Path;

const CONFIG: (&str, &str) = ("AWS_CONFIG_FILE", "~/.aws/config");
const CREDENTIALS: (&str, &str) = ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");

/// What of [`Environment`] is AWS's.
pub(super) trait AwsEnvironment {
    /// The AWS configuration files. Those of a caller are named one by one, since the library would look for them by this
    /// process's variables; ones that are not there are left out.
    fn profile_files(self) -> EnvConfigFiles;
    /// Which those are, in words.
    fn profile_places(self) -> String;
}

impl AwsEnvironment for Environment<'_> {
    fn profile_files(self) -> EnvConfigFiles {
        if !self.are_given() {
            return EnvConfigFiles::default();
        }
        let place = |(variable, default): (&str, &str)| {
            let named = self.get(variable).unwrap_or_else(|| default.to_owned());
            Some(self.path(&named)).filter(|path| path.is_file())
        };
        let mut files = no_files();
        if let Some(path) = place(CONFIG) {
            files = files.with_file(EnvConfigFileKind::Config, path);
        }
        if let Some(path) = place(CREDENTIALS) {
            files = files.with_file(EnvConfigFileKind::Credentials, path);
        }
        files.build()
    }

    fn profile_places(self) -> String {
        let place =
            |(variable, default): (&str, &str)| self.get(variable).unwrap_or_else(|| default.to_owned());
        format!("{} and {}", place(CONFIG), place(CREDENTIALS))
    }
}

/// One file of profiles, where it is there.
pub(super) fn credentials_file(path: &Path) -> EnvConfigFiles {
    match path.is_file() {
        true => no_files().with_file(EnvConfigFileKind::Credentials, path).build(),
        false => no_files().build(),
    }
}

/// The library panics on a set of no files at all.
fn no_files() -> aws_runtime::env_config::file::Builder {
    EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CallerVariables;

    #[test]
    fn a_caller_without_a_home_has_no_files_which_is_no_error() {
        let caller = CallerVariables([("AWS_REGION".to_owned(), String::new())].into());
        Environment(Some(&caller)).profile_files();
    }
}
