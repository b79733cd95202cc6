//! How to reach a bucket.
//!
//! Owns: [`StoreOptions`], the raw wishes of the caller. They are resolved once, when the store is opened; nothing later reads the
//! environment.

use super::{BucketUri, NewObjects, StoreKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// How to reach a bucket. [`StoreOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The bucket, and which kind of store it is in. The prefix says nothing here.
    pub bucket: BucketUri,
    /// Else `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`. On AWS a wrong one is corrected by the
    /// server's word.
    pub region: Option<String>,
    /// Else `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile's, AWS itself.
    pub endpoint_url: Option<String>,
    /// A profile of the AWS configuration files; else `AWS_PROFILE`, `default`.
    pub profile: Option<String>,
    /// The environment variables that credentials, profile, region and endpoint are taken from (`AWS_*`, `HOME`), as a
    /// daemon does for its callers; `None` is this process's own. Values are secret: `Debug` must not show them.
    pub environment: Option<CallerVariables>,
    /// Send unsigned requests, whatever credentials there are.
    pub anonymous: bool,
    /// Whoever asks pays for what is sent (requester pays). On Google Cloud Storage the project that pays is `GOOGLE_CLOUD_PROJECT`'s.
    pub requester_pays: bool,
    /// What objects get that had no attributes before.
    pub new_objects: NewObjects,
    /// The bucket in the host name (`true`) or in the path. By default in the path, save on AWS.
    pub virtual_host: Option<bool>,
    /// Under which prefix the objects of [`capabilities`](crate::Store::capabilities)' probe are made; empty, or
    /// ending in `/`.
    pub probe_prefix: String,
    /// How many requests may be open at a time; others wait.
    pub requests_in_flight_max: usize,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer's head once the request is sent.
    pub head_timeout: Duration,
    /// How long to wait for the next bytes of an answer.
    pub stall_timeout: Duration,
    /// How long a request, a body or a program's call ([`one_call`](crate::one_call)) goes on in which nothing moves: all attempts, pauses and
    /// waits, also for a place among the requests in flight.
    pub retry_deadline: Duration,
}

impl StoreOptions {
    /// The defaults for `bucket`: everything from the environment and the AWS configuration files.
    pub fn new(bucket: BucketUri) -> Self {
        Self {
            bucket,
            region: None,
            endpoint_url: None,
            profile: None,
            environment: None,
            anonymous: false,
            requester_pays: false,
            new_objects: NewObjects::default(),
            virtual_host: None,
            probe_prefix: String::new(),
            requests_in_flight_max: 128,
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            retry_deadline: Duration::from_secs(60),
        }
    }
}

impl StoreOptions {
    /// The defaults for a bucket of that name in S3, or in what speaks like it.
    pub fn s3(bucket: impl Into<String>) -> Self {
        Self::new(BucketUri {
            kind: StoreKind::S3,
            scope: None,
            bucket: bucket.into(),
            prefix: String::new(),
        })
    }
}

/// Environment variables of a caller, by name. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct CallerVariables(pub BTreeMap<String, String>);

impl std::fmt::Debug for CallerVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
