//! Where a request goes.
//!
//! Owns: [`Endpoint`], which turns a key and a query into a URI. Invariant: the key's bytes reach the server as they
//! are. Everything but the unreserved characters and `/` is percent-encoded, and nothing is normalised.
//!
//! # Why `http::Uri`
//! `url::Url` collapses `./` and `../` in paths, even as `%2e%2e`; `http::Uri` sends what it is given.

use super::aws_place::{AwsPlace, Host, is_directory_bucket};
use crate::RawKey;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The unreserved characters of RFC 3986, as Signature Version 4 wants them.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// A bucket's place: scheme, host, the path before the key, and the region that requests are signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `http` or `https`.
    scheme: &'static str,
    /// Host and port, the bucket included where it is in the host name.
    pub authority: String,
    /// The path of a gateway that stands before everything else; empty on AWS.
    root: String,
    /// What stands before the key, `/` at the end included.
    base_path: String,
    pub region: String,
    /// On AWS the host name follows the region.
    aws: Option<AwsPlace>,
    /// A directory bucket (S3 Express One Zone): it has sessions, and lists in no order.
    pub is_directory: bool,
}

/// What an endpoint's URL says, in the one spelling that caches and servers know it by.
struct Location {
    scheme: &'static str,
    /// In lower case, with the port unless it is the scheme's own.
    host: String,
    /// Empty, or a path without `/` at its end.
    root: String,
}

impl Location {
    /// Errors: a sentence on what is wrong with the URL, without what may be a password in it.
    fn parse(url: &str) -> Result<Self, String> {
        if url.contains('@') {
            return Err("the endpoint URL may not have a user name or password".to_owned());
        }
        // A query may hold a signature.
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        if shown.len() < url.len() {
            return Err(format!("the endpoint URL {shown:?} may not have a query or a fragment"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            // What https would make of it depends on the server; a guess that fails takes a minute of retries to say so.
            return Err(format!(
                "the endpoint URL {url:?} has no scheme: write http://{url} or https://{url}"
            ));
        };
        let (scheme, own_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", ":80"),
            "https" => ("https", ":443"),
            _ => return Err(format!("the endpoint URL {url:?} must begin with http:// or https://")),
        };
        let uri: Uri = format!("{scheme}://{rest}")
            .parse()
            .map_err(|e| format!("the endpoint URL {url:?} is not valid: {e}"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str()).to_ascii_lowercase();
        let host = authority.strip_suffix(own_port).unwrap_or(&authority).trim_end_matches(':').to_owned();
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        if host.is_empty() || host.starts_with(':') {
            return Err(format!("the endpoint URL {url:?} has no host"));
        }
        if has_port && uri.port_u16().is_none() {
            return Err(format!("the endpoint URL {url:?} has a port that is no number up to 65535"));
        }
        Ok(Self { scheme, host, root: uri.path().trim_end_matches('/').to_owned() })
    }
}

/// Checks a URL that an endpoint is to be reached by. Errors: a sentence on what is wrong with it.
pub fn check_endpoint_url(url: &str) -> Result<(), String> {
    Location::parse(url).map(|_| ())
}

impl Endpoint {
    /// The bucket at an endpoint of the caller's. Errors: a sentence on what is wrong with the URL.
    pub fn custom(
        endpoint_url: &str,
        bucket: &str,
        region: &str,
        virtual_host: bool,
    ) -> Result<Self, String> {
        let Location { scheme, host, root } = Location::parse(endpoint_url)?;
        let (authority, base_path) = match virtual_host {
            true => (format!("{bucket}.{host}"), format!("{root}/")),
            false => (host, format!("{root}/{bucket}/")),
        };
        let is_directory = is_directory_bucket(bucket);
        Ok(Self { scheme, authority, root, base_path, region: region.to_owned(), aws: None, is_directory })
    }

    /// The bucket on Amazon S3. Where the bucket's name tells its region, it is that one.
    pub fn aws(place: AwsPlace, region: &str) -> Self {
        let region = place.own_region().unwrap_or_else(|| region.to_owned());
        let Host { authority, base_path } = place.host(&region);
        let is_directory = place.is_directory();
        Self {
            scheme: "https",
            authority,
            root: String::new(),
            base_path,
            region,
            aws: Some(place),
            is_directory,
        }
    }

    /// The same bucket in another region.
    pub fn in_region(&self, region: &str) -> Self {
        match &self.aws {
            Some(place) => Self::aws(place.clone(), region),
            None => Self { region: region.to_owned(), ..self.clone() },
        }
    }

    /// Where the bucket is made and deleted, if that is elsewhere.
    pub fn control(&self) -> Option<Self> {
        let Host { authority, base_path } = self.aws.as_ref()?.control_host(&self.region)?;
        Some(Self { authority, base_path, ..self.clone() })
    }

    /// The zone of a directory bucket on AWS.
    pub fn zone(&self) -> Option<&str> {
        self.aws.as_ref()?.zone()
    }

    /// The name that signatures are for.
    pub fn signing_name(&self) -> &'static str {
        if self.is_directory { "s3express" } else { "s3" }
    }

    pub fn is_aws(&self) -> bool {
        self.aws.is_some()
    }

    pub fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether what is sent there never leaves this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|ip| ip.is_loopback())
    }

    /// As a person would write it, without the bucket's path.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.root)
    }

    /// The URI of an object, or of the bucket itself.
    pub fn uri(&self, key: Option<&RawKey>, query: &[(&'static str, String)]) -> Result<Uri, http::Error> {
        let mut target = match key {
            Some(key) => format!("{}{}", self.base_path, utf8_percent_encode(key.as_str(), PATH)),
            // Without the last slash, which some servers take for an object of no name.
            None if self.base_path.len() > 1 => self.base_path.trim_end_matches('/').to_owned(),
            None => self.base_path.clone(),
        };
        for (index, (name, value)) in query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, QUERY));
        }
        Uri::builder().scheme(self.scheme).authority(self.authority.as_str()).path_and_query(target).build()
    }
}

/// A name or a value of a query.
pub(super) fn encoded_query(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, QUERY)
}

/// A key (or a copy source `/bucket/key`) as it stands in a header.
/// Of an access point, after its ARN and `/object`
/// (API Reference, "CopyObject").
pub(super) fn encoded_copy_source(bucket: &str, key: &RawKey) -> String {
    let key = utf8_percent_encode(key.as_str(), PATH);
    match bucket.starts_with("arn:") {
        true => {
            let arn = bucket.replacen("accesspoint:", "accesspoint/", 1);
            format!("{}/object/{key}", utf8_percent_encode(&arn, PATH))
        }
        false => format!("/{bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(endpoint: &Endpoint, key: &str) -> String {
        endpoint.uri(Some(&RawKey::new(key).unwrap()), &[]).unwrap().to_string()
    }

    #[test]
    fn keys_are_sent_as_they_are() {
        let path = Endpoint::custom("http://127.0.0.1:9", "b", "us-east-1", false).unwrap();
        assert_eq!(path_of(&path, "a//b"), "http://127.0.0.1:9/b/a//b");
        assert_eq!(path_of(&path, "../x"), "http://127.0.0.1:9/b/../x");
        assert_eq!(path_of(&path, "/a"), "http://127.0.0.1:9/b//a");
        assert_eq!(path_of(&path, "%41+ ?#\n"), "http://127.0.0.1:9/b/%2541%2B%20%3F%23%0A");
        let host = Endpoint::aws(AwsPlace::new("b", Default::default()).unwrap(), "eu-west-1");
        assert_eq!(path_of(&host, "/a"), "https://b.s3.eu-west-1.amazonaws.com//a");
    }

    #[test]
    fn region_moves_the_host_on_aws_only() {
        let place = AwsPlace::new("b", Default::default()).unwrap();
        let moved = Endpoint::aws(place, "us-east-1").in_region("cn-north-1");
        assert_eq!(moved.url(), "https://b.s3.cn-north-1.amazonaws.com.cn");
        let custom = Endpoint::custom("http://h/base/", "b", "x", false).unwrap().in_region("y");
        assert_eq!(path_of(&custom, "k"), "http://h/base/b/k");
        assert_eq!(custom.region, "y");
    }

    #[test]
    fn an_access_point_s_objects_are_copied_by_its_arn() {
        let key = RawKey::new("reports/january 1.pdf").unwrap();
        for arn in [
            "arn:aws:s3:us-west-2:123456789012:accesspoint/p",
            "arn:aws:s3:us-west-2:123456789012:accesspoint:p",
        ] {
            assert_eq!(
                encoded_copy_source(arn, &key),
                "arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint/p/object/reports/january%201.pdf"
            );
        }
        assert_eq!(encoded_copy_source("b", &key), "/b/reports/january%201.pdf");
    }

    #[test]
    fn one_place_has_one_spelling() {
        for (url, shown, object) in [
            ("http://Example.COM:80/", "http://example.com", "http://example.com/b/k"),
            ("HTTPS://h:443", "https://h", "https://h/b/k"),
            ("https://h:9000//", "https://h:9000", "https://h:9000/b/k"),
            ("http://[::1]:9000", "http://[::1]:9000", "http://[::1]:9000/b/k"),
            ("http://[2001:DB8::1]/", "http://[2001:db8::1]", "http://[2001:db8::1]/b/k"),
            ("http://h/Gateway/s3/", "http://h/Gateway/s3", "http://h/Gateway/s3/b/k"),
        ] {
            let endpoint = Endpoint::custom(url, "b", "r", false).unwrap();
            assert_eq!((endpoint.url().as_str(), path_of(&endpoint, "k").as_str()), (shown, object), "{url}");
        }
    }

    #[test]
    fn bad_endpoints_are_refused() {
        for (url, told) in [
            ("localhost:9000", "http://localhost:9000 or https://localhost:9000"),
            ("example.com", "no scheme"),
            ("ftp://h", "must begin with"),
            ("http://user:pass@h", "password"),
            ("http://", "not valid"),
            ("http://:9000", "host"),
            ("ht tp://h", "must begin with"),
            ("http://h:port", "port"),
            ("http://h:70000", "port"),
            ("http://[::1", "not valid"),
            ("http://h/?a=b", "query"),
            ("", "no scheme"),
        ] {
            let refused = Endpoint::custom(url, "b", "r", false).unwrap_err();
            assert!(refused.contains(told) && !refused.contains("pass@"), "{url}: {refused}");
        }
    }
}
