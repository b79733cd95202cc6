//! Servers that have one region, and want to be told which, or not told another.

use crate::{Answer, Server, options, soon};
use pail_store::{Error, ErrorKind, S3Store, Store, StoreOptions};

/// A server in `region`. What it answers is that of moto outside us-east-1, and of Ceph's gateway in a zone group of that name.
async fn server_in(region: &'static str) -> Server {
    Server::start(move |request| {
        let named = request.split("<LocationConstraint>").nth(1).and_then(|rest| rest.split('<').next());
        let (status, code) = match named {
            Some(named) if named == region => {
                return Answer::kept("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
            Some(_) => ("400 Bad Request", "InvalidLocationConstraint"),
            None => ("400 Bad Request", "IllegalLocationConstraintException"),
        };
        let body = format!("<Error><Code>{code}</Code><Message>not this region</Message></Error>");
        Answer::kept(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    })
    .await
}

async fn create(server: &Server, region: &str) -> Result<(), Error> {
    let options = StoreOptions { region: Some(region.to_owned()), ..options(&server.endpoint_url) };
    soon(S3Store::open(options).await.unwrap().create_bucket()).await
}

#[tokio::test]
async fn a_bucket_is_created_where_the_server_wants_its_region_named() {
    let server = server_in("eu-west-1").await;
    create(&server, "eu-west-1").await.unwrap();
    let requests = server.requests.lock();
    assert_eq!(requests.len(), 2, "without its name first: other servers refuse one that they do not know");
}

#[tokio::test]
async fn a_region_that_is_refused_is_named() {
    let server = server_in("eu-west-1").await;
    let error = create(&server, "eu-wset-1").await.unwrap_err();
    let refused = (ErrorKind::Unsupported, Some("InvalidLocationConstraint"));
    assert_eq!((error.kind, error.code.as_deref()), refused);
    assert!(error.to_string().contains("eu-wset-1"), "{error}");
}
