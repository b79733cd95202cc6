//! Where the JSON API is.
//!
//! Owns: [`Endpoint`]: the URL that requests go to, and the paths of buckets and objects at it. Names stand in paths and queries with every
//! byte encoded that is not unreserved (RFC 3986, section 2.3), so that a key is one path segment whatever is in it.
//! Source: Cloud Storage documentation, "Request endpoints".

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The service itself.
const GOOGLE: &str = "https://storage.googleapis.com";
/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The JSON API as one bucket sees it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Scheme, host, port and path, without a slash at the end.
    base: String,
    bucket: String,
    kind: EndpointKind,
}

/// Who answers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointKind {
    /// Google's own name for the service.
    Google,
    /// Another name or server (a private endpoint, a test server), which `endpoint_url` names.
    Named,
    /// What `STORAGE_EMULATOR_HOST` names, which takes no credentials.
    Emulator,
}

impl Endpoint {
    /// Google's.
    pub fn google(bucket: &str) -> Self {
        Self { base: GOOGLE.to_owned(), bucket: bucket.to_owned(), kind: EndpointKind::Google }
    }

    /// A URL, for which a host alone counts as `http://HOST`, as Google's own clients have it of `STORAGE_EMULATOR_HOST`. Errors: a sentence.
    pub fn named(url: &str, bucket: &str, kind: EndpointKind) -> Result<Self, String> {
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        // A query may hold a token.
        let shown = full.split(['?', '#']).next().unwrap_or_default();
        if full.contains('@') {
            return Err("an endpoint's URL cannot have a user or a password in it".to_owned());
        }
        let invalid = |why: &str| format!("{} is not the URL of an endpoint: {why}", shown.escape_debug());
        if shown.len() < full.len() {
            return Err(invalid("it has a query"));
        }
        let uri: http::Uri = full.parse().map_err(|_| invalid("it cannot be parsed"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it must begin with https:// or http://"));
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err("an endpoint's URL cannot have a user or a password in it".to_owned());
        }
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/storage/v1").unwrap_or(path);
        let scheme = uri.scheme_str().unwrap_or("https");
        let base = format!("{scheme}://{authority}{path}");
        let kind = if base == GOOGLE { EndpointKind::Google } else { kind };
        Ok(Self { base, bucket: bucket.to_owned(), kind })
    }

    /// Who answers there.
    pub fn kind(&self) -> EndpointKind {
        self.kind
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Whether the service itself answers there: by its own name, by a region's, or by one of those that private networks have for it
    /// (Cloud Storage documentation, "Request endpoints" and "Regional endpoints"; VPC documentation, "Private Google Access").
    pub fn is_google_s(&self) -> bool {
        let host = self.host().to_ascii_lowercase();
        self.kind != EndpointKind::Emulator
            && self.is_tls()
            && host.strip_suffix("googleapis.com").is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether what is sent there stays on this machine or is encrypted.
    pub fn is_private(&self) -> bool {
        self.is_tls() || self.is_loopback()
    }

    fn host(&self) -> String {
        let uri = self.base.parse::<http::Uri>().ok();
        uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
    }

    /// As a person would write it.
    pub fn url(&self) -> String {
        self.base.clone()
    }

    /// The path of the bucket.
    pub fn bucket_path(&self) -> String {
        format!("/storage/v1/b/{}", encoded(&self.bucket))
    }

    /// The path below which new objects are sent.
    pub fn upload_path(&self) -> String {
        format!("/upload/storage/v1/b/{}/o", encoded(&self.bucket))
    }

    /// The path of an object.
    pub fn object_path(&self, name: &str) -> String {
        format!("{}/o/{}", self.bucket_path(), encoded(name))
    }

    /// The path by which `from` is copied to `to` of the same bucket.
    pub fn rewrite_path(&self, from: &str, to: &str) -> String {
        self.rewrite_path_from(&self.bucket, from, to)
    }

    /// The path by which `from` of another bucket is copied to `to`.
    pub fn rewrite_path_from(&self, bucket: &str, from: &str, to: &str) -> String {
        let source = format!("/storage/v1/b/{}/o/{}", encoded(bucket), encoded(from));
        format!("{source}/rewriteTo/b/{}/o/{}", encoded(&self.bucket), encoded(to))
    }

    /// The path by which `from` is moved to `to`.
    pub fn move_path(&self, from: &str, to: &str) -> String {
        format!("{}/moveTo/o/{}", self.object_path(from), encoded(to))
    }

    /// A path and a query as a URI. Errors: a sentence.
    pub fn uri(&self, path: &str, query: &[(&str, &str)]) -> Result<http::Uri, String> {
        let mut uri = format!("{}{path}", self.base);
        for (index, (name, value)) in query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.extend(utf8_percent_encode(value, RESERVED));
        }
        uri.parse().map_err(|err| format!("the key cannot be sent in a request: {err}"))
    }
}

/// A name as one path segment.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_one_segment() {
        let endpoint = Endpoint::google("b.example_1");
        for (key, path) in [
            ("a//b", "/storage/v1/b/b.example_1/o/a%2F%2Fb"),
            ("../x?#%41", "/storage/v1/b/b.example_1/o/..%2Fx%3F%23%2541"),
            ("é\n+ ", "/storage/v1/b/b.example_1/o/%C3%A9%0A%2B%20"),
        ] {
            assert_eq!(endpoint.object_path(key), path);
        }
        let uri = endpoint.uri("/upload", &[("name", "a/b&c=d"), ("x", "1")]).unwrap();
        assert_eq!(uri.to_string(), "https://storage.googleapis.com/upload?name=a%2Fb%26c%3Dd&x=1");
    }

    #[test]
    fn emulators_are_named_with_a_scheme_or_without() {
        let named = |url| Endpoint::named(url, "b", EndpointKind::Emulator);
        for (url, base) in [
            ("localhost:4443", "http://localhost:4443"),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9"),
            ("https://gcs.example/storage/v1/", "https://gcs.example"),
        ] {
            assert_eq!(named(url).unwrap().url(), base);
        }
        assert_eq!(named("https://storage.googleapis.com/").unwrap().kind(), EndpointKind::Google);
        assert!(Endpoint::google("b").is_google_s() && !named("localhost:1").unwrap().is_google_s());
        for (url, is_google_s) in [
            ("https://storage.europe-west3.rep.googleapis.com", true),
            ("https://private.googleapis.com", true),
            ("http://storage.googleapis.com", false),
            ("https://storage.googleapis.com.example", false),
            ("https://fakegoogleapis.com", false),
        ] {
            let endpoint = Endpoint::named(url, "b", EndpointKind::Named).unwrap();
            assert_eq!(endpoint.is_google_s(), is_google_s, "{url}");
        }
        assert!(named("[::1]:80").unwrap().is_private());
        assert!(!named("http://example.com").unwrap().is_private());
        for url in ["ftp://h", "http://", "", "https://user:secret@h", "http://h/?a=b"] {
            let refused = named(url).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
