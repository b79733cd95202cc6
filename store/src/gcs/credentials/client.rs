//! HTTP under the credentials.
//!
//! Owns: [`TokenClient`], which asks the services that give out tokens: through the same proxies and with the same certificates as the
//! bucket; a machine's metadata server directly, whom no proxy can reach for us.

use crate::contract::Payload;
use crate::http::body::{Progress, RequestBody};
use crate::http::deadline::{Movement, Waiting};
use crate::http::exchange::AnswerBody;
use crate::http::failure::innermost;
use crate::http::transport::HttpClient;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// One request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The metadata server is near, or it is not there: its address swallows packets elsewhere.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The largest answer.
const ANSWER_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// How much is told of an error that is not written as it should be.
const MESSAGE_CHARS_MAX: usize = 200;

/// Why a service gave nothing.
#[derive(Debug)]
pub(in crate::gcs) struct Refusal {
    /// `None`: it was not reached.
    pub status: Option<StatusCode>,
    pub message: String,
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.message
    }
}

/// A request to such a service.
pub(in crate::gcs) struct Ask {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Ask {
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: Method::GET, url: url.into(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A form, as OAuth wants it.
    pub fn form(url: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let encode = |value: &str| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let ask = Self { method: Method::POST, body: fields.join("&").into(), ..Self::get(url) };
        ask.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    pub fn json(url: impl Into<String>, body: &Value) -> Self {
        let ask = Self { method: Method::POST, body: body.to_string().into(), ..Self::get(url) };
        ask.header(header::CONTENT_TYPE, "application/json")
    }

    /// Adds a header; one whose value no header can hold is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Asks services for tokens.
pub(in crate::gcs) struct TokenClient {
    client: HttpClient,
    direct: HttpClient,
    movement: Arc<Movement>,
}

impl TokenClient {
    /// `direct` knows no proxies.
    pub fn new(client: HttpClient, direct: HttpClient) -> Self {
        Self { client, direct, movement: Movement::new() }
    }

    /// The JSON of a good answer, after as many attempts as make sense.
    pub async fn ask(&self, ask: Ask) -> Result<Value, Refusal> {
        let body = self.ask_text(&ask).await?;
        serde_json::from_slice(&body).map_err(|_| Refusal {
            status: None,
            message: format!("the answer of {} is no JSON", host_of(&ask.url)),
        })
    }

    /// The body of a good answer.
    pub async fn ask_text(&self, ask: &Ask) -> Result<Bytes, Refusal> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(&self.client, ask, REQUEST_TIMEOUT).await {
                Err(refusal) if passes(refusal.status) => {}
                outcome => return outcome.map(|(_, body)| body),
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        self.attempt(&self.client, ask, REQUEST_TIMEOUT).await.map(|(_, body)| body)
    }

    /// What the machine's metadata server says; `status` is `None` where there is none.
    pub async fn metadata(&self, host: &str, path: &str) -> Result<String, Refusal> {
        const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
        let ask = Ask::get(format!("http://{host}/computeMetadata/v1/{path}")).header(FLAVOR, "Google");
        let (headers, body) = self.attempt(&self.direct, &ask, METADATA_TIMEOUT).await?;
        // Other clouds have other servers at the same address.
        if headers.get(FLAVOR).is_none_or(|flavor| flavor != "Google") {
            return Err(Refusal { status: None, message: format!("{host} is no metadata server of Google") });
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn attempt(
        &self,
        client: &HttpClient,
        ask: &Ask,
        limit: Duration,
    ) -> Result<(HeaderMap, Bytes), Refusal> {
        let host = host_of(&ask.url);
        let unreached = |cause: String| Refusal { status: None, message: format!("{host}: {cause}") };
        let request = self.request(ask, limit).map_err(unreached)?;
        let exchange = async {
            let response = client.request(request).await.map_err(|err| innermost(&err))?;
            let (parts, body) = response.into_parts();
            Ok((parts, collect(body).await?))
        };
        let (parts, body) = timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
            .map_err(unreached)?;
        match parts.status.is_success() {
            true => Ok((parts.headers, body)),
            false => Err(Refusal {
                status: Some(parts.status),
                message: format!("{host} says {} ({})", said_in(&body), parts.status.as_u16()),
            }),
        }
    }

    fn request(&self, ask: &Ask, limit: Duration) -> Result<Request<RequestBody>, String> {
        let uri: Uri = ask.url.parse().map_err(|_| "its URL cannot be parsed".to_owned())?;
        let authority = uri.authority().ok_or_else(|| "its URL has no host".to_owned())?;
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_| "its host is not valid".to_owned())?;
        let waiting = Waiting::begin(&self.movement, limit);
        let payload = Payload::Bytes(ask.body.clone());
        let mut request = Request::new(RequestBody::new(&payload, Progress::new(&waiting, false)));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = ask.headers.clone();
        request.headers_mut().insert(header::HOST, host);
        if ask.method == Method::POST {
            request.headers_mut().insert(header::CONTENT_LENGTH, ask.body.len().into());
        }
        let agent = const { HeaderValue::from_static(concat!("pail/", env!("CARGO_PKG_VERSION"))) };
        request.headers_mut().insert(header::USER_AGENT, agent);
        Ok(request)
    }
}

/// Whether another attempt makes sense.
fn passes(status: Option<StatusCode>) -> bool {
    status.is_none_or(|status| status.is_server_error() || matches!(status.as_u16(), 408 | 429))
}

async fn collect(mut body: AnswerBody) -> Result<Bytes, String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8 * 1024]);
    loop {
        match body.read(&mut buffer).await.map_err(|err| innermost(&err))? {
            0 => return Ok(bytes.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if bytes.len() > ANSWER_SIZE_BYTES_MAX {
            return Err("the answer is longer than any can be".to_owned());
        }
    }
}

/// An error in the words of RFC 6749, section 5.2, or of Google's APIs.
fn said_in(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let said = match (text(&answer["error"]), text(&answer["error_description"])) {
        (Some(code), Some(description)) => Some(format!("{code}: {description}")),
        (Some(code), None) => Some(code),
        (None, _) => text(&answer["error"]["message"]),
    };
    let said = said.unwrap_or_else(|| "no".to_owned());
    said.chars().take(MESSAGE_CHARS_MAX).collect::<String>().escape_debug().to_string()
}

/// A URL as far as it is told: without a path or a query.
fn host_of(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_else(|| "the token's service".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_both_kinds_are_read() {
        assert_eq!(said_in(br#"{"error":"invalid_grant","error_description":"Bad"}"#), "invalid_grant: Bad");
        assert_eq!(said_in(br#"{"error":{"code":403,"message":"denied"}}"#), "denied");
        assert_eq!(said_in(b"<html>"), "no");
        assert_eq!(host_of("https://oauth2.googleapis.com/token?secret=x"), "oauth2.googleapis.com");
    }
}
