//! The case of header names, where it is told or to be kept.
//!
//! Owns: [`KeepCase`], by which a request asks for it, [`names_in`], which reads it of an answer, and [`written_as`], which gives it to a request.
//!
//! `http::HeaderName` is lower-case. hyper keeps the case of a message that it reads (`preserve_header_case`) beside it, in an extension, and
//! writes what has that extension as it was read; but the extension is private. So hyper itself is had write a message with it, or read one, in
//! memory.

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::future::pending;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// What a message in memory may have beside its names, in bytes.
const REST_LEN_MAX: usize = 1024;

/// In a request's extensions: those of its answer tell the case of the answer's headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepCase;

/// The names of `headers` that begin with `prefix`, which is lower-case, as the answer with these `extensions` had them. Lower-case ones where
/// nothing is known.
pub(crate) async fn names_in(headers: &HeaderMap, extensions: &Extensions, prefix: &str) -> Vec<String> {
    let mut request = Request::new(Empty::<Bytes>::new());
    for name in headers.keys().filter(|name| name.as_str().starts_with(prefix)) {
        request.headers_mut().insert(name, HeaderValue::from_static(""));
    }
    let lower = request.headers().keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
    if lower.is_empty() {
        return lower;
    }
    *request.extensions_mut() = extensions.clone();
    let names_len: usize = lower.iter().map(|name| name.len() + ":\r\n".len()).sum();
    let (ours, mut theirs) = duplex(names_len + REST_LEN_MAX);
    let writing = async {
        if let Ok((mut sender, connection)) = client::conn::http1::handshake(TokioIo::new(ours)).await {
            let _ = tokio::join!(sender.send_request(request), connection);
        }
        pending::<()>().await
    };
    let reading = async {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") && theirs.read_buf(&mut text).await.is_ok_and(|count| count > 0) {}
        text
    };
    let text = tokio::select! {
        text = reading => text,
        () = writing => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text);
    let named = |name: String| {
        let mut lines = text.lines().filter_map(|line| Some(line.split_once(':')?.0));
        lines.find(|line| line.eq_ignore_ascii_case(&name)).map(str::to_owned).unwrap_or(name)
    };
    lower.into_iter().map(named).collect()
}

/// The extensions with which a request has these header names on the wire as they are here; none where they cannot be names.
pub(crate) async fn written_as(names: &[String]) -> Extensions {
    let mut text = "GET / HTTP/1.1\r\n".to_owned();
    for name in names.iter().filter(|name| HeaderName::try_from(name.as_str()).is_ok()) {
        text.push_str(name);
        text.push_str(":\r\n");
    }
    text.push_str("\r\n");
    let (mut ours, theirs) = duplex(text.len() + REST_LEN_MAX);
    let read = Mutex::new(Extensions::new());
    let reader = service_fn(|request: Request<Incoming>| {
        *read.lock() = request.into_parts().0.extensions;
        // It wants no answer.
        async { Err::<Response<Empty<Bytes>>, _>("read") }
    });
    let mut reading = server::conn::http1::Builder::new();
    reading.preserve_header_case(true).max_headers(names.len() + 1);
    if ours.write_all(text.as_bytes()).await.is_ok() {
        let _ = reading.serve_connection(TokioIo::new(theirs), reader).await;
    }
    read.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_come_through_as_they_are() {
        let names: Vec<String> = (0..200).map(|number| format!("x-ms-meta-Name{number}")).collect();
        let extensions = written_as(&names).await;
        let mut headers = HeaderMap::new();
        for name in &names {
            headers.insert(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_static("value"));
        }
        headers.insert("x-ms-meta-other", HeaderValue::from_static("lower"));
        headers.insert("etag", HeaderValue::from_static("\"v\""));
        let mut told = names_in(&headers, &extensions, "x-ms-meta-").await;
        let mut wanted = [names, vec!["x-ms-meta-other".to_owned()]].concat();
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted);
        let unknown = names_in(&headers, &Extensions::new(), "x-ms-meta-").await;
        assert!(unknown.contains(&"x-ms-meta-name7".to_owned()));
        assert!(names_in(&headers, &extensions, "x-amz-").await.is_empty());
    }
}
