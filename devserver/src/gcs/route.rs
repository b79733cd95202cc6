//! Which operation of the JSON API a request is, and on what.
//!
//! Owns: [`is_gcs`], which tells requests of this API from those of S3 on the same port, [`Operation`], its names (used by counters,
//! faults and the log) and the routing rules.
//!
//! Invariant: an object's name is one segment of the path, decoded exactly once and never normalised: `a%2F%2Fb` is `a//b`.
//! Source: Cloud Storage documentation, "API reference: JSON API" and "Request endpoints, encoding URL path parts".

use crate::gcs::error::GcsError;
use crate::target::{self, Target};
use http::{HeaderMap, Method};

macro_rules! operations {
    ($($variant:ident => $name:literal),* $(,)?) => {
        /// An operation, named as the API Reference names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation { $($variant),* }

        impl Operation {
            /// The API's name, such as `objects.get`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

operations! {
    BucketsList => "buckets.list",
    BucketsInsert => "buckets.insert",
    BucketsGet => "buckets.get",
    BucketsPatch => "buckets.patch",
    BucketsDelete => "buckets.delete",
    BucketsStorageLayout => "buckets.getStorageLayout",
    BucketsTestPermissions => "buckets.testIamPermissions",
    ObjectsList => "objects.list",
    ObjectsGet => "objects.get",
    ObjectsInsert => "objects.insert",
    ObjectsStartResumable => "objects.insert.start",
    ObjectsResume => "objects.insert.chunk",
    ObjectsQueryResumable => "objects.insert.status",
    ObjectsCancelResumable => "objects.insert.cancel",
    ObjectsPatch => "objects.patch",
    ObjectsUpdate => "objects.update",
    ObjectsDelete => "objects.delete",
    ObjectsCompose => "objects.compose",
    ObjectsCopy => "objects.copy",
    ObjectsRewrite => "objects.rewrite",
    ObjectsMove => "objects.move",
    Batch => "batch",
    OauthToken => "oauth.token",
    StsToken => "sts.token",
    GenerateAccessToken => "iamcredentials.generateAccessToken",
    MetadataToken => "metadata.token",
    MetadataProject => "metadata.project",
    MetadataAccount => "metadata.account",
    Unsupported => "gcs.unsupported",
}

impl Operation {
    /// Whether a public bucket allows it without a token.
    pub(crate) fn is_public_read(self) -> bool {
        matches!(self, Self::ObjectsGet | Self::ObjectsList)
    }

    /// Whether the address that the client was given for it is a credential by itself.
    pub(crate) fn needs_no_token(self) -> bool {
        matches!(self, Self::ObjectsResume | Self::ObjectsQueryResumable | Self::ObjectsCancelResumable)
    }

    /// Whether it gives credentials out, and asks for none.
    pub(crate) fn is_token_endpoint(self) -> bool {
        matches!(
            self,
            Self::OauthToken
                | Self::StsToken
                | Self::MetadataToken
                | Self::MetadataProject
                | Self::MetadataAccount
        )
    }
}

/// A request, routed.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// The bucket and object it changes or reads; the destination of a copy.
    pub(crate) target: Target,
    /// The source of a copy: bucket and name.
    pub(crate) source: Option<(String, String)>,
}

const METADATA_SERVER: &str = "/computeMetadata/v1/";
const API: &str = "/storage/v1/";
const UPLOADS: [&str; 2] = ["/upload/storage/v1/", "/resumable/upload/storage/v1/"];
const DOWNLOAD: &str = "/download/storage/v1/";
const BATCH: &str = "/batch/storage/v1";

/// Whether a request is one of this API. The paths of the token endpoints are of no S3 request: POST to a bucket or an object without
/// a query is none, and no bucket's name has upper-case letters.
pub(crate) fn is_gcs(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    path.starts_with(API)
        || path.starts_with(DOWNLOAD)
        || UPLOADS.iter().any(|prefix| path.starts_with(prefix))
        || path.starts_with(BATCH)
        || path.starts_with(METADATA_SERVER)
        || headers.contains_key("metadata-flavor")
        || (method == Method::POST && (matches!(path, "/token" | "/v1/token") || is_impersonation(path)))
}

fn is_impersonation(path: &str) -> bool {
    path.starts_with("/v1/projects/-/serviceAccounts/") && path.ends_with(":generateAccessToken")
}

impl Route {
    /// Routes a request. Errors: 400 when path or query is not UTF-8 after decoding, or a name is too long.
    pub(crate) fn of(
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, GcsError> {
        let query = target::query_of(query)?;
        if let Some(rest) = path.strip_prefix(API).or_else(|| path.strip_prefix(DOWNLOAD)) {
            return Self::of_resource(method, rest, query);
        }
        if let Some(rest) = UPLOADS.iter().find_map(|prefix| path.strip_prefix(prefix)) {
            return Self::of_upload(method, rest, query, headers);
        }
        let operation = match (method, path) {
            (&Method::POST, path) if path.starts_with(BATCH) => Operation::Batch,
            (&Method::POST, "/token") => Operation::OauthToken,
            (&Method::POST, "/v1/token") => Operation::StsToken,
            (&Method::POST, path) if is_impersonation(path) => Operation::GenerateAccessToken,
            (&Method::GET, path) if path.ends_with("/token") => Operation::MetadataToken,
            (&Method::GET, path) if path.contains("/project/") => Operation::MetadataProject,
            (&Method::GET, _) if !path.starts_with(BATCH) => Operation::MetadataAccount,
            _ => Operation::Unsupported,
        };
        Ok(Self { operation, target: Target { query, ..Target::default() }, source: None })
    }

    fn of_resource(method: &Method, path: &str, query: Vec<(String, String)>) -> Result<Self, GcsError> {
        let segments = path
            .split('/')
            .map(|segment| target::decode(segment).map_err(GcsError::from))
            .collect::<Result<Vec<String>, GcsError>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let is = |wanted: Method| *method == wanted;
        let mut source = None;
        let (operation, bucket, name) = match segments[..] {
            ["b"] if is(Method::GET) => (Operation::BucketsList, "", ""),
            ["b"] if is(Method::POST) => (Operation::BucketsInsert, "", ""),
            ["b", bucket] => (of_bucket(method), bucket, ""),
            ["b", bucket, "storageLayout"] if is(Method::GET) => {
                (Operation::BucketsStorageLayout, bucket, "")
            }
            ["b", bucket, "iam", "testPermissions"] if is(Method::GET) => {
                (Operation::BucketsTestPermissions, bucket, "")
            }
            ["b", bucket, "o"] if is(Method::GET) => (Operation::ObjectsList, bucket, ""),
            ["b", bucket, "o"] if is(Method::POST) => (Operation::ObjectsInsert, bucket, ""),
            ["b", bucket, "o", name] if !name.is_empty() => (of_object(method), bucket, name),
            ["b", bucket, "o", name, "compose"] if is(Method::POST) => {
                (Operation::ObjectsCompose, bucket, name)
            }
            ["b", bucket, "o", name, "moveTo", "o", to] if is(Method::POST) => {
                source = Some((bucket.to_owned(), name.to_owned()));
                (Operation::ObjectsMove, bucket, to)
            }
            ["b", from, "o", name, how @ ("copyTo" | "rewriteTo"), "b", bucket, "o", to]
                if is(Method::POST) =>
            {
                source = Some((from.to_owned(), name.to_owned()));
                let copies = how == "copyTo";
                (if copies { Operation::ObjectsCopy } else { Operation::ObjectsRewrite }, bucket, to)
            }
            _ => (Operation::Unsupported, "", ""),
        };
        check_name(name)?;
        Ok(Self {
            operation,
            target: Target { bucket: bucket.into(), key: name.into(), query, by_host: false },
            source,
        })
    }

    fn of_upload(
        method: &Method,
        path: &str,
        query: Vec<(String, String)>,
        headers: &HeaderMap,
    ) -> Result<Self, GcsError> {
        let mut target = Target { query, ..Target::default() };
        let bucket = path.strip_prefix("b/").and_then(|rest| rest.strip_suffix("/o"));
        let Some(bucket) = bucket.filter(|bucket| !bucket.contains('/')) else {
            return Ok(Self { operation: Operation::Unsupported, target, source: None });
        };
        target.bucket = target::decode(bucket)?;
        target.key = target.param("name").unwrap_or_default().to_owned();
        check_name(&target.key)?;
        let continues = target.has("upload_id");
        let asks =
            headers.get("content-range").is_some_and(|range| range.as_bytes().starts_with(b"bytes */"))
                && headers.get("content-length").is_none_or(|len| len == "0");
        let operation = match *method {
            Method::PUT | Method::POST if continues && asks => Operation::ObjectsQueryResumable,
            Method::PUT | Method::POST if continues => Operation::ObjectsResume,
            Method::DELETE if continues => Operation::ObjectsCancelResumable,
            Method::POST if target.param("uploadType") == Some("resumable") => {
                Operation::ObjectsStartResumable
            }
            Method::POST => Operation::ObjectsInsert,
            _ => Operation::Unsupported,
        };
        Ok(Self { operation, target, source: None })
    }
}

fn of_bucket(method: &Method) -> Operation {
    match *method {
        Method::GET => Operation::BucketsGet,
        Method::DELETE => Operation::BucketsDelete,
        Method::PATCH | Method::PUT => Operation::BucketsPatch,
        _ => Operation::Unsupported,
    }
}

fn of_object(method: &Method) -> Operation {
    match *method {
        Method::GET => Operation::ObjectsGet,
        Method::DELETE => Operation::ObjectsDelete,
        Method::PATCH => Operation::ObjectsPatch,
        Method::PUT => Operation::ObjectsUpdate,
        _ => Operation::Unsupported,
    }
}

/// Errors: 400 for a name that no object can have. Source: "About Cloud Storage objects", "Object names".
pub(crate) fn check_name(name: &str) -> Result<(), GcsError> {
    if name.len() > target::KEY_LEN_BYTES_MAX {
        return Err(GcsError::invalid(format!(
            "The specified object name is too long: {} bytes, at most {}.",
            name.len(),
            target::KEY_LEN_BYTES_MAX
        )));
    }
    let forbidden = name == "."
        || name == ".."
        || name.contains(['\r', '\n'])
        || name.starts_with(".well-known/acme-challenge/");
    if forbidden {
        return Err(GcsError::invalid("Disallowed object name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Method, path: &str) -> Route {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        assert!(is_gcs(&method, path, &HeaderMap::new()), "{path}");
        Route::of(&method, path, query, &HeaderMap::new()).unwrap()
    }

    #[test]
    fn names_are_one_segment_decoded_once() {
        for (encoded, name) in [
            ("a%2F%2Fb", "a//b"),
            (".%2Fx", "./x"),
            ("..%2Fx", "../x"),
            ("%2Fa", "/a"),
            ("d%2F", "d/"),
            ("%2541", "%41"),
            ("a+b", "a+b"),
            ("%20", " "),
            ("compose", "compose"),
        ] {
            let found = route(Method::GET, &format!("/storage/v1/b/bucket/o/{encoded}"));
            assert_eq!((found.operation, found.target.key.as_str()), (Operation::ObjectsGet, name));
            let found =
                route(Method::POST, &format!("/storage/v1/b/s/o/{encoded}/rewriteTo/b/t/o/{encoded}"));
            assert_eq!((found.operation, found.target.key.as_str()), (Operation::ObjectsRewrite, name));
            assert_eq!(found.source, Some(("s".into(), name.into())));
        }
        assert_eq!(route(Method::GET, "/storage/v1/b/bucket/o/a/b").operation, Operation::Unsupported);
    }

    #[test]
    fn s3_keeps_the_paths_that_are_not_of_this_api() {
        for (method, path) in [
            (Method::GET, "/token"),
            (Method::PUT, "/token/storage/v1/"),
            (Method::GET, "/storage"),
            (Method::PUT, "/v1-bucket/token"),
            (Method::POST, "/bucket"),
        ] {
            assert!(!is_gcs(&method, path, &HeaderMap::new()), "{path}");
        }
    }
}
