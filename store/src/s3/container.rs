//! The role of a container.
//!
//! Owns: [`ContainerRole`], which asks the agent of ECS, EKS or another that a caller's variables name. The AWS library's own provider reads the
//! variables of this process alone, which are not a caller's. Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
//!
//! Invariants:
//! - A token is sent over TLS, or to this machine and the agents' own addresses, as the guide has it; over plain HTTP through no proxy.
//! - The file with the token is read for each request: its content changes.

use super::authorization::Authorization;
use super::credentials::Source;
use super::dialect::Reach;
use crate::contract::StoreOptions;
use crate::http::body::RequestBody;
use crate::http::environment::Environment;
use crate::http::failure::Failure;
use crate::http::pipeline::Pipeline;
use crate::http::renewal::Issued;
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use crate::http::transport;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const NAME: &str = "the container's role";
/// Before a relative URI: the agent of ECS.
const AGENT: &str = "http://169.254.170.2";
/// Addresses that plain HTTP may be spoken to beside this machine's own: the agents of ECS and EKS.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// How long the agent is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest token, in bytes.
const TOKEN_SIZE_BYTES_MAX: u64 = 64 * 1024;

/// Asks for a container's role.
pub(super) struct ContainerRole {
    /// Or what is wrong with the variables.
    pipeline: Result<Pipeline<Agent>, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
}

impl ContainerRole {
    /// The source, where variables name an agent.
    pub fn source(
        options: &StoreOptions,
        environment: Environment<'_>,
        reach: &Reach<'_>,
    ) -> Option<Arc<dyn Source>> {
        let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let (variable, url) = match relative {
            Some(path) => ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("{AGENT}{path}")),
            None => {
                let variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
                (variable, environment.get(variable)?)
            }
        };
        let token = match environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => AgentToken::File(environment.path(&file)),
            None => environment
                .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map_or(AgentToken::None, AgentToken::Given),
        };
        let pipeline = pipeline(options, reach, &url, token).map_err(|why| format!("{variable}: {why}"));
        Some(Arc::new(Self { pipeline }))
    }
}

/// The way to the agent. Errors: a sentence, in which no query is.
fn pipeline(
    options: &StoreOptions,
    reach: &Reach<'_>,
    url: &str,
    token: AgentToken,
) -> Result<Pipeline<Agent>, String> {
    let uri: Uri = url.parse().map_err(|_| "it is no URI".to_owned())?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(
            "it names no host; it is like http://HOST/PATH, and a relative one begins with /".to_owned()
        );
    };
    let shown = format!("{scheme}://{host}");
    let options = StoreOptions {
        connect_timeout: options.connect_timeout.min(PATIENCE),
        head_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        retry_deadline: PATIENCE,
        ..options.clone()
    };
    let client = match scheme {
        "https" => transport::connect(&options, true, reach.proxies.clone(), reach.ca_bundle)?,
        "http" if is_near(host) => transport::connect_directly(&options)?,
        "http" => {
            return Err(format!(
                "{shown} is neither this machine nor the agent of ECS or EKS, and may be asked over https:// alone"
            ));
        }
        _ => return Err(format!("{shown} is neither http:// nor https://")),
    };
    Ok(Pipeline::new(options, Agent { uri, shown, token }, client))
}

/// Whether plain HTTP to the host leaves neither this machine nor its agents. A name is none but `localhost`: what it means tomorrow is not known.
fn is_near(host: &str) -> bool {
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return host == "localhost" };
    address.is_loopback() || AGENTS.iter().any(|agent| agent.parse() == Ok(address))
}

#[async_trait]
impl Source for ContainerRole {
    fn name(&self) -> &str {
        NAME
    }

    async fn look_up(&self) -> Result<Option<Issued<Authorization>>, String> {
        let pipeline = self.pipeline.as_ref().map_err(Clone::clone)?;
        let request = ApiRequest::new("GetRole", Method::GET).header("accept", "application/json");
        let answer = pipeline.send(&request).await.map_err(|error| error.message)?;
        // What the parser says of it may quote a key.
        let answer: Answer = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("what {} answers are no credentials", pipeline.service.shown))?;
        let expiry = match &answer.expiration {
            None => None,
            Some(text) => {
                let time =
                    text.parse::<jiff::Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok());
                Some(time.ok_or_else(|| format!("{} gives keys without a time", pipeline.service.shown))?)
            }
        };
        let Answer { access_key_id, secret_access_key, token, .. } = answer;
        let keys = Credentials::new(access_key_id, secret_access_key, token, expiry, "Container");
        Ok(Some(Issued { value: Authorization::Keys(keys), expiry }))
    }
}

/// What the agent wants to hear.
enum AgentToken {
    None,
    Given(String),
    File(PathBuf),
}

impl AgentToken {
    /// Errors: a sentence without the token.
    async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Given(token) => token.clone(),
            Self::File(file) => {
                let failed = |cause: String| format!("the token in {}: {cause}", file.display());
                let meta = tokio::fs::metadata(file).await.map_err(|err| failed(err.to_string()))?;
                if meta.len() > TOKEN_SIZE_BYTES_MAX {
                    return Err(failed("the file is too long for one".to_owned()));
                }
                tokio::fs::read_to_string(file).await.map_err(|err| failed(err.to_string()))?
            }
        };
        let mut value = HeaderValue::try_from(text.trim_end())
            .map_err(|_| "the authorization token has characters that no header can hold".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

struct Agent {
    uri: Uri,
    /// For people.
    shown: String,
    token: AgentToken,
}

#[async_trait]
impl Service for Agent {
    type Authorization = Option<HeaderValue>;

    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        self.token.header().await
    }

    fn uri(&self, _request: &ApiRequest<'_>) -> Result<Uri, String> {
        Ok(self.uri.clone())
    }

    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        token: &Option<HeaderValue>,
        _: SystemTime,
    ) -> Result<(), String> {
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        Ok(())
    }

    fn failure_in(
        &self,
        _request: &ApiRequest<'_>,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        _our_time: SystemTime,
    ) -> Option<Failure> {
        if status.is_success() {
            return None;
        }
        let Refusal { code, message } = serde_json::from_slice(body).unwrap_or_default();
        Some(Failure::of_issuer(status, code, message, &format!("{} gives no keys", self.shown)))
    }

    fn url(&self) -> String {
        self.shown.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_the_agents() {
        for host in [
            "localhost",
            "127.0.0.1",
            "127.8.8.8",
            "[::1]",
            "169.254.170.2",
            "169.254.170.23",
            "[fd00:ec2::23]",
        ] {
            assert!(is_near(host), "{host}");
        }
        for host in ["169.254.169.254", "10.0.0.1", "localhost.example", "example.com", "[fd00:ec2::254]"] {
            assert!(!is_near(host), "{host}");
        }
    }
}
