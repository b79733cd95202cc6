//! Who sent a request.
//!
//! Owns: the check of Signature Version 4, in the Authorization header and in presigned URLs, and of bearer tokens where they are taken.
//! The path is decoded and encoded again before it is signed, as S3 does it, so that clients may encode more than they
//! must. Chunk signatures inside `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` bodies are not checked.
//! Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".

use crate::credentials::{Credentials, Identity};
use crate::error::S3Error;
use crate::ibm::bearer;
use crate::target::Target;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// How far clocks may differ, in seconds.
const SKEW_S_MAX: i64 = 15 * 60;

/// The longest life of a presigned URL, in seconds: seven days.
const EXPIRES_S_MAX: i64 = 7 * 24 * 60 * 60;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

type HmacSha256 = Hmac<Sha256>;

/// Who sent a request, and for which region it is signed, if it is.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    pub(crate) region: Option<String>,
}

/// Checks signatures against the credentials.
pub(crate) struct Authenticator {
    credentials: Credentials,
    /// Guards the signing key of the last secret and scope (date, region, service), which costs four HMACs. A leaf.
    signing_key: Mutex<Option<SigningKey>>,
}

struct SigningKey {
    secret: String,
    scope: String,
    key: Vec<u8>,
}

/// What a signature says of itself.
struct Claim {
    access_key: String,
    /// `date/region/service/aws4_request`.
    scope: String,
    signed_headers: String,
    signature: String,
    /// As in `x-amz-date`.
    time: String,
    /// Seconds of validity, for presigned URLs.
    expires_s: Option<i64>,
}

impl Authenticator {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, signing_key: Mutex::new(None) }
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Errors: `InvalidAccessKeyId`, `InvalidToken`, `ExpiredToken`, `SignatureDoesNotMatch`, `RequestTimeTooSkewed`, `AccessDenied` (an
    /// expired URL, a bearer token that is not valid), `AuthorizationHeaderMalformed`, `InvalidRequest`.
    pub(crate) fn check(
        &self,
        parts: &Parts,
        target: &Target,
        takes_tokens: bool,
    ) -> Result<Caller, S3Error> {
        let authorization = header(parts, "authorization");
        if let Some(token) = authorization.filter(|_| takes_tokens).and_then(bearer) {
            return match self.credentials.has_token(token) {
                true => Ok(Caller { identity: Identity::Owner, region: None }),
                false => Err(S3Error::access_denied()),
            };
        }
        let presigned = target.has("X-Amz-Signature");
        let claim = if presigned {
            claim_of_query(target)?
        } else if let Some(value) = authorization {
            claim_of_header(parts, value)?
        } else {
            return Ok(Caller::default());
        };
        let token = header(parts, "x-amz-s3session-token")
            .or_else(|| header(parts, "x-amz-security-token"))
            .or_else(|| target.param("X-Amz-S3session-Token"))
            .or_else(|| target.param("X-Amz-Security-Token"));
        let (secret, identity) = self.credentials.find(&claim.access_key, token)?;
        check_time(&claim)?;
        let payload = match header(parts, "x-amz-content-sha256") {
            Some(hash) => hash,
            None if presigned => UNSIGNED_PAYLOAD,
            None => {
                return Err(S3Error::invalid_request(
                    "Missing required header for this request: x-amz-content-sha256",
                ));
            }
        };
        let request = canonical_request(parts, target, &claim.signed_headers, payload);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            claim.time,
            claim.scope,
            hex::encode(Sha256::digest(request.as_bytes()))
        );
        let signature = hex::decode(&claim.signature).unwrap_or_default();
        match mac(&self.signing_key(secret, &claim.scope), to_sign.as_bytes()).verify_slice(&signature) {
            Ok(()) => Ok(Caller { identity, region: claim.scope.split('/').nth(1).map(str::to_owned) }),
            Err(_) => Err(S3Error::new(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
            )),
        }
    }

    fn signing_key(&self, secret: String, scope: &str) -> Vec<u8> {
        let mut cached = self.signing_key.lock();
        if let Some(cached) = cached.as_ref()
            && cached.scope == scope
            && cached.secret == secret
        {
            return cached.key.clone();
        }
        let mut key = format!("AWS4{secret}").into_bytes();
        for word in scope.split('/') {
            key = mac(&key, word.as_bytes()).finalize().into_bytes().to_vec();
        }
        *cached = Some(SigningKey { secret, scope: scope.to_owned(), key: key.clone() });
        key
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &[u8], message: &[u8]) -> HmacSha256 {
    let mut mac = HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn malformed(message: &'static str) -> S3Error {
    S3Error::new(400, "AuthorizationHeaderMalformed", message)
}

fn claim_of_header(parts: &Parts, value: &str) -> Result<Claim, S3Error> {
    let Some(rest) = value.strip_prefix(ALGORITHM) else {
        return Err(S3Error::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    };
    let field = |name: &str| {
        rest.split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let credential = field("Credential").ok_or_else(|| malformed("The Credential field is missing."))?;
    let (access_key, scope) = split_credential(&credential)?;
    let time = header(parts, "x-amz-date").ok_or_else(|| {
        S3Error::new(403, "AccessDenied", "AWS authentication requires a valid x-amz-date header")
    })?;
    Ok(Claim {
        access_key,
        scope,
        signed_headers: field("SignedHeaders")
            .ok_or_else(|| malformed("The SignedHeaders field is missing."))?,
        signature: field("Signature").ok_or_else(|| malformed("The Signature field is missing."))?,
        time: time.to_owned(),
        expires_s: None,
    })
}

fn claim_of_query(target: &Target) -> Result<Claim, S3Error> {
    let param = |name: &str| {
        target.param(name).map(str::to_owned).ok_or_else(|| {
            S3Error::new(
                400,
                "AuthorizationQueryParametersError",
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
    };
    let (access_key, scope) = split_credential(&param("X-Amz-Credential")?)?;
    let expires_s = param("X-Amz-Expires")?
        .parse()
        .ok()
        .filter(|expires| (0..=EXPIRES_S_MAX).contains(expires))
        .ok_or_else(|| {
            S3Error::new(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be less than a week")
        })?;
    Ok(Claim {
        access_key,
        scope,
        signed_headers: param("X-Amz-SignedHeaders")?,
        signature: param("X-Amz-Signature")?,
        time: param("X-Amz-Date")?,
        expires_s: Some(expires_s),
    })
}

/// An access key may hold slashes; the scope has four words.
fn split_credential(credential: &str) -> Result<(String, String), S3Error> {
    let mut slashes = credential.rmatch_indices('/').map(|(at, _)| at);
    match slashes.nth(3) {
        Some(at) => Ok((credential[..at].to_owned(), credential[at + 1..].to_owned())),
        None => Err(malformed("The authorization header is malformed; the Credential is mal-formed.")),
    }
}

fn check_time(claim: &Claim) -> Result<(), S3Error> {
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", &claim.time)
        .and_then(|time| TimeZone::UTC.to_timestamp(time))
        .map_err(|_| {
            S3Error::new(403, "AccessDenied", "The request's date is not a valid ISO 8601 basic time")
        })?
        .as_second();
    let age_s = Timestamp::now().as_second() - signed_at;
    match claim.expires_s {
        Some(expires_s) if age_s > expires_s => Err(S3Error::new(403, "AccessDenied", "Request has expired")),
        Some(_) if age_s < -SKEW_S_MAX => Err(S3Error::new(403, "AccessDenied", "Request is not valid yet")),
        None if age_s.abs() > SKEW_S_MAX => Err(S3Error::new(
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        )),
        _ => Ok(()),
    }
}

fn canonical_request(parts: &Parts, target: &Target, signed_headers: &str, payload: &str) -> String {
    let path: Vec<u8> = percent_decode_str(parts.uri.path()).collect();
    let path = percent_encoding::percent_encode(&path, PATH);
    let mut query: Vec<(String, String)> = target
        .query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| {
            (utf8_percent_encode(name, QUERY).to_string(), utf8_percent_encode(value, QUERY).to_string())
        })
        .collect();
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut out = format!("{}\n{path}\n{}\n", parts.method, query.join("&"));
    for name in signed_headers.split(';') {
        let values: Vec<String> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}:{}", values.join(","));
    }
    let _ = write!(out, "\n{signed_headers}\n{payload}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "GET Object" of the API Reference's examples for header-based signatures, with its published canonical hash.
    #[test]
    fn the_canonical_request_of_the_reference_is_reproduced() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let (parts, ()) = http::Request::builder()
            .uri("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", empty)
            .header("x-amz-date", "20130524T000000Z")
            .body(())
            .unwrap()
            .into_parts();
        let request = canonical_request(
            &parts,
            &Target::default(),
            "host;range;x-amz-content-sha256;x-amz-date",
            empty,
        );
        assert_eq!(
            hex::encode(Sha256::digest(request.as_bytes())),
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
        );
        let authenticator = Authenticator::new(Credentials::new(Vec::new()));
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned();
        let scope = "20130524/us-east-1/s3/aws4_request";
        let to_sign = format!(
            "{ALGORITHM}\n20130524T000000Z\n{scope}\n{}",
            hex::encode(Sha256::digest(request.as_bytes()))
        );
        let signature =
            mac(&authenticator.signing_key(secret, scope), to_sign.as_bytes()).finalize().into_bytes();
        assert_eq!(
            hex::encode(signature),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
