//! Where the credentials of each store are looked for.
//!
//! Owns: [`stores_with_credentials`], by which a task's bucket without a store gets one, and the advice on missing and refused credentials,
//! which names what was looked for and what of it is there. Only names of variables and files are told, and files are not read: whether what
//! is in one is right is the store's to say, in its error.

use crate::CallerEnvironment;
use pail_store::StoreKind;
use std::path::{Path, PathBuf};

/// A place where credentials may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Variables that belong together.
    Variables(&'static [&'static str]),
    /// A file below the home.
    HomeFile(&'static str),
    /// A file in a directory that a variable names, else in another below the home.
    FileIn(&'static str, &'static str, &'static str),
}

use Source::{FileIn, HomeFile, Variables};

/// In the order in which they are told; the stores' own order may be finer.
fn sources(kind: StoreKind) -> &'static [Source] {
    match kind {
        StoreKind::S3 => &[
            Variables(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
            Variables(&["AWS_PROFILE"]),
            Variables(&["AWS_SHARED_CREDENTIALS_FILE"]),
            Variables(&["AWS_CONFIG_FILE"]),
            Variables(&["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"]),
            Variables(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"]),
            Variables(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]),
            HomeFile(".aws/credentials"),
            HomeFile(".aws/config"),
        ],
        StoreKind::Gcs => &[
            Variables(&["GOOGLE_APPLICATION_CREDENTIALS"]),
            Variables(&["GOOGLE_CREDENTIALS"]),
            Variables(&["CLOUDSDK_AUTH_ACCESS_TOKEN"]),
            Variables(&["GOOGLE_OAUTH_ACCESS_TOKEN"]),
            FileIn("CLOUDSDK_CONFIG", ".config/gcloud", "application_default_credentials.json"),
        ],
        StoreKind::R2 => &[
            Variables(&["R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"]),
            HomeFile(".cloudflare/r2.credentials"),
        ],
        StoreKind::Ibm => &[
            Variables(&["IBM_COS_ACCESS_KEY_ID", "IBM_COS_SECRET_ACCESS_KEY"]),
            Variables(&["IBM_API_KEY_ID"]),
            Variables(&["IBMCLOUD_API_KEY"]),
            Variables(&["IC_API_KEY"]),
            Variables(&["IBM_COS_API_KEY"]),
            Variables(&["IBM_IAM_TOKEN"]),
            Variables(&["IC_IAM_TOKEN"]),
            HomeFile(".ibm/credentials.yaml"),
            HomeFile(".bluemix/cos_credentials"),
        ],
        StoreKind::Azure => &[
            Variables(&["AZURE_STORAGE_CONNECTION_STRING"]),
            Variables(&["AZURE_STORAGE_KEY"]),
            Variables(&["AZURE_STORAGE_ACCOUNT_KEY"]),
            Variables(&["AZURE_STORAGE_SAS_TOKEN"]),
            Variables(&["AZURE_STORAGE_TOKEN"]),
            Variables(&["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"]),
            Variables(&["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"]),
            Variables(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]),
            FileIn("AZURE_CONFIG_DIR", ".azure", "azureProfile.json"),
        ],
    }
}

/// What is looked for where none of the sources is there: services of a machine in that cloud.
fn machine_source(kind: StoreKind) -> Option<&'static str> {
    match kind {
        StoreKind::S3 => Some("the machine's role"),
        StoreKind::Gcs => Some("the metadata server"),
        StoreKind::Azure => Some("the machine's managed identity"),
        StoreKind::R2 | StoreKind::Ibm => None,
    }
}

/// How to get credentials, for people.
fn advice(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::S3 => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile",
        StoreKind::Gcs => {
            "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a service account's file"
        }
        StoreKind::R2 => {
            "set R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY, or put them into ~/.cloudflare/r2.credentials, profile r2"
        }
        StoreKind::Ibm => {
            "set IBM_COS_ACCESS_KEY_ID and IBM_COS_SECRET_ACCESS_KEY, or IBM_API_KEY_ID, or write them into ~/.ibm/credentials.yaml as access_key_id, secret_access_key and iam_api_key"
        }
        StoreKind::Azure => {
            "run `az login`, or set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING"
        }
    }
}

/// The right that listing needs.
fn right_to_list(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::S3 => "they may list the bucket (s3:ListBucket)",
        StoreKind::Gcs => {
            "they may list the bucket (storage.objects.list, as in the role Storage Object Viewer)"
        }
        StoreKind::R2 => "the token is for this bucket (Object Read & Write)",
        StoreKind::Ibm => "they may list the bucket (role Reader or Writer)",
        StoreKind::Azure => "they may list the container (role Storage Blob Data Reader or Contributor)",
    }
}

impl Source {
    fn is_there(self, home: Option<&Path>, environment: &CallerEnvironment) -> bool {
        match self {
            Variables(names) => names.iter().all(|name| environment.get(name).is_some()),
            HomeFile(_) | FileIn(..) => self.file(home, environment).is_some_and(|file| file.is_file()),
        }
    }

    fn file(self, home: Option<&Path>, environment: &CallerEnvironment) -> Option<PathBuf> {
        match self {
            Variables(_) => None,
            HomeFile(file) => Some(home?.join(file)),
            FileIn(variable, dir, file) => {
                let named = environment.get(variable).map(PathBuf::from);
                Some(named.or_else(|| Some(home?.join(dir)))?.join(file))
            }
        }
    }

    fn told(self) -> String {
        match self {
            Variables(names) => listed(names, "and"),
            HomeFile(file) => format!("~/{file}"),
            FileIn(_, dir, file) => format!("~/{dir}/{file}"),
        }
    }
}

fn listed(names: &[&str], before_last: &str) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [before @ .., last] => format!("{} {before_last} {last}", before.join(", ")),
    }
}

fn home_of(environment: &CallerEnvironment) -> Option<PathBuf> {
    environment.get("HOME").map(PathBuf::from)
}

/// The stores for which `environment` has credentials, or files that are there for them, in the order in which a bucket without a store is
/// given one.
pub fn stores_with_credentials(environment: &CallerEnvironment) -> Vec<StoreKind> {
    let home = home_of(environment);
    let has =
        |kind: &StoreKind| sources(*kind).iter().any(|source| source.is_there(home.as_deref(), environment));
    StoreKind::ALL.into_iter().filter(has).collect()
}

/// What to do about credentials that are missing or cannot be loaded.
pub fn missing_hint(kind: StoreKind) -> &'static str {
    advice(kind)
}

/// What to do about credentials that are refused, by those that the caller has.
pub fn denied_hint(kind: StoreKind, profile: Option<&str>, environment: &CallerEnvironment) -> String {
    let right = right_to_list(kind);
    if let Some(profile) = profile {
        return format!("check the keys of the profile {profile}, and that {right}");
    }
    let home = home_of(environment);
    let found = sources(kind).iter().find(|source| source.is_there(home.as_deref(), environment));
    match found {
        Some(source) => format!("check {}, and that {right}", source.told()),
        None => {
            let mut looked: Vec<String> = sources(kind).iter().map(|source| source.told()).collect();
            looked.extend(machine_source(kind).map(str::to_owned));
            let looked: Vec<&str> = looked.iter().map(String::as_str).collect();
            format!("no keys were found ({}): {}", looked.join("; "), advice(kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)]) -> CallerEnvironment {
        CallerEnvironment::from_lookup(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_caller_s_variables_and_files_tell_which_stores_are_theirs() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().to_str().unwrap();
        assert_eq!(stores_with_credentials(&given(&[("HOME", at)])), []);
        let azure = given(&[("HOME", at), ("AZURE_STORAGE_KEY", "x")]);
        assert_eq!(stores_with_credentials(&azure), [StoreKind::Azure]);
        for (dir, file) in
            [(".cloudflare", "r2.credentials"), (".config/gcloud", "application_default_credentials.json")]
        {
            std::fs::create_dir_all(home.path().join(dir)).unwrap();
            std::fs::write(home.path().join(dir).join(file), "").unwrap();
        }
        let all = [StoreKind::Gcs, StoreKind::R2, StoreKind::Azure];
        assert_eq!(stores_with_credentials(&azure), all);
        let elsewhere = given(&[("HOME", at), ("CLOUDSDK_CONFIG", "/nowhere")]);
        assert_eq!(stores_with_credentials(&elsewhere), [StoreKind::R2]);
        assert_eq!(stores_with_credentials(&given(&[("AWS_ACCESS_KEY_ID", "half")])), []);
    }

    #[test]
    fn every_source_travels_with_a_request() {
        let names = StoreKind::ALL.iter().flat_map(|kind| sources(*kind)).flat_map(|source| match source {
            Variables(names) => names.to_vec(),
            HomeFile(_) => vec!["HOME"],
            FileIn(variable, ..) => vec![*variable],
        });
        for name in names {
            let environment =
                CallerEnvironment::from_lookup(|asked| (asked == name).then(|| "/x".to_owned()));
            assert_eq!(environment.get(name), Some("/x"), "{name}");
        }
    }

    #[test]
    fn what_was_looked_for_and_what_is_there_is_told() {
        for (kind, variables, told) in [
            (StoreKind::S3, &[][..], "no keys were found (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;"),
            (
                StoreKind::Gcs,
                &[("GOOGLE_APPLICATION_CREDENTIALS", "/k")],
                "check GOOGLE_APPLICATION_CREDENTIALS, and that they may list",
            ),
            (StoreKind::Gcs, &[], "the metadata server): run `gcloud auth application-default login`"),
            (StoreKind::R2, &[], "~/.cloudflare/r2.credentials)"),
            (StoreKind::Ibm, &[("IBMCLOUD_API_KEY", "x")], "check IBMCLOUD_API_KEY"),
            (
                StoreKind::Azure,
                &[("AZURE_STORAGE_SAS_TOKEN", "x")],
                "check AZURE_STORAGE_SAS_TOKEN, and that they may list the container",
            ),
            (StoreKind::Azure, &[], "run `az login`"),
        ] {
            let hint = denied_hint(kind, None, &given(variables));
            assert!(hint.contains(told), "{kind:?}: {hint}");
        }
    }
}
