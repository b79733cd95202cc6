//! Several requests in one.
//!
//! Owns: the batch endpoint: a `multipart/mixed` body of HTTP requests, each without media, answered by one of their answers, in order.
//! A part is authorized, counted and struck by faults as a request of its own is; it takes its `Authorization` from the batch if it has
//! none.
//! Source: Cloud Storage documentation, "Batch requests".

use crate::call::Call;
use crate::fault::FaultAction;
use crate::gcs::error::{ErrorFormat, GcsError};
use crate::gcs::receive::{parse_document, receive_bytes};
use crate::gcs::related::boundary_of;
use crate::gcs::route::{Operation, Route};
use crate::gcs::{authorize, dispatch_resource, fault_before, record};
use crate::reply::Reply;
use crate::sigv4::Caller;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// The most calls of one request.
const CALLS_LEN_MAX: usize = 100;

/// The longest body, in bytes.
const BODY_LEN_BYTES_MAX: usize = 10 << 20;

/// One request of a batch.
struct Part {
    /// Of the part, to be answered by.
    content_id: Option<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// Errors: 400 for a body that is no batch, or has too many calls.
pub(crate) async fn batch(call: &mut Call) -> Result<Reply, GcsError> {
    let boundary = boundary_of(call.header("content-type").unwrap_or_default())?;
    let body = Bytes::from(receive_bytes(call, BODY_LEN_BYTES_MAX).await?);
    let parts = split(&body, &boundary).map(|part| parse(&part)).collect::<Result<Vec<Part>, GcsError>>()?;
    if parts.is_empty() || parts.len() > CALLS_LEN_MAX {
        return Err(GcsError::invalid(format!(
            "A batch has 1 to {CALLS_LEN_MAX} calls, this one has {}.",
            parts.len()
        )));
    }
    let answer_boundary = format!("batch_{:032x}", rand::random::<u128>());
    let mut answer = Vec::new();
    for part in parts {
        let content_id = part.content_id.clone();
        let reply = serve(call, part).await;
        answer.extend_from_slice(
            format!("--{answer_boundary}\r\nContent-Type: application/http\r\n").as_bytes(),
        );
        if let Some(id) = content_id {
            let id = id.trim_start_matches('<').trim_end_matches('>');
            answer.extend_from_slice(format!("Content-ID: <response-{id}>\r\n").as_bytes());
        }
        answer.extend_from_slice(b"\r\n");
        write(&mut answer, &reply).await?;
    }
    answer.extend_from_slice(format!("--{answer_boundary}--\r\n").as_bytes());
    let mut reply = Reply::ok();
    reply.set(CONTENT_TYPE, &format!("multipart/mixed; boundary={answer_boundary}"));
    reply.body = Bytes::from(answer).into();
    Ok(reply)
}

/// Answers one call of a batch.
async fn serve(outer: &Call, part: Part) -> Reply {
    match try_serve(outer, part).await {
        Ok(reply) => reply,
        Err(error) => error.into_reply(ErrorFormat::Json),
    }
}

async fn try_serve(outer: &Call, part: Part) -> Result<Reply, GcsError> {
    let Part { method, uri, mut headers, body, .. } = part;
    for name in [AUTHORIZATION, HOST] {
        if let (None, Some(value)) = (headers.get(&name), outer.parts.headers.get(&name)) {
            headers.insert(name, value.clone());
        }
    }
    let route = Route::of(&method, uri.path(), uri.query(), &headers)?;
    let operation = route.operation;
    let open = outer.shared.tally.begin(operation.name(), record(&route, &headers));
    let fault = outer.shared.faults.take(operation.name(), &route.target.key);
    let mut parts = outer.parts.clone();
    (parts.method, parts.uri, parts.headers) = (method, uri, headers);
    let call = Call {
        shared: outer.shared.clone(),
        settings: outer.settings.clone(),
        link: outer.link.clone(),
        parts,
        target: route.target,
        fault,
        open,
        caller: Caller::default(),
        body: None,
    };
    if matches!(call.fault, Some(FaultAction::Disconnect | FaultAction::CutRequest { .. })) {
        return Err(GcsError::backend());
    }
    let is_media = call.target.param("alt") == Some("media") || call.target.has("uploadType");
    if is_media || operation == Operation::Batch {
        return Err(GcsError::invalid("Media and batches cannot be parts of a batch."));
    }
    authorize(&call, operation)?;
    fault_before(&call).map_or(Ok(()), Err)?;
    let reply = dispatch_resource(&call, operation, route.source, parse_document(&body)?).await;
    if call.fault == Some(FaultAction::ApplyThenDisconnect) {
        return Err(GcsError::backend());
    }
    reply
}

/// The parts between boundaries.
fn split<'a>(body: &'a Bytes, boundary: &str) -> impl Iterator<Item = Bytes> + use<'a> {
    let dashed = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = (0..body.len())
        .filter(|at| body[*at..].starts_with(&dashed) && (*at == 0 || body[*at - 1] == b'\n'))
        .collect();
    let pairs: Vec<(usize, usize)> =
        starts.windows(2).map(|pair| (pair[0] + dashed.len(), pair[1])).collect();
    pairs.into_iter().map(|(from, to)| body.slice(from..to))
}

/// A header block and what follows it.
fn split_head(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let find = |what: &[u8]| {
        bytes.windows(what.len()).position(|window| window == what).map(|at| (at, at + what.len()))
    };
    let (end, next) = match (find(b"\r\n\r\n"), find(b"\n\n")) {
        (Some(crlf), Some(lf)) => crlf.min(lf),
        (crlf, lf) => crlf.or(lf)?,
    };
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[next..]))
}

/// Errors: 400 for a part that is no HTTP request.
fn parse(part: &Bytes) -> Result<Part, GcsError> {
    let malformed = || GcsError::invalid("Failed to parse batch request: malformed part.");
    let (outer, inner) = split_head(part).ok_or_else(malformed)?;
    // A call without headers and body may end with its first line.
    let mut request = inner.trim_ascii().to_vec();
    if split_head(&request).is_none() {
        request.extend_from_slice(b"\r\n\r\n");
    }
    let (head, body) = split_head(&request).ok_or_else(malformed)?;
    let mut lines = head.lines();
    let mut words = lines.next().ok_or_else(malformed)?.split_ascii_whitespace();
    let method =
        words.next().and_then(|word| Method::from_bytes(word.as_bytes()).ok()).ok_or_else(malformed)?;
    let uri = words.next().and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
    let content_id = outer.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("content-id").then(|| value.trim().to_owned())
    });
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::try_from(name.trim()).map_err(|_| malformed())?;
        headers.insert(name, HeaderValue::from_str(value.trim()).map_err(|_| malformed())?);
    }
    Ok(Part { content_id, method, uri, headers, body: Bytes::copy_from_slice(body) })
}

/// Writes an answer down as HTTP.
async fn write(out: &mut Vec<u8>, reply: &Reply) -> std::io::Result<()> {
    let reason = reply.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", reply.status.as_u16()).as_bytes());
    for (name, value) in &reply.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", reply.body.len()).as_bytes());
    for segment in reply.body.segments() {
        out.extend_from_slice(&segment.read_front(segment.len).await?);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
