//! One request on its way through the server.
//!
//! Owns: [`Call`], what an operation is given, and [`Shared`], what all requests share.

use crate::bucket::{Bucket, Buckets};
use crate::config::Settings;
use crate::counters::{OpenRequest, Tally};
use crate::error::S3Error;
use crate::fault::{FaultAction, Faults};
use crate::gcs::GcsState;
use crate::key_locks::KeyLocks;
use crate::pace::Link;
use crate::sigv4::{Authenticator, Caller};
use crate::target::Target;
use http::request::Parts;
use hyper::body::Incoming;
use parking_lot::RwLock;
use std::sync::Arc;

/// The server's state.
pub(crate) struct Shared {
    pub(crate) buckets: Buckets,
    pub(crate) tally: Arc<Tally>,
    pub(crate) faults: Faults,
    pub(crate) key_locks: KeyLocks,
    pub(crate) gcs: GcsState,
    pub(crate) authenticator: Authenticator,
    /// Guards the settings, which are replaced as a whole; a request works with those it began with. A leaf.
    settings: RwLock<Arc<Settings>>,
}

impl Shared {
    pub(crate) fn new(buckets: Buckets, authenticator: Authenticator, settings: Settings) -> Self {
        Self {
            buckets,
            tally: Arc::default(),
            faults: Faults::default(),
            key_locks: KeyLocks::default(),
            gcs: GcsState::default(),
            authenticator,
            settings: RwLock::new(Arc::new(settings)),
        }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
    }
}

/// One request.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) parts: Parts,
    pub(crate) target: Target,
    pub(crate) fault: Option<FaultAction>,
    pub(crate) open: OpenRequest,
    /// Nobody, until the signature was checked.
    pub(crate) caller: Caller,
    /// Until an operation takes it.
    pub(crate) body: Option<Incoming>,
}

impl Call {
    /// A request header, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The bucket that the request is aimed at. Errors: `NoSuchBucket`, `AccessDenied`.
    pub(crate) fn bucket(&self) -> Result<Arc<Bucket>, S3Error> {
        self.bucket_named(&self.target.bucket)
    }

    /// Errors: `NoSuchBucket`, `AccessDenied`.
    pub(crate) fn bucket_named(&self, name: &str) -> Result<Arc<Bucket>, S3Error> {
        if self.is_foreign(name) {
            return Err(S3Error::access_denied());
        }
        self.shared.buckets.get(name)
    }

    /// Whether the bucket is somebody else's.
    pub(crate) fn is_foreign(&self, name: &str) -> bool {
        self.settings.foreign_buckets.iter().any(|foreign| foreign == name)
    }

    /// The request's body, which can be taken once.
    pub(crate) fn take_body(&mut self) -> Result<Incoming, S3Error> {
        self.body.take().ok_or_else(|| S3Error::internal("The body was read twice."))
    }
}
