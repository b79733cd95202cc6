//! Buckets of one endpoint.
//!
//! Owns: [`bucket_beside`], by which a store tells that another bucket is where it is itself: identities are an endpoint, where it is not the
//! vendor's own, and a bucket's name behind it.

/// The name of the bucket that `other` identifies, where it is at the endpoint of the one that `own` identifies and `bucket` names.
pub(crate) fn bucket_beside<'a>(own: &str, bucket: &str, other: &'a str) -> Option<&'a str> {
    let endpoint = own.strip_suffix(bucket)?;
    let name = other.strip_prefix(endpoint)?;
    // An endpoint alone says S3, and the same one with a scheme behind it another API.
    (!name.is_empty() && !name.contains("://") && !name.contains(' ')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_at_the_same_endpoint_is_beside() {
        assert_eq!(bucket_beside("s3://a", "a", "s3://b"), Some("b"));
        assert_eq!(bucket_beside("http://h:1 a", "a", "http://h:1 b"), Some("b"));
        assert_eq!(bucket_beside("http://h:1 gs://a", "a", "http://h:1 gs://b"), Some("b"));
        for (own, other) in [
            ("s3://a", "gs://b"),
            ("s3://a", "http://h:1 b"),
            ("http://h:1 a", "http://h:2 b"),
            ("http://h:1 a", "http://h:1 gs://b"),
            ("http://h:1 gs://a", "http://h:1 b"),
        ] {
            assert_eq!(bucket_beside(own, "a", other), None, "{own} {other}");
        }
    }
}
