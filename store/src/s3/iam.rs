//! Tokens of IBM's identity service.
//!
//! Owns: [`Iam`], which exchanges an API key for a token that lives an hour. Its requests go the way of all others: retried, bounded in time,
//! through the same proxy. Source: IBM Cloud API documentation, "IAM Identity Services", "Create an IAM access token".
//!
//! Invariant: an API key is sent over TLS, or stays on this machine.

use super::authorization::{Authorization, Token};
use super::dialect::Reach;
use super::endpoint::Endpoint;
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
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::time::{Duration, SystemTime};

const URL_DEFAULT: &str = "https://iam.cloud.ibm.com";
/// The path where a URL has none.
const PATH: &str = "/identity/token";
/// Variables that name another service: IBM's SDK for Cloud Object Storage has the first, which holds the whole URL, and IBM's Terraform
/// provider the last.
pub(super) const VARIABLES: [&str; 3] =
    ["IBM_AUTH_ENDPOINT", "IBM_IAM_ENDPOINT", "IBMCLOUD_IAM_API_ENDPOINT"];
/// How long the service is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a token lives where the answer does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(3600);

/// The way to the identity service.
pub(super) struct Iam {
    pipeline: Pipeline<IamService>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "errorCode")]
    code: Option<String>,
    #[serde(rename = "errorMessage")]
    message: Option<String>,
}

impl Iam {
    /// Errors: a sentence on a variable that names no service.
    pub fn new(
        options: &StoreOptions,
        environment: Environment<'_>,
        reach: &Reach<'_>,
    ) -> Result<Self, String> {
        let named = VARIABLES.iter().find_map(|name| Some((*name, environment.get(name)?)));
        let (name, url) = named.unwrap_or(("IAM", URL_DEFAULT.to_owned()));
        let wrong = |cause: String| format!("{name}: {cause}");
        // Its rules are those of any endpoint.
        let endpoint = Endpoint::custom(&url, "identity", "", false).map_err(wrong)?;
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            return Err(wrong(format!(
                "an API key may not be sent to {} without TLS; write https:// in its URL",
                endpoint.url()
            )));
        }
        let base = endpoint.url();
        let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let whole = if has_path { base.clone() } else { format!("{base}{PATH}") };
        let uri: Uri = whole.parse().map_err(|err| wrong(format!("{whole:?} is no URL: {err}")))?;
        let options = StoreOptions {
            connect_timeout: options.connect_timeout.min(PATIENCE),
            head_timeout: PATIENCE,
            stall_timeout: PATIENCE,
            retry_deadline: PATIENCE,
            ..options.clone()
        };
        let proxies = reach.proxies.clone();
        let client = transport::connect(&options, endpoint.is_tls(), proxies, reach.ca_bundle)?;
        Ok(Self { pipeline: Pipeline::new(options, IamService { uri, url: base }, client) })
    }

    /// A token for an API key. Errors: a sentence without either.
    pub async fn token(&self, api_key: &str) -> Result<Issued<Authorization>, String> {
        let form = format!(
            "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey={}",
            utf8_percent_encode(api_key, NON_ALPHANUMERIC)
        );
        let request = ApiRequest::new("CreateToken", Method::POST)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .payload(Bytes::from(form).into());
        let asked_at = SystemTime::now();
        let answer = self.pipeline.send(&request).await.map_err(|error| error.message)?;
        // What the parser says of a token's JSON may quote it.
        let answer: Answer = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("what {} answers is no token", self.pipeline.service.url))?;
        let life = answer.expires_in.map_or(LIFE_DEFAULT, Duration::from_secs);
        let value = Authorization::Bearer(Token::new(&answer.access_token)?);
        Ok(Issued { value, expiry: asked_at.checked_add(life) })
    }
}

struct IamService {
    uri: Uri,
    /// For people.
    url: String,
}

#[async_trait]
impl Service for IamService {
    type Authorization = ();

    async fn authorization(&self) -> Result<(), String> {
        Ok(())
    }

    fn uri(&self, _request: &ApiRequest<'_>) -> Result<Uri, String> {
        Ok(self.uri.clone())
    }

    fn authorize(&self, _: &mut Request<RequestBody>, _: &(), _: SystemTime) -> Result<(), String> {
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
        Some(Failure::of_issuer(
            status,
            code,
            message,
            &format!("{} gives no token for the API key", self.url),
        ))
    }

    fn url(&self) -> String {
        self.url.clone()
    }
}
