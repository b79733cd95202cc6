//! What people write in place of a bucket's URI: the schemes of other tools, and web addresses of buckets.
//!
//! Owns: [`read`], which finds the bucket that is meant, so that an error can give the URI to write.
//! Invariant: a query, which may hold a signature, and a user in front of a host never get into what it gives back.

use super::bucket_name::Rule;
use super::uri::{BucketUri, StoreKind, UriPart};

/// What a foreign URI comes to.
pub(super) enum Foreign {
    /// A bucket that can be told.
    Bucket {
        /// What is wrong with how it is written.
        rule: Rule,
        /// As it is written here.
        uri: BucketUri,
    },
    /// A kind of store, and no more.
    Kind {
        /// What is wrong.
        rule: Rule,
        /// Which kind.
        kind: StoreKind,
    },
    /// Nothing.
    Unknown {
        /// What is wrong.
        rule: Rule,
        /// What it is.
        part: UriPart,
    },
}

const CASE: Rule = "its scheme is written in lower case";
const OTHER_SCHEME: Rule = "its scheme is another tool's";
const WEB_ADDRESS: Rule = "it is a web address, not a bucket's URI";
const NO_SCHEME: Rule = "it does not begin with s3://, gs://, r2://, cos:// or az://";

/// The schemes that other tools have for a store, in lower case.
const SCHEMES: &[(&str, StoreKind)] = &[
    ("s3a", StoreKind::S3),
    ("s3n", StoreKind::S3),
    ("gcs", StoreKind::Gcs),
    ("cloudflare", StoreKind::R2),
    ("ibm", StoreKind::Ibm),
    ("cos", StoreKind::Ibm),
    ("azure", StoreKind::Azure),
    ("azblob", StoreKind::Azure),
    ("adl", StoreKind::Azure),
    ("abfs", StoreKind::Azure),
    ("abfss", StoreKind::Azure),
    ("wasb", StoreKind::Azure),
    ("wasbs", StoreKind::Azure),
];

/// Finds out what a string that begins with none of the schemes means.
pub(super) fn read(uri: &str) -> Foreign {
    if uri.starts_with("arn:") {
        return arn(uri);
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        // With a slash too few.
        if let Some((scheme, rest)) = uri.split_once(':')
            && let Some(kind) = StoreKind::of_scheme(scheme)
        {
            return told(NO_SCHEME, kind, format!("{scheme}://{}", rest.trim_start_matches('/')));
        }
        return Foreign::Unknown { rule: NO_SCHEME, part: UriPart::Scheme };
    };
    let lower = scheme.to_ascii_lowercase();
    if let Some(kind) = StoreKind::of_scheme(&lower) {
        return told(CASE, kind, format!("{lower}://{rest}"));
    }
    match lower.as_str() {
        "http" | "https" => web_address(without_query(rest)),
        "abfs" | "abfss" | "wasb" | "wasbs" => container_at_host(without_query(rest)),
        "file" => Foreign::Unknown {
            rule: "a file of this machine is named by its path alone",
            part: UriPart::File,
        },
        _ => match SCHEMES.iter().find(|(known, _)| *known == lower) {
            Some((_, kind)) => told(OTHER_SCHEME, *kind, format!("{}://{rest}", kind.scheme())),
            None => Foreign::Unknown { rule: NO_SCHEME, part: UriPart::Scheme },
        },
    }
}

/// Whether a text has the query of a shared access signature, or of a signed URL.
pub(super) fn has_signature(text: &str) -> bool {
    let query = text.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
    query.split('&').any(|pair| {
        ["sig=", "x-amz-signature=", "x-goog-signature="].iter().any(|name| pair.starts_with(name))
    })
}

/// `uri` where it can be a bucket's, else its kind.
fn told(rule: Rule, kind: StoreKind, uri: String) -> Foreign {
    let open = if has_signature(&uri) { without_query(&uri) } else { &uri };
    match open.parse::<BucketUri>() {
        Ok(uri) => Foreign::Bucket { rule, uri },
        Err(_) => Foreign::Kind { rule, kind },
    }
}

fn arn(arn: &str) -> Foreign {
    let rule = "it is an ARN, not a bucket's URI";
    match arn.split_once(":s3:::") {
        Some((_, bucket)) => told(rule, StoreKind::S3, format!("s3://{bucket}")),
        None => told(rule, StoreKind::S3, format!("s3://{arn}")),
    }
}

/// `CONTAINER@ACCOUNT.blob.core.windows.net/PREFIX`, as Hadoop has it.
fn container_at_host(rest: &str) -> Foreign {
    let kind = StoreKind::Azure;
    let Some((container, rest)) = rest.split_once('@') else {
        return Foreign::Kind { rule: OTHER_SCHEME, kind };
    };
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let account = host.split('.').next().unwrap_or_default();
    told(OTHER_SCHEME, kind, join("az", &[account, container, prefix]))
}

/// The bucket that a page or an API of a store has at `HOST/PATH`.
fn web_address(rest: &str) -> Foreign {
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let within = |suffix: &str| host.strip_suffix(suffix).filter(|name| !name.is_empty());
    let told = |kind: StoreKind, parts: &[&str]| told(WEB_ADDRESS, kind, join(kind.scheme(), parts));
    if let Some(account) = within(".blob.core.windows.net").or_else(|| within(".dfs.core.windows.net")) {
        return told(StoreKind::Azure, &[account, path]);
    }
    if matches!(host.as_str(), "storage.googleapis.com" | "storage.cloud.google.com") {
        return told(StoreKind::Gcs, &[path]);
    }
    if let Some(bucket) = within(".storage.googleapis.com") {
        return told(StoreKind::Gcs, &[bucket, path]);
    }
    // With a jurisdiction the account is before it.
    if within(".r2.cloudflarestorage.com").is_some() {
        return told(StoreKind::R2, &[path]);
    }
    if let Some(name) = within(".cloud-object-storage.appdomain.cloud") {
        return match name.rsplit_once("s3.") {
            Some(("", region)) => told(StoreKind::Ibm, &[region_of_ibm(region), path]),
            Some((bucket, region)) => {
                told(StoreKind::Ibm, &[region_of_ibm(region), bucket.trim_end_matches('.'), path])
            }
            None => Foreign::Kind { rule: WEB_ADDRESS, kind: StoreKind::Ibm },
        };
    }
    if let Some(name) = within(".amazonaws.com") {
        // BUCKET.s3.REGION, s3.REGION, BUCKET.s3, s3, and s3-REGION of old.
        let labels: Vec<&str> = name.split('.').collect();
        let s3 = labels.iter().rposition(|label| *label == "s3" || label.starts_with("s3-"));
        let Some(s3) = s3 else { return Foreign::Unknown { rule: WEB_ADDRESS, part: UriPart::WebAddress } };
        let bucket = labels[..s3].join(".");
        return match bucket.as_str() {
            "" => told(StoreKind::S3, &[path]),
            bucket => told(StoreKind::S3, &[bucket, path]),
        };
    }
    Foreign::Unknown { rule: WEB_ADDRESS, part: UriPart::WebAddress }
}

fn region_of_ibm(name: &str) -> &str {
    name.trim_start_matches("private.").trim_start_matches("direct.")
}

fn join(scheme: &str, parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    format!("{scheme}://{}", parts.join("/"))
}

fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}
