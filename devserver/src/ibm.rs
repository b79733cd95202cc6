//! What IBM Cloud Object Storage does in its own way, with the quirk [`ibm`](crate::Quirks::ibm).
//!
//! Owns: the token endpoint of its identity service, which this server answers on its own port; the header that names the service instance;
//! and its location constraints, which name a storage class as well.
//! Source: IBM Cloud API documentation, "IAM Identity Services API" (token operations), "Object Storage, bucket operations".

use crate::call::Call;
use crate::error::S3Error;
use crate::payload::receive_document;
use crate::reply::Reply;
use crate::target::decode_query;
use http::request::Parts;
use http::{Method, StatusCode};

const TOKEN_PATH: &str = "/identity/token";
const GRANT_TYPE: &str = "urn:ibm:params:oauth:grant-type:apikey";

/// What a location constraint ends in, behind the region.
const CLASSES: [&str; 6] = ["standard", "vault", "cold", "flex", "smart", "onerate_active"];

/// Whether a request asks for a token.
pub(crate) fn asks_for_token(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path() == TOKEN_PATH
}

/// Issues a token for an API key: the secret of an accepted key.
pub(crate) async fn issue_token(call: &mut Call) -> Result<Reply, S3Error> {
    let document = receive_document(call).await?;
    let form = String::from_utf8_lossy(&document).into_owned();
    let field = |name: &str| {
        form.split('&').find_map(|pair| decode_query(pair.strip_prefix(name)?.strip_prefix('=')?).ok())
    };
    if field("grant_type").as_deref() != Some(GRANT_TYPE) {
        return refused("BXNIM0106E", "Property grant_type is missing, empty or not supported.");
    }
    let lifetime_s = call.settings.token_lifetime_s;
    let credentials = call.shared.authenticator.credentials();
    match field("apikey").and_then(|api_key| credentials.issue_token(&api_key, lifetime_s)) {
        None => refused("BXNIM0415E", "Provided API key could not be found."),
        Some((token, expires)) => Ok(Reply::json(
            serde_json::json!({
                "access_token": token,
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": lifetime_s,
                "expiration": expires.as_second(),
                "scope": "ibm openid",
            })
            .to_string(),
        )),
    }
}

fn refused(code: &str, message: &str) -> Result<Reply, S3Error> {
    let document = serde_json::json!({ "errorCode": code, "errorMessage": message });
    Ok(Reply::json(document.to_string()).with_status(StatusCode::BAD_REQUEST))
}

/// Listing and creating buckets must say of which service instance; HMAC keys belong to one. Errors: `InvalidArgument`.
pub(crate) fn check_instance(call: &Call) -> Result<(), S3Error> {
    let by_token = call.header("authorization").is_some_and(|value| bearer(value).is_some());
    if by_token && call.header("ibm-service-instance-id").is_none_or(str::is_empty) {
        return Err(S3Error::invalid_argument("Invalid Argument"));
    }
    Ok(())
}

/// Errors: `InvalidLocationConstraint`.
pub(crate) fn check_location(location: &str) -> Result<(), S3Error> {
    let region = CLASSES.into_iter().find_map(|class| location.strip_suffix(class)?.strip_suffix('-'));
    if region.is_some_and(|region| !region.is_empty()) {
        return Ok(());
    }
    Err(S3Error::new(400, "InvalidLocationConstraint", "The specified location-constraint is not valid"))
}

/// The token of an Authorization header, if it is of that kind.
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
