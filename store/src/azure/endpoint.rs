//! Where an account's containers are.
//!
//! Owns: [`Endpoint`]. Blobs are at `https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME`; an emulator or a gateway that is no domain of the
//! account's own has the account before the container. Keys are percent-encoded and never normalised.
//! Source: Azure, "Naming and referencing containers, blobs, and metadata" (resource URI syntax).

use crate::contract::RawKey;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::IpAddr;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// One container's place.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    scheme: String,
    authority: String,
    /// Before the container: empty, or the account of an emulator, with its slash.
    base_path: String,
    container: String,
}

impl Endpoint {
    /// The account's own on Azure, below `suffix` such as `core.windows.net`.
    pub fn azure(account: &str, suffix: &str, container: &str) -> Self {
        Self {
            scheme: "https".to_owned(),
            authority: format!("{account}.blob.{suffix}"),
            base_path: String::new(),
            container: container.to_owned(),
        }
    }

    /// At a URL. Errors: a sentence, which shows no password.
    pub fn custom(url: &str, account: &str, container: &str) -> Result<Self, String> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!(
                "the endpoint URL must begin with http:// or https://, such as https://{account}.blob.core.windows.net"
            ));
        }
        if url.contains('@') {
            return Err("the endpoint URL may not hold a name or a password".to_owned());
        }
        if url.contains('?') {
            return Err(
                "the endpoint URL may not have a query; a SAS token goes into AZURE_STORAGE_SAS_TOKEN"
                    .to_owned(),
            );
        }
        let parsed: Uri = url.parse().map_err(|_| format!("the endpoint URL {url} is not valid"))?;
        let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
            return Err(format!("the endpoint URL {url} names no host"));
        };
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(format!("the port of the endpoint URL {url} is not valid"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let mut base_path = parsed.path().trim_end_matches('/').to_owned();
        if base_path.is_empty() && (host.parse::<IpAddr>().is_ok() || !host.contains('.')) {
            base_path = format!("/{account}");
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.as_str().to_ascii_lowercase(),
            base_path,
            container: container.to_owned(),
        })
    }

    pub fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// As a person would write it.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.base_path)
    }

    /// Where a request goes.
    pub fn uri(&self, key: Option<&RawKey>, query: &[(&'static str, String)]) -> Result<Uri, String> {
        let mut target = self.object_url(key);
        for (index, (name, value)) in query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, QUERY));
        }
        target.parse().map_err(|err| format!("the key cannot be sent in a request: {err}"))
    }

    /// The URL of the container, or of an object in it.
    pub fn object_url(&self, key: Option<&RawKey>) -> String {
        let container = format!("{}/{}", self.url(), self.container);
        match key {
            Some(key) => format!("{container}/{}", utf8_percent_encode(key.as_str(), PATH)),
            None => container,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulators_have_the_account_in_the_path() {
        for (url, shown) in [
            ("http://127.0.0.1:10000", "http://127.0.0.1:10000/acc"),
            ("http://127.0.0.1:10000/acc/", "http://127.0.0.1:10000/acc"),
            ("http://[::1]:10000", "http://[::1]:10000/acc"),
            ("http://azurite:10000", "http://azurite:10000/acc"),
            ("https://acc.blob.core.usgovcloudapi.net/", "https://acc.blob.core.usgovcloudapi.net"),
            ("https://Data.example.com", "https://data.example.com"),
        ] {
            assert_eq!(Endpoint::custom(url, "acc", "c").unwrap().url(), shown, "{url}");
        }
    }

    #[test]
    fn keys_and_queries_are_encoded_once() {
        let key = RawKey::new("a//%41 +é/").unwrap();
        let query = [("prefix", "a b+c&d".to_owned()), ("comp", "list".to_owned())];
        let uri = Endpoint::azure("acc", "core.windows.net", "c").uri(Some(&key), &query).unwrap();
        let wanted =
            "https://acc.blob.core.windows.net/c/a//%2541%20%2B%C3%A9/?prefix=a%20b%2Bc%26d&comp=list";
        assert_eq!(uri.to_string(), wanted);
    }

    #[test]
    fn bad_endpoints_are_refused() {
        for (url, told) in [
            ("localhost:10000", "must begin with"),
            ("ftp://h", "must begin with"),
            ("http://user:secret@h", "password"),
            ("https://h/?sv=1&sig=secret", "AZURE_STORAGE_SAS_TOKEN"),
            ("http://h:port", "not valid"),
        ] {
            let refused = Endpoint::custom(url, "acc", "c").unwrap_err();
            assert!(refused.contains(told) && !refused.contains("secret"), "{url}: {refused}");
        }
    }
}
