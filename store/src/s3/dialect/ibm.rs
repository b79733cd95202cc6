//! IBM Cloud Object Storage.
//!
//! Owns: [`Ibm`]. The endpoint is the region's, of one of three networks. Source: IBM's documentation of Cloud Object Storage, "Endpoints and
//! storage locations", "Bucket operations" and "Using Python".

use super::{Creation, Dialect, Lending, Opening, Reach};
use crate::contract::{Attributes, NewObjects, StoreKind, check_storage_class};
use crate::s3::credentials::Source;
use crate::s3::endpoint::Endpoint;
use crate::s3::iam::{self, Iam};
use crate::s3::ibm_files::{self, IbmSource};
use crate::s3::probe::Enforcement;
use crate::s3::sources::{self, AWS_KEYS, EnvironmentKeys, KeyVariables};
use std::sync::Arc;

/// What its endpoints' hosts end in.
pub(super) const DOMAIN: &str = "cloud-object-storage.appdomain.cloud";

const KEYS: KeyVariables = KeyVariables {
    access_key_id: "IBM_COS_ACCESS_KEY_ID",
    secret_access_key: "IBM_COS_SECRET_ACCESS_KEY",
    session_token: None,
};
const NETWORK_VARIABLE: &str = "IBM_COS_ENDPOINT_TYPE";

/// IBM Cloud Object Storage.
pub(super) struct Ibm;

/// The network that an endpoint is in, as a part of its host's name.
fn network(opening: &Opening<'_>) -> Result<&'static str, String> {
    let named = opening.environment.get(NETWORK_VARIABLE).unwrap_or_default();
    match named.to_ascii_lowercase().as_str() {
        "" | "public" => Ok(""),
        "private" => Ok("private."),
        "direct" => Ok("direct."),
        _ => Err(format!("{NETWORK_VARIABLE} is {named:?}; it may be public, private or direct")),
    }
}

/// The region in an endpoint's host, such as `eu-de` in `s3.private.eu-de.cloud-object-storage.appdomain.cloud`.
fn region_of(url: &str) -> Option<String> {
    let host = super::host_of(url);
    let before = host.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    before.rsplit('.').next().filter(|label| *label != "s3").map(str::to_owned)
}

impl Dialect for Ibm {
    fn endpoint(&self, opening: &Opening<'_>) -> Result<Endpoint, String> {
        let named = self.named(opening);
        let own = opening.options.bucket.scope.clone().or_else(|| opening.options.region.clone());
        match (named.0, own) {
            (Some(url), own) => {
                let region = own.or_else(|| region_of(&url)).or_else(|| opening.region());
                opening.at(&url, region.as_deref().unwrap_or(super::aws::REGION_DEFAULT))
            }
            (None, Some(region)) => {
                let network = network(opening)?;
                opening.at(&format!("https://s3.{network}{region}.{DOMAIN}"), &region)
            }
            (None, None) => Err("the region is not known; write cos://REGION/BUCKET".to_owned()),
        }
    }

    fn named(&self, opening: &Opening<'_>) -> (Option<String>, Option<String>) {
        if !opening.is(StoreKind::Ibm) {
            return (opening.endpoint_url(), None);
        }
        let profiles = || opening.profile.get("endpoint_url").filter(|_| opening.options.profile.is_some());
        let named = opening.options.endpoint_url.clone();
        (named.or_else(|| opening.environment.get("IBM_COS_ENDPOINT")).or_else(profiles), None)
    }

    fn sources(&self, opening: &Opening<'_>, reach: &Reach<'_>) -> Result<Vec<Arc<dyn Source>>, String> {
        let mut all = Vec::new();
        if opening.options.profile.is_some() || !opening.is(StoreKind::Ibm) {
            all.extend(sources::aws_chain(opening, reach, false));
        }
        if opening.options.profile.is_none() {
            all.push(EnvironmentKeys::source(KEYS, opening.environment));
            all.extend(IbmSource::all(
                opening.environment,
                Iam::new(opening.options, opening.environment, reach)?,
            ));
            if opening.is(StoreKind::Ibm) {
                all.push(EnvironmentKeys::source(AWS_KEYS, opening.environment));
            }
        }
        Ok(all)
    }

    fn enforcement(&self, _endpoint: &Endpoint) -> Option<Enforcement> {
        Some(Enforcement { put: true, part_copy: true, copy_source: true, ..Enforcement::default() })
    }

    fn creation(&self, opening: &Opening<'_>, endpoint: &Endpoint) -> Result<Creation, String> {
        let class = opening.options.new_objects.storage_class.as_deref().unwrap_or("standard");
        let class = class.to_ascii_lowercase();
        check_storage_class(StoreKind::Ibm, &class)?;
        let instance = ibm_files::service_instance(opening.environment);
        Ok(Creation {
            location: Some(format!("{}-{class}", endpoint.region)),
            second_location: None,
            missing_with_token: instance.is_none().then_some(ibm_files::INSTANCE_HINT),
            headers: instance.map(|id| ("ibm-service-instance-id", id)).into_iter().collect(),
        })
    }

    /// A storage class is a bucket's, not an object's.
    fn restrict(&self, attributes: &mut Attributes) {
        attributes.storage_class = None;
        attributes.encryption = None;
    }

    fn restrict_new(&self, new_objects: &mut NewObjects) {
        new_objects.storage_class = None;
        new_objects.encryption = None;
    }

    /// A token lives an hour, and a job may run for days.
    fn lends_renewal(&self, opening: &Opening<'_>) -> Option<(&'static str, String)> {
        ibm_files::api_key(opening.environment)
    }

    /// The network, and the service that gives tokens out.
    fn lends_beside(&self, opening: &Opening<'_>) -> Vec<(&'static str, String)> {
        let names = std::iter::once(NETWORK_VARIABLE).chain(iam::VARIABLES);
        names.filter_map(|name| Some((name, opening.environment.get(name)?))).collect()
    }

    fn lending(&self) -> Lending {
        Lending {
            keys: KEYS,
            token: Some(ibm_files::LENT_TOKEN),
            endpoint_url: "IBM_COS_ENDPOINT",
            region: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_an_endpoint_of_any_network() {
        for (url, region) in [
            ("https://s3.us-south.cloud-object-storage.appdomain.cloud", Some("us-south")),
            ("https://s3.private.eu-de.cloud-object-storage.appdomain.cloud/", Some("eu-de")),
            ("https://s3.direct.jp-tok.cloud-object-storage.appdomain.cloud:443", Some("jp-tok")),
            ("https://s3.example.com", None),
        ] {
            assert_eq!(region_of(url).as_deref(), region, "{url}");
        }
    }
}
