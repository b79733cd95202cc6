//! Tokens of whoever has logged in by Azure's command line.
//!
//! Owns: [`CliTokens`]: `az account get-access-token`, run with a caller's variables and nothing of this process's own (the library runs it
//! with this process's, and holds up a worker meanwhile). Source: Azure CLI reference, "az account get-access-token".

use super::tokens::expiry_of;
use crate::contract::CallerVariables;
use crate::http::surroundings::Surroundings;
use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::azure::AzureCredential;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// A token is asked for again when less than this is left of it.
const RENEWAL_LEAD: Duration = Duration::from_secs(300);
/// How long a token is used whose end cannot be read.
const LIFE_UNKNOWN: Duration = Duration::from_secs(600);
const RESOURCE: &str = "https://storage.azure.com/";

/// Whether there is an `az`, and somebody has used it.
pub(super) fn is_logged_in(surroundings: Surroundings<'_>) -> bool {
    let of_home = || Some(PathBuf::from(surroundings.get("HOME")?).join(".azure"));
    let settings = surroundings.get("AZURE_CONFIG_DIR").map(PathBuf::from).or_else(of_home);
    let is_used = settings.is_some_and(|dir| dir.join("azureProfile.json").is_file());
    let path = surroundings.get("PATH").unwrap_or_default();
    is_used && std::env::split_paths(&path).any(|dir| dir.join("az").is_file())
}

/// Asks `az` for tokens, and keeps them.
pub(super) struct CliTokens {
    caller: Option<CallerVariables>,
    /// Held by who asks, across the run of `az`: one at a time.
    kept: tokio::sync::Mutex<Option<(Arc<AzureCredential>, SystemTime)>>,
}

impl std::fmt::Debug for CliTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CliTokens")
    }
}

impl CliTokens {
    pub fn new(caller: Option<CallerVariables>) -> Self {
        Self { caller, kept: tokio::sync::Mutex::default() }
    }

    async fn ask(&self) -> Result<String, String> {
        let mut command = Command::new("az");
        command.args(["account", "get-access-token", "--output", "json", "--resource", RESOURCE]);
        if let Some(caller) = &self.caller {
            command.env_clear().envs(&caller.0);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|err| format!("az cannot be run: {err}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let line =
                said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").trim().to_owned();
            return Err(format!("az says: {line}"));
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let token = answer.get("accessToken").and_then(serde_json::Value::as_str);
        token.map(str::to_owned).ok_or_else(|| "az printed no token".to_owned())
    }
}

#[async_trait]
impl CredentialProvider for CliTokens {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = &*kept
            && *until > SystemTime::now() + RENEWAL_LEAD
        {
            return Ok(token.clone());
        }
        let token = self
            .ask()
            .await
            .map_err(|cause| object_store::Error::Generic { store: "az", source: cause.into() })?;
        let until = expiry_of(&token).unwrap_or_else(|| SystemTime::now() + LIFE_UNKNOWN);
        let token = Arc::new(AzureCredential::BearerToken(token));
        *kept = Some((token.clone(), until));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use std::os::unix::fs::PermissionsExt;

    fn caller(dir: &std::path::Path, script: &str) -> CallerVariables {
        std::fs::create_dir(dir.join(".azure")).unwrap();
        std::fs::write(dir.join(".azure/azureProfile.json"), "{}").unwrap();
        std::fs::write(dir.join("az"), script).unwrap();
        std::fs::set_permissions(dir.join("az"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.display());
        CallerVariables([("HOME".to_owned(), dir.display().to_string()), ("PATH".to_owned(), path)].into())
    }

    #[tokio::test]
    async fn tokens_come_from_the_caller_s_az_and_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":32503680000}"#);
        let script =
            format!("#!/bin/sh\necho x >>\"$HOME/runs\"\necho '{{\"accessToken\": \"h.{claims}.s\"}}'\n");
        let caller = caller(dir.path(), &script);
        assert!(is_logged_in(Surroundings(Some(&caller))));
        let tokens = CliTokens::new(Some(caller));
        for _ in 0..2 {
            let token = tokens.get_credential().await.unwrap();
            assert_eq!(*token, AzureCredential::BearerToken(format!("h.{claims}.s")));
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("runs")).unwrap(), "x\n", "az ran once");
    }

    #[tokio::test]
    async fn what_az_says_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let caller = caller(dir.path(), "#!/bin/sh\necho \"ERROR: Please run 'az login'\" >&2\nexit 1\n");
        let refused = CliTokens::new(Some(caller)).get_credential().await.unwrap_err();
        assert!(refused.to_string().contains("Please run 'az login'"), "{refused}");
    }
}
