//! The dialects of the S3 family.
//!
//! Owns: [`Dialect`], all that differs between providers of the S3 API: where a bucket is, which credentials are looked for, what is enforced,
//! and what the making of a bucket needs. It is resolved once, when a store is opened ([`of`]): `r2://` and `cos://` say theirs, of `s3://` the
//! endpoint's host does.

mod aws;
mod ibm;
mod other;
mod r2;

use super::credentials::Source;
use super::endpoint::Endpoint;
use super::probe::Enforcement;
use super::profile::Profile;
use super::sources::{AWS_KEYS, KeyVariables};
use crate::contract::{Attributes, NewObjects, StoreKind, StoreOptions};
use crate::http::ca_bundle::CaBundle;
use crate::http::environment::Environment;
use crate::http::proxy::Proxies;
use async_trait::async_trait;
use aws_config::provider_config::ProviderConfig;
use std::sync::Arc;

/// What a store is opened with.
pub(super) struct Opening<'a> {
    pub options: &'a StoreOptions,
    pub environment: Environment<'a>,
    /// The profile of the AWS configuration files that applies.
    pub profile: &'a Profile,
}

/// How the services are reached that give credentials out.
pub(super) struct Reach<'a> {
    pub aws: ProviderConfig,
    pub proxies: &'a Proxies,
    pub ca_bundle: Option<&'a CaBundle>,
}

/// What CreateBucket says beside the name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Creation {
    /// The location that is asked for.
    pub location: Option<String>,
    /// The one that is asked for where the first is refused.
    pub second_location: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// What is said of what is not known, and requests with a token need.
    pub missing_with_token: Option<&'static str>,
}

/// The variables in which another machine is told what was found here.
pub(super) struct Lending {
    pub keys: KeyVariables,
    /// `None` where no token can be lent.
    pub token: Option<&'static str>,
    pub endpoint_url: &'static str,
    pub region: Option<&'static str>,
}

/// What one provider of the S3 API has of its own.
#[async_trait]
pub(super) trait Dialect: Send + Sync {
    /// Errors: the profile that was asked for by name is not there.
    async fn check_profile(&self, opening: &Opening<'_>) -> Result<(), String> {
        opening.profile.check()
    }

    /// Where the bucket is. Errors: a sentence on what is missing or wrong.
    fn endpoint(&self, opening: &Opening<'_>) -> Result<Endpoint, String>;

    /// The endpoint and the region as they were named, and not by the dialect's rules.
    fn named(&self, opening: &Opening<'_>) -> (Option<String>, Option<String>) {
        (opening.endpoint_url(), opening.region())
    }

    /// Where credentials are looked for, the first place first. Errors: a sentence without any secret.
    fn sources(&self, opening: &Opening<'_>, reach: &Reach<'_>) -> Result<Vec<Arc<dyn Source>>, String>;

    /// Whether requests without credentials can come to anything.
    fn has_public_buckets(&self) -> bool {
        true
    }

    /// What is documented; `None` for an endpoint that must be asked.
    fn enforcement(&self, endpoint: &Endpoint) -> Option<Enforcement>;

    /// What the making of a bucket takes. Errors: a sentence on a storage class that cannot be.
    fn creation(&self, opening: &Opening<'_>, endpoint: &Endpoint) -> Result<Creation, String>;

    /// Takes out of what an object is to carry what the provider has no word for, and refuses.
    fn restrict(&self, _attributes: &mut Attributes) {}

    /// The same of what new objects get. A class that is a bucket's, and not an object's, has done its part by now ([`Dialect::creation`]).
    fn restrict_new(&self, _new_objects: &mut NewObjects) {}

    /// What makes tokens of the kind that were found, in the variable that another machine takes it from; `None` where there is nothing but
    /// a token.
    fn lends_renewal(&self, _opening: &Opening<'_>) -> Option<(&'static str, String)> {
        None
    }

    /// What else another machine needs to find the bucket, and what renews its credentials, where this machine does. Nothing of it is secret.
    fn lends_beside(&self, _opening: &Opening<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn lending(&self) -> Lending {
        Lending {
            keys: AWS_KEYS,
            token: None,
            endpoint_url: "AWS_ENDPOINT_URL_S3",
            region: Some("AWS_REGION"),
        }
    }
}

impl Opening<'_> {
    /// The endpoint of `s3://`, where one is named.
    pub fn endpoint_url(&self) -> Option<String> {
        let named = self.options.endpoint_url.clone();
        if named.is_some()
            || self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
        {
            return named;
        }
        // The order is that of the AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
        self.environment
            .get("AWS_ENDPOINT_URL_S3")
            .or_else(|| self.environment.get("AWS_ENDPOINT_URL"))
            .or_else(|| self.profile.endpoint_of_services())
            .or_else(|| self.profile.get("endpoint_url"))
    }

    /// Whether transfer acceleration is wished for.
    pub fn accelerates(&self) -> bool {
        let named = self.environment.get("AWS_S3_USE_ACCELERATE_ENDPOINT");
        let named = named.or_else(|| self.profile.get_of_s3("use_accelerate_endpoint"));
        named.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// Whether a variable, or else a setting of the profile, says `true`.
    pub fn flag(&self, variable: &str, setting: &str) -> bool {
        let value = self.environment.get(variable).or_else(|| self.profile.get(setting));
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// The region of `s3://`, where one is named.
    pub fn region(&self) -> Option<String> {
        let named = self.options.region.clone();
        named
            .or_else(|| self.environment.get("AWS_REGION"))
            .or_else(|| self.environment.get("AWS_DEFAULT_REGION"))
            .or_else(|| self.profile.get("region"))
    }

    fn is(&self, kind: StoreKind) -> bool {
        self.options.bucket.kind == kind
    }

    /// The bucket at an endpoint of that URL.
    fn at(&self, url: &str, region: &str) -> Result<Endpoint, String> {
        let virtual_host = self.options.virtual_host.unwrap_or(false);
        Endpoint::custom(url, &self.options.bucket.bucket, region, virtual_host)
    }

    /// A variable, a file below the home: the first word of it.
    fn word_of_file(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.environment.path(path)).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    }
}

/// The dialect that is spoken where `opening` leads.
pub(super) fn of(opening: &Opening<'_>) -> &'static dyn Dialect {
    match opening.options.bucket.kind {
        StoreKind::R2 => &r2::R2,
        StoreKind::Ibm => &ibm::Ibm,
        _ => match opening.endpoint_url().map(|url| host_of(&url)) {
            None => &aws::Aws,
            Some(host) if is_within(&host, r2::DOMAIN) => &r2::R2,
            Some(host) if is_within(&host, ibm::DOMAIN) => &ibm::Ibm,
            Some(_) => &other::Other,
        },
    }
}

/// The host of a URL, in lower case; something else where it has none.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

fn is_within(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
