//! What a request is aimed at.
//!
//! Owns: [`Target`], the bucket, key and query parameters of a request, decoded exactly once.
//! Invariant: the key is what the client meant, byte for byte: nothing is normalised, so `a//b`, `./x`, `../x` and
//! `%41` (sent as `%2541`) are different keys.

use crate::error::S3Error;
use http::request::Parts;
use percent_encoding::percent_decode;

/// The longest key, in bytes of UTF-8.
pub(crate) const KEY_LEN_BYTES_MAX: usize = 1024;

/// Bucket, key and query of a request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Target {
    /// Whether the bucket is named by the host, not by the path.
    pub(crate) by_host: bool,
    /// Empty for requests to the service itself.
    pub(crate) bucket: String,
    /// Empty for requests to a bucket.
    pub(crate) key: String,
    /// Decoded, in the order sent. A parameter without `=` has an empty value.
    pub(crate) query: Vec<(String, String)>,
}

impl Target {
    /// Reads the request line and, for `bucket.localhost`, the Host header. Errors: `InvalidURI` when path or query is not
    /// UTF-8 after decoding, `KeyTooLongError`.
    pub(crate) fn of(parts: &Parts) -> Result<Self, S3Error> {
        let path = parts.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let host_bucket = virtual_host_bucket(parts);
        let by_host = host_bucket.is_some();
        let (bucket, key) = match host_bucket {
            Some(bucket) => (bucket, path),
            None => match path.split_once('/') {
                Some((bucket, key)) => (bucket.to_owned(), key),
                None => (path.to_owned(), ""),
            },
        };
        let bucket = decode(&bucket)?;
        let key = decode(key)?;
        if key.len() > KEY_LEN_BYTES_MAX {
            return Err(S3Error::new(400, "KeyTooLongError", "Your key is too long"));
        }
        Ok(Self { by_host, bucket, key, query: query_of(parts.uri.query())? })
    }

    /// The value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// A parameter that must be there. Errors: `InvalidArgument`.
    pub(crate) fn required(&self, name: &str) -> Result<&str, S3Error> {
        self.param(name)
            .ok_or_else(|| S3Error::invalid_argument(format!("The query parameter {name} is missing")))
    }

    /// A parameter as a number. Errors: `InvalidArgument` when it is there and is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, S3Error> {
        match self.param(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                S3Error::invalid_argument(format!("Provided {name} not an integer or within integer range"))
            }),
        }
    }
}

/// The parameters of a query, or of a form. Errors: `InvalidURI`.
pub(crate) fn query_of(text: Option<&str>) -> Result<Vec<(String, String)>, S3Error> {
    let mut query = Vec::new();
    for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        query.push((decode_query(name)?, decode_query(value)?));
    }
    Ok(query)
}

/// Percent-decodes. Errors: `InvalidURI`.
pub(crate) fn decode(text: &str) -> Result<String, S3Error> {
    String::from_utf8(percent_decode(text.as_bytes()).collect())
        .map_err(|_| S3Error::new(400, "InvalidURI", "Couldn't parse the specified URI."))
}

/// Percent-decodes a query's name or value, in which `+` is a space.
pub(crate) fn decode_query(text: &str) -> Result<String, S3Error> {
    if text.contains('+') { decode(&text.replace('+', "%20")) } else { decode(text) }
}

/// The bucket of `http://bucket.localhost:port/key`.
fn virtual_host_bucket(parts: &Parts) -> Option<String> {
    let host = parts.headers.get(http::header::HOST)?.to_str().ok()?;
    let host = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let bucket = host.strip_suffix(".localhost")?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Target {
        let (parts, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        Target::of(&parts).unwrap()
    }

    #[test]
    fn keys_are_decoded_once_and_never_normalised() {
        for (uri, key) in [
            ("/b/a//b", "a//b"),
            ("/b//a", "/a"),
            ("/b/./x", "./x"),
            ("/b/../x", "../x"),
            ("/b/%2541", "%41"),
            ("/b/a%0Ab%09", "a\nb\t"),
            ("/b/a+b%2B", "a+b+"),
            ("/b/d/", "d/"),
        ] {
            assert_eq!(target(uri).key, key, "{uri}");
        }
    }

    #[test]
    fn a_plus_in_the_query_is_a_space() {
        assert_eq!(target("/b?prefix=a+b%2Bc&delete").param("prefix"), Some("a b+c"));
    }
}
