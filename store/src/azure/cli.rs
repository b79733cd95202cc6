//! Tokens of whoever has logged in by Azure's command line.
//!
//! Owns: [`token`]: `az account get-access-token`, run with a caller's variables and nothing of this process's own (the library runs it
//! with this process's, and holds up a worker meanwhile). Source: Azure CLI reference, "az account get-access-token".

use crate::contract::CallerVariables;
use crate::http::environment::Environment;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

const RESOURCE: &str = "https://storage.azure.com/";

/// Whether there is an `az`, and somebody has used it.
pub(super) fn is_logged_in(environment: Environment<'_>) -> bool {
    let of_home = || Some(PathBuf::from(environment.get("HOME")?).join(".azure"));
    let settings = environment.get("AZURE_CONFIG_DIR").map(PathBuf::from).or_else(of_home);
    let is_used = settings.is_some_and(|dir| dir.join("azureProfile.json").is_file());
    let path = environment.get("PATH").unwrap_or_default();
    is_used && std::env::split_paths(&path).any(|dir| dir.join("az").is_file())
}

/// A token. Errors: what `az` says; a sentence without any secret.
pub(super) async fn token(caller: Option<&CallerVariables>) -> Result<String, String> {
    let mut command = Command::new("az");
    command.args(["account", "get-access-token", "--output", "json", "--resource", RESOURCE]);
    if let Some(caller) = caller {
        command.env_clear().envs(&caller.0);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|err| format!("az cannot be run: {err}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").trim().to_owned();
        return Err(format!("az says: {line}"));
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let token = answer.get("accessToken").and_then(serde_json::Value::as_str);
    token.map(str::to_owned).ok_or_else(|| "az printed no token".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
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
    async fn tokens_come_from_the_caller_s_az() {
        let dir = tempfile::tempdir().unwrap();
        let caller = caller(dir.path(), "#!/bin/sh\necho '{\"accessToken\": \"secret\"}'\n");
        assert!(is_logged_in(Environment(Some(&caller))));
        assert_eq!(token(Some(&caller)).await.unwrap(), "secret");
    }

    #[tokio::test]
    async fn what_az_says_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let caller = caller(dir.path(), "#!/bin/sh\necho \"ERROR: Please run 'az login'\" >&2\nexit 1\n");
        let refused = token(Some(&caller)).await.unwrap_err();
        assert!(refused.contains("Please run 'az login'"), "{refused}");
    }
}
