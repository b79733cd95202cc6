//! Profiles of AWS's configuration files.
//!
//! Owns: [`Profile`], the settings of one.

use super::aws_files::AwsEnvironment;
use crate::http::environment::Environment;
use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::property::PropertiesKey;

/// A profile, which may not be there.
pub(super) struct Profile {
    files: Option<ProfileSet>,
    /// Its name.
    pub name: String,
    is_named: bool,
}

impl Profile {
    /// `wanted`, else the one of `AWS_PROFILE`, else `default`. Unreadable files are no error here: nothing may need them.
    pub async fn load(wanted: Option<&str>, environment: Environment<'_>) -> Self {
        let name = wanted
            .map(str::to_owned)
            .or_else(|| environment.get("AWS_PROFILE"))
            .unwrap_or_else(|| "default".to_owned());
        let files = read(&environment.profile_files(), &name).await.unwrap_or_else(|cause| {
            tracing::warn!(cause, "the AWS configuration files cannot be read");
            None
        });
        Self { files, name, is_named: wanted.is_some() }
    }

    /// Errors: the profile was asked for by name, and is not there.
    pub fn check(&self) -> Result<(), String> {
        match &self.files {
            Some(files) if self.is_named && files.get_profile(&self.name).is_none() => {
                let mut names: Vec<_> = files.profiles().collect();
                names.sort_unstable();
                let there = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
                let name = &self.name;
                Err(format!("the AWS configuration files have no profile {name:?}; they have {there}"))
            }
            _ => Ok(()),
        }
    }

    /// A setting.
    pub fn get(&self, setting: &str) -> Option<String> {
        Some(self.files.as_ref()?.get_profile(&self.name)?.get(setting)?.to_owned())
    }

    /// A setting of S3's alone: `NAME = VALUE` among the lines below `s3 =`.
    pub fn get_of_s3(&self, setting: &str) -> Option<String> {
        let group = self.get("s3")?;
        let mut settings = group.lines().filter_map(|line| line.split_once('='));
        settings.find(|(name, _)| name.trim() == setting).map(|(_, value)| value.trim().to_owned())
    }

    /// The endpoint of S3 in the section `[services NAME]` that the profile names (AWS SDKs and Tools Reference Guide, "Service-specific
    /// endpoints").
    pub fn endpoint_of_services(&self) -> Option<String> {
        let key = PropertiesKey::builder()
            .section_key("services")
            .section_name(self.get("services")?)
            .property_name("s3")
            .sub_property_name("endpoint_url")
            .build()
            .ok()?;
        self.files.as_ref()?.other_sections().get(&key).map(|url| url.to_string())
    }
}

/// The profiles in `files`. Errors: they cannot be read, and why.
async fn read(files: &EnvConfigFiles, name: &str) -> Result<Option<ProfileSet>, String> {
    let (fs, env) = Default::default();
    let loaded = aws_config::profile::load(&fs, &env, files, Some(name.to_owned().into())).await;
    loaded.map(Some).map_err(|error| error.to_string())
}

/// Whether `files` have a profile of that name; no where they cannot be read.
pub(super) async fn has(files: &EnvConfigFiles, name: &str) -> bool {
    let read = read(files, name).await.ok().flatten();
    read.is_some_and(|profiles| profiles.get_profile(name).is_some())
}
