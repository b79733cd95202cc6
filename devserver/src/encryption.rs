//! Server-side encryption, as far as clients see it: nothing is encrypted.
//!
//! Owns: [`Encryption`], what an object says of how it is encrypted, and the rule that a key which the customer keeps must be given again with
//! each request that reads or adds bytes. The key itself is not kept, only its MD5.
//! Source: Amazon S3 User Guide, "Protecting data with server-side encryption" and "Specifying server-side encryption with customer-provided
//! keys".

use crate::error::S3Error;
use crate::reply::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// In front of a key's id where the request gave it bare; answers have the whole name.
const KEY_ARN_PREFIX: &str = "arn:aws:kms:us-east-1:111122223333:key/";

/// The key of who asks for KMS and names none.
const KEY_ID_DEFAULT: &str = "arn:aws:kms:us-east-1:111122223333:key/aws-s3";

const SSE: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KEY_ID: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const BUCKET_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled");
const CUSTOMER_ALGORITHM: HeaderName =
    HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm");
const CUSTOMER_KEY_MD5: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5");

/// In front of the headers about the key of a copy's source.
pub(crate) const COPY_SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer";

/// In front of the headers about the key of the object itself.
pub(crate) const ITSELF: &str = "x-amz-server-side-encryption-customer";

/// How an object is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encryption {
    /// By keys of the store itself: what every object of S3 is, unless something else is asked for.
    #[default]
    Store,
    /// By a key of KMS.
    Kms { key_id: String, bucket_key: bool },
    /// By a key that the customer keeps; its MD5, in base64.
    Customer { key_md5: String },
}

impl Encryption {
    /// By a key of KMS, which may be named by its bare id.
    pub(crate) fn kms(key_id: &str, bucket_key: bool) -> Self {
        let key_id = match key_id {
            "" => KEY_ID_DEFAULT.to_owned(),
            arn if arn.starts_with("arn:") => arn.to_owned(),
            bare => format!("{KEY_ARN_PREFIX}{bare}"),
        };
        Self::Kms { key_id, bucket_key }
    }

    /// What an upload's headers ask for, if they do. Errors: `InvalidArgument`.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let customer = customer_key(headers, ITSELF)?;
        let bucket_key = text(&BUCKET_KEY) == Some("true");
        match (text(&SSE), customer, text(&KEY_ID)) {
            (Some(_), Some(_), _) => Err(S3Error::invalid_argument(
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            )),
            (None, Some(key_md5), _) => Ok(Some(Self::Customer { key_md5 })),
            (Some("AES256"), None, None) => Ok(Some(Self::Store)),
            (Some("aws:kms"), None, key_id) => Ok(Some(Self::kms(key_id.unwrap_or_default(), bucket_key))),
            (None, None, None) => Ok(None),
            (Some("AES256") | None, None, Some(_)) => Err(S3Error::invalid_argument(
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
            )),
            (Some(_), None, _) => {
                Err(S3Error::invalid_argument("The encryption method specified is not supported"))
            }
        }
    }

    /// Sets the headers of answers.
    pub(crate) fn describe(&self, reply: &mut Reply) {
        match self {
            Self::Store => reply.set(SSE, "AES256"),
            Self::Kms { key_id, bucket_key } => {
                reply.set(SSE, "aws:kms");
                reply.set(KEY_ID, key_id);
                if *bucket_key {
                    reply.set(BUCKET_KEY, "true");
                }
            }
            Self::Customer { key_md5 } => {
                reply.set(CUSTOMER_ALGORITHM, "AES256");
                reply.set(CUSTOMER_KEY_MD5, key_md5);
            }
        }
    }

    /// Whether a request that reads or adds bytes brings the key that it must, in headers that begin with `prefix`. Errors:
    /// `InvalidRequest` for a key that is missing or that nothing was encrypted by, `AccessDenied` for another key, `InvalidArgument`.
    pub(crate) fn check(&self, headers: &HeaderMap, prefix: &str) -> Result<(), S3Error> {
        match (self, customer_key(headers, prefix)?) {
            (Self::Customer { key_md5 }, Some(given)) if *key_md5 == given => Ok(()),
            (Self::Customer { .. }, Some(_)) => Err(S3Error::access_denied()),
            (Self::Customer { .. }, None) => Err(S3Error::invalid_request(
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            )),
            (_, Some(_)) => {
                Err(S3Error::invalid_request("The encryption parameters are not applicable to this object."))
            }
            (_, None) => Ok(()),
        }
    }
}

/// The MD5 of the customer's key, if the headers bring one. Errors: `InvalidArgument` for a key that is none, or whose MD5 is another's.
fn customer_key(headers: &HeaderMap, prefix: &str) -> Result<Option<String>, S3Error> {
    let text = |name: &str| headers.get(format!("{prefix}-{name}")).and_then(|value| value.to_str().ok());
    match (text("algorithm"), text("key"), text("key-md5")) {
        (None, None, None) => Ok(None),
        (Some("AES256"), Some(key), Some(key_md5)) => {
            let key = BASE64.decode(key).unwrap_or_default();
            if key.len() != 32 {
                return Err(S3Error::invalid_argument(
                    "The secret key was invalid for the specified algorithm.",
                ));
            }
            if BASE64.encode(Md5::digest(&key)) != key_md5 {
                return Err(S3Error::invalid_argument(
                    "The calculated MD5 hash of the key did not match the hash that was provided.",
                ));
            }
            Ok(Some(key_md5.to_owned()))
        }
        (Some(algorithm), ..) if algorithm != "AES256" => Err(S3Error::new(
            400,
            "InvalidEncryptionAlgorithmError",
            "The Encryption request you specified is not valid. Supported value: AES256.",
        )),
        _ => Err(S3Error::invalid_argument(
            "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.",
        )),
    }
}
