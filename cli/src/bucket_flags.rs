//! The options by which commands reach a bucket, and those on what new objects get.
//!
//! Owns: [`Reach`], [`SourceReach`] and [`NewObjectFlags`], so that every command that takes a bucket has the same.

use pail_control::opening::Address;
use pail_control::{BucketSettings, Failure};

/// How a bucket is reached.
#[derive(Debug, Default, clap::Args)]
pub struct Reach {
    /// The endpoint, in place of the store's own [default for s3://: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, AWS]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,

    /// The region [default for s3://: AWS_REGION, the profile's, us-east-1]
    #[arg(long)]
    pub region: Option<String>,

    /// A profile of the AWS configuration files [default: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Send unsigned requests, as to a public bucket, whatever credentials there are
    #[arg(long, conflicts_with = "requester_pays")]
    pub no_sign_request: bool,

    /// Pay for what is sent, where the bucket's owner asks for that; on gs:// the project of GOOGLE_CLOUD_PROJECT pays
    #[arg(long)]
    pub requester_pays: bool,
}

/// How the source's bucket is reached, where the target is a bucket as well.
#[derive(Debug, Default, clap::Args)]
pub struct SourceReach {
    /// Between buckets, the endpoint of the source [default: --endpoint-url, where both are in stores of one kind]
    #[arg(long, value_name = "URL")]
    source_endpoint_url: Option<String>,

    /// Between buckets, the region of the source [default: --region likewise]
    #[arg(long, value_name = "REGION")]
    source_region: Option<String>,

    /// Between buckets, the profile whose credentials read the source [default: --profile likewise]
    #[arg(long, value_name = "NAME")]
    source_profile: Option<String>,

    /// Between buckets, send unsigned requests to the source alone
    #[arg(long)]
    source_no_sign_request: bool,
}

/// What objects get that are new.
#[derive(Debug, Default, clap::Args)]
pub struct NewObjectFlags {
    /// Give new objects a content type by their names [default: on]
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    content_type_by_name: Option<bool>,

    /// The storage class of new objects, in the store's own word, such as STANDARD_IA
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,

    /// How S3 encrypts new objects: AES256, aws:kms or aws:kms:dsse
    #[arg(long, value_name = "WORD")]
    sse: Option<String>,

    /// The key that new objects are encrypted by: the id or ARN of S3's, the name of Google Cloud's
    #[arg(long, value_name = "KEY")]
    sse_kms_key_id: Option<String>,
}

impl Reach {
    /// What requests are made with; new objects get the defaults.
    pub fn settings(&self) -> BucketSettings {
        BucketSettings {
            anonymous: self.no_sign_request,
            requester_pays: self.requester_pays,
            ..BucketSettings::default()
        }
    }

    /// The bucket at `source`, asked by `settings`.
    pub fn address<'a>(&'a self, source: &'a str, settings: &'a BucketSettings) -> Address<'a> {
        Address {
            source,
            endpoint_url: self.endpoint_url.as_deref(),
            region: self.region.as_deref(),
            profile: self.profile.as_deref(),
            settings: Some(settings),
        }
    }
}

impl SourceReach {
    /// Errors: one of these was given, and source and target are not both buckets.
    pub fn check_unused(&self) -> Result<(), Failure> {
        let is_used = self.source_endpoint_url.is_some()
            || self.source_region.is_some()
            || self.source_profile.is_some()
            || self.source_no_sign_request;
        match is_used {
            false => Ok(()),
            true => Err(Failure::usage(
                "--source-… says how the source's bucket is reached where the target is a bucket as well",
            )
            .with_hint("here it is --endpoint-url, --region, --profile or --no-sign-request")),
        }
    }

    /// The source's, beside a target that is reached by `reach`: what is not said is the same, where both are in stores of one kind.
    pub fn beside(&self, reach: &Reach, is_one_kind: bool) -> Reach {
        let same = |value: &Option<String>| value.clone().filter(|_| is_one_kind);
        Reach {
            endpoint_url: self.source_endpoint_url.clone().or_else(|| same(&reach.endpoint_url)),
            region: self.source_region.clone().or_else(|| same(&reach.region)),
            profile: self.source_profile.clone().or_else(|| same(&reach.profile)),
            no_sign_request: self.source_no_sign_request || (is_one_kind && reach.no_sign_request),
            requester_pays: reach.requester_pays,
        }
    }
}

impl NewObjectFlags {
    /// `settings` with these.
    pub fn on(&self, settings: BucketSettings) -> BucketSettings {
        BucketSettings {
            content_type_by_name: self.content_type_by_name.unwrap_or(settings.content_type_by_name),
            storage_class: self.storage_class.clone(),
            sse: self.sse.clone(),
            sse_kms_key_id: self.sse_kms_key_id.clone(),
            ..settings
        }
    }
}

fn on_or_off(word: &str) -> Result<bool, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(Failure::usage("it is on or off")),
    }
}
