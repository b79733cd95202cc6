//! The JSON files of credentials.
//!
//! Owns: [`read`], the way from one to a [`Source`], and what of it is told. Kinds: `service_account`, `authorized_user`,
//! `external_account`, `external_account_authorized_user`, `impersonated_service_account`.

use super::external::External;
use super::service_account::ServiceAccount;
use super::source::{Source, User};
use serde_json::Value;

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const WORKFORCE_TOKEN_URL: &str = "https://sts.googleapis.com/v1/oauthtoken";

/// What a file says.
pub(super) struct Credentials {
    pub source: Source,
    /// Who that is.
    pub who: String,
    pub project: Option<String>,
    /// Whether the JSON is all that another machine needs.
    pub is_portable: bool,
}

/// Reads the JSON of credentials. Errors: a sentence without any secret.
pub(super) fn read(json: &str) -> Result<Credentials, String> {
    let value: Value = serde_json::from_str(json).map_err(|_| "it is not JSON".to_owned())?;
    of_value(&value)
}

fn of_value(value: &Value) -> Result<Credentials, String> {
    let optional = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    let required = |field: &str| optional(field).ok_or_else(|| format!("it has no {field}"));
    let (source, who, is_portable) = match required("type")? {
        "service_account" => {
            let email = required("client_email")?;
            let token_url = optional("token_uri").unwrap_or(TOKEN_URL);
            let account =
                ServiceAccount::new(email, optional("private_key_id"), required("private_key")?, token_url)?;
            (Source::ServiceAccount(account), format!("the service account {email}"), true)
        }
        kind @ ("authorized_user" | "external_account_authorized_user") => {
            let is_workforce = kind == "external_account_authorized_user";
            let default = if is_workforce { WORKFORCE_TOKEN_URL } else { TOKEN_URL };
            let token_url = optional("token_uri").or_else(|| optional("token_url")).unwrap_or(default);
            let user = User {
                token_url: token_url.to_owned(),
                client_id: required("client_id")?.to_owned(),
                client_secret: required("client_secret")?.to_owned(),
                refresh_token: required("refresh_token")?.to_owned(),
                is_workforce,
            };
            (Source::User(user), "a user's login".to_owned(), true)
        }
        "external_account" => {
            let external: External = serde_json::from_value(value.clone())
                .map_err(|_| "it lacks a field of workload identity federation".to_owned())?;
            external.check()?;
            (Source::External(Box::new(external)), "workload identity federation".to_owned(), false)
        }
        "impersonated_service_account" => {
            let url = required("service_account_impersonation_url")?;
            let inner = of_value(&value["source_credentials"])
                .map_err(|cause| format!("of its source_credentials, {cause}"))?;
            let delegates = value["delegates"].as_array().into_iter().flatten();
            let delegates = delegates.filter_map(|delegate| delegate.as_str().map(str::to_owned)).collect();
            let who = format!("the service account {}, for which acts {}", account_of(url), inner.who);
            let source =
                Source::Impersonated { source: Box::new(inner.source), url: url.to_owned(), delegates };
            (source, who, inner.is_portable)
        }
        kind => {
            let known = "service_account, authorized_user, external_account, impersonated_service_account";
            return Err(format!(
                "its type is {:?}, which is none of {known}",
                kind.escape_debug().to_string()
            ));
        }
    };
    let project = optional("project_id").or_else(|| optional("quota_project_id")).map(str::to_owned);
    Ok(Credentials { source, who, project, is_portable })
}

/// The account in `…/serviceAccounts/EMAIL:generateAccessToken`.
fn account_of(url: &str) -> &str {
    let last = url.rsplit('/').next().unwrap_or(url);
    last.strip_suffix(":generateAccessToken").unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        for (json, told) in [
            ("hunter2", "it is not JSON"),
            (r#"{"client_secret":"hunter2"}"#, "it has no type"),
            (r#"{"type":"authorized_user","client_id":"i","client_secret":"hunter2"}"#, "no refresh_token"),
            (r#"{"type":"service_account","client_email":"a@b","private_key":"hunter2"}"#, "private_key"),
            (r#"{"type":"gdch_service_account","x":"hunter2"}"#, "gdch_service_account"),
            (
                r#"{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"u",
                    "credential_source":{"environment_id":"aws1","url":"hunter2"}}"#,
                "of AWS",
            ),
            (
                r#"{"type":"impersonated_service_account","service_account_impersonation_url":"u",
                    "source_credentials":{"type":"authorized_user","client_secret":"hunter2"}}"#,
                "source_credentials, it has no client_id",
            ),
        ] {
            let refused = read(json).err().unwrap();
            assert!(refused.contains(told) && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn who_it_is_and_its_project_are_read() {
        let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r",
            "quota_project_id":"p"}"#;
        let credentials = read(user).unwrap();
        assert_eq!((credentials.project.as_deref(), credentials.is_portable), (Some("p"), true));
        let acting = format!(
            r#"{{"type":"impersonated_service_account","source_credentials":{user},
            "service_account_impersonation_url":"https://h/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken"}}"#
        );
        assert_eq!(read(&acting).unwrap().who, "the service account a@b.c, for which acts a user's login");
    }
}
