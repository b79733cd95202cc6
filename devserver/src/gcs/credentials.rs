//! Where credentials come from.
//!
//! Owns: imitations of what Google's client libraries ask for tokens: the OAuth token endpoint (service accounts and refresh tokens), the
//! security token service (workload identity federation), `iamcredentials` (impersonation) and the metadata server of a machine.
//!
//! Each call gives a new token, which is accepted until it expires. What a client must prove is not verified, but for the names that
//! [`identities`](crate::GcsSettings::identities) lists.
//! Source: RFC 6749, 7523 and 8693; Google Cloud documentation, "Using OAuth 2.0 for Server to Server Applications",
//! "projects.serviceAccounts.generateAccessToken", "About VM metadata".

use crate::call::Call;
use crate::gcs::error::GcsError;
use crate::gcs::json_reply;
use crate::gcs::receive::{parse_document, receive_bytes};
use crate::reply::Reply;
use crate::target::query_of;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The longest form of a request, in bytes.
const FORM_LEN_BYTES_MAX: usize = 64 * 1024;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A form, or the JSON object that some clients send in its place.
struct Form(Vec<(String, String)>);

impl Form {
    async fn receive(call: &mut Call) -> Result<Self, GcsError> {
        let bytes = receive_bytes(call, FORM_LEN_BYTES_MAX).await?;
        if call.header("content-type").is_some_and(|name| name.starts_with("application/json")) {
            let document = parse_document(&bytes)?.unwrap_or_default();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Ok(Self(document.iter().map(|(name, value)| (name.clone(), text(value))).collect()));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| oauth("invalid_request", "The form is not UTF-8."))?;
        Ok(Self(query_of(Some(text))?))
    }

    /// Errors: `invalid_request`.
    fn get(&self, name: &str) -> Result<&str, GcsError> {
        let value = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| oauth("invalid_request", format!("Missing required parameter: {name}")))
    }
}

fn oauth(code: &'static str, description: impl Into<std::borrow::Cow<'static, str>>) -> GcsError {
    GcsError::new(400, code, description)
}

/// Errors: `invalid_grant` for who is not to be given tokens.
fn check_identity(call: &Call, identity: &str) -> Result<(), GcsError> {
    let known = call.settings.gcs.identities.as_ref().is_none_or(|known| known.contains(identity));
    if known { Ok(()) } else { Err(oauth("invalid_grant", "Bad Request")) }
}

fn given(call: &Call) -> Value {
    let lifetime_s = call.settings.gcs.token_lifetime_s;
    json!({
        "access_token": call.shared.gcs.tokens.give(lifetime_s),
        "expires_in": lifetime_s,
        "token_type": "Bearer",
    })
}

/// Of a service account's JWT or a refresh token. Errors: 400 as OAuth words them.
pub(crate) async fn oauth_token(call: &mut Call) -> Result<Reply, GcsError> {
    let form = Form::receive(call).await?;
    match form.get("grant_type")? {
        JWT_BEARER => {
            let claims = jwt_claims(form.get("assertion")?)?;
            let issuer = claims.get("iss").and_then(Value::as_str);
            let issuer = issuer.ok_or_else(|| oauth("invalid_grant", "Invalid JWT: it has no issuer."))?;
            let until = claims.get("exp").and_then(Value::as_i64);
            if until.is_none_or(|until| until <= Timestamp::now().as_second()) {
                return Err(oauth("invalid_grant", "Invalid JWT: Token must be a short-lived token."));
            }
            check_identity(call, issuer)?;
        }
        "refresh_token" => {
            form.get("client_id")?;
            form.get("client_secret")?;
            check_identity(call, form.get("refresh_token")?)?;
        }
        _ => return Err(oauth("unsupported_grant_type", "Invalid grant_type")),
    }
    Ok(json_reply(&given(call)))
}

/// Errors: `invalid_grant` for what is no JWT.
fn jwt_claims(assertion: &str) -> Result<Value, GcsError> {
    let mut pieces = assertion.split('.');
    let claims = match (pieces.next(), pieces.next(), pieces.next(), pieces.next()) {
        (Some(_header), Some(claims), Some(_signature), None) => {
            BASE64.decode(claims.trim_end_matches('=')).ok()
        }
        _ => None,
    };
    claims
        .and_then(|claims| serde_json::from_slice(&claims).ok())
        .ok_or_else(|| oauth("invalid_grant", "Invalid JWT."))
}

/// Of a token of another provider. Errors: 400 as OAuth words them.
pub(crate) async fn sts_token(call: &mut Call) -> Result<Reply, GcsError> {
    let form = Form::receive(call).await?;
    // Some clients name the fields as JSON does.
    let get = |name: &str, other: &str| form.get(name).or_else(|error| form.get(other).map_err(|_| error));
    if get("grant_type", "grantType")? != TOKEN_EXCHANGE {
        return Err(oauth("unsupported_grant_type", "Invalid grant_type"));
    }
    get("audience", "audience")?;
    get("subject_token_type", "subjectTokenType")?;
    check_identity(call, get("subject_token", "subjectToken")?)?;
    let mut answer = given(call);
    answer["issued_token_type"] = ACCESS_TOKEN_TYPE.into();
    Ok(json_reply(&answer))
}

/// Of a service account that the caller, who has a token, may act for. Errors: 403 for an account that is not to be given tokens.
pub(crate) async fn generate_access_token(call: &mut Call) -> Result<Reply, GcsError> {
    let bytes = receive_bytes(call, FORM_LEN_BYTES_MAX).await?;
    let request = parse_document(&bytes)?.unwrap_or_default();
    if !request.get("scope").is_some_and(Value::is_array) {
        return Err(GcsError::required("scope"));
    }
    let path = percent_encoding::percent_decode_str(call.parts.uri.path()).decode_utf8_lossy().into_owned();
    let account = path.rsplit('/').next().and_then(|last| last.strip_suffix(":generateAccessToken"));
    if check_identity(call, account.unwrap_or_default()).is_err() {
        return Err(GcsError::forbidden(
            "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
        ));
    }
    let lifetime_s = call.settings.gcs.token_lifetime_s;
    let until = Timestamp::now()
        .checked_add(SignedDuration::from_secs(i64::try_from(lifetime_s).unwrap_or(i64::MAX)))
        .unwrap_or(Timestamp::MAX);
    Ok(json_reply(&json!({
        "accessToken": call.shared.gcs.tokens.give(lifetime_s),
        "expireTime": format!("{until:.0}"),
    })))
}

/// Errors: 403 without `Metadata-Flavor: Google`.
fn check_flavor(call: &Call) -> Result<(), GcsError> {
    if call.header("metadata-flavor") == Some("Google") {
        return Ok(());
    }
    Err(GcsError::forbidden("Missing Metadata-Flavor:Google header."))
}

fn flavored(mut reply: Reply) -> Reply {
    reply.set(HeaderName::from_static("metadata-flavor"), "Google");
    reply
}

pub(crate) fn metadata_token(call: &Call) -> Result<Reply, GcsError> {
    check_flavor(call)?;
    Ok(flavored(json_reply(&given(call))))
}

/// What else a machine says of itself: its project, its account.
pub(crate) fn metadata(call: &Call) -> Result<Reply, GcsError> {
    check_flavor(call)?;
    let settings = &call.settings.gcs;
    let account = &settings.metadata_account;
    let path = call.parts.uri.path();
    let text = match path.strip_prefix("/computeMetadata/v1/") {
        None => "computeMetadata/\n".to_owned(),
        Some("project/project-id") => settings.project.clone(),
        Some("universe/universe-domain" | "universe/universe_domain") => "googleapis.com".to_owned(),
        Some(rest) if rest.ends_with("/email") => account.clone(),
        Some(rest) if is_account(rest, account) => {
            return Ok(flavored(json_reply(&json!({
                "aliases": ["default"],
                "email": account,
                "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
            }))));
        }
        Some(_) => return Err(GcsError::not_found()),
    };
    let mut reply = Reply::ok();
    reply.body = bytes::Bytes::from(text).into();
    reply.set(CONTENT_TYPE, "application/text");
    Ok(flavored(reply))
}

/// Whether a path of the metadata server is that of its account.
fn is_account(path: &str, account: &str) -> bool {
    path.strip_prefix("instance/service-accounts/")
        .map(|name| name.trim_end_matches('/'))
        .is_some_and(|name| name == "default" || name == account)
}
