//! HTTP under the library's client.
//!
//! Owns: [`PipelineConnector`], by which requests of the library's Azure client go out through the one pipeline: with its retries, deadline,
//! bound, counters, proxies and certificates, and authorized anew for each attempt. The request that the library makes is addressed by the
//! key of its [`Call`], which the library's paths may be unable to name, and what the call carries beside it is added.
//!
//! # Why not the library's own HTTP client
//! It is `reqwest` with a second TLS stack; its deadline covers a body as a whole, it resends what was authorized once, and it bounds nothing.

use super::{METADATA, Pipeline, metadata_case};
use crate::adapter::call::{AnswerHead, Call};
use crate::contract::{Error, Payload};
use crate::http::failure::innermost;
use crate::http::header_case::{KeepCase, names_in};
use crate::http::pipeline::{Answer, OpenBody};
use crate::http::request::ApiRequest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Extensions, HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How much of a body is handed over at a time.
const PIECE_SIZE_BYTES: usize = 128 * 1024;
/// The parameters that the library's Azure client has in its requests for objects.
const PARAMETERS: [&str; 3] = ["comp", "blockid", "versionid"];

/// Gives the library the pipeline.
#[derive(Clone)]
pub(super) struct PipelineConnector(pub Arc<Pipeline>);

impl std::fmt::Debug for PipelineConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipelineConnector")
    }
}

impl HttpConnector for PipelineConnector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for PipelineConnector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let call = Call::current().ok_or_else(|| refused("a request that no call is behind"))?;
        let (parts, body) = request.into_parts();
        let mut request = ApiRequest::on(call.operation, parts.method, &call.key);
        request.query = query_of(parts.uri.query().unwrap_or_default())?;
        request.headers = parts.headers;
        // The pipeline knows the payload.
        request.headers.remove(header::CONTENT_LENGTH);
        request.headers.extend(call.headers.clone());
        request.payload = match &call.payload {
            Some(payload) => payload.clone(),
            None => Payload::Bytes(body.collect().await?.to_bytes()),
        };
        request.extensions = metadata_case(&call.metadata_names).await;
        if !request.writes() {
            request.extensions.insert(KeepCase);
        }
        let failed = |error: Error| {
            call.failed(error);
            refused("see the call's error")
        };
        if request.method != Method::GET {
            let answer = self.0.send(&request).await.map_err(failed)?;
            return Ok(response(&call, answer.headers, &answer.extensions, answer.body.into()).await);
        }
        let answer = self.0.open(&request, &self.0.waiting()).await.map_err(failed)?;
        let Answer { headers, extensions, body, .. } = answer;
        let len = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let body = Stream(Mutex::new(pieces(self.0.clone(), body, len)));
        Ok(response(&call, headers, &extensions, HttpResponseBody::new(body)).await)
    }
}

async fn response(
    call: &Call,
    headers: HeaderMap,
    extensions: &Extensions,
    body: HttpResponseBody,
) -> HttpResponse {
    let names = names_in(&headers, extensions, METADATA).await;
    let metadata_names = names.iter().map(|name| name[METADATA.len()..].to_owned()).collect();
    call.answered(AnswerHead { headers: headers.clone(), metadata_names });
    let mut response = Response::new(body);
    // The library tells a range's answer by its status.
    if headers.contains_key(header::CONTENT_RANGE) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.headers_mut() = headers;
    response
}

/// Nothing that the library could try again.
fn refused(why: &str) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Unknown, why.into())
}

fn query_of(query: &str) -> Result<Vec<(&'static str, String)>, HttpError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = PARAMETERS.iter().find(|known| **known == name);
        let value = percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
        Ok((*name.ok_or_else(|| refused("a request with a parameter that is not known here"))?, value))
    });
    pairs.collect()
}

/// A body as it arrives, each piece of it within the stall timeout. What came before it broke comes before the error.
fn pieces(
    pipeline: Arc<Pipeline>,
    body: OpenBody,
    len: Option<u64>,
) -> BoxStream<'static, Result<Bytes, HttpError>> {
    let begun = (pipeline, body, len.unwrap_or(u64::MAX), None);
    Box::pin(futures::stream::try_unfold(begun, |(pipeline, mut body, left, mut broke)| async move {
        let mut piece = vec![0; PIECE_SIZE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_SIZE_BYTES))];
        let mut filled = 0;
        while filled < piece.len() && broke.is_none() {
            let stall_timeout = pipeline.options.stall_timeout;
            match tokio::time::timeout(stall_timeout, body.body.read(&mut piece[filled..])).await {
                Ok(Ok(0)) => break,
                Ok(Ok(count)) => {
                    filled += count;
                    pipeline.movement.moved();
                    pipeline.counters.count_received(count as u64);
                }
                Ok(Err(cause)) => broke = Some(broken(&innermost(&cause))),
                Err(_) => broke = Some(broken(&format!("no bytes for {} s", stall_timeout.as_secs()))),
            }
        }
        piece.truncate(filled);
        match (filled, broke) {
            (0, Some(cause)) => Err(cause),
            (0, None) => {
                body.body.finish().await;
                Ok(None)
            }
            (_, broke) => Ok(Some((Bytes::from(piece), (pipeline, body, left - filled as u64, broke)))),
        }
    }))
}

fn broken(cause: &str) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Interrupted, cause.into())
}

/// The library wants bodies that could be shared, which this one never is.
struct Stream(Mutex<BoxStream<'static, Result<Bytes, HttpError>>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let next = self.get_mut().0.get_mut().as_mut().poll_next(cx);
        next.map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}
