//! The part of a caller's environment that says who they are to a store.
//!
//! Owns: [`CallerEnvironment`]. A mount is resolved with the variables of the shell that asked for it, not with those
//! of the shell that happened to start the daemon; so they travel with the request, over a socket that only this user can open.
//! Invariant: values that are secret are never shown, logged or written to a file.

use pail_store::StoreKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Variables whose values are credentials.
const SECRET: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOOGLE_CREDENTIALS",
    "R2_ACCESS_KEY_ID",
    "R2_SECRET_ACCESS_KEY",
    "R2_SESSION_TOKEN",
    "IBM_COS_ACCESS_KEY_ID",
    "IBM_COS_SECRET_ACCESS_KEY",
    "IBM_COS_API_KEY",
    "IBM_API_KEY_ID",
    "IBM_IAM_TOKEN",
    "IBMCLOUD_API_KEY",
    "IC_API_KEY",
    "IC_IAM_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "IDENTITY_HEADER",
];

/// Names that say whose a secret is, and nothing without it.
const ID_OF_A_SECRET: &[&str] = &["AZURE_CLIENT_ID", "AZURE_TENANT_ID"];

/// Variables that lead to credentials, or to the endpoint, without being secret.
const PUBLIC: &[&str] = &[
    "HOME",
    // Programs that give credentials are the caller's own.
    "PATH",
    "XDG_CACHE_HOME",
    "NO_PROXY",
    "no_proxy",
    // S3.
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_S3_USE_ACCELERATE_ENDPOINT",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
    "AWS_S3_USE_ARN_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    // Google Cloud Storage.
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
    "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "GCLOUD_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "NO_GCE_CHECK",
    "STORAGE_EMULATOR_HOST",
    // Cloudflare R2.
    "R2_ACCOUNT_ID",
    "CLOUDFLARE_ACCOUNT_ID",
    "R2_ENDPOINT_URL",
    "R2_JURISDICTION",
    // IBM Cloud Object Storage.
    "IBM_COS_ENDPOINT",
    "IBM_COS_ENDPOINT_TYPE",
    "IBM_COS_REGION",
    "IBM_COS_RESOURCE_INSTANCE_ID",
    "IBM_COS_SERVICE_INSTANCE_ID",
    "IBM_SERVICE_INSTANCE_ID",
    "IBM_AUTH_ENDPOINT",
    "IBM_IAM_ENDPOINT",
    "IBMCLOUD_IAM_API_ENDPOINT",
    // Azure Blob Storage.
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
];

/// The same of files and directories, which are named as seen from the caller's directory.
const FILES: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CA_BUNDLE",
    "AWS_SSE_C_KEY_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CONFIG_DIR",
];

/// Variables that may hold a password beside what is not secret.
const PROXIES: &[&str] =
    &["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Variables of a caller that concern credentials and endpoints. `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallerEnvironment(BTreeMap<String, String>);

impl CallerEnvironment {
    /// Those of this process. A variable that is not UTF-8 is left out: none of them can be right so.
    pub fn of_this_process() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Those that `lookup` knows; empty values count as unset, as the AWS tools have it. A file is named as seen from this process's
    /// directory, since the daemon's is another.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let names = SECRET.iter().chain(PUBLIC).chain(FILES).chain(PROXIES);
        Self(
            names
                .filter_map(|name| Some((name.to_string(), lookup(name)?)))
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.clone(), as_seen_from_here(&name, value)))
                .collect(),
        )
    }

    /// One variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All variables; for the store's opening alone.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether keys were given by value, so that a daemon that starts again cannot have them.
    pub fn has_secrets(&self) -> bool {
        self.0.keys().any(|name| SECRET.contains(&name.as_str()))
    }

    /// Whether a proxy was given with a user or password, which are kept as little.
    pub fn has_proxy_user(&self) -> bool {
        self.0.iter().any(|(name, value)| without_user(name, value) != *value)
    }

    /// These without keys for a store of `kind`.
    pub fn without_secrets_of(&self, kind: StoreKind) -> Self {
        let beginnings: &[&str] = match kind {
            StoreKind::S3 => &["AWS_"],
            StoreKind::Gcs => &["GOOGLE_", "CLOUDSDK_"],
            StoreKind::R2 => &["R2_"],
            StoreKind::Ibm => &["IBM_", "IBMCLOUD_", "IC_"],
            StoreKind::Azure => &["AZURE_", "IDENTITY_"],
        };
        let is_of_kind = |name: &str| beginnings.iter().any(|beginning| name.starts_with(beginning));
        // Half of a pair would be taken for a mistake.
        let is_half = |name: &str| ID_OF_A_SECRET.contains(&name);
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| !((SECRET.contains(&name.as_str()) || is_half(name)) && is_of_kind(name)));
        Self(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// These with the keys of `other`.
    pub fn with_secrets_of(&self, other: &Self) -> Self {
        let secret = other.0.iter().filter(|(name, _)| SECRET.contains(&name.as_str()));
        let all = self.0.iter().chain(secret);
        Self(all.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// These, with all that `other` has in their place.
    pub fn overlaid_by(&self, other: &Self) -> Self {
        let all = self.0.iter().chain(&other.0);
        Self(all.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// What may be written to a file: no keys, and proxies without their users' passwords.
    pub fn without_secrets(&self) -> Self {
        let public = self.0.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
        Self(public.map(|(name, value)| (name.clone(), without_user(name, value))).collect())
    }
}

fn as_seen_from_here(name: &str, value: String) -> String {
    // A `~` is the caller's home, which whoever reads the file puts in.
    if !FILES.contains(&name) || value.starts_with('~') {
        return value;
    }
    let absolute = std::path::absolute(&value).ok();
    absolute.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or(value)
}

fn without_user(name: &str, value: &str) -> String {
    match value.rsplit_once('@') {
        Some((before, host)) if PROXIES.contains(&name) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("{scheme}{host}")
        }
        _ => value.to_owned(),
    }
}

impl fmt::Debug for CallerEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_so_that_a_daemon_elsewhere_finds_them() {
        let environment = CallerEnvironment::from_lookup(|name| match name {
            "AWS_CA_BUNDLE" | "GOOGLE_APPLICATION_CREDENTIALS" => Some("certificates/ca.pem".into()),
            "AWS_CONFIG_FILE" => Some("~/aws".into()),
            "AWS_PROFILE" => Some("work".into()),
            _ => None,
        });
        let here = std::env::current_dir().unwrap().join("certificates/ca.pem");
        assert_eq!(environment.get("AWS_CA_BUNDLE"), here.to_str());
        assert_eq!(environment.get("GOOGLE_APPLICATION_CREDENTIALS"), here.to_str());
        assert_eq!(environment.get("AWS_CONFIG_FILE"), Some("~/aws"));
        assert_eq!(environment.get("AWS_PROFILE"), Some("work"));
    }

    #[test]
    fn secrets_are_neither_shown_nor_kept() {
        let environment = CallerEnvironment::from_lookup(|name| match name {
            "AWS_SECRET_ACCESS_KEY" => Some("hunter2".into()),
            "AWS_PROFILE" => Some("work".into()),
            "AWS_REGION" => Some(String::new()),
            "HTTPS_PROXY" => Some("http://me:hunter2@proxy:3128".into()),
            "http_proxy" => Some("me:hunter2@proxy".into()),
            _ => None,
        });
        assert!(environment.has_secrets() && environment.has_proxy_user());
        assert!(!environment.without_secrets().has_proxy_user());
        assert_eq!(environment.get("AWS_REGION"), None);
        assert!(!format!("{environment:?}").contains("hunter2"));
        let kept = serde_json::to_string(&environment.without_secrets()).unwrap();
        assert_eq!(kept, r#"{"AWS_PROFILE":"work","HTTPS_PROXY":"http://proxy:3128","http_proxy":"proxy"}"#);
        assert!(!environment.without_secrets().has_secrets());
        assert!(!environment.without_secrets_of(StoreKind::S3).has_secrets());
        assert!(environment.without_secrets_of(StoreKind::R2).has_secrets());
        let again = environment.without_secrets().with_secrets_of(&environment);
        assert_eq!(again.get("AWS_SECRET_ACCESS_KEY"), Some("hunter2"));
    }
}
