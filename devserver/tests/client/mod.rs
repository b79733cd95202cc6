//! A client for the tests.
//!
//! Owns: [`Client`], which signs with `aws-sigv4` (not with the server's own code), sends each request once and hides nothing: a
//! body that breaks off is seen as such.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pail_devserver::{Server, ServerConfig, Settings};
use std::time::SystemTime;

type Http = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;

pub struct Client {
    http: Http,
    endpoint: String,
    secret: Option<String>,
    access_key: String,
    region: String,
    /// Sent with each request.
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the body ended before its announced length, or with a reset.
    pub broken: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()).unwrap())
    }

    pub fn etag(&self) -> String {
        self.header("etag").unwrap().to_owned()
    }

    /// The text of the first element of that name.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    /// The texts of all elements of that name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let opening = format!("<{name}>");
        let pieces = text.split(&opening).skip(1);
        pieces.map(|piece| piece.split("</").next().unwrap().to_owned()).collect()
    }

    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

/// A server in memory with the bucket `bucket`, and a client of its owner.
pub async fn start(settings: Settings) -> (Server, Client) {
    let server = Server::start(ServerConfig { settings, ..Default::default() }).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let client = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    (server, client)
}

impl Client {
    /// Without a secret, requests are not signed.
    pub fn new(endpoint: &str, access_key: &str, secret: Option<&str>) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self {
            http,
            endpoint: endpoint.to_owned(),
            access_key: access_key.to_owned(),
            region: "us-east-1".to_owned(),
            headers: Vec::new(),
            secret: secret.map(str::to_owned),
        }
    }

    /// Signs for another region.
    pub fn in_region(mut self, region: &str) -> Self {
        self.region = region.to_owned();
        self
    }

    /// Sends a header with each request.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a request whose path and query are encoded already. An error means that there was no answer.
    pub async fn send(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let uri = format!("{}{path_and_query}", self.endpoint);
        let mut request = Request::builder().method(method).uri(&uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body: Bytes = body.into();
        if matches!(method, "PUT" | "POST") {
            // hyper leaves it out for an empty body, which S3 refuses.
            request = request.header("content-length", body.len());
        }
        let mut request = request.body(Full::new(body.clone())).unwrap();
        if let Some(secret) = &self.secret {
            self.sign(&mut request, secret, body);
        }
        let response = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (parts, mut body) = response.into_parts();
        let mut received = Vec::new();
        let mut broken = false;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => received.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: received, broken })
    }

    /// Sends a request that must be answered.
    pub async fn ask(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(method, path_and_query, headers, body.to_vec()).await.unwrap()
    }

    pub async fn get(&self, path_and_query: &str) -> Answer {
        self.ask("GET", path_and_query, &[], b"").await
    }

    /// Puts an object and returns its ETag.
    pub async fn put(&self, path: &str, body: &[u8]) -> String {
        let answer = self.ask("PUT", path, &[], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.etag()
    }

    /// Begins an upload and returns its id.
    pub async fn begin(&self, path: &str) -> String {
        self.ask("POST", &format!("{path}?uploads"), &[], b"").await.element("UploadId").unwrap()
    }

    /// Uploads these parts, numbered from 1, and returns the document that completes them.
    pub async fn upload(&self, path: &str, id: &str, parts: &[&[u8]]) -> String {
        let mut document = String::from("<CompleteMultipartUpload>");
        for (number, part) in (1..).zip(parts) {
            let etag = self.put(&format!("{path}?partNumber={number}&uploadId={id}"), part).await;
            document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        document + "</CompleteMultipartUpload>"
    }

    /// The head of a PUT of `body`, signed, for who sends the rest by hand.
    pub fn head_of_put(&self, path: &str, body: &[u8]) -> String {
        let body = Bytes::copy_from_slice(body);
        let authority = self.endpoint.trim_start_matches("http://").to_owned();
        let request = Request::builder().method("PUT").uri(format!("{}{path}", self.endpoint));
        let request = request.header("content-length", body.len()).header("host", authority);
        let mut request = request.body(Full::new(body.clone())).unwrap();
        if let Some(secret) = &self.secret {
            self.sign(&mut request, secret, body);
        }
        let headers = request.headers().iter();
        let lines = headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        format!("PUT {path} HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
    }

    fn sign(&self, request: &mut Request<Full<Bytes>>, secret: &str, body: Bytes) {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = Credentials::new(&self.access_key, secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let claimed = request.headers().get("x-amz-content-sha256").map(|v| v.to_str().unwrap().to_owned());
        let payload = match claimed {
            Some(claimed) => SignableBody::Precomputed(claimed),
            None => SignableBody::Bytes(&body),
        };
        let uri = request.uri().to_string();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap()));
        let signable = SignableRequest::new(request.method().as_str(), &uri, headers, payload).unwrap();
        let (instructions, _) = aws_sigv4::http_request::sign(signable, &params).unwrap().into_parts();
        // A header that the test set itself is not to be sent twice.
        request.headers_mut().remove("x-amz-content-sha256");
        instructions.apply_to_request_http1x(request);
    }
}
