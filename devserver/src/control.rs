//! Control over HTTP, for scripts.
//!
//! Owns: the paths below `/_pail/`, on the server's own port and unsigned (no bucket's name can begin with `_`). They are
//! neither counted nor delayed nor struck by faults.
//!
//! | request | answer |
//! |---|---|
//! | `GET /_pail/counters` | [`Counters`](crate::Counters) as JSON |
//! | `GET /_pail/requests` | the log: a list of [`RequestRecord`](crate::RequestRecord) |
//! | `POST /_pail/reset` | counters and log start again from zero |
//! | `GET /_pail/settings` | [`Settings`] as JSON |
//! | `POST /_pail/settings` | replaces them; fields left out take their defaults |
//! | `GET /_pail/faults` | the [`Fault`]s that still wait |
//! | `POST /_pail/faults` | adds one, or a list |
//! | `POST /_pail/faults/clear` | removes all |
//! | `GET /_pail/credentials` | the access keys that are accepted |
//! | `POST /_pail/credentials` | accepts a list of [`Credential`]s and no others |
//! | `POST /_pail/gcs/expire-tokens` | the tokens that were given out until now are refused |
//! | `POST /_pail/public/BUCKET` | allows reading and listing without a signature |
//! | `GET /_pail/buckets/BUCKET` | its [`BucketSettings`] as JSON |
//! | `POST /_pail/buckets/BUCKET` | replaces them; fields left out take their defaults |

use crate::call::Shared;
use crate::config::{BucketSettings, Settings};
use crate::credentials::Credential;
use crate::error::S3Error;
use crate::fault::Fault;
use crate::reply::Reply;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the paths begin with.
pub(crate) const PATH: &str = "/_pail/";

/// The longest document that is taken, in bytes.
const DOCUMENT_LEN_BYTES_MAX: usize = 1 << 20;

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Fault>),
    One(Fault),
}

/// Answers a request below [`PATH`].
pub(crate) async fn serve(shared: &Shared, request: Request<Incoming>) -> Reply {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match handle(shared, request).await {
        Ok(reply) => reply,
        Err(error) => error.into_reply(&method, &path, ""),
    }
}

async fn handle(shared: &Shared, request: Request<Incoming>) -> Result<Reply, S3Error> {
    let (parts, body) = request.into_parts();
    let what = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    match (&parts.method, what) {
        (&Method::GET, "counters") => json(&shared.tally.snapshot()),
        (&Method::GET, "requests") => json(&shared.tally.records()),
        (&Method::GET, "settings") => json(&*shared.settings()),
        (&Method::GET, "faults") => json(&shared.faults.waiting()),
        (&Method::POST, "reset") => {
            shared.tally.reset();
            json(&shared.tally.snapshot())
        }
        (&Method::POST, "settings") => {
            shared.set_settings(read::<Settings>(body).await?);
            json(&*shared.settings())
        }
        (&Method::POST, "faults") => {
            match read(body).await? {
                OneOrMany::One(fault) => shared.faults.inject(fault),
                OneOrMany::Many(faults) => faults.into_iter().for_each(|fault| shared.faults.inject(fault)),
            }
            json(&shared.faults.waiting())
        }
        (&Method::POST, "faults/clear") => {
            shared.faults.clear();
            json(&shared.faults.waiting())
        }
        (&Method::GET, "credentials") => json(&shared.authenticator.credentials().access_keys()),
        (&Method::POST, "credentials") => {
            let credentials = shared.authenticator.credentials();
            credentials.replace(read::<Vec<Credential>>(body).await?);
            json(&credentials.access_keys())
        }
        (&Method::POST, "gcs/expire-tokens") => {
            shared.gcs.tokens.expire();
            json(&true)
        }
        (&Method::POST, path) if path.starts_with("public/") => {
            let bucket = shared.buckets.get(path.trim_start_matches("public/"))?;
            bucket.change_settings(|settings| settings.public = true)?;
            json(&true)
        }
        (method, path) if path.starts_with("buckets/") => {
            let bucket = shared.buckets.get(path.trim_start_matches("buckets/"))?;
            if method == Method::POST {
                let settings = read::<BucketSettings>(body).await?;
                bucket.change_settings(|current| *current = settings)?;
            }
            json(&bucket.settings())
        }
        _ => Err(S3Error::new(
            404,
            "NoSuchControl",
            "There is no such path below /_pail/, or not with this method.",
        )),
    }
}

fn json(value: &impl Serialize) -> Result<Reply, S3Error> {
    let document = serde_json::to_string(value).map_err(|error| S3Error::internal(error.to_string()))?;
    Ok(Reply::json(document))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, S3Error> {
    let wrong = |error: String| S3Error::invalid_request(format!("The JSON could not be read: {error}"));
    let collected = Limited::new(body, DOCUMENT_LEN_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&collected.to_bytes()).map_err(|error| wrong(error.to_string()))
}
