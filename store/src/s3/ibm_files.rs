//! IBM's credentials, in files and variables.
//!
//! Owns: [`Account`], what one place says (HMAC keys, an API key, the service instance), and [`IbmSource`], by which it becomes what requests
//! are sent with. Two files are known: `~/.ibm/credentials.yaml`, as SkyPilot's users have it, and `~/.bluemix/cos_credentials`, a service
//! credential in JSON, as IBM's own SDK reads it ("Using Python", IBM's documentation of Cloud Object Storage). Where a place has both, the HMAC
//! keys are used, as that SDK does: they need no other service.
//!
//! Invariant: no error quotes a file.

use super::authorization::{Authorization, Token};
use super::credentials::Source;
use super::iam::Iam;
use crate::contract::CallerVariables;
use crate::http::environment::Environment;
use crate::http::renewal::Issued;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// A file of credentials is a few hundred bytes.
const FILE_SIZE_BYTES_MAX: u64 = 64 * 1024;
const YAML: &str = "~/.ibm/credentials.yaml";
const SERVICE_CREDENTIAL: &str = "~/.bluemix/cos_credentials";
/// IBM's SDK has the first, its command and its Terraform provider the next two.
const API_KEY_VARIABLES: [&str; 4] = ["IBM_API_KEY_ID", "IBMCLOUD_API_KEY", "IC_API_KEY", "IBM_COS_API_KEY"];
const TOKEN_VARIABLES: [&str; 2] = [LENT_TOKEN, "IC_IAM_TOKEN"];
/// The variable in which another machine is lent a token.
pub(super) const LENT_TOKEN: &str = "IBM_IAM_TOKEN";
/// IBM's SDK has the first.
const INSTANCE_VARIABLES: [&str; 3] =
    ["IBM_SERVICE_INSTANCE_ID", "IBM_COS_SERVICE_INSTANCE_ID", "IBM_COS_RESOURCE_INSTANCE_ID"];
/// What is said where the making of a bucket needs the instance.
pub(super) const INSTANCE_HINT: &str = "a bucket is made in a service instance, and which one is not known: set IBM_SERVICE_INSTANCE_ID, or resource_instance_id in ~/.ibm/credentials.yaml";

/// What one place says. Absent and empty are the same.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    #[serde(alias = "apikey")]
    iam_api_key: Option<String>,
    resource_instance_id: Option<String>,
    /// As in a service credential.
    cos_hmac_keys: HmacKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HmacKeys {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
}

impl Account {
    /// `None` where there is no such file. Errors: it cannot be read, or understood.
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let size = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.to_string()),
        };
        if size > FILE_SIZE_BYTES_MAX {
            return Err("it is too long for a file of credentials".to_owned());
        }
        Self::parse(&std::fs::read_to_string(path).map_err(|err| err.to_string())?)
    }

    fn parse(text: &str) -> Result<Option<Self>, String> {
        // JSON is YAML too. What the parser says may quote the file.
        let account: Option<Self> = serde_saphyr::from_str(text).map_err(|err| {
            let line = err.location().map(|at| format!(", at line {}", at.line())).unwrap_or_default();
            format!("it cannot be read as YAML with the keys access_key_id, secret_access_key, iam_api_key and resource_instance_id{line}")
        })?;
        Ok(account)
    }

    /// Errors: half of a pair of keys is there.
    fn keys(&self) -> Result<Option<Credentials>, String> {
        let own = (&self.access_key_id, &self.secret_access_key);
        let of_service = (&self.cos_hmac_keys.access_key_id, &self.cos_hmac_keys.secret_access_key);
        for (id, secret) in [own, of_service] {
            return Ok(Some(match (filled(id), filled(secret)) {
                (Some(id), Some(secret)) => Credentials::new(id, secret, None, None, "IBM"),
                (None, None) => continue,
                (Some(_), None) => return Err("it has access_key_id, and no secret_access_key".to_owned()),
                (None, Some(_)) => return Err("it has secret_access_key, and no access_key_id".to_owned()),
            }));
        }
        Ok(None)
    }
}

fn filled(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// Where an IBM account's credentials may be.
enum Place {
    /// A token, as another machine was lent it.
    Token(&'static str),
    /// An API key.
    ApiKey(&'static str),
    File(&'static str),
}

/// Credentials in one place.
pub(super) struct IbmSource {
    place: Place,
    name: String,
    environment: Option<CallerVariables>,
    iam: Arc<Iam>,
}

impl IbmSource {
    /// All places, the first to be looked in first.
    pub fn all(environment: Environment<'_>, iam: Iam) -> Vec<Arc<dyn Source>> {
        let iam = Arc::new(iam);
        let set = |names: &[&'static str]| names.iter().copied().find(|name| environment.get(name).is_some());
        let token = set(&TOKEN_VARIABLES).map(Place::Token);
        let api_key = Place::ApiKey(set(&API_KEY_VARIABLES).unwrap_or(API_KEY_VARIABLES[0]));
        let files = [Place::File(YAML), Place::File(SERVICE_CREDENTIAL)];
        let places = token.into_iter().chain([api_key]).chain(files);
        places
            .map(|place| {
                let name = match &place {
                    Place::Token(name) | Place::ApiKey(name) => format!("the environment ({name})"),
                    Place::File(file) => (*file).to_owned(),
                };
                let environment = environment.0.cloned();
                Arc::new(Self { place, name, environment, iam: iam.clone() }) as Arc<dyn Source>
            })
            .collect()
    }
}

#[async_trait]
impl Source for IbmSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn look_up(&self) -> Result<Option<Issued<Authorization>>, String> {
        let environment = Environment(self.environment.as_ref());
        match self.place {
            Place::Token(name) => {
                let Some(token) = environment.get(name) else { return Ok(None) };
                let token = token.trim();
                let token = token.strip_prefix("Bearer ").unwrap_or(token);
                Ok(Some(Issued { value: Authorization::Bearer(Token::new(token)?), expiry: None }))
            }
            Place::ApiKey(name) => match environment.get(name) {
                Some(api_key) => Ok(Some(self.iam.token(api_key.trim()).await?)),
                None => Ok(None),
            },
            Place::File(file) => {
                let Some(account) = Account::read(&environment.path(file))? else { return Ok(None) };
                if let Some(keys) = account.keys()? {
                    return Ok(Some(Issued { value: Authorization::Keys(keys), expiry: None }));
                }
                match filled(&account.iam_api_key) {
                    Some(api_key) => Ok(Some(self.iam.token(api_key).await?)),
                    None => Ok(None),
                }
            }
        }
    }
}

/// The API key by which tokens are had, where no token is there by value, and the variable that another machine takes it from. What has HMAC keys
/// needs none.
pub(super) fn api_key(environment: Environment<'_>) -> Option<(&'static str, String)> {
    let by_variable = |names: &[&str]| names.iter().find_map(|name| environment.get(name));
    if by_variable(&TOKEN_VARIABLES).is_some() {
        return None;
    }
    let of_file = |file: &str| {
        let account = Account::read(&environment.path(file)).ok().flatten()?;
        filled(&account.iam_api_key).map(str::to_owned)
    };
    let found =
        by_variable(&API_KEY_VARIABLES).or_else(|| of_file(YAML)).or_else(|| of_file(SERVICE_CREDENTIAL));
    found.map(|api_key| (API_KEY_VARIABLES[0], api_key))
}

/// The service instance in which buckets are made, where it is told.
pub(super) fn service_instance(environment: Environment<'_>) -> Option<String> {
    let of_file = |file: &str| {
        // What is wrong with a file is told by who looks for credentials in it.
        let account = Account::read(&environment.path(file)).ok().flatten()?;
        filled(&account.resource_instance_id).map(str::to_owned)
    };
    let of_variable = INSTANCE_VARIABLES.iter().find_map(|name| environment.get(name));
    of_variable.or_else(|| of_file(YAML)).or_else(|| of_file(SERVICE_CREDENTIAL))
}

/// Whether a text is an account's file, and can be used.
#[cfg(test)]
pub(super) fn fuzz(text: &str) -> bool {
    Account::parse(text).is_ok_and(|account| account.is_some_and(|account| account.keys().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<Option<Account>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, text).unwrap();
        Account::read(&path)
    }

    #[test]
    fn both_files_are_understood_and_empty_values_are_none() {
        let ours =
            "iam_api_key: key\nresource_group_id: g\naccess_key_id: 1234567890\nsecret_access_key: 12e3\n";
        let service = r#"{"apikey": "key", "cos_hmac_keys": {"access_key_id": "1234567890", "secret_access_key": "12e3"}}"#;
        for text in [ours, service] {
            let account = account(text).unwrap().unwrap();
            let keys = account.keys().unwrap().unwrap();
            assert_eq!((keys.access_key_id(), keys.secret_access_key()), ("1234567890", "12e3"), "{text}");
            assert_eq!(filled(&account.iam_api_key), Some("key"));
        }
        let empty = account("access_key_id:\nsecret_access_key: ''\niam_api_key: key\n").unwrap().unwrap();
        assert!(empty.keys().unwrap().is_none());
        assert!(
            account("# nothing\n").unwrap_or_default().is_none_or(|account| account.iam_api_key.is_none())
        );
    }

    #[test]
    fn half_a_pair_and_what_is_no_yaml_are_told_without_a_word_of_the_file() {
        let half = account("access_key_id: topsecret\n").unwrap().unwrap().keys().unwrap_err();
        assert!(half.contains("no secret_access_key") && !half.contains("topsecret"), "{half}");
        for text in ["topsecret", "a: [topsecret", "access_key_id: {topsecret: 1}", "- topsecret"] {
            let refused = account(text).err().unwrap();
            assert!(refused.contains("access_key_id") && !refused.contains("topsecret"), "{refused}");
        }
    }
}
