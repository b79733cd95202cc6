//! Somebody who opens stores.

use pail_devserver::{Quirks, Server, ServerConfig, Settings};
use pail_store::{BucketUri, CallerVariables, Error, GetOptions, RawKey, S3Store, Store, StoreOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const KEY: &str = "AKIDEXAMPLEWXYZ";
pub const SECRET: &str = "hunter2-hunter2";
pub const OBJECT: &str = "o";

/// Each dialect, and a bucket in it.
pub const URIS: [&str; 3] = ["s3://bucket", "r2://bucket", "cos://eu-de/bucket"];

/// A caller with a home of their own and variables.
pub struct Caller {
    home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Caller {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// As an editor does, so that nobody sees half of it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    pub fn options(&self, uri: &str, server: &Server) -> StoreOptions {
        let mut environment: std::collections::BTreeMap<_, _> = self.variables.iter().cloned().collect();
        environment.insert("HOME".to_owned(), text_of(self.home.path()));
        environment.insert("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned());
        StoreOptions {
            endpoint_url: Some(server.endpoint_url()),
            environment: Some(CallerVariables(environment)),
            ..StoreOptions::new(uri.parse::<BucketUri>().unwrap())
        }
    }

    pub async fn open(&self, uri: &str, server: &Server) -> Arc<S3Store> {
        S3Store::open(self.options(uri, server)).await.unwrap()
    }
}

pub fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A server with one bucket and one object, that knows [`KEY`] and speaks every dialect.
pub async fn server() -> Server {
    server_with(Settings { quirks: Quirks { ibm: true, ..Quirks::default() }, ..Settings::default() }).await
}

pub async fn server_with(settings: Settings) -> Server {
    let config = ServerConfig {
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
        settings,
        ..ServerConfig::default()
    };
    let server = Server::start(config).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    server.put_object("bucket", OBJECT, vec![7; 1000].into()).await.unwrap();
    server
}

pub async fn read(store: &S3Store) -> Result<usize, Error> {
    let got = store.get(&RawKey::new(OBJECT).unwrap(), GetOptions::default()).await?;
    Ok(got.bytes().await?.len())
}

/// AWS's form of a credentials file.
pub fn profile(name: &str, key: &str, secret: &str) -> String {
    format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
}
