//! Signature Version 4.
//!
//! Owns: [`sign`]. The payload stays unsigned (`UNSIGNED-PAYLOAD`): hashing it would cost 0.6 CPU seconds per GiB,
//! and TLS and the checksum headers guard it. The path is neither normalised nor encoded a second time, as S3 alone of
//! the AWS services wants it. Invariant: nothing of what is signed is logged. Source: Amazon S3 API Reference, "Authenticating Requests".

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    self, PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use http::Request;
use std::time::SystemTime;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;

/// What a signature is for.
pub(super) struct Scope<'a> {
    pub region: &'a str,
    /// `s3`, or `s3express`.
    pub service: &'static str,
    /// The credentials are those of a directory bucket's session, whose token has a header of its own.
    pub is_session: bool,
}

/// Adds the signature's headers. Errors: a sentence without any secret.
pub(super) fn sign<B>(
    request: &mut Request<B>,
    credentials: &Credentials,
    Scope { region, service, is_session }: Scope<'_>,
    now: SystemTime,
) -> Result<(), String> {
    // The library panics on what no header can hold.
    let is_sendable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_sendable(credentials.access_key_id()) || !credentials.session_token().is_none_or(is_sendable) {
        return Err("the access key or the session token has a character that none can have; a line break at its end is common".to_owned());
    }
    let mut settings = SigningSettings::default();
    settings.session_token_name_override = is_session.then_some("x-amz-s3session-token");
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|e| format!("the request cannot be signed: {e}"))?
        .into();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => headers.push((name.as_str(), value)),
            // The signer takes text alone. Of S3's own headers all must be signed; others, such as a condition, need not be.
            Err(_) if name.as_str().starts_with("x-amz-") => {
                return Err(format!("the header {name} is not UTF-8, and cannot be signed"));
            }
            Err(_) => {}
        }
    }
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(
        request.method().as_str(),
        &uri,
        headers.into_iter(),
        SignableBody::UnsignedPayload,
    )
    .map_err(|e| format!("the request cannot be signed: {e}"))?;
    let (instructions, _) = unlogged(|| http_request::sign(signable, &params))
        .map_err(|e| format!("the request cannot be signed: {e}"))?
        .into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// Runs `work` without its traces: at the finest level the signer logs all that it signs, session tokens and customers' keys included.
fn unlogged<T>(work: impl FnOnce() -> T) -> T {
    match LevelFilter::current() == LevelFilter::TRACE {
        true => tracing::dispatcher::with_default(&Dispatch::none(), work),
        false => work(),
    }
}
