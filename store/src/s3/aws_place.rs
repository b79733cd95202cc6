//! Where buckets of Amazon S3 are.
//!
//! Owns: [`AwsPlace`]: of which kind a bucket's name is (a bucket, an access point, a directory bucket), and which host, path and signing name
//! that makes with the kinds of endpoint that were wished for.
//!
//! Sources: Amazon S3 User Guide, "Virtual hosting of buckets", "Referencing Amazon S3 on Outposts and access points", "Using Amazon S3 dual-stack
//! endpoints", "Configuring fast, secure file transfers using Amazon S3 Transfer Acceleration", "Regional and Zonal endpoints for directory
//! buckets"; AWS General Reference, "Amazon S3 endpoints and quotas", and for the partitions "AWS service endpoints".

/// What endpoints' names end in, by the beginning of the region; the first that fits counts.
const SUFFIXES: [(&str, &str); 7] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("", "amazonaws.com"),
];

/// Kinds of endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Reached over IPv6 too.
    pub dual_stack: bool,
    /// Of validated cryptography (FIPS 140).
    pub fips: bool,
    /// Transfer acceleration.
    pub accelerate: bool,
    /// The bucket in the host's name or in the path; by default in the host's name where that can be.
    pub virtual_host: Option<bool>,
}

/// What a bucket's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// A bucket, or an alias of an access point, which is used like one.
    Bucket(String),
    AccessPoint {
        name: String,
        account: String,
        region: String,
    },
    Directory {
        name: String,
        zone: String,
    },
}

/// A bucket and how it is to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AwsPlace {
    name: Name,
    wishes: Wishes,
}

/// Host and what stands before a key, `/` at the end included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub authority: String,
    pub base_path: String,
}

/// Whether a name is that of a directory bucket (S3 Express One Zone), or of an access point to one.
pub(super) fn is_directory_bucket(name: &str) -> bool {
    name.ends_with("--x-s3") || name.ends_with("--xa-s3")
}

impl AwsPlace {
    /// Errors: a sentence on why it cannot be reached so.
    pub fn new(bucket: &str, wishes: Wishes) -> Result<Self, String> {
        let name = match bucket.starts_with("arn:") {
            true => access_point(bucket)?,
            false if is_directory_bucket(bucket) => directory(bucket)?,
            false => Name::Bucket(bucket.to_owned()),
        };
        if wishes.accelerate {
            let hindrance = match &name {
                Name::AccessPoint { .. } => Some("access points have no transfer acceleration"),
                Name::Directory { .. } => Some("directory buckets have no transfer acceleration"),
                Name::Bucket(_) if wishes.fips => Some("there is no transfer acceleration at FIPS endpoints"),
                Name::Bucket(name) if name.contains('.') || wishes.virtual_host == Some(false) => Some(
                    "transfer acceleration needs the bucket in the host's name, where a name with dots cannot be",
                ),
                Name::Bucket(_) => None,
            };
            if let Some(hindrance) = hindrance {
                return Err(format!("{bucket} cannot be accelerated: {hindrance}"));
            }
        }
        Ok(Self { name, wishes })
    }

    /// The region that the name itself tells; a bucket's does not.
    pub fn own_region(&self) -> Option<String> {
        match &self.name {
            Name::Bucket(_) => None,
            Name::AccessPoint { region, .. } => Some(region.clone()),
            Name::Directory { zone, .. } => region_of_zone(zone),
        }
    }

    /// Errors: a sentence on what a region does not have.
    pub fn check_region(&self, region: &str) -> Result<(), String> {
        let is_of_aws = suffix_of(region) == "amazonaws.com" && !region.starts_with("us-gov-");
        if self.wishes.fips && region.starts_with("cn-") {
            return Err(format!("{region} has no FIPS endpoints"));
        }
        if self.wishes.accelerate && !is_of_aws {
            return Err(format!("{region} has no transfer acceleration"));
        }
        Ok(())
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.name, Name::Directory { .. })
    }

    /// Where objects are.
    pub fn host(&self, region: &str) -> Host {
        let Wishes { dual_stack, fips, accelerate, virtual_host } = self.wishes;
        let fips = if fips { "-fips" } else { "" };
        let dual = if dual_stack { ".dualstack" } else { "" };
        let suffix = suffix_of(region);
        match &self.name {
            Name::Bucket(name) if accelerate => in_host(format!("{name}.s3-accelerate{dual}.{suffix}")),
            Name::Bucket(name) => {
                let host = format!("s3{fips}{dual}.{region}.{suffix}");
                // The certificate's wildcard covers one label, so a dotted name must stay in the path.
                match virtual_host.unwrap_or(!name.contains('.')) {
                    true => in_host(format!("{name}.{host}")),
                    false => Host { authority: host, base_path: format!("/{name}/") },
                }
            }
            Name::AccessPoint { name, account, region } => {
                let suffix = suffix_of(region);
                in_host(format!("{name}-{account}.s3-accesspoint{fips}{dual}.{region}.{suffix}"))
            }
            Name::Directory { name, zone } => {
                in_host(format!("{name}.s3express{fips}-{zone}{dual}.{region}.{suffix}"))
            }
        }
    }

    /// Where buckets are made and deleted, if that is elsewhere.
    pub fn control_host(&self, region: &str) -> Option<Host> {
        let Wishes { dual_stack, fips, accelerate, .. } = self.wishes;
        match &self.name {
            Name::Directory { name, .. } => {
                let fips = if fips { "-fips" } else { "" };
                let dual = if dual_stack { ".dualstack" } else { "" };
                let authority = format!("s3express-control{fips}{dual}.{region}.{}", suffix_of(region));
                Some(Host { authority, base_path: format!("/{name}/") })
            }
            Name::Bucket(_) if accelerate => {
                let wishes = Wishes { accelerate: false, ..self.wishes };
                Some(Self { name: self.name.clone(), wishes }.host(region))
            }
            Name::Bucket(_) | Name::AccessPoint { .. } => None,
        }
    }

    /// The zone of a directory bucket.
    pub fn zone(&self) -> Option<&str> {
        match &self.name {
            Name::Directory { zone, .. } => Some(zone),
            Name::Bucket(_) | Name::AccessPoint { .. } => None,
        }
    }
}

fn in_host(authority: String) -> Host {
    Host { authority, base_path: "/".to_owned() }
}

fn suffix_of(region: &str) -> &'static str {
    let found = SUFFIXES.iter().find(|(beginning, _)| region.starts_with(beginning));
    found.map_or("amazonaws.com", |(_, suffix)| suffix)
}

/// Reads `arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME`, or with `:` before the name.
fn access_point(arn: &str) -> Result<Name, String> {
    let refused = |reason: &str| Err(format!("{arn} cannot be used as a bucket: {reason}"));
    let mut fields = arn.splitn(6, ':').skip(2);
    let (Some(service), Some(region), Some(account), Some(resource)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return refused("an access point's ARN is arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME");
    };
    match service {
        "s3" => {}
        "s3-object-lambda" => return refused("objects of an Object Lambda access point cannot be written"),
        "s3-outposts" => return refused("S3 on Outposts is not supported"),
        _ => return refused("it is not an ARN of S3"),
    }
    let Some(name) = resource.strip_prefix("accesspoint/").or_else(|| resource.strip_prefix("accesspoint:"))
    else {
        return refused("it is not the ARN of an access point; a bucket is named by its name alone");
    };
    if region.is_empty() {
        return refused(
            "a multi-Region access point needs signatures of another kind (SigV4A); use a bucket or an access point of one Region",
        );
    }
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match [name, region, account].into_iter().all(is_label) {
        true => Ok(Name::AccessPoint {
            name: name.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
        }),
        false => refused("its name, region and account may have letters, digits and hyphens"),
    }
}

fn directory(bucket: &str) -> Result<Name, String> {
    let zone = bucket.rsplit("--").nth(1).filter(|zone| !zone.is_empty() && bucket.len() > zone.len() + 8);
    match zone {
        Some(zone) => Ok(Name::Directory { name: bucket.to_owned(), zone: zone.to_owned() }),
        None => Err(format!(
            "{bucket} names no zone; a directory bucket is called NAME--ZONE--x-s3, such as data--usw2-az1--x-s3"
        )),
    }
}

/// The region of a zone's id: `usw2-az1` is in us-west-2.
fn region_of_zone(zone: &str) -> Option<String> {
    const DIRECTIONS: [(&str, &str); 9] = [
        ("ne", "northeast"),
        ("nw", "northwest"),
        ("se", "southeast"),
        ("sw", "southwest"),
        ("n", "north"),
        ("s", "south"),
        ("e", "east"),
        ("w", "west"),
        ("c", "central"),
    ];
    let id = zone.split('-').next()?;
    let place = id.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let number = &id[place.len()..];
    let (area, direction) = place.split_at_checked(2)?;
    let (area, direction) = match direction.strip_prefix('g') {
        Some(direction) => (format!("{area}-gov"), direction),
        None => (area.to_owned(), direction),
    };
    let (_, direction) = DIRECTIONS.iter().find(|(short, _)| *short == direction)?;
    (!number.is_empty()).then(|| format!("{area}-{direction}-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wishes = Wishes { dual_stack: false, fips: false, accelerate: false, virtual_host: None };
    const DUAL: Wishes = Wishes { dual_stack: true, ..PLAIN };
    const FIPS: Wishes = Wishes { fips: true, ..PLAIN };
    const BOTH: Wishes = Wishes { fips: true, ..DUAL };
    const FAST: Wishes = Wishes { accelerate: true, ..PLAIN };

    fn shown(bucket: &str, wishes: Wishes, region: &str) -> String {
        let place = AwsPlace::new(bucket, wishes).unwrap();
        let region = place.own_region().unwrap_or_else(|| region.to_owned());
        let Host { authority, base_path } = place.host(&region);
        format!("{authority}{base_path} {region}")
    }

    /// The examples of the documents that the module names.
    #[test]
    fn each_kind_of_endpoint_has_its_host() {
        let point = "arn:aws:s3:us-west-2:123456789012:accesspoint/my-access-point";
        let fast_dual = Wishes { accelerate: true, ..DUAL };
        let in_path = Wishes { virtual_host: Some(false), ..PLAIN };
        for (bucket, wishes, region, expected) in [
            ("bucket", PLAIN, "us-east-1", "bucket.s3.us-east-1.amazonaws.com/ us-east-1"),
            ("bucket", in_path, "us-east-1", "s3.us-east-1.amazonaws.com/bucket/ us-east-1"),
            ("a.b", PLAIN, "eu-west-1", "s3.eu-west-1.amazonaws.com/a.b/ eu-west-1"),
            ("bucket", DUAL, "eu-west-1", "bucket.s3.dualstack.eu-west-1.amazonaws.com/ eu-west-1"),
            ("a.b", DUAL, "eu-west-1", "s3.dualstack.eu-west-1.amazonaws.com/a.b/ eu-west-1"),
            ("bucket", FIPS, "us-gov-west-1", "bucket.s3-fips.us-gov-west-1.amazonaws.com/ us-gov-west-1"),
            ("bucket", BOTH, "us-east-2", "bucket.s3-fips.dualstack.us-east-2.amazonaws.com/ us-east-2"),
            ("bucket", FAST, "us-east-1", "bucket.s3-accelerate.amazonaws.com/ us-east-1"),
            ("bucket", fast_dual, "us-east-1", "bucket.s3-accelerate.dualstack.amazonaws.com/ us-east-1"),
            ("bucket", PLAIN, "cn-north-1", "bucket.s3.cn-north-1.amazonaws.com.cn/ cn-north-1"),
            ("bucket", DUAL, "cn-north-1", "bucket.s3.dualstack.cn-north-1.amazonaws.com.cn/ cn-north-1"),
            ("bucket", PLAIN, "us-iso-east-1", "bucket.s3.us-iso-east-1.c2s.ic.gov/ us-iso-east-1"),
            ("bucket", PLAIN, "us-isob-east-1", "bucket.s3.us-isob-east-1.sc2s.sgov.gov/ us-isob-east-1"),
            ("bucket", PLAIN, "eusc-de-east-1", "bucket.s3.eusc-de-east-1.amazonaws.eu/ eusc-de-east-1"),
            (
                point,
                PLAIN,
                "eu-west-1",
                "my-access-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/ us-west-2",
            ),
            (
                point,
                DUAL,
                "eu-west-1",
                "my-access-point-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com/ us-west-2",
            ),
            (
                "arn:aws-us-gov:s3:us-gov-east-1:123456789012:accesspoint:finance",
                FIPS,
                "us-east-1",
                "finance-123456789012.s3-accesspoint-fips.us-gov-east-1.amazonaws.com/ us-gov-east-1",
            ),
            (
                "point-abcdefghijklmnopqrstuvwxyz0123-s3alias",
                PLAIN,
                "us-west-2",
                "point-abcdefghijklmnopqrstuvwxyz0123-s3alias.s3.us-west-2.amazonaws.com/ us-west-2",
            ),
            (
                "data--usw2-az1--x-s3",
                PLAIN,
                "us-east-1",
                "data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/ us-west-2",
            ),
            (
                "data--use1-az4--x-s3",
                DUAL,
                "us-east-1",
                "data--use1-az4--x-s3.s3express-use1-az4.dualstack.us-east-1.amazonaws.com/ us-east-1",
            ),
            (
                "data--use1-az4--x-s3",
                FIPS,
                "us-east-1",
                "data--use1-az4--x-s3.s3express-fips-use1-az4.us-east-1.amazonaws.com/ us-east-1",
            ),
        ] {
            assert_eq!(shown(bucket, wishes, region), expected);
        }
    }

    #[test]
    fn buckets_are_made_where_that_is_done() {
        let control = |bucket, wishes, region| AwsPlace::new(bucket, wishes).unwrap().control_host(region);
        let shown = |host: Option<Host>| host.map(|host| format!("{}{}", host.authority, host.base_path));
        assert_eq!(control("bucket", DUAL, "us-east-1"), None);
        let fast = shown(control("bucket", FAST, "eu-west-1"));
        assert_eq!(fast.as_deref(), Some("bucket.s3.eu-west-1.amazonaws.com/"));
        let directory = shown(control("data--usw2-az1--x-s3", PLAIN, "us-west-2"));
        assert_eq!(
            directory.as_deref(),
            Some("s3express-control.us-west-2.amazonaws.com/data--usw2-az1--x-s3/")
        );
    }

    #[test]
    fn zones_tell_their_region() {
        for (zone, region) in [
            ("usw2-az1", Some("us-west-2")),
            ("apne1-az4", Some("ap-northeast-1")),
            ("aps1-az1", Some("ap-south-1")),
            ("eun1-az1", Some("eu-north-1")),
            ("euc1-az2", Some("eu-central-1")),
            ("usgw1-az1", Some("us-gov-west-1")),
            ("use1-dfw2-az1", Some("us-east-1")),
            ("odd", None),
            ("é1-az1", None),
        ] {
            assert_eq!(region_of_zone(zone).as_deref(), region, "{zone}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_reason() {
        for (bucket, wishes, told) in [
            ("arn:aws:s3::123456789012:accesspoint/mrap.mrap", PLAIN, "SigV4A"),
            ("arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/x", PLAIN, "Object Lambda"),
            ("arn:aws:s3-outposts:us-west-2:123456789012:outpost/x/accesspoint/y", PLAIN, "Outposts"),
            ("arn:aws:s3:::bucket", PLAIN, "by its name alone"),
            ("arn:aws:s3", PLAIN, "ACCOUNT"),
            ("arn:aws:s3:us-west-2:123456789012:accesspoint/a.b", PLAIN, "hyphens"),
            ("--x-s3", PLAIN, "names no zone"),
            ("a.b", FAST, "dots"),
            ("data--usw2-az1--x-s3", FAST, "directory buckets"),
            ("bucket", Wishes { fips: true, ..FAST }, "FIPS"),
        ] {
            let refused = AwsPlace::new(bucket, wishes).unwrap_err();
            assert!(refused.contains(told), "{bucket}: {refused}");
        }
        assert!(AwsPlace::new("bucket", FIPS).unwrap().check_region("cn-north-1").is_err());
        assert!(AwsPlace::new("bucket", FAST).unwrap().check_region("us-gov-west-1").is_err());
        assert!(AwsPlace::new("bucket", BOTH).unwrap().check_region("us-east-1").is_ok());
    }
}
