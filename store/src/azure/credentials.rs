//! Who asks.
//!
//! Owns: [`Found`], what a caller's variables say of credentials. The variables are those of Azure's command line and SDKs. What becomes of
//! them is `authorization`'s.
//!
//! Which are taken: a connection string, an account key, a SAS token, a bearer token, a service principal (secret or federated token), a
//! managed identity that variables name, `az` where somebody has logged in by it, the managed identity of an Azure machine, none.
//!
//! Invariants: no secret is in an error, a log or a `Debug`; what is half there is an error that names the missing half.

use crate::http::environment::Environment;
use object_store::azure::{AzureAccessKey, split_sas};
use std::collections::BTreeMap;
use std::path::Path;

/// The account and key that every emulator has (Azure, "Use the Azurite emulator": well-known storage account and key).
pub(super) const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// What the firmware of Azure's virtual machines says as the chassis' asset tag.
const AZURE_MACHINE_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
const MACHINE_TAG_FILE: &str = "/sys/class/dmi/id/chassis_asset_tag";

/// What the variables say.
#[derive(Clone)]
pub(super) struct Found {
    pub source: Source,
    /// Where it is from, after "with".
    pub told: String,
}

/// Where credentials are.
#[derive(Clone)]
pub(super) enum Source {
    Anonymous,
    Key(String),
    Sas(String),
    Bearer(String),
    Secret { tenant: String, client: String, secret: String },
    Federated { tenant: String, client: String, file: String },
    ManagedIdentity,
    Cli,
}

/// The parts of a connection string.
#[derive(Default)]
pub(super) struct ConnectionString(BTreeMap<String, String>);

impl ConnectionString {
    /// That of `AZURE_STORAGE_CONNECTION_STRING`.
    pub fn of(environment: Environment<'_>) -> Self {
        let text = environment.get("AZURE_STORAGE_CONNECTION_STRING").unwrap_or_default();
        let parts = text.split(';').filter_map(|part| part.trim().split_once('='));
        Self(parts.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(&name.to_ascii_lowercase()).filter(|value| !value.is_empty()).cloned()
    }

    pub fn means_emulator(&self) -> bool {
        self.get("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// The account's name in the variables, and which of them has it.
pub(super) fn account_in(environment: Environment<'_>) -> Option<(&'static str, String)> {
    let named = ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]
        .into_iter()
        .find_map(|name| Some((name, environment.get(name)?)));
    named.or_else(|| {
        Some(("AZURE_STORAGE_CONNECTION_STRING", ConnectionString::of(environment).get("AccountName")?))
    })
}

pub(super) fn wants_emulator(environment: Environment<'_>) -> bool {
    let is_named = environment.get("AZURE_STORAGE_USE_EMULATOR");
    is_named.is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"))
        || ConnectionString::of(environment).means_emulator()
}

impl Found {
    /// Looks for the credentials of `account`. Errors: a sentence that names what is missing or unusable.
    pub fn of(environment: Environment<'_>, account: &str, anonymous: bool) -> Result<Self, String> {
        if anonymous {
            return Ok(Self::anonymous());
        }
        if let Some(found) = Self::static_in(environment, account)? {
            return Ok(found);
        }
        if let Some(found) = Self::principal_in(environment)? {
            return Ok(found);
        }
        let managed = |told: &str| Self { source: Source::ManagedIdentity, told: told.to_owned() };
        for variable in ["IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_CLIENT_ID"] {
            if environment.get(variable).is_some() {
                return Ok(managed(&format!("a token of the managed identity that {variable} names")));
            }
        }
        if super::cli::is_logged_in(environment) {
            return Ok(Self {
                source: Source::Cli,
                told: "a token from `az account get-access-token`".to_owned(),
            });
        }
        let tag = std::fs::read_to_string(Path::new(MACHINE_TAG_FILE)).unwrap_or_default();
        match tag.trim() == AZURE_MACHINE_TAG {
            true => Ok(managed("a token of this machine's managed identity")),
            false => Ok(Self::anonymous()),
        }
    }

    fn anonymous() -> Self {
        Self { source: Source::Anonymous, told: String::new() }
    }

    fn static_in(environment: Environment<'_>, account: &str) -> Result<Option<Self>, String> {
        let found = |source, told: String| Ok(Some(Self { source, told }));
        // A key of another account than the URI's is told of: the server would only say that it is wrong.
        let whose = match account_in(environment) {
            Some((variable, other)) if other != account => {
                format!(", which {variable} says is of the account {other}, and not of {account}")
            }
            _ => String::new(),
        };
        let string = ConnectionString::of(environment);
        const STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
        if !string.0.is_empty() && !string.means_emulator() {
            let of_another = string.get("AccountName").filter(|name| name != account);
            let parts = (string.get("AccountKey"), string.get("SharedAccessSignature"));
            match (of_another, parts) {
                (Some(_), _) => {}
                (None, (Some(key), _)) => {
                    return found(
                        Source::Key(checked_key(STRING, key)?),
                        format!("the account key from {STRING}"),
                    );
                }
                (None, (None, Some(sas))) => {
                    return found(
                        Source::Sas(checked_sas(STRING, sas)?),
                        format!("the SAS token from {STRING}"),
                    );
                }
                (None, (None, None)) => {
                    return Err(format!("{STRING} has neither an AccountKey nor a SharedAccessSignature"));
                }
            }
        }
        for variable in ["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"] {
            if let Some(key) = environment.get(variable) {
                let told = format!("the account key from {variable}{whose}");
                return found(Source::Key(checked_key(variable, key)?), told);
            }
        }
        if let Some(sas) = environment.get("AZURE_STORAGE_SAS_TOKEN") {
            let told = format!("the SAS token from AZURE_STORAGE_SAS_TOKEN{whose}");
            return found(Source::Sas(checked_sas("AZURE_STORAGE_SAS_TOKEN", sas)?), told);
        }
        if let Some(token) = environment.get("AZURE_STORAGE_TOKEN") {
            let is_sendable = http::HeaderValue::from_str(&token).is_ok();
            return match is_sendable {
                true => found(Source::Bearer(token), "the token from AZURE_STORAGE_TOKEN".to_owned()),
                false => Err("AZURE_STORAGE_TOKEN is no token, as it cannot be sent in a header".to_owned()),
            };
        }
        if wants_emulator(environment) && account == EMULATOR_ACCOUNT {
            return found(
                Source::Key(EMULATOR_KEY.to_owned()),
                "the emulator's well-known account key".to_owned(),
            );
        }
        match string.get("AccountName") {
            Some(other) if !string.means_emulator() && other != account => {
                Err(format!("{STRING} is of the account {other}, and not of {account}"))
            }
            _ => Ok(None),
        }
    }

    fn principal_in(environment: Environment<'_>) -> Result<Option<Self>, String> {
        let get = |name: &str| environment.get(name);
        let missing = |there: &str, absent: &str| Err(format!("{there} is set, and {absent} is not"));
        let (tenant, client) = (get("AZURE_TENANT_ID"), get("AZURE_CLIENT_ID"));
        for (name, is_file) in [("AZURE_CLIENT_SECRET", false), ("AZURE_FEDERATED_TOKEN_FILE", true)] {
            let Some(value) = get(name) else { continue };
            let (Some(tenant), Some(client)) = (tenant.clone(), client.clone()) else {
                return missing(name, if tenant.is_none() { "AZURE_TENANT_ID" } else { "AZURE_CLIENT_ID" });
            };
            let told = match is_file {
                false => format!(
                    "a token of the service principal {client} (AZURE_CLIENT_ID and AZURE_CLIENT_SECRET)"
                ),
                true => format!(
                    "a token of the workload identity {client} (AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE)"
                ),
            };
            let source = match is_file {
                false => Source::Secret { tenant, client, secret: value },
                true => {
                    let file = environment.path(&value).display().to_string();
                    Source::Federated { tenant, client, file }
                }
            };
            return Ok(Some(Self { source, told }));
        }
        match (tenant, client) {
            (Some(_), Some(_)) => missing(
                "AZURE_CLIENT_ID, with AZURE_TENANT_ID,",
                "the secret that goes with it (AZURE_CLIENT_SECRET, or AZURE_FEDERATED_TOKEN_FILE)",
            ),
            _ => Ok(None),
        }
    }

    /// Whose credentials requests are sent with, as the end of a sentence.
    pub fn describe(&self) -> String {
        match self.source {
            Source::Anonymous => {
                "without credentials (there is no AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, \
                AZURE_STORAGE_CONNECTION_STRING or service principal, and nobody has logged in by az)"
                    .to_owned()
            }
            _ => format!("with {}", self.told),
        }
    }

    /// Whether tokens are asked for over HTTP.
    pub fn needs_http(&self) -> bool {
        matches!(self.source, Source::Secret { .. } | Source::Federated { .. } | Source::ManagedIdentity)
    }

    /// What another machine needs for the same, where it can be had without asking for a token.
    pub fn lendable(&self) -> Option<BTreeMap<String, String>> {
        let pairs: &[(&str, &String)] = match &self.source {
            Source::Anonymous => &[],
            Source::Key(key) => &[("AZURE_STORAGE_KEY", key)],
            Source::Sas(sas) => &[("AZURE_STORAGE_SAS_TOKEN", sas)],
            Source::Bearer(token) => &[("AZURE_STORAGE_TOKEN", token)],
            Source::Secret { tenant, client, secret } => {
                &[("AZURE_TENANT_ID", tenant), ("AZURE_CLIENT_ID", client), ("AZURE_CLIENT_SECRET", secret)]
            }
            Source::Federated { .. } | Source::ManagedIdentity | Source::Cli => return None,
        };
        Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect())
    }
}

/// Errors: it is none; the value is not told.
fn checked_key(variable: &str, key: String) -> Result<String, String> {
    match AzureAccessKey::try_new(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(format!("the account key from {variable} is none: it is not base64")),
    }
}

fn checked_sas(variable: &str, sas: String) -> Result<String, String> {
    match split_sas(&sas) {
        Ok(pairs) if pairs.iter().any(|(name, _)| name == "sig") => Ok(sas),
        _ => Err(format!("the SAS token from {variable} is none: it has no signature (sig=…)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CallerVariables;

    const KEY: &str = "c2VjcmV0";

    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let caller = CallerVariables(variables.collect());
        Found::of(Environment(Some(&caller)), "acc", false).map(|found| found.describe())
    }

    #[test]
    fn the_source_that_is_used_is_named() {
        let string = format!("DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY}==");
        for (variables, told) in [
            (&[("AZURE_STORAGE_KEY", KEY)][..], "with the account key from AZURE_STORAGE_KEY"),
            (&[("AZURE_STORAGE_ACCOUNT_KEY", KEY)], "with the account key from AZURE_STORAGE_ACCOUNT_KEY"),
            (
                &[("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=x")],
                "with the SAS token from AZURE_STORAGE_SAS_TOKEN",
            ),
            (
                &[
                    ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=acc;AccountKey=c2VjcmV0"),
                    ("AZURE_STORAGE_KEY", KEY),
                ],
                "with the account key from AZURE_STORAGE_CONNECTION_STRING",
            ),
            (
                &[
                    ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=c2VjcmV0"),
                    ("AZURE_STORAGE_KEY", KEY),
                ],
                "with the account key from AZURE_STORAGE_KEY, which AZURE_STORAGE_CONNECTION_STRING says is of the account other, and not of acc",
            ),
            (
                &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")],
                "with a token of the service principal c (AZURE_CLIENT_ID and AZURE_CLIENT_SECRET)",
            ),
            (&[("AZURE_CLIENT_ID", "c")], "with a token of the managed identity that AZURE_CLIENT_ID names"),
        ] {
            assert_eq!(found(variables).unwrap(), told);
        }
        assert!(found(&[("AZURE_STORAGE_CONNECTION_STRING", &string)]).is_err(), "a key with wrong padding");
        assert!(found(&[]).unwrap().starts_with("without credentials"));
    }

    #[test]
    fn what_is_half_there_is_told_without_the_other_half() {
        for (variables, told) in [
            (&[("AZURE_CLIENT_SECRET", "hush"), ("AZURE_TENANT_ID", "t")][..], "AZURE_CLIENT_ID is not"),
            (&[("AZURE_CLIENT_SECRET", "hush"), ("AZURE_CLIENT_ID", "c")], "AZURE_TENANT_ID is not"),
            (&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_CLIENT_ID", "c")], "AZURE_TENANT_ID is not"),
            (&[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")], "AZURE_CLIENT_SECRET"),
            (&[("AZURE_STORAGE_KEY", "hush!")], "AZURE_STORAGE_KEY is none"),
            (&[("AZURE_STORAGE_SAS_TOKEN", "hush")], "AZURE_STORAGE_SAS_TOKEN is none"),
            (&[("AZURE_STORAGE_CONNECTION_STRING", "AccountName=acc")], "neither an AccountKey"),
            (
                &[("AZURE_STORAGE_CONNECTION_STRING", "AccountName=b;AccountKey=c2VjcmV0")],
                "of the account b, and not of acc",
            ),
        ] {
            let refused = found(variables).unwrap_err();
            assert!(refused.contains(told) && !refused.contains("hush"), "{refused}");
        }
    }
}
