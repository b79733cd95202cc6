//! One version of an object.
//!
//! Owns: [`Object`]: content, ETag and the attributes stored with it. Immutable; a write replaces it as a whole.

use crate::archive;
use crate::attributes::Attributes;
use crate::checksum::Checksum;
use crate::content::Content;
use crate::folder::Sidecar;
use crate::gcs::GcsAttributes;
use crate::reply::Reply;
use http::header::{ACCEPT_RANGES, ETAG, LAST_MODIFIED};
use jiff::{Timestamp, tz::TimeZone};

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Without quotes.
    pub(crate) etag: String,
    /// Whole seconds, as far as HTTP can say.
    pub(crate) modified: Timestamp,
    pub(crate) attributes: Attributes,
    pub(crate) checksum: Option<Checksum>,
    /// The lengths of the parts it was uploaded in; empty if it was none.
    pub(crate) part_lens: Vec<u64>,
    /// Until when an archived object can be read.
    pub(crate) restored_until: Option<Timestamp>,
    /// Its generation, and what else GCS knows of it.
    pub(crate) gcs: GcsAttributes,
    /// Where it is recorded in the folder, if the server has one and the object is in a bucket.
    pub(crate) sidecar: Option<Sidecar>,
}

impl Object {
    pub(crate) fn new(content: Content, etag: String, attributes: Attributes) -> Self {
        let modified = now();
        Self {
            content,
            etag,
            modified,
            attributes,
            checksum: None,
            part_lens: Vec::new(),
            restored_until: None,
            gcs: GcsAttributes::default(),
            sidecar: None,
        }
    }

    /// The same version again, not recorded in any folder yet.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            content: self.content.clone(),
            etag: self.etag.clone(),
            modified: self.modified,
            attributes: self.attributes.clone(),
            checksum: self.checksum.clone(),
            part_lens: self.part_lens.clone(),
            restored_until: self.restored_until,
            gcs: self.gcs.clone(),
            sidecar: None,
        }
    }

    pub(crate) fn quoted_etag(&self) -> String {
        format!("\"{}\"", self.etag)
    }

    /// Sets the headers of GET and HEAD, but for those of ranges.
    pub(crate) fn describe(&self, reply: &mut Reply, with_checksum: bool) {
        reply.set(ETAG, &self.quoted_etag());
        reply.set(LAST_MODIFIED, &http_date(self.modified));
        reply.set(ACCEPT_RANGES, "bytes");
        self.attributes.describe(reply);
        archive::describe(self, reply);
        if with_checksum {
            self.describe_checksum(reply);
        }
    }

    pub(crate) fn describe_checksum(&self, reply: &mut Reply) {
        if let Some(checksum) = &self.checksum {
            checksum.describe_with_type(reply);
        }
    }
}

/// The present, in whole seconds.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// As in `Last-Modified`.
pub(crate) fn http_date(time: Timestamp) -> String {
    TimeZone::UTC.to_datetime(time).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As in listings.
pub(crate) fn iso_date(time: Timestamp) -> String {
    TimeZone::UTC.to_datetime(time).strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
