//! Keys and configuration files as AWS's tools know them, in a caller's surroundings.

use crate::http::surroundings::{Surroundings, expand_home};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use std::path::PathBuf;

/// What of [`Surroundings`] is AWS's.
pub(super) trait AwsSurroundings {
    /// Keys that stand in the variables themselves.
    fn static_keys(self) -> Option<Credentials>;
    /// The AWS configuration files. Those of a caller are named one by one, since the library would look for them by this
    /// process's variables; ones that are not there are left out.
    fn profile_files(self) -> EnvConfigFiles;
}

impl AwsSurroundings for Surroundings<'_> {
    fn static_keys(self) -> Option<Credentials> {
        let (id, secret) = (self.get("AWS_ACCESS_KEY_ID")?, self.get("AWS_SECRET_ACCESS_KEY")?);
        Some(Credentials::new(id, secret, self.get("AWS_SESSION_TOKEN"), None, "Environment"))
    }

    fn profile_files(self) -> EnvConfigFiles {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CallerVariables;

    #[test]
    fn a_caller_without_keys_and_home_has_none() {
        let caller = CallerVariables([("AWS_REGION".to_owned(), String::new())].into());
        let surroundings = Surroundings(Some(&caller));
        assert!(surroundings.static_keys().is_none());
        // Without a home there are no files, which is no error.
        surroundings.profile_files();
    }
}
