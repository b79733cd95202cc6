//! How a bucket is asked, and what new objects in it get.
//!
//! Owns: [`BucketSettings`], which flags of commands and `config:` of a task say in the same words, and which goes with a mount.

use crate::{CallerEnvironment, Failure};
use pail_store::{Encryption, NewObjects, StoreKind, check_storage_class, needs_restoring};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a bucket is asked, and what new objects in it get, every default filled in. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BucketSettings {
    /// New objects get a content type by their names.
    pub content_type_by_name: bool,
    /// The storage class of new objects, in the store's own word; `None` leaves it to the store.
    pub storage_class: Option<String>,
    /// How new objects are encrypted, in the store's own word; `None` leaves it to the bucket.
    pub sse: Option<String>,
    /// The key that they are encrypted by: a name or an ARN.
    pub sse_kms_key_id: Option<String>,
    /// Whoever asks pays for what is sent.
    pub requester_pays: bool,
    /// Requests are not signed, whatever credentials there are.
    pub anonymous: bool,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            content_type_by_name: true,
            storage_class: None,
            sse: None,
            sse_kms_key_id: None,
            requester_pays: false,
            anonymous: false,
        }
    }
}

/// What a store of the S3 family takes as `sse`. Amazon S3 API Reference, PutObject, `x-amz-server-side-encryption`.
const SSE_OF_S3: &[&str] = &["AES256", "aws:kms", "aws:kms:dsse"];

impl BucketSettings {
    /// Refuses what contradicts itself, or what a store of `kind` has not. Errors: the setting, and what may be written.
    pub fn check(&self, kind: StoreKind) -> Result<(), Failure> {
        let label = kind.label();
        if self.anonymous && self.requester_pays {
            return Err(Failure::usage("unsigned requests cannot pay")
                .because("requester-pays needs somebody who is known")
                .with_hint("leave out one of the two"));
        }
        if self.requester_pays && !matches!(kind, StoreKind::S3 | StoreKind::Gcs) {
            return Err(Failure::usage(format!("{label} has no requester-pays")));
        }
        let is_empty = |setting: &Option<String>| setting.as_deref() == Some("");
        if is_empty(&self.storage_class) || is_empty(&self.sse) || is_empty(&self.sse_kms_key_id) {
            return Err(Failure::usage("a storage class, an encryption and a key are not empty"));
        }
        if kind != StoreKind::S3 && self.sse.is_some() {
            return Err(Failure::usage(format!("{label} has no `sse`, which is S3's")).with_hint(
                match kind {
                    StoreKind::Gcs => "give the key alone (--sse-kms-key-id, or `sse_kms_key_id:` in a task)",
                    _ => "leave it out: what it stores is encrypted by its own keys",
                },
            ));
        }
        if !matches!(kind, StoreKind::S3 | StoreKind::Gcs) && self.sse_kms_key_id.is_some() {
            return Err(Failure::usage(format!("{label} takes no key of its caller's for new objects")));
        }
        match self.sse.as_deref() {
            Some(sse) if !SSE_OF_S3.contains(&sse) => Err(Failure::usage("S3 has no such encryption")
                .with_hint(format!("it has {}", SSE_OF_S3.join(", ")))),
            Some("AES256") if self.sse_kms_key_id.is_some() => {
                Err(Failure::usage("AES256 is S3's own key, and a KMS key is given")
                    .with_hint("write aws:kms, or leave out the key"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a storage class that a store of `kind` cannot know, where nothing that is known here leads to another server than the vendor's
    /// own: `endpoint_url`, variables, files. Where something may, the store says it when it is opened. Errors: the nearest name.
    pub fn check_class(
        &self,
        kind: StoreKind,
        endpoint_url: Option<&str>,
        environment: &CallerEnvironment,
    ) -> Result<(), Failure> {
        let Some(class) = &self.storage_class else { return Ok(()) };
        if endpoint_url.is_some() || may_lead_elsewhere(kind, environment) {
            return Ok(());
        }
        check_storage_class(kind, class).map_err(Failure::usage)
    }

    /// The storage class of new objects, where those cannot be read before somebody asked for it, hours before.
    pub fn archive_class(&self, kind: StoreKind) -> Option<&str> {
        self.storage_class.as_deref().filter(|class| needs_restoring(kind, class))
    }

    /// What new objects get in a store of `kind`.
    pub fn new_objects(&self, kind: StoreKind) -> NewObjects {
        let by_key = self.sse_kms_key_id.as_ref().map(|_| match kind {
            StoreKind::Gcs => "kms",
            _ => "aws:kms",
        });
        let algorithm = self.sse.as_deref().or(by_key);
        NewObjects {
            content_type_by_name: self.content_type_by_name,
            storage_class: self.storage_class.clone(),
            encryption: algorithm.map(|algorithm| Encryption {
                algorithm: algorithm.to_owned(),
                key_id: self.sse_kms_key_id.clone(),
                bucket_key: false,
            }),
        }
    }

    /// The flags that say the same, for a command that is told.
    pub fn flags(&self) -> Vec<(&'static str, Option<&str>)> {
        let values = [
            ("--storage-class", &self.storage_class),
            ("--sse", &self.sse),
            ("--sse-kms-key-id", &self.sse_kms_key_id),
        ];
        let mut flags: Vec<_> = self.reaching_flags().into_iter().map(|flag| (flag, None)).collect();
        if !self.content_type_by_name {
            flags.push(("--content-type-by-name", Some("off")));
        }
        flags.extend(values.into_iter().filter_map(|(flag, value)| Some((flag, Some(value.as_deref()?)))));
        flags
    }

    /// Those of them without which the bucket does not answer.
    pub fn reaching_flags(&self) -> Vec<&'static str> {
        let flags = [("--requester-pays", self.requester_pays), ("--no-sign-request", self.anonymous)];
        flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag).collect()
    }
}

/// Whether buckets of `kind` may be at another server than the vendor's own.
fn may_lead_elsewhere(kind: StoreKind, environment: &CallerEnvironment) -> bool {
    let variables: &[&str] = match kind {
        StoreKind::S3 => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        StoreKind::Gcs => &["STORAGE_EMULATOR_HOST"],
        StoreKind::R2 => &["R2_ENDPOINT_URL"],
        StoreKind::Ibm => &["IBM_COS_ENDPOINT"],
        StoreKind::Azure => {
            &["AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_USE_EMULATOR", "AZURE_STORAGE_CONNECTION_STRING"]
        }
    };
    // Whichever profile counts then.
    let in_file = |variable: &str, below_home: &str| {
        let home = environment.get("HOME").map(PathBuf::from);
        let named = match environment.get(variable).map(|path| (path, path.strip_prefix("~/"))) {
            Some((_, Some(below))) => home.map(|home| home.join(below)),
            Some((path, None)) => Some(PathBuf::from(path)),
            None => home.map(|home| home.join(below_home)),
        };
        let text = named.and_then(|file| std::fs::read_to_string(file).ok());
        text.is_some_and(|text| text.contains("endpoint_url"))
    };
    variables.iter().any(|name| environment.get(name).is_some())
        || (matches!(kind, StoreKind::S3 | StoreKind::Ibm)
            && (in_file("AWS_CONFIG_FILE", ".aws/config")
                || in_file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut BucketSettings)) -> BucketSettings {
        let mut settings = BucketSettings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn what_no_store_can_do_is_refused_before_anything_runs() {
        let kms = settings(|s| s.sse_kms_key_id = Some("key".into()));
        let sse = settings(|s| s.sse = Some("aws:kms".into()));
        let pays = settings(|s| s.requester_pays = true);
        for (settings, right) in [
            (BucketSettings::default(), &StoreKind::ALL[..]),
            (kms.clone(), &[StoreKind::S3, StoreKind::Gcs]),
            (sse, &[StoreKind::S3]),
            (pays.clone(), &[StoreKind::S3, StoreKind::Gcs]),
            (BucketSettings { anonymous: true, ..pays }, &[]),
            (BucketSettings { sse: Some("AES256".into()), ..kms }, &[]),
            (settings(|s| s.sse = Some("aes".into())), &[]),
            (settings(|s| s.storage_class = Some(String::new())), &[]),
        ] {
            for kind in StoreKind::ALL {
                assert_eq!(settings.check(kind).is_ok(), right.contains(&kind), "{kind:?} {settings:?}");
            }
        }
    }

    #[test]
    fn a_class_that_no_server_can_know_is_refused_where_no_other_server_is_named() {
        let home = tempfile::tempdir().unwrap();
        let given = |variables: &[(&str, &str)]| {
            CallerEnvironment::from_lookup(|name| {
                let own =
                    variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
                own.or_else(|| (name == "HOME").then(|| home.path().to_str().unwrap().to_owned()))
            })
        };
        let wrong = settings(|s| s.storage_class = Some("STANDART".into()));
        for kind in StoreKind::ALL {
            let refused = wrong.check_class(kind, None, &given(&[])).unwrap_err();
            assert!(refused.message.contains("has no storage class \"STANDART\""), "{refused}");
            assert!(wrong.check_class(kind, Some("http://h"), &given(&[])).is_ok(), "{kind:?}");
        }
        let ceph = given(&[("AWS_ENDPOINT_URL", "http://h")]);
        assert!(wrong.check_class(StoreKind::S3, None, &ceph).is_ok());
        assert!(wrong.check_class(StoreKind::Gcs, None, &ceph).is_err());
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), "[profile ceph]\nendpoint_url = http://h\n").unwrap();
        assert!(wrong.check_class(StoreKind::S3, None, &given(&[])).is_ok(), "a profile may lead to Ceph");
        let right = settings(|s| s.storage_class = Some("STANDARD".into()));
        assert!(right.check_class(StoreKind::Gcs, None, &given(&[])).is_ok());
    }

    #[test]
    fn a_key_alone_means_that_it_is_used() {
        let kms = settings(|s| s.sse_kms_key_id = Some("key".into()));
        for (kind, algorithm) in [(StoreKind::S3, "aws:kms"), (StoreKind::Gcs, "kms")] {
            let encryption = kms.new_objects(kind).encryption.unwrap();
            assert_eq!(
                (encryption.algorithm.as_str(), encryption.key_id.as_deref()),
                (algorithm, Some("key"))
            );
        }
        assert_eq!(BucketSettings::default().new_objects(StoreKind::S3), NewObjects::default());
    }

    #[test]
    fn a_mount_of_an_earlier_version_has_the_defaults() {
        assert_eq!(serde_json::from_str::<BucketSettings>("{}").unwrap(), BucketSettings::default());
    }
}
