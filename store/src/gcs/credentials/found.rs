//! Which credentials there are.
//!
//! Owns: [`Found`], and the order in which they are looked for: that of the application default credentials (Google Cloud documentation,
//! "How Application Default Credentials works"), after what is given by value, as Terraform and gcloud take it. Nothing is asked here.

use super::file;
use super::source::Source;
use crate::http::environment::Environment;
use std::path::PathBuf;

/// Access tokens by value.
const TOKENS: [&str; 2] = ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"];
/// The JSON of credentials, or its file.
const JSON: &str = "GOOGLE_CREDENTIALS";
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Service accounts to act for.
const IMPERSONATED: [&str; 2] =
    ["GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT"];
/// Projects, the first that is set.
const PROJECTS: [&str; 4] =
    ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_QUOTA_PROJECT"];
/// Where gcloud keeps its files, below the home.
const GCLOUD: &str = ".config/gcloud";
const WELL_KNOWN: &str = "application_default_credentials.json";
/// The metadata server's address, which needs no resolver.
const METADATA_HOST: &str = "169.254.169.254";
const IAM: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";

/// The credentials of a caller.
#[derive(Default)]
pub(in crate::gcs) struct Found {
    /// `None` is anonymous.
    pub source: Option<Source>,
    /// Whose they are, and from where.
    pub description: String,
    /// Why there are none.
    pub absence: String,
    pub project: Option<String>,
    /// The JSON, where it is all that another machine needs.
    pub json: Option<String>,
}

/// Which places are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gcs) enum Places {
    /// All.
    All,
    /// Those that a variable names: a server of tests is given nobody's own credentials.
    Named,
    /// None; and why.
    None(&'static str),
}

impl Found {
    /// What there is. Errors: what a variable names cannot be used; a sentence without any secret.
    pub fn of(environment: Environment<'_>, places: Places) -> Result<Self, String> {
        let mut found = match places {
            Places::None(why) => Self { absence: why.to_owned(), ..Self::default() },
            places => Self::looked_for(environment, places)?,
        };
        found.project = PROJECTS.iter().find_map(|name| environment.get(name)).or(found.project);
        let account = IMPERSONATED.iter().find_map(|name| Some((name, environment.get(name)?)));
        if let Some((name, account)) = account
            && let Some(source) = found.source.take()
        {
            found.description =
                format!("the service account {account} ({name}), for which acts {}", found.description);
            let url = format!("{IAM}/{account}:generateAccessToken");
            found.source =
                Some(Source::Impersonated { source: Box::new(source), url, delegates: Vec::new() });
            found.json = None;
        }
        Ok(found)
    }

    fn looked_for(environment: Environment<'_>, places: Places) -> Result<Self, String> {
        for name in TOKENS {
            if let Some(token) = environment.get(name) {
                let description = format!("the access token of {name}");
                return Ok(Self { source: Some(Source::Given(token)), description, ..Self::default() });
            }
        }
        if let Some(value) = environment.get(JSON) {
            return match value.trim_start().starts_with('{') {
                true => Self::of_json(value, JSON),
                // What is no file may be a secret in another form, and is not shown.
                false if !environment.path(&value).is_file() => {
                    Err(format!("{JSON} is neither the JSON of credentials nor the path of a file with it"))
                }
                false => Self::of_file(environment.path(&value), JSON),
            };
        }
        if let Some(file) = environment.get(FILE) {
            return Self::of_file(environment.path(&file), FILE);
        }
        let configured = environment.get("CLOUDSDK_CONFIG");
        if places == Places::All || configured.is_some() {
            let home = || environment.get("HOME").map(|home| PathBuf::from(home).join(GCLOUD));
            let folder = configured.as_deref().map(|folder| environment.path(folder)).or_else(home);
            let file = folder.map(|folder| folder.join(WELL_KNOWN)).filter(|file| file.exists());
            if let Some(file) = file {
                return Self::of_file(file, "application default credentials");
            }
        }
        let named = environment.get("GCE_METADATA_HOST").or_else(|| environment.get("GCE_METADATA_IP"));
        let is_barred =
            environment.get("NO_GCE_CHECK").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let absence = format!(
            "none were found: {FILE} is not set, {GCLOUD}/{WELL_KNOWN} is not there, and no metadata server"
        );
        if is_barred || (places == Places::Named && named.is_none()) {
            return Ok(Self { absence, ..Self::default() });
        }
        let is_named = named.is_some();
        let host = named.unwrap_or_else(|| METADATA_HOST.to_owned());
        let description = "the account of this machine (metadata server)".to_owned();
        Ok(Self {
            source: Some(Source::Metadata { host, is_named }),
            description,
            absence,
            ..Self::default()
        })
    }

    fn of_file(file: PathBuf, named_by: &str) -> Result<Self, String> {
        let from = format!("{named_by} {}", file.display());
        let json = std::fs::read_to_string(&file).map_err(|err| format!("{from}: {err}"))?;
        Self::of_json(json, &from)
    }

    fn of_json(json: String, from: &str) -> Result<Self, String> {
        let credentials = file::read(&json).map_err(|cause| format!("{from}: {cause}"))?;
        Ok(Self {
            source: Some(credentials.source),
            description: format!("{} from {from}", credentials.who),
            project: credentials.project,
            json: credentials.is_portable.then_some(json),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CallerVariables;

    const USER: &str = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r","quota_project_id":"q"}"#;

    fn found(variables: &[(&str, &str)], places: Places) -> Result<Found, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Found::of(Environment(Some(&CallerVariables(variables.collect()))), places)
    }

    #[test]
    fn what_is_named_goes_before_what_lies_about() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(GCLOUD);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(WELL_KNOWN), USER).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let lying = found(&[home], Places::All).unwrap();
        assert!(
            lying.description.starts_with("a user's login from application default"),
            "{}",
            lying.description
        );
        assert_eq!((lying.project.as_deref(), lying.json.as_deref()), (Some("q"), Some(USER)));
        let named =
            found(&[home, ("GOOGLE_CREDENTIALS", USER), ("GOOGLE_CLOUD_PROJECT", "p")], Places::All).unwrap();
        assert_eq!(named.description, "a user's login from GOOGLE_CREDENTIALS");
        assert_eq!(named.project.as_deref(), Some("p"));
        let token = found(&[home, ("GOOGLE_OAUTH_ACCESS_TOKEN", "secret")], Places::All).unwrap();
        assert_eq!(
            (token.description.as_str(), token.json),
            ("the access token of GOOGLE_OAUTH_ACCESS_TOKEN", None)
        );
        assert!(found(&[home], Places::Named).unwrap().source.is_none(), "not for a server of tests");
        assert!(found(&[("GOOGLE_CREDENTIALS", USER)], Places::None("x")).unwrap().source.is_none());
    }

    #[test]
    fn a_named_file_that_is_not_there_is_an_error() {
        let refused =
            found(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/x.json")], Places::All).err().unwrap();
        assert!(refused.contains("GOOGLE_APPLICATION_CREDENTIALS /nowhere/x.json"), "{refused}");
    }

    #[test]
    fn credentials_in_another_form_are_not_shown() {
        let refused =
            found(&[("GOOGLE_CREDENTIALS", "eyJ0eXBlIjoic2VjcmV0In0=")], Places::All).err().unwrap();
        assert!(refused.contains("neither") && !refused.contains("eyJ0"), "{refused}");
    }

    #[test]
    fn an_account_is_acted_for() {
        let acting = found(
            &[("GOOGLE_CREDENTIALS", USER), ("GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", "a@b")],
            Places::All,
        );
        let acting = acting.unwrap();
        assert!(acting.description.starts_with("the service account a@b"), "{}", acting.description);
        assert!(matches!(acting.source, Some(Source::Impersonated { .. })) && acting.json.is_none());
    }
}
