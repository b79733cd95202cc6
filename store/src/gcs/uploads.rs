//! Large objects that are made of parts.
//!
//! Owns: [`Uploads`]: parallel composite uploads (Cloud Storage documentation of that name). A part is an object of its own under
//! [`HIDDEN`]; a completion composes them, 32 at most at a time and so in several layers where there are more, onto the object itself
//! under its condition. An object that stands becomes a part as it is, by its generation: its bytes are sent by nobody.
//!
//! # Why not the XML API's multipart uploads
//! Nothing can be copied into a part there, and a completion has no precondition.
//!
//! Invariants:
//! - An upload without a part is known to nobody but who began it: nothing is sent at its beginning.
//! - What is under [`HIDDEN`] is in no listing and can be no object of a caller.
//! - All components of a composition have one storage class, as the service wants it: that of the object to be made, which the upload's id tells.
//! - Components are pinned by generation.

use super::Pipeline;
use super::listing;
use super::reading::resource;
use super::resource::{FACTS, ObjectResource, kms_key_of, resource_of};
use super::writing::{Writer, of_source, with_kms_key};
use crate::contract::{
    Attributes, Condition, Error, ErrorKind, ListRequest, OpenUpload, Part, Payload, PutOptions, RawKey,
    Result, Upload, Version,
};
use crate::http::request::ApiRequest;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use md5::{Digest, Md5};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// The folder of parts, below the store's probe prefix.
pub(super) const HIDDEN: &str = ".pail-uploads";
/// Objects that one composition takes (Cloud Storage documentation, "Quotas and limits").
const COMPONENTS_MAX: usize = 32;
/// Compositions of one layer, or deletions, that are under way at a time.
const CONCURRENT_MAX: usize = 16;
/// Uploads of one key that are told of.
const OPEN_UPLOADS_MAX: usize = 1_000;
/// [`HIDDEN`] within a key.
const WITHIN: &str = "/.pail-uploads/";
/// What begins the name of a part that is another object as a whole.
const WHOLE: &str = "whole:";

/// Whether a prefix is [`HIDDEN`], or below it, or a key could be that of a part.
pub(super) fn is_hidden(name: &str) -> bool {
    let Some((_, below)) = below_hidden(name) else { return false };
    below.is_empty() || is_upload(below.split('/').next().unwrap_or_default())
}

/// Whether a key is in a folder of that name, which is no place for others.
pub(super) fn is_reserved(name: &str) -> bool {
    below_hidden(name).is_some()
}

fn below_hidden(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix(HIDDEN).and_then(|below| below.strip_prefix('/')) {
        Some(below) => Some(("", below)),
        None => name.split_once(WITHIN),
    }
}

/// Whether a folder's name is that of an upload: 32 hexadecimal digits, 16, and a storage class.
fn is_upload(folder: &str) -> bool {
    let is_hex = |digits: &str, len| {
        digits.len() == len
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut parts = folder.splitn(3, '-');
    let (of_key, of_upload, class) = (parts.next(), parts.next(), parts.next());
    class.is_some()
        && of_key.is_some_and(|digits| is_hex(digits, 32))
        && of_upload.is_some_and(|digits| is_hex(digits, 16))
}

/// One object that a composition takes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Component {
    name: String,
    generation: u64,
}

impl Component {
    /// What a part is made of. `None` where it is of no upload to this store.
    fn of(part: &Part, folder: &str) -> Option<Self> {
        match part.etag.strip_prefix(WHOLE) {
            Some(whole) => {
                let (generation, name) = whole.split_once(':')?;
                Some(Self { name: name.to_owned(), generation: generation.parse().ok()? })
            }
            None => Some(Self { name: part_name(folder, part.number), generation: part.etag.parse().ok()? }),
        }
    }
}

fn part_name(folder: &str, number: u32) -> String {
    format!("{folder}{number:05}")
}

/// Uploads through one writer.
pub(super) struct Uploads<'a> {
    pub writer: Writer<'a>,
}

impl Uploads<'_> {
    fn pipeline(&self) -> &Arc<Pipeline> {
        self.writer.pipeline
    }

    /// The folder of all uploads.
    fn root(&self) -> String {
        format!("{}{HIDDEN}/", self.pipeline().options.probe_prefix)
    }

    fn folder(&self, upload: &Upload) -> String {
        format!("{}{}/", self.root(), upload.id)
    }

    /// Begins one, of which nobody learns yet.
    pub fn start(&self, key: &RawKey, options: &PutOptions) -> Upload {
        let attributes = self.pipeline().options.new_objects.applied(key, &options.attributes);
        let class = attributes.storage_class.as_deref().unwrap_or_default();
        Upload { key: key.clone(), id: format!("{}-{:016x}-{class}", hash_of(key), rand::random::<u64>()) }
    }

    pub async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let size = payload.len();
        let request = ApiRequest::on("UploadPart", Method::POST, &upload.key);
        let name = part_name(&self.folder(upload), number);
        let made =
            self.writer.insert(request, &name, payload, &part_attributes(upload), &Condition::None).await?;
        let etag = made.generation.unwrap_or_default().to_string();
        Ok(Part { number, etag, size, checksum: made.checksum() })
    }

    /// Takes an object as a part, as it is.
    pub async fn copy_part(
        &self,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        const OPERATION: &str = "UploadPartCopy";
        let source =
            resource(self.pipeline(), from).await.map_err(|error| of_source(error, from, version))?;
        if !version.is_unknown() && source.version() != *version {
            return Err(self.writer.changed(OPERATION, from));
        }
        let (Some(generation), Some(size)) = (source.generation, source.size) else {
            let message = "the answer does not say the object's length and generation".to_owned();
            return Err(self.pipeline().error(OPERATION, Some(from), ErrorKind::Corrupt, message));
        };
        if range != (0..size) {
            let message =
                format!("a part can be made of all {size} bytes of an object alone, not of {range:?}");
            return Err(self.pipeline().error(OPERATION, Some(from), ErrorKind::Unsupported, message));
        }
        let etag = format!("{WHOLE}{generation}:{}", from.as_str());
        Ok(Part { number, etag, size, checksum: source.checksum() })
    }

    /// Composes the parts, and deletes them.
    pub async fn complete(&self, upload: &Upload, parts: &[Part], options: &PutOptions) -> Result<Version> {
        const OPERATION: &str = "CompleteMultipartUpload";
        let folder = self.folder(upload);
        let components: Option<Vec<_>> = parts.iter().map(|part| Component::of(part, &folder)).collect();
        let Some(mut components) = components.filter(|components| !components.is_empty()) else {
            let message = "there are no parts, or some of another upload".to_owned();
            return Err(self.pipeline().error(OPERATION, Some(&upload.key), ErrorKind::Unsupported, message));
        };
        let composed = async {
            let mut layer = 0;
            while components.len() > COMPONENTS_MAX {
                components = self.compose_layer(upload, &folder, layer, components).await?;
                layer += 1;
            }
            let attributes = self.pipeline().options.new_objects.applied(&upload.key, &options.attributes);
            let name = upload.key.as_str();
            self.compose(upload, name, &components, &attributes, &options.condition).await
        };
        let made = match composed.await {
            Err(error) if error.kind == ErrorKind::NotFound => return Err(self.missing(parts, error).await),
            composed => composed?,
        };
        if let Err(error) = self.free(&folder).await {
            tracing::warn!(%error, "the parts of an object that was made of them could not be deleted");
        }
        Ok(made.version())
    }

    /// Makes one object of each 32.
    async fn compose_layer(
        &self,
        upload: &Upload,
        folder: &str,
        layer: u32,
        components: Vec<Component>,
    ) -> Result<Vec<Component>> {
        let attributes = part_attributes(upload);
        let attributes = &attributes;
        let compositions = components.chunks(COMPONENTS_MAX).enumerate().map(|(index, chunk)| async move {
            let name = format!("{folder}layer-{layer}-{index:05}");
            let made = self.compose(upload, &name, chunk, attributes, &Condition::None).await?;
            Ok(Component { name, generation: made.generation.unwrap_or_default() })
        });
        let compositions: Vec<_> = compositions.collect();
        futures::stream::iter(compositions).buffered(CONCURRENT_MAX).try_collect().await
    }

    async fn compose(
        &self,
        upload: &Upload,
        name: &str,
        components: &[Component],
        attributes: &Attributes,
        condition: &Condition,
    ) -> Result<ObjectResource> {
        let sources = components.iter().map(|component| {
            json!({"name": component.name, "generation": component.generation.to_string(),
                "objectPreconditions": {"ifGenerationMatch": component.generation.to_string()}})
        });
        let mut body = json!({
            "destination": resource_of(attributes),
            "sourceObjects": sources.collect::<Vec<_>>(),
        });
        // What makes the object itself may delete its components with it, for good: deleted one by one they would be kept, and paid for, as
        // long as the bucket keeps what is deleted (soft delete), or as their class has it (early deletion).
        let folder = self.folder(upload);
        if name == upload.key.as_str()
            && components.iter().all(|component| component.name.starts_with(&folder))
        {
            body["deleteSourceObjects"] = true.into();
        }
        let request = ApiRequest::on("CompleteMultipartUpload", Method::POST, &upload.key)
            .path(format!("{}/compose", self.pipeline().service.endpoint.object_path(name)))
            .query("fields", FACTS)
            .header("content-type", "application/json")
            .payload(Bytes::from(body.to_string()).into())
            .long_running();
        let request = with_kms_key(request, "kmsKeyName", kms_key_of(attributes));
        let is_enforced = self.writer.enforcement.compose;
        let request = self.writer.conditioned(request, name, condition, is_enforced).await?;
        let answer = self.pipeline().send(&request).await?;
        self.writer.written(&request, &answer)
    }

    /// Why a component was not there: an object that was to be a part is another now, or the upload is gone.
    async fn missing(&self, parts: &[Part], error: Error) -> Error {
        for part in parts {
            let Some(Component { name, generation }) = Component::of(part, "") else { continue };
            let Some(Ok(key)) = part.etag.starts_with(WHOLE).then(|| RawKey::new(name)) else { continue };
            match resource(self.pipeline(), &key).await {
                Ok(now) if now.generation == Some(generation) => {}
                Ok(_) => {
                    return of_source(
                        Error { kind: ErrorKind::Precondition, ..error },
                        &key,
                        &Version::Unknown,
                    );
                }
                Err(look) if look.kind == ErrorKind::NotFound => {
                    return of_source(error, &key, &Version::Generation(generation));
                }
                Err(_) => {}
            }
        }
        Error { message: "no such upload, or not all of its parts".to_owned(), ..error }
    }

    pub async fn abort(&self, upload: &Upload) -> Result<()> {
        self.free(&self.folder(upload)).await
    }

    /// Deletes what is in a folder of parts. Errors: the first of those that could not be.
    pub async fn free(&self, folder: &str) -> Result<()> {
        let mut token = None;
        loop {
            let request = ListRequest { prefix: folder.to_owned(), token, ..ListRequest::default() };
            let page = listing::raw(self.pipeline(), request).await?;
            let parts = page.items.iter().filter(|object| is_hidden(&object.name));
            futures::stream::iter(parts.filter_map(|part| part.listed(false)))
                .map(Ok)
                .try_for_each_concurrent(CONCURRENT_MAX, |part| async move {
                    self.writer.delete(&part.key, &Condition::None).await
                })
                .await?;
            match page.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => token = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Uploads to `key` that have parts. Each is as old as its first part.
    pub async fn open(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        let root = self.root();
        let prefix = format!("{root}{}-", hash_of(key));
        let mut begun: BTreeMap<String, SystemTime> = BTreeMap::new();
        let mut token = None;
        loop {
            let request = ListRequest { prefix: prefix.clone(), token, ..ListRequest::default() };
            let page = listing::raw(self.pipeline(), request).await?;
            for object in &page.items {
                let Some((id, _)) = object.name.strip_prefix(&root).and_then(|name| name.split_once('/'))
                else {
                    continue;
                };
                let written = object.written();
                let initiated = begun.entry(id.to_owned()).or_insert(written);
                *initiated = written.min(*initiated);
            }
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() || begun.len() > OPEN_UPLOADS_MAX {
                break;
            }
        }
        let open = begun.into_iter().take(OPEN_UPLOADS_MAX);
        Ok(open
            .map(|(id, initiated)| OpenUpload { upload: Upload { key: key.clone(), id }, initiated })
            .collect())
    }

    /// Whether an upload has parts; without one it is none that anybody knows of.
    pub async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        let request =
            ListRequest { prefix: self.folder(upload), max_keys: Some(1), ..ListRequest::default() };
        match listing::raw(self.pipeline(), request).await?.items.is_empty() {
            false => Ok(true),
            true => {
                let message = "no such upload".to_owned();
                Err(self.pipeline().error("ListParts", Some(&upload.key), ErrorKind::NotFound, message))
            }
        }
    }
}

/// A part is of the class of the object to be made, which the end of the upload's id is.
fn part_attributes(upload: &Upload) -> Attributes {
    let class = upload.id.rsplit('-').next().filter(|class| !class.is_empty());
    Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() }
}

/// What stands for a key in the names of its parts.
fn hash_of(key: &RawKey) -> String {
    hex::encode(Md5::digest(key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hidden_and_nothing_else() {
        let upload = format!("{}-{:016x}-STANDARD", "0a".repeat(16), 7);
        for (name, hidden) in [
            (format!(".pail-uploads/{upload}/00001"), true),
            (format!("a/.pail-uploads/{upload}/00001"), true),
            (".pail-uploads/".to_owned(), true),
            ("a/b/.pail-uploads/".to_owned(), true),
            ("a/.pail-uploads/theirs".to_owned(), false),
            ("a/.pail-uploads/h-1-/00001".to_owned(), false),
            (format!("a/x.pail-uploads/{upload}/1"), false),
            ("a.pail-uploads".to_owned(), false),
            (".pail-uploads".to_owned(), false),
            ("é/.pail-uploads/é".to_owned(), false),
        ] {
            assert_eq!(is_hidden(&name), hidden, "{name}");
        }
        assert!(is_reserved("a/.pail-uploads/theirs") && !is_reserved("a/.pail-uploads"));
    }

    #[test]
    fn parts_are_components() {
        let part = |etag: &str| Part { number: 7, etag: etag.into(), size: 1, checksum: None };
        let component = |name: &str, generation| Some(Component { name: name.into(), generation });
        assert_eq!(Component::of(&part("12"), "f/"), component("f/00007", 12));
        assert_eq!(Component::of(&part("whole:3:a:b//c"), "f/"), component("a:b//c", 3));
        assert_eq!(Component::of(&part("0cc175b9c0f1b6a831c399e269772661"), "f/"), None);
    }

    #[test]
    fn a_part_has_the_class_of_its_object() {
        let upload = |id: &str| Upload { key: RawKey::new("k").unwrap(), id: id.into() };
        assert_eq!(part_attributes(&upload("h-1-NEARLINE")).storage_class.as_deref(), Some("NEARLINE"));
        assert_eq!(part_attributes(&upload("h-1-")).storage_class, None);
    }
}
