//! Encryption with a key that the store does not keep (SSE-C).
//!
//! Owns: [`CustomerKey`]: 32 bytes from a file that `AWS_SSE_C_KEY_FILE` names, raw or in base64, and the headers that every request for an
//! object then has. Invariants: the key is in no argument, log line, error or `Debug` output; it is sent over TLS alone, save to this machine.
//!
//! Source: Amazon S3 User Guide, "Using server-side encryption with customer-provided keys (SSE-C)".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest, Md5};
use std::path::Path;

/// What names the key's file.
pub(super) const VARIABLE: &str = "AWS_SSE_C_KEY_FILE";
const KEY_SIZE_BYTES: usize = 32;
/// Base64 and a line's end.
const FILE_SIZE_BYTES_MAX: u64 = 64;

/// A key as headers have it. `Debug` of a sensitive value does not show it.
#[derive(Debug, Clone)]
pub(super) struct CustomerKey {
    key: HeaderValue,
    digest: HeaderValue,
}

impl CustomerKey {
    /// Errors: a sentence that names the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |cause: String| format!("{VARIABLE} names {}, {cause}", path.display());
        let stat = std::fs::metadata(path).map_err(|e| told(format!("which cannot be read: {e}")))?;
        if !stat.is_file() || stat.len() > FILE_SIZE_BYTES_MAX {
            return Err(told("which is no file of a key of 32 bytes".to_owned()));
        }
        let content = std::fs::read(path).map_err(|e| told(format!("which cannot be read: {e}")))?;
        let key = match content.len() {
            KEY_SIZE_BYTES => Some(content),
            _ => STANDARD.decode(content.trim_ascii()).ok().filter(|key| key.len() == KEY_SIZE_BYTES),
        };
        let key = key.ok_or_else(|| told("which does not hold 32 bytes, raw or in base64".to_owned()))?;
        let header = |bytes: &[u8]| HeaderValue::from_str(&STANDARD.encode(bytes));
        let (Ok(mut value), Ok(digest)) = (header(&key), header(&Md5::digest(&key))) else {
            return Err(told("which cannot be sent".to_owned()));
        };
        value.set_sensitive(true);
        Ok(Self { key: value, digest })
    }

    /// Of the object that a request reads or writes.
    pub fn add(&self, headers: &mut HeaderMap) {
        const PREFIX: [HeaderName; 3] = [
            HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm"),
            HeaderName::from_static("x-amz-server-side-encryption-customer-key"),
            HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5"),
        ];
        self.add_as(PREFIX, headers);
    }

    /// Of the object that a request copies.
    pub fn add_for_source(&self, headers: &mut HeaderMap) {
        const PREFIX: [HeaderName; 3] = [
            HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-algorithm"),
            HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key"),
            HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key-md5"),
        ];
        self.add_as(PREFIX, headers);
    }

    fn add_as(&self, [algorithm, key, digest]: [HeaderName; 3], headers: &mut HeaderMap) {
        headers.insert(algorithm, const { HeaderValue::from_static("AES256") });
        headers.insert(key, self.key.clone());
        headers.insert(digest, self.digest.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = b"0123456789abcdefghijklmnopqrstuv";
        for content in [key.to_vec(), format!("{}\n", STANDARD.encode(key)).into_bytes()] {
            std::fs::write(&path, content).unwrap();
            let read = CustomerKey::read(&path).unwrap();
            let mut headers = HeaderMap::new();
            read.add(&mut headers);
            let sent = &headers["x-amz-server-side-encryption-customer-key"];
            assert_eq!(sent.as_bytes(), STANDARD.encode(key).as_bytes());
            let shown = format!("{read:?} {headers:?}");
            assert!(!shown.contains(&STANDARD.encode(key)), "{shown}");
        }
        for content in ["", "short", "0123456789abcdefghijklmnopqrstuvw"] {
            std::fs::write(&path, content).unwrap();
            let refused = CustomerKey::read(&path).unwrap_err();
            assert!(refused.contains("32 bytes") && refused.contains(VARIABLE), "{refused}");
        }
        assert!(CustomerKey::read(&dir.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
