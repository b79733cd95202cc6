//! Multipart uploads.
//!
//! Owns: [`Upload`], an upload in progress, and the rules of its completion. Completing keeps the parts' bytes where they
//! are.
//! Source: Amazon S3 API Reference, CompleteMultipartUpload; User Guide, "Amazon S3 multipart upload limits".

use crate::attributes::Attributes;
use crate::checksum::{Algorithm, Checksum, multipart_etag};
use crate::config::Settings;
use crate::content::Content;
use crate::error::S3Error;
use crate::object::{Object, now};
use crate::upload_checksum::UploadChecksum;
use crate::xml::Element;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The highest part number.
pub(crate) const PART_NUMBER_MAX: u64 = 10_000;

/// One part of an upload.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Content,
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    /// By the algorithm of the upload.
    pub(crate) checksum: Checksum,
}

/// An upload in progress.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: Arc<str>,
    pub(crate) initiated: Timestamp,
    pub(crate) attributes: Attributes,
    pub(crate) checksum: UploadChecksum,
    pub(crate) parts: BTreeMap<u16, Part>,
}

/// A part as the request to complete names it.
#[derive(Debug)]
pub(crate) struct NamedPart {
    pub(crate) number: u64,
    etag: String,
    checksum: Option<(Algorithm, String)>,
}

impl Upload {
    pub(crate) fn new(key: &str, attributes: Attributes, checksum: UploadChecksum) -> Self {
        Self { key: key.into(), initiated: now(), attributes, checksum, parts: BTreeMap::new() }
    }

    /// The object that these parts make. Errors: `InvalidPartOrder`, `InvalidPart`, `EntityTooSmall`, `MalformedXML`.
    pub(crate) fn assemble(&self, named: &[NamedPart], settings: &Settings) -> Result<Object, S3Error> {
        if named.is_empty() {
            return Err(S3Error::malformed_xml());
        }
        if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(S3Error::new(
                400,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        let parts = named.iter().map(|named| self.find(named)).collect::<Result<Vec<&Part>, _>>()?;
        let (last, others) = parts.split_last().ok_or_else(S3Error::malformed_xml)?;
        if others.iter().any(|part| part.content.len() < settings.part_size_bytes_min) {
            return Err(S3Error::new(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        let first_len = parts.first().map_or(0, |part| part.content.len());
        let unequal =
            others.iter().any(|part| part.content.len() != first_len) || last.content.len() > first_len;
        if (settings.quirks.equal_parts || settings.quirks.r2) && unequal {
            return Err(S3Error::new(
                400,
                "InvalidPart",
                "All non-trailing parts must have the same length.",
            ));
        }
        let mut content = Content::default();
        for part in &parts {
            content.append(&part.content);
        }
        let etag = multipart_etag(parts.iter().map(|part| part.etag.as_str()), settings);
        let mut object = Object::new(content, etag, self.attributes.clone());
        let UploadChecksum { algorithm, of, .. } = self.checksum;
        let checksums = parts.iter().map(|part| (part.checksum.value.as_str(), part.content.len()));
        object.checksum = Some(Checksum::of_parts(algorithm, of, checksums));
        object.part_lens = parts.iter().map(|part| part.content.len()).collect();
        Ok(object)
    }

    fn find(&self, named: &NamedPart) -> Result<&Part, S3Error> {
        self.checksum.check_named(named.number, named.checksum.is_some())?;
        let part = u16::try_from(named.number).ok().and_then(|number| self.parts.get(&number));
        part.filter(|part| {
            let stored = &part.checksum;
            let same_checksum = named
                .checksum
                .as_ref()
                .is_none_or(|(algorithm, value)| *algorithm == stored.algorithm && *value == stored.value);
            part.etag == named.etag && same_checksum
        })
        .ok_or_else(|| {
            S3Error::new(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
            )
        })
    }
}

/// Reads the document of CompleteMultipartUpload. Errors: `MalformedXML`.
pub(crate) fn named_parts(document: &[u8]) -> Result<Vec<NamedPart>, S3Error> {
    let root = Element::parse(document)?;
    if root.name != "CompleteMultipartUpload" {
        return Err(S3Error::malformed_xml());
    }
    root.children_named("Part")
        .map(|part| {
            let number = part.child_text("PartNumber").and_then(|text| text.trim().parse().ok());
            let etag = part.child_text("ETag").map(|text| text.trim().trim_matches('"').to_owned());
            let checksum = Algorithm::ALL.into_iter().find_map(|algorithm| {
                Some((algorithm, part.child_text(algorithm.element())?.trim().to_owned()))
            });
            match (number, etag) {
                (Some(number), Some(etag)) => Ok(NamedPart { number, etag, checksum }),
                _ => Err(S3Error::malformed_xml()),
            }
        })
        .collect()
}
