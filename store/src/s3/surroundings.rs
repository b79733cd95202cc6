//! The environment that a store is opened in.
//!
//! Owns: [`Surroundings`]: the variables of this process, or those of somebody whom a daemon opens the store for. With the
//! latter, nothing of this process's own environment decides on endpoint, region or keys. (The container and instance roles are the
//! machine's, and the same for both.)

use super::options::CallerVariables;
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use std::path::{Path, PathBuf};

/// Where variables are looked up.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a>(pub Option<&'a CallerVariables>);

impl Surroundings<'_> {
    /// A variable; an empty one counts as unset.
    pub fn get(self, name: &str) -> Option<String> {
        let value = match self.0 {
            Some(caller) => caller.0.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// A path that a setting names; `~/` is the home.
    pub fn path(self, named: &str) -> PathBuf {
        expand_home(named, self.get("HOME").map(PathBuf::from).as_deref())
    }

    /// Whether the variables are another's than this process's.
    pub fn are_given(self) -> bool {
        self.0.is_some()
    }

    /// Keys that stand in the variables themselves.
    pub fn static_keys(self) -> Option<Credentials> {
        let (id, secret) = (self.get("AWS_ACCESS_KEY_ID")?, self.get("AWS_SECRET_ACCESS_KEY")?);
        Some(Credentials::new(id, secret, self.get("AWS_SESSION_TOKEN"), None, "Environment"))
    }

    /// The AWS configuration files. Those of a caller are named one by one, since the library would look for them by this
    /// process's variables; ones that are not there are left out.
    pub fn profile_files(self) -> EnvConfigFiles {
        if !self.are_given() {
            return EnvConfigFiles::default();
        }
        let home = self.get("HOME").map(PathBuf::from);
        let place = |variable: &str, default: &str| {
            let named = self.get(variable).map(|path| expand_home(&path, home.as_deref()));
            named.or_else(|| home.as_ref().map(|home| home.join(default))).filter(|path| path.is_file())
        };
        // The library panics on a set of no files at all.
        let mut files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, "");
        if let Some(path) = place("AWS_CONFIG_FILE", ".aws/config") {
            files = files.with_file(EnvConfigFileKind::Config, path);
        }
        if let Some(path) = place("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials") {
            files = files.with_file(EnvConfigFileKind::Credentials, path);
        }
        files.build()
    }
}

fn expand_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_not_mixed_with_this_process() {
        let caller = CallerVariables([("AWS_REGION".to_owned(), String::new())].into());
        let surroundings = Surroundings(Some(&caller));
        assert_eq!(surroundings.get("PATH"), None, "PATH is this process's");
        assert_eq!(surroundings.get("AWS_REGION"), None);
        assert!(surroundings.static_keys().is_none());
        assert!(Surroundings(None).get("PATH").is_some());
        // Without a home there are no files, which is no error.
        surroundings.profile_files();
    }
}
