//! The operations on buckets.
//!
//! Owns: [`GcsBucket`], what a client sets of a bucket; buckets.list, insert, get, patch, delete, getStorageLayout, testIamPermissions.
//! Source: Cloud Storage documentation, "Buckets" and "Bucket naming guidelines".

use crate::bucket::Bucket;
use crate::call::Call;
use crate::config::BucketSettings;
use crate::gcs::attributes::check_storage_class;
use crate::gcs::condition::number;
use crate::gcs::error::GcsError;
use crate::gcs::resource::{STORAGE_CLASS, bucket_resource};
use crate::gcs::{bucket_named, bucket_of, endpoint, is_requester_pays, json_reply};
use crate::reply::Reply;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The most buckets of a page.
const PAGE_LEN_MAX: u64 = 1000;

/// Locations of several regions.
const MULTI_REGIONS: [&str; 3] = ["US", "EU", "ASIA"];

/// What a client sets of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GcsBucket {
    pub(crate) metageneration: u64,
    /// In upper case.
    pub(crate) location: String,
    pub(crate) storage_class: String,
    pub(crate) uniform_access: bool,
    pub(crate) public_access_prevention: String,
    pub(crate) requester_pays: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Default for GcsBucket {
    fn default() -> Self {
        Self {
            metageneration: 1,
            location: "US".into(),
            storage_class: STORAGE_CLASS.into(),
            uniform_access: false,
            public_access_prevention: "inherited".into(),
            requester_pays: false,
            labels: BTreeMap::new(),
        }
    }
}

impl GcsBucket {
    pub(crate) fn location_type(&self) -> &'static str {
        if MULTI_REGIONS.contains(&self.location.as_str()) {
            "multi-region"
        } else if self.location.contains('-') {
            "region"
        } else {
            "dual-region"
        }
    }

    /// Sets the fields that are there. Errors: 400 for an unknown storage class or a location that is no name.
    fn merge(&mut self, resource: &Map<String, Value>) -> Result<(), GcsError> {
        if let Some(location) = resource.get("location").and_then(Value::as_str) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if location.is_empty() || !location.chars().all(is_name) {
                return Err(GcsError::invalid("The specified location constraint is not valid."));
            }
            self.location = location.to_ascii_uppercase();
        }
        if let Some(class) = resource.get("storageClass").and_then(Value::as_str) {
            check_storage_class(class)?;
            self.storage_class = class.to_owned();
        }
        let iam = resource.get("iamConfiguration");
        let flag = |path: [&str; 2], from: Option<&Value>| from?.get(path[0])?.get(path[1])?.as_bool();
        if let Some(enabled) = flag(["uniformBucketLevelAccess", "enabled"], iam) {
            self.uniform_access = enabled;
        }
        if let Some(prevention) = iam.and_then(|iam| iam.get("publicAccessPrevention")?.as_str()) {
            self.public_access_prevention = prevention.to_owned();
        }
        if let Some(pays) =
            resource.get("billing").and_then(|billing| billing.get("requesterPays")?.as_bool())
        {
            self.requester_pays = pays;
        }
        for (key, value) in resource.get("labels").and_then(Value::as_object).into_iter().flatten() {
            match value.as_str() {
                Some(value) => self.labels.insert(key.clone(), value.to_owned()),
                None => self.labels.remove(key),
            };
        }
        Ok(())
    }
}

fn reply_of(call: &Call, bucket: &Bucket) -> Reply {
    json_reply(&bucket_resource(&endpoint(call), bucket, is_requester_pays(call, bucket)))
}

pub(crate) fn get(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    check_metageneration(call, &bucket)?;
    Ok(reply_of(call, &bucket))
}

fn check_metageneration(call: &Call, bucket: &Bucket) -> Result<(), GcsError> {
    let wanted = number(&call.target, "ifMetagenerationMatch")?;
    let found = bucket.gcs.lock().metageneration;
    if wanted.is_none_or(|wanted| wanted == found) { Ok(()) } else { Err(GcsError::condition_not_met()) }
}

/// Errors: 400 without a project or a usable name, 409 for a name that is taken.
pub(crate) fn insert(call: &Call, document: Option<Map<String, Value>>) -> Result<Reply, GcsError> {
    if call.target.param("project").is_none_or(str::is_empty) {
        return Err(GcsError::required("project"));
    }
    let resource = document.unwrap_or_default();
    let name = resource.get("name").and_then(Value::as_str).ok_or_else(|| GcsError::required("name"))?;
    if let Err(why) = check_bucket_name(name) {
        return Err(GcsError::invalid(format!("Invalid bucket name: '{name}'. {why}")));
    }
    if call.is_foreign(name) {
        return Err(GcsError::new(
            409,
            "conflict",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        ));
    }
    let mut gcs = GcsBucket::default();
    gcs.merge(&resource)?;
    let bucket = call.shared.buckets.create_with(name, gcs, BucketSettings::default())?;
    Ok(reply_of(call, &bucket))
}

pub(crate) fn list(call: &Call) -> Result<Reply, GcsError> {
    if call.target.param("project").is_none_or(str::is_empty) {
        return Err(GcsError::required("project"));
    }
    let prefix = call.target.param("prefix").unwrap_or_default();
    let after = call.target.param("pageToken").unwrap_or_default();
    let max = number(&call.target, "maxResults")?.unwrap_or(PAGE_LEN_MAX).clamp(1, PAGE_LEN_MAX) as usize;
    let mut found = call.shared.buckets.all();
    found.retain(|bucket| {
        bucket.name.starts_with(prefix) && bucket.name.as_str() > after && !call.is_foreign(&bucket.name)
    });
    let mut answer = json!({"kind": "storage#buckets"});
    if found.len() > max {
        found.truncate(max);
        answer["nextPageToken"] = found.last().map(|bucket| bucket.name.clone()).into();
    }
    let items: Vec<Value> = found
        .iter()
        .map(|bucket| bucket_resource(&endpoint(call), bucket, is_requester_pays(call, bucket)))
        .collect();
    if !items.is_empty() {
        answer["items"] = items.into();
    }
    Ok(json_reply(&answer))
}

/// Location and name stay. Errors: 404, 412, 400.
pub(crate) fn patch(call: &Call, document: Option<Map<String, Value>>) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    check_metageneration(call, &bucket)?;
    let mut resource = document.unwrap_or_default();
    resource.remove("location");
    let mut changed = bucket.gcs.lock().clone();
    changed.merge(&resource)?;
    changed.metageneration += 1;
    *bucket.gcs.lock() = changed;
    bucket.record()?;
    Ok(reply_of(call, &bucket))
}

/// Errors: 404, 409 for one that is not empty, 412.
pub(crate) fn delete(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_named(call, &call.target.bucket)?;
    check_metageneration(call, &bucket)?;
    call.shared.buckets.delete(&bucket.name)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn storage_layout(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let gcs = bucket.gcs.lock().clone();
    Ok(json_reply(&json!({
        "kind": "storage#storageLayout",
        "bucket": bucket.name,
        "location": gcs.location,
        "locationType": gcs.location_type(),
        "hierarchicalNamespace": {"enabled": false},
    })))
}

/// Whoever may use a bucket may do everything in it.
pub(crate) fn test_permissions(call: &Call) -> Result<Reply, GcsError> {
    bucket_of(call)?;
    let asked = call.target.query.iter().filter(|(name, _)| name == "permissions");
    let refused = &call.settings.gcs.refused_permissions;
    let permissions: Vec<&str> =
        asked.map(|(_, value)| value.as_str()).filter(|permission| !refused.contains(*permission)).collect();
    Ok(json_reply(&json!({"kind": "storage#testIamPermissionsResponse", "permissions": permissions})))
}

/// Why no bucket can have the name. It also keeps names from being paths.
fn check_bucket_name(name: &str) -> Result<(), &'static str> {
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_allowed = |b: &u8| is_edge(Some(b)) || matches!(b, b'-' | b'_' | b'.');
    let len_max = if name.contains('.') { 222 } else { 63 };
    if !(3..=len_max).contains(&name.len()) || name.split('.').any(|part| part.len() > 63) {
        return Err("A name has 3 to 63 characters, or with dots up to 222 and 63 in each part.");
    }
    if !name.as_bytes().iter().all(is_allowed) {
        return Err("A name has lower-case letters, digits, dashes, underscores and dots.");
    }
    if !is_edge(name.as_bytes().first()) || !is_edge(name.as_bytes().last()) {
        return Err("A name begins and ends with a letter or a digit.");
    }
    if ["..", ".-", "-."].iter().any(|pair| name.contains(pair)) || name.parse::<std::net::Ipv4Addr>().is_ok()
    {
        return Err("A name has no \"..\", \".-\" or \"-.\", and is no IP address.");
    }
    if name.starts_with("goog") || ["google", "g00gle"].iter().any(|word| name.contains(word)) {
        return Err("A name neither begins with \"goog\" nor contains \"google\".");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_guidelines() {
        let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
        for name in ["abc", "my_bucket-1", "a.b.c", long.as_str(), &"a".repeat(63)] {
            assert_eq!(check_bucket_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(64);
        let bad = [
            "ab",
            "Abc",
            "-abc",
            "abc_",
            "a..b",
            "a.-b",
            "10.0.0.1",
            "goog-x",
            "my-google-x",
            "a/b",
            "..",
            &too_long,
        ];
        for name in bad {
            assert!(check_bucket_name(name).is_err(), "{name}");
        }
    }
}
