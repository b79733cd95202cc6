//! Which operation of the API a request is.
//!
//! Owns: [`Operation`], its name in the API's own words (used by counters, faults and the log) and the routing rules.

use crate::target::Target;
use http::{Method, request::Parts};

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation of the S3 API, named as the API Reference names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),* }

        impl Operation {
            /// The API's name, such as `GetObject`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

operations! {
    ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, GetBucketVersioning,
    ListObjects, ListObjectsV2, ListMultipartUploads, DeleteObjects,
    GetObject, HeadObject, PutObject, CopyObject, DeleteObject,
    GetObjectTagging, PutObjectTagging, DeleteObjectTagging, RestoreObject,
    CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload, AbortMultipartUpload, ListParts,
    CreateSession, IssueToken, Unsupported,
}

/// Query parameters that name an operation this server does not have; without this list `GET ?acl` would be taken
/// for a listing.
const UNSUPPORTED_PARAMS: [&str; 23] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "retention",
    "torrent",
    "website",
];

impl Operation {
    /// Routes a request.
    pub(crate) fn of(parts: &Parts, target: &Target) -> Self {
        if UNSUPPORTED_PARAMS.iter().any(|name| target.has(name)) {
            return Self::Unsupported;
        }
        match (target.bucket.is_empty(), target.key.is_empty()) {
            (true, _) if parts.method == Method::GET => Self::ListBuckets,
            (true, _) => Self::Unsupported,
            (false, true) => Self::of_bucket(&parts.method, target),
            (false, false) => Self::of_object(parts, target),
        }
    }

    fn of_bucket(method: &Method, target: &Target) -> Self {
        match *method {
            Method::PUT if target.query.iter().all(|(name, _)| name == "x-id") => Self::CreateBucket,
            Method::HEAD => Self::HeadBucket,
            Method::DELETE if !target.has("tagging") => Self::DeleteBucket,
            Method::POST if target.has("delete") => Self::DeleteObjects,
            Method::GET if target.has("session") => Self::CreateSession,
            Method::GET if target.has("location") => Self::GetBucketLocation,
            Method::GET if target.has("versioning") => Self::GetBucketVersioning,
            Method::GET if target.has("uploads") => Self::ListMultipartUploads,
            Method::GET if target.has("versions") || target.has("tagging") => Self::Unsupported,
            Method::GET if target.param("list-type") == Some("2") => Self::ListObjectsV2,
            Method::GET => Self::ListObjects,
            _ => Self::Unsupported,
        }
    }

    fn of_object(parts: &Parts, target: &Target) -> Self {
        let copies = parts.headers.contains_key("x-amz-copy-source");
        let upload = target.has("uploadId");
        match parts.method {
            Method::GET if target.has("tagging") => Self::GetObjectTagging,
            Method::PUT if target.has("tagging") => Self::PutObjectTagging,
            Method::DELETE if target.has("tagging") => Self::DeleteObjectTagging,
            _ if target.has("tagging") => Self::Unsupported,
            Method::GET if upload => Self::ListParts,
            Method::GET => Self::GetObject,
            Method::HEAD => Self::HeadObject,
            Method::PUT if upload && copies => Self::UploadPartCopy,
            Method::PUT if upload => Self::UploadPart,
            Method::PUT if copies => Self::CopyObject,
            Method::PUT => Self::PutObject,
            Method::POST if target.has("restore") => Self::RestoreObject,
            Method::POST if target.has("uploads") => Self::CreateMultipartUpload,
            Method::POST if upload => Self::CompleteMultipartUpload,
            Method::DELETE if upload => Self::AbortMultipartUpload,
            Method::DELETE => Self::DeleteObject,
            _ => Self::Unsupported,
        }
    }

    /// Whether a public bucket allows it without a signature.
    pub(crate) fn is_public_read(self) -> bool {
        matches!(
            self,
            Self::GetObject
                | Self::HeadObject
                | Self::HeadBucket
                | Self::ListObjects
                | Self::ListObjectsV2
                | Self::GetBucketLocation
        )
    }
}
