//! Buckets behind TLS, with certificates of an authority that the caller names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use pail_devserver::{Credential, Server, ServerConfig};
use pail_store::{
    CallerVariables, ErrorKind, GetOptions, ListRequest, PutOptions, RawKey, S3Store, Store, StoreOptions,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const BUCKET: &str = "secure";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A file of the certificate to trust.
fn bundle(authority: &Authority, dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

/// Speaks TLS as `host`.
fn acceptor(host: &str, authority: &Authority) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Speaks TLS as `localhost`, and hands on what it hears to `server`.
async fn tls_before(server: SocketAddr, authority: &Authority) -> SocketAddr {
    let acceptor = acceptor("localhost", authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust us goes away.
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    address
}

fn options(port: u16, variables: &[(&str, &str)]) -> StoreOptions {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let variables = keys.iter().chain(variables).map(|(name, value)| ((*name).into(), (*value).into()));
    StoreOptions {
        endpoint_url: Some(format!("https://localhost:{port}")),
        environment: Some(CallerVariables(variables.collect())),
        retry_deadline: Duration::from_secs(20),
        ..StoreOptions::s3(BUCKET)
    }
}

#[tokio::test]
async fn a_bucket_is_read_and_written_over_tls_with_the_authority_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority();
    let file = bundle(&ours, dir.path(), "ours.pem");
    let config = dir.path().join("config");
    std::fs::write(&config, format!("[default]\nca_bundle = {}\n", file.display())).unwrap();
    let server = Server::start(ServerConfig::default()).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    let port = tls_before(server.addr(), &ours).await.port();

    for variable in [("AWS_CA_BUNDLE", &file), ("AWS_CONFIG_FILE", &config)] {
        let store =
            S3Store::open(options(port, &[(variable.0, variable.1.to_str().unwrap())])).await.unwrap();
        let key = RawKey::new("a//b/../ü\n").unwrap();
        let bytes = bytes::Bytes::from(vec![7; 3 << 20]);
        let version = store.put(&key, bytes.clone().into(), PutOptions::default()).await.unwrap();
        let got = store.get(&key, GetOptions::default()).await.unwrap();
        assert_eq!(got.meta.version, version);
        assert!(got.bytes().await.unwrap() == bytes);
        assert_eq!(store.list(ListRequest::default()).await.unwrap().objects.len(), 1);
        store.delete(&key, pail_store::Condition::None).await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted_and_the_error_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let file = bundle(&ours, dir.path(), "ours.pem");
    let server = Server::start(ServerConfig::default()).await.unwrap();
    let port = tls_before(server.addr(), &theirs).await.port();
    let options = StoreOptions {
        retry_deadline: Duration::ZERO,
        ..options(port, &[("AWS_CA_BUNDLE", file.to_str().unwrap())])
    };
    let error = S3Store::open(options).await.unwrap().list(ListRequest::default()).await.unwrap_err();
    let told = error.to_string();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{told}");
    assert!(told.contains("certificate") && told.contains(&format!("https://localhost:{port}")), "{told}");
    assert_eq!(server.counters().total(), 0, "nothing was said to it");
}

/// The head of a request or answer, in lower case.
async fn head_of(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).await.unwrap() > 0, "it breaks off: {head}");
    }
    head.to_lowercase()
}

/// A proxy behind which there is one service of credentials; gives what it was asked to connect to.
async fn role_service(proxy: TcpListener, authority: &Authority) -> String {
    let (stream, _) = proxy.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let asked = head_of(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let inside = acceptor("sts.us-east-1.amazonaws.com", authority).accept(stream).await.unwrap();
    let mut inside = BufReader::new(inside);
    let head = head_of(&mut inside).await;
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut form = vec![0; len];
    inside.read_exact(&mut form).await.unwrap();
    assert!(String::from_utf8(form).unwrap().contains("Action=AssumeRoleWithWebIdentity"));
    let answer = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>test</AccessKeyId>\
        <SecretAccessKey>testtest</SecretAccessKey><SessionToken>token</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
        </AssumeRoleWithWebIdentityResponse>";
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", answer.len());
    inside.write_all([head.as_bytes(), answer.as_bytes()].concat().as_slice()).await.unwrap();
    inside.flush().await.unwrap();
    asked
}

#[tokio::test]
async fn keys_of_a_role_come_through_the_proxy_and_with_the_authority_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority();
    let (file, token) = (bundle(&ours, dir.path(), "ours.pem"), dir.path().join("token"));
    std::fs::write(&token, "a token").unwrap();
    let server = Server::start(ServerConfig::default()).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    server.set_credentials(vec![Credential {
        access_key: "test".to_owned(),
        secret_key: "testtest".to_owned(),
        session_token: Some("token".to_owned()),
        expires_at_s: None,
    }]);
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("user:pass@{}", proxy.local_addr().unwrap());
    let variables = [
        ("AWS_CA_BUNDLE", file.to_str().unwrap()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader"),
        ("HTTPS_PROXY", &proxy_url),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = StoreOptions {
        endpoint_url: Some(server.endpoint_url()),
        environment: Some(CallerVariables(variables.into())),
        ..StoreOptions::s3(BUCKET)
    };
    let store = S3Store::open(options).await.unwrap();
    let (asked, checked) = tokio::join!(role_service(proxy, &ours), store.list(ListRequest::default()));
    checked.unwrap();
    assert!(asked.starts_with("connect sts.us-east-1.amazonaws.com:443 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked}");
    server.shutdown().await;
}

/// A proxy behind which there is S3 as `host`, for one connection and two requests for the object `bytes`; gives the heads of all that
/// was asked.
async fn s3_behind(proxy: TcpListener, host: &str, authority: &Authority) -> Vec<String> {
    let (stream, _) = proxy.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut heads = vec![head_of(&mut stream).await];
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let mut inside = BufReader::new(acceptor(host, authority).accept(stream).await.unwrap());
    for _ in 0..2 {
        heads.push(head_of(&mut inside).await);
        let answer = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 5\r\n\r\nbytes";
        inside.write_all(answer.as_bytes()).await.unwrap();
        inside.flush().await.unwrap();
    }
    heads
}

#[tokio::test]
async fn buckets_on_aws_are_reached_by_names_that_its_certificate_covers() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority();
    let file = bundle(&ours, dir.path(), "ours.pem");
    let host = "s3.eu-west-1.amazonaws.com";
    // A wildcard stands for one label, so that a dotted name is none of its host names.
    for (bucket, certified, asked, path) in [
        ("plain", format!("*.{host}"), format!("plain.{host}"), "/a%20b"),
        ("do.tted", host.to_owned(), host.to_owned(), "/do.tted/a%20b"),
    ] {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
        let variables = [("AWS_CA_BUNDLE", file.to_str().unwrap()), ("https_proxy", &proxy_url)];
        let options = StoreOptions {
            bucket: StoreOptions::s3(bucket).bucket,
            region: Some("eu-west-1".to_owned()),
            endpoint_url: None,
            ..options(0, &variables)
        };
        let store = S3Store::open(options).await.unwrap();
        let reads = async {
            for _ in 0..2 {
                let got = store.get(&RawKey::new("a b").unwrap(), GetOptions::default()).await.unwrap();
                assert_eq!(&got.bytes().await.unwrap()[..], b"bytes");
            }
        };
        let (heads, ()) = tokio::join!(s3_behind(proxy, &certified, &ours), reads);
        assert!(heads[0].starts_with(&format!("connect {asked}:443 http/1.1\r\n")), "{}", heads[0]);
        for head in &heads[1..] {
            assert!(head.starts_with(&format!("get {path} http/1.1\r\n")), "{head}");
            assert!(head.contains(&format!("\r\nhost: {asked}\r\n")), "{head}");
            assert!(!head.contains("proxy-"), "what is for the proxy alone: {head}");
        }
    }
}
