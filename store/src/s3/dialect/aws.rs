//! Amazon S3.
//!
//! Owns: [`Aws`]: the endpoint follows the region, and credentials come from the chain of every AWS tool, the instance's role included.

use super::{Creation, Dialect, Opening, Reach};
use crate::contract::{StoreKind, check_storage_class};
use crate::s3::aws_place::{AwsPlace, Wishes};
use crate::s3::credentials::Source;
use crate::s3::endpoint::Endpoint;
use crate::s3::probe::Enforcement;
use crate::s3::sources::aws_chain;
use std::sync::Arc;

/// The region where none is named, here and where others want one.
pub(super) const REGION_DEFAULT: &str = "us-east-1";

/// Amazon S3, by region.
pub(super) struct Aws;

impl Dialect for Aws {
    fn endpoint(&self, opening: &Opening<'_>) -> Result<Endpoint, String> {
        let region = opening.region().unwrap_or_else(|| REGION_DEFAULT.to_owned());
        let wishes = Wishes {
            dual_stack: opening.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            fips: opening.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            accelerate: opening.accelerates(),
            virtual_host: opening.options.virtual_host,
        };
        let place = AwsPlace::new(&opening.options.bucket.bucket, wishes)?;
        let endpoint = Endpoint::aws(place.clone(), &region);
        place.check_region(&endpoint.region)?;
        Ok(endpoint)
    }

    fn sources(&self, opening: &Opening<'_>, reach: &Reach<'_>) -> Result<Vec<Arc<dyn Source>>, String> {
        Ok(aws_chain(opening, reach, true))
    }

    fn enforcement(&self, _endpoint: &Endpoint) -> Option<Enforcement> {
        Some(Enforcement {
            put: true,
            complete: true,
            delete: true,
            bulk_delete: true,
            part_copy: true,
            copy_source: true,
            crc64nvme: true,
            ..Enforcement::default()
        })
    }

    fn creation(&self, opening: &Opening<'_>, endpoint: &Endpoint) -> Result<Creation, String> {
        let class = opening.options.new_objects.storage_class.as_deref();
        class.map_or(Ok(()), |class| check_storage_class(StoreKind::S3, class))?;
        let location = (endpoint.region != REGION_DEFAULT).then(|| endpoint.region.clone());
        Ok(Creation { location, ..Creation::default() })
    }
}
