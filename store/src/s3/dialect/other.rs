//! Any other server that speaks the S3 API: Ceph, MinIO, Pail's own dev server, Google's XML API with HMAC keys.
//!
//! Owns: [`Other`]: the endpoint is the caller's, and what it enforces is asked, but for Google's.

use super::aws::REGION_DEFAULT;
use super::{Creation, Dialect, Opening, Reach, host_of, is_within};
use crate::s3::credentials::Source;
use crate::s3::endpoint::Endpoint;
use crate::s3::probe::Enforcement;
use crate::s3::sources::aws_chain;
use std::sync::Arc;

/// A server of no provider that is known.
pub(super) struct Other;

impl Dialect for Other {
    fn endpoint(&self, opening: &Opening<'_>) -> Result<Endpoint, String> {
        let url = opening.endpoint_url().ok_or("no endpoint is named")?;
        opening.at(&url, &opening.region().unwrap_or_else(|| REGION_DEFAULT.to_owned()))
    }

    fn sources(&self, opening: &Opening<'_>, reach: &Reach<'_>) -> Result<Vec<Arc<dyn Source>>, String> {
        Ok(aws_chain(opening, reach, false))
    }

    fn enforcement(&self, endpoint: &Endpoint) -> Option<Enforcement> {
        // The XML API takes generations, not ETags, as conditions of writes.
        is_within(&host_of(&endpoint.url()), "storage.googleapis.com").then(Enforcement::default)
    }

    fn creation(&self, _opening: &Opening<'_>, endpoint: &Endpoint) -> Result<Creation, String> {
        // Most take a bucket without a word about its region, or else with the one word that they want.
        Ok(Creation { second_location: Some(endpoint.region.clone()), ..Creation::default() })
    }
}
