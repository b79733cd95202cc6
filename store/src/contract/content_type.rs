//! A content type by an object's name.
//!
//! Owns: [`NewObjects::applied`], the one place where objects of any store get the attributes that nobody named: the type by the name's last
//! extension, and the storage class and encryption of the configuration.
//!
//! # Why a table beside the library's
//! `mime_guess` knows the types of the web. What files of data and models are it does not know, or it takes them for something else. Where a
//! type is registered (IANA, "Media Types") it is that one; where none is, the bytes are told to be bytes, so that no browser guesses.

use super::{Attributes, NewObjects, RawKey};
use std::borrow::Cow;

const BYTES: &str = "application/octet-stream";

/// What goes before the library's table, by lower-case extension.
const OURS: &[(&str, &str)] = &[
    ("arrow", "application/vnd.apache.arrow.file"),
    ("arrows", "application/vnd.apache.arrow.stream"),
    ("bin", BYTES),
    ("ckpt", BYTES),
    ("feather", "application/vnd.apache.arrow.file"),
    ("gguf", BYTES),
    ("h5", "application/x-hdf5"),
    ("hdf5", "application/x-hdf5"),
    ("ipynb", "application/x-ipynb+json"),
    ("jsonl", "application/jsonl"),
    ("log", "text/plain"),
    ("ndjson", "application/x-ndjson"),
    ("npy", BYTES),
    ("npz", BYTES),
    ("onnx", BYTES),
    ("parquet", "application/vnd.apache.parquet"),
    ("pickle", BYTES),
    ("pkl", BYTES),
    ("pt", BYTES),
    ("pth", BYTES),
    ("py", "text/x-python"),
    ("safetensors", BYTES),
    ("tfrecord", BYTES),
    ("toml", "application/toml"),
    // TypeScript or TorchScript as often as the video stream of the library's table.
    ("ts", BYTES),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// The content type of an object of that name; `None` where the extension tells none, and for what stands for a folder.
pub fn content_type_of(key: &str) -> Option<&'static str> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    let extension = extension.to_ascii_lowercase();
    let ours = OURS.iter().find(|(known, _)| *known == extension).map(|(_, content_type)| *content_type);
    ours.or_else(|| mime_guess::from_ext(&extension).first_raw())
}

impl NewObjects {
    /// What an object of that key is written with: `attributes`, and where they say nothing what new objects get. An edit that keeps the
    /// attributes of the version before ([`Store::attributes`](crate::Store::attributes)) keeps all that it had.
    pub fn applied<'a>(&self, key: &RawKey, attributes: &'a Attributes) -> Cow<'a, Attributes> {
        let mut applied = Cow::Borrowed(attributes);
        let by_name = || content_type_of(key.as_str()).filter(|_| self.content_type_by_name);
        if attributes.content_type.is_none()
            && let Some(content_type) = by_name()
        {
            applied.to_mut().content_type = Some(content_type.to_owned());
        }
        if attributes.storage_class.is_none() && self.storage_class.is_some() {
            applied.to_mut().storage_class.clone_from(&self.storage_class);
        }
        if attributes.encryption.is_none() && self.encryption.is_some() {
            applied.to_mut().encryption.clone_from(&self.encryption);
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_types() {
        for (key, content_type) in [
            ("a/model.safetensors", Some(BYTES)),
            ("model.pt", Some(BYTES)),
            ("part-0.snappy.parquet", Some("application/vnd.apache.parquet")),
            ("config.json", Some("application/json")),
            ("train.log", Some("text/plain")),
            ("task.yaml", Some("application/yaml")),
            ("Photo.JPG", Some("image/jpeg")),
            ("index.html", Some("text/html")),
            ("data.csv", Some("text/csv")),
            ("README.md", Some("text/markdown")),
            ("code.tar.gz", Some("application/gzip")),
            ("notes.txt", Some("text/plain")),
            ("main.rs", Some("text/x-rust")),
            ("noextension", None),
            ("a.json/noextension", None),
            ("folder.json/", None),
            (".json", None),
            ("odd.", None),
            ("odd.ä", None),
        ] {
            assert_eq!(content_type_of(key), content_type, "{key}");
        }
    }

    #[test]
    fn what_is_said_stays() {
        let new = NewObjects { storage_class: Some("STANDARD_IA".to_owned()), ..NewObjects::default() };
        let key = RawKey::new("a.json").unwrap();
        let said = Attributes {
            content_type: Some("text/x-mine".to_owned()),
            storage_class: Some("STANDARD".to_owned()),
            ..Attributes::default()
        };
        assert_eq!(*new.applied(&key, &said), said);
        let applied = new.applied(&key, &Attributes::default()).into_owned();
        assert_eq!(applied.content_type.as_deref(), Some("application/json"));
        assert_eq!(applied.storage_class.as_deref(), Some("STANDARD_IA"));
        let silent = NewObjects { content_type_by_name: false, ..NewObjects::default() };
        assert!(matches!(silent.applied(&key, &Attributes::default()), Cow::Borrowed(_)));
    }
}
