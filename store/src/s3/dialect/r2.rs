//! Cloudflare R2.
//!
//! Owns: [`R2`]. The endpoint is the account's, `https://ACCOUNT.r2.cloudflarestorage.com`, with the jurisdiction before `r2` where a bucket has
//! one; the region is always `auto`. Source: Cloudflare's documentation of R2, "S3 API compatibility", "Data location", "Conditional
//! operations" and "Upload objects".

use super::{Creation, Dialect, Lending, Opening, Reach};
use crate::contract::{Attributes, NewObjects, StoreKind, check_storage_class};
use crate::s3::aws_files::credentials_file;
use crate::s3::credentials::Source;
use crate::s3::endpoint::Endpoint;
use crate::s3::probe::Enforcement;
use crate::s3::profile;
use crate::s3::sources::{self, AWS_KEYS, EnvironmentKeys, KeyVariables};
use async_trait::async_trait;
use std::sync::Arc;

/// What its endpoints' hosts end in.
pub(super) const DOMAIN: &str = "r2.cloudflarestorage.com";

/// The second is that of Cloudflare's own command, wrangler.
const ACCOUNT_VARIABLES: [&str; 2] = ["R2_ACCOUNT_ID", "CLOUDFLARE_ACCOUNT_ID"];
const JURISDICTION_VARIABLE: &str = "R2_JURISDICTION";
const ACCOUNT_FILE: &str = "~/.cloudflare/accountid";
const CREDENTIALS_FILE: &str = "~/.cloudflare/r2.credentials";
const PROFILE_DEFAULT: &str = "r2";
const KEYS: KeyVariables = KeyVariables {
    access_key_id: "R2_ACCESS_KEY_ID",
    secret_access_key: "R2_SECRET_ACCESS_KEY",
    session_token: Some("R2_SESSION_TOKEN"),
};

const JURISDICTIONS: [&str; 2] = ["eu", "fedramp"];
/// Where a new bucket may be wished to be.
const LOCATIONS: [&str; 6] = ["wnam", "enam", "weur", "eeur", "apac", "oc"];
/// What region stands for R2's only one.
const ALIASES: [&str; 2] = ["auto", "us-east-1"];

/// Cloudflare R2.
pub(super) struct R2;

/// What a region that is named says of R2.
#[derive(Debug, Default, PartialEq, Eq)]
struct Region {
    jurisdiction: Option<&'static str>,
    location: Option<&'static str>,
}

impl Region {
    /// Errors: a sentence that says which there are.
    fn parse(named: &str) -> Result<Self, String> {
        let named = named.to_ascii_lowercase();
        let among = |names: &[&'static str]| names.iter().find(|name| **name == named).copied();
        match (among(&JURISDICTIONS), among(&LOCATIONS), among(&ALIASES)) {
            (None, None, None) if !named.is_empty() && named != "default" => Err(format!(
                "R2 has no region {named:?}: it is auto; {} are jurisdictions, and {} where a new bucket may be",
                JURISDICTIONS.join(" and "),
                LOCATIONS.join(", ")
            )),
            (jurisdiction, location, _) => Ok(Self { jurisdiction, location }),
        }
    }

    fn of(opening: &Opening<'_>) -> Result<Self, String> {
        // Of s3:// with an endpoint of R2's, a region may be meant for something else.
        let named = opening.options.region.as_deref().filter(|_| opening.is(StoreKind::R2));
        let region = named.map(Self::parse).transpose()?.unwrap_or_default();
        match opening.environment.get(JURISDICTION_VARIABLE).filter(|_| region.jurisdiction.is_none()) {
            None => Ok(region),
            Some(named) => match Self::parse(&named) {
                Ok(Self { jurisdiction, location: None }) => Ok(Self { jurisdiction, ..region }),
                _ => Err(format!(
                    "{JURISDICTION_VARIABLE} is {named:?}; it may be {}",
                    JURISDICTIONS.join(" or ")
                )),
            },
        }
    }
}

fn account(opening: &Opening<'_>) -> Result<String, String> {
    let variable = ACCOUNT_VARIABLES.iter().find_map(|name| Some((opening.environment.get(name)?, *name)));
    let (id, place) = variable
        .or_else(|| Some((opening.word_of_file(ACCOUNT_FILE)?, ACCOUNT_FILE)))
        .ok_or_else(|| format!("R2's endpoint has the account's id in it, and that is not known: give the endpoint, set R2_ACCOUNT_ID, or write the id into {ACCOUNT_FILE}"))?;
    // It becomes part of a host's name.
    match id.len() <= 63 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(id.to_ascii_lowercase()),
        false => Err(format!("the account id in {place} has more than letters and digits")),
    }
}

#[async_trait]
impl Dialect for R2 {
    async fn check_profile(&self, opening: &Opening<'_>) -> Result<(), String> {
        match &opening.options.profile {
            Some(name) if has_profile(opening, name).await => Ok(()),
            _ => opening
                .profile
                .check()
                .map_err(|cause| format!("{CREDENTIALS_FILE} has no such profile, and {cause}")),
        }
    }

    fn endpoint(&self, opening: &Opening<'_>) -> Result<Endpoint, String> {
        match self.named(opening).0 {
            Some(url) => opening.at(&url, "auto"),
            None => {
                let jurisdiction = Region::of(opening)?.jurisdiction.map(|name| format!("{name}."));
                let (account, jurisdiction) = (account(opening)?, jurisdiction.unwrap_or_default());
                opening.at(&format!("https://{account}.{jurisdiction}{DOMAIN}"), "auto")
            }
        }
    }

    fn named(&self, opening: &Opening<'_>) -> (Option<String>, Option<String>) {
        if !opening.is(StoreKind::R2) {
            return (opening.endpoint_url(), None);
        }
        let profiles = || opening.profile.get("endpoint_url").filter(|_| opening.options.profile.is_some());
        let named = opening.options.endpoint_url.clone();
        (named.or_else(|| opening.environment.get("R2_ENDPOINT_URL")).or_else(profiles), None)
    }

    fn sources(&self, opening: &Opening<'_>, reach: &Reach<'_>) -> Result<Vec<Arc<dyn Source>>, String> {
        let environment = opening.options.environment.clone();
        let of_file = |name: &str| {
            let environment = environment.clone();
            sources::profile(Some(name.to_owned()), CREDENTIALS_FILE, &reach.aws, move || {
                let environment = crate::http::environment::Environment(environment.as_ref());
                credentials_file(&environment.path(CREDENTIALS_FILE))
            })
        };
        let own = |name: &str| vec![EnvironmentKeys::source(KEYS, opening.environment), of_file(name)];
        Ok(match (&opening.options.profile, opening.is(StoreKind::R2)) {
            (Some(name), true) => vec![of_file(name), sources::aws_profile(opening, &reach.aws)],
            (Some(_), false) => sources::aws_chain(opening, reach, false),
            (None, true) => {
                let mut all = own(PROFILE_DEFAULT);
                all.push(EnvironmentKeys::source(AWS_KEYS, opening.environment));
                all
            }
            (None, false) => {
                let mut all = sources::aws_chain(opening, reach, false);
                all.extend(own(PROFILE_DEFAULT));
                all
            }
        })
    }

    /// Public buckets are reached by other ways than the S3 API.
    fn has_public_buckets(&self) -> bool {
        false
    }

    fn enforcement(&self, _endpoint: &Endpoint) -> Option<Enforcement> {
        Some(Enforcement {
            put: true,
            complete_unproven: true,
            cloudflare_copy: true,
            part_copy: true,
            copy_source: true,
            crc64nvme: true,
            equal_parts: true,
            ..Enforcement::default()
        })
    }

    fn creation(&self, opening: &Opening<'_>, _endpoint: &Endpoint) -> Result<Creation, String> {
        let location = Region::of(opening)?.location.map(str::to_owned);
        let class = opening.options.new_objects.storage_class.as_deref();
        class.map_or(Ok(()), |class| check_storage_class(StoreKind::R2, class))?;
        Ok(Creation { location, ..Creation::default() })
    }

    /// R2 has neither tags nor keys of a key service (both answered by 501), and two storage classes.
    fn restrict(&self, attributes: &mut Attributes) {
        attributes.tags.clear();
        attributes.encryption = None;
        let class = attributes.storage_class.as_deref();
        if class.is_some_and(|class| check_storage_class(StoreKind::R2, class).is_err()) {
            attributes.storage_class = None;
        }
    }

    fn restrict_new(&self, new_objects: &mut NewObjects) {
        new_objects.encryption = None;
    }

    /// The account of a file, and the jurisdiction: the endpoint follows from them.
    fn lends_beside(&self, opening: &Opening<'_>) -> Vec<(&'static str, String)> {
        if !opening.is(StoreKind::R2) || self.named(opening).0.is_some() {
            return Vec::new();
        }
        let account = account(opening).ok().map(|id| (ACCOUNT_VARIABLES[0], id));
        let jurisdiction =
            opening.environment.get(JURISDICTION_VARIABLE).map(|name| (JURISDICTION_VARIABLE, name));
        account.into_iter().chain(jurisdiction).collect()
    }

    fn lending(&self) -> Lending {
        Lending { keys: KEYS, token: None, endpoint_url: "R2_ENDPOINT_URL", region: None }
    }
}

async fn has_profile(opening: &Opening<'_>, name: &str) -> bool {
    profile::has(&credentials_file(&opening.environment.path(CREDENTIALS_FILE)), name).await
}
