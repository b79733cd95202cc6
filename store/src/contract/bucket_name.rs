//! What a bucket may be called, by store.
//!
//! Owns: [`broken_rule`], and [`near`], a name that is allowed beside one that is not. Each store's rules are those of the document that is
//! named above them; a name is checked before anything is asked of a server, since servers answer a wrong one with riddles.

use super::uri::StoreKind;
use std::net::Ipv4Addr;

/// A rule that a name breaks, as the end of "cannot be a bucket's name: …".
pub(super) type Rule = &'static str;

const CHARS_OF_S3: Rule = "it may have only lower-case letters, digits, dots and hyphens";
const CHARS_OF_HYPHENS: Rule = "it may have only lower-case letters, digits and hyphens";
const LENGTH: Rule = "it must have 3 to 63 characters";
const ENDS: Rule = "it must begin and end with a letter or a digit";
const ADDRESS: Rule = "it may not look like an IP address";

/// The containers of Azure that its own services make.
const AZURE_SYSTEM_CONTAINERS: &[&str] = &["$root", "$web", "$logs"];

/// How the name of a directory bucket ends.
const DIRECTORY_SUFFIX: &str = "--x-s3";

/// The metadata that ends an access point's alias, before its suffix, has at least as many letters and digits.
const ALIAS_METADATA_CHARS_MIN: usize = 20;

/// The rule that `name` breaks as one of a bucket of `kind`.
pub(super) fn broken_rule(kind: StoreKind, name: &str) -> Option<Rule> {
    match kind {
        StoreKind::S3 if name.starts_with("arn:") => broken_rule_of_arn(name),
        StoreKind::S3 if name.ends_with(DIRECTORY_SUFFIX) => broken_rule_of_directory(name),
        StoreKind::S3 => broken_rule_of_s3(name),
        StoreKind::Gcs => broken_rule_of_gcs(name),
        StoreKind::R2 => broken_rule_of_r2(name),
        StoreKind::Ibm => broken_rule_of_ibm(name),
        StoreKind::Azure => broken_rule_of_container(name),
    }
}

/// Whether a name is that of an access point: `NAME-METADATA-s3alias`, or of Object Lambda `NAME-METADATA--ol-s3`. Amazon S3 User Guide,
/// "Access point aliases".
pub(super) fn is_alias(name: &str) -> bool {
    let before = name.strip_suffix("-s3alias").or_else(|| name.strip_suffix("--ol-s3"));
    let metadata = before.and_then(|before| before.rsplit_once('-')).map(|(_, metadata)| metadata);
    metadata
        .is_some_and(|metadata| metadata.len() >= ALIAS_METADATA_CHARS_MIN && metadata.chars().all(is_plain))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// What most stores ask of any name.
fn broken_shape(name: &str, separators: &str, chars: Rule) -> Option<Rule> {
    if !name.chars().all(|c| is_plain(c) || separators.contains(c)) {
        return Some(chars);
    }
    if !(3..=63).contains(&name.len()) {
        return Some(LENGTH);
    }
    (!name.starts_with(is_plain) || !name.ends_with(is_plain)).then_some(ENDS)
}

/// Amazon S3 User Guide, "General purpose bucket naming rules".
fn broken_rule_of_s3(name: &str) -> Option<Rule> {
    if let Some(rule) = broken_shape(name, ".-", CHARS_OF_S3) {
        return Some(rule);
    }
    if name.contains("..") {
        return Some("it may not have two dots in a row");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some(ADDRESS);
    }
    if name.starts_with("xn--") {
        return Some("it may not begin with xn--");
    }
    if name.starts_with("sthree-") || name.starts_with("amzn-s3-demo-") {
        return Some("it may not begin with sthree- or amzn-s3-demo-, which are Amazon's own");
    }
    if (name.ends_with("-s3alias") || name.ends_with("--ol-s3")) && !is_alias(name) {
        return Some("it may not end in -s3alias or --ol-s3, as the aliases of access points do");
    }
    if name.ends_with(".mrap") {
        return Some("it may not end in .mrap: multi-region access points are not supported");
    }
    if name.ends_with("--table-s3") {
        return Some("it may not end in --table-s3: table buckets are not supported");
    }
    None
}

/// `NAME--ZONE--x-s3`. Amazon S3 User Guide, "Directory bucket naming rules".
fn broken_rule_of_directory(name: &str) -> Option<Rule> {
    if let Some(rule) = broken_shape(
        name,
        "-",
        "that of a directory bucket may have only lower-case letters, digits and hyphens",
    ) {
        return Some(rule);
    }
    let before = name.strip_suffix(DIRECTORY_SUFFIX).unwrap_or(name);
    // A zone's id is like usw2-az1, that of a local zone like usw2-lax1-az1.
    let parts = before.rsplit_once("--");
    let is_zone = |zone: &str| zone.contains("-az") && zone.split('-').all(|part| !part.is_empty());
    match parts {
        Some((base, zone)) if !base.is_empty() && is_zone(zone) => None,
        _ => {
            Some("that of a directory bucket is NAME--ZONE--x-s3, with the id of its zone, such as usw2-az1")
        }
    }
}

/// `arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME`. Amazon S3 User Guide, "Referencing access points with ARNs, access point aliases, or
/// virtual-hosted-style URIs" and "Rules for naming access points".
fn broken_rule_of_arn(arn: &str) -> Option<Rule> {
    const FORM: Rule = "the ARN of an access point is arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME";
    let mut parts = arn.splitn(6, ':').skip(1);
    let mut next = || parts.next().unwrap_or_default();
    let (partition, service, region, account, resource) = (next(), next(), next(), next(), next());
    if service == "s3" && region.is_empty() && account.is_empty() && !resource.is_empty() {
        return Some("a bucket is written by its name, not by its ARN");
    }
    if resource.ends_with(".mrap") {
        return Some("multi-region access points are not supported");
    }
    if matches!(service, "s3-object-lambda" | "s3-outposts" | "s3express" | "s3tables") {
        return Some(
            "access points of Object Lambda, of Outposts and of directory buckets are not supported by ARN",
        );
    }
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| is_plain(c) || c == '-');
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let of_amazon = partition == "aws" || partition.starts_with("aws-");
    if service != "s3" || !of_amazon || !is_word(partition) || !is_word(region) || !is_account {
        return Some(FORM);
    }
    let Some(name) = resource.strip_prefix("accesspoint/") else { return Some(FORM) };
    let is_right = (3..=50).contains(&name.len()) && is_word(name);
    let is_right = is_right && name.starts_with(is_plain) && name.ends_with(is_plain);
    (!is_right).then_some("an access point's name has 3 to 50 lower-case letters, digits and hyphens, and begins and ends with a letter or a digit")
}

/// Google Cloud Storage, "Bucket naming requirements".
fn broken_rule_of_gcs(name: &str) -> Option<Rule> {
    if !name.chars().all(|c| is_plain(c) || "._-".contains(c)) {
        return Some("it may have only lower-case letters, digits, dots, hyphens and underscores");
    }
    if !(3..=222).contains(&name.len()) || (!name.contains('.') && name.len() > 63) {
        return Some("it must have 3 to 63 characters, or up to 222 with dots");
    }
    if name.split('.').any(|part| part.len() > 63) {
        return Some("between dots it may have at most 63 characters");
    }
    if !name.starts_with(is_plain) || !name.ends_with(is_plain) {
        return Some(ENDS);
    }
    if ["..", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Some("it may not have two dots in a row, nor a dot beside a hyphen");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some(ADDRESS);
    }
    if name.starts_with("goog") {
        return Some("it may not begin with goog");
    }
    let read: String =
        name.chars().filter(|c| !"._-".contains(*c)).map(|c| if c == '0' { 'o' } else { c }).collect();
    if ["google", "gogle", "googel", "goog1e"].iter().any(|like| read.contains(like)) {
        return Some("it may not have google in it, nor what is close to it");
    }
    None
}

/// Cloudflare R2, "Create new buckets".
fn broken_rule_of_r2(name: &str) -> Option<Rule> {
    broken_shape(name, "-", CHARS_OF_HYPHENS)
}

/// IBM Cloud Object Storage, "Bucket naming".
fn broken_rule_of_ibm(name: &str) -> Option<Rule> {
    if let Some(rule) = broken_shape(name, ".-", CHARS_OF_S3) {
        return Some(rule);
    }
    if ["..", "--", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Some("it may not have two dots or hyphens side by side");
    }
    name.parse::<Ipv4Addr>().is_ok().then_some(ADDRESS)
}

/// Azure Storage, "Naming and referencing containers, blobs, and metadata", "Container names".
fn broken_rule_of_container(name: &str) -> Option<Rule> {
    if AZURE_SYSTEM_CONTAINERS.contains(&name) {
        return None;
    }
    if let Some(rule) = broken_shape(name, "-", CHARS_OF_HYPHENS) {
        return Some(rule);
    }
    name.contains("--").then_some("it may not have two hyphens in a row")
}

/// Azure Storage, "Storage account overview", "Storage account name".
pub(super) fn broken_rule_of_account(account: &str) -> Option<Rule> {
    if !account.chars().all(is_plain) {
        return Some("it may have only lower-case letters and digits");
    }
    (!(3..=24).contains(&account.len())).then_some("it must have 3 to 24 characters")
}

/// An account's name near `account` that is right.
pub(super) fn near_account(account: &str) -> Option<String> {
    // Of a host's name the account is the first label.
    let account = account.split('.').next().unwrap_or_default();
    let near: String =
        account.chars().take(256).flat_map(char::to_lowercase).filter(|c| is_plain(*c)).take(24).collect();
    broken_rule_of_account(&near).is_none().then_some(near)
}

/// A name near `name` that a bucket of `kind` can have.
pub(super) fn near(kind: StoreKind, name: &str) -> Option<String> {
    if name.starts_with("arn:") {
        let near = match name.split_once(":s3:::") {
            Some((_, bucket)) => bucket.to_owned(),
            None => name.replacen(":accesspoint:", ":accesspoint/", 1),
        };
        return (broken_rule(kind, &near).is_none() && near != name).then_some(near);
    }
    let has_dots = matches!(kind, StoreKind::S3 | StoreKind::Gcs | StoreKind::Ibm);
    let mut near = String::new();
    for c in name.chars().take(256).flat_map(char::to_lowercase) {
        let is_kept = is_plain(c) || (c == '.' && has_dots) || (c == '_' && kind == StoreKind::Gcs);
        let c = if is_kept { c } else { '-' };
        // Two separators in a row are against some rule of every store.
        if is_plain(c) || !near.ends_with(|last| !is_plain(last)) {
            near.push(c);
        }
    }
    let trim = |name: &str| name.trim_matches(|c| !is_plain(c)).to_owned();
    let mut near = trim(&trim(&near).chars().take(63).collect::<String>());
    if near.parse::<Ipv4Addr>().is_ok() {
        near = near.replace('.', "-");
    }
    for prefix in ["xn--", "xn-", "goog", "sthree-", "amzn-s3-demo-"] {
        near = trim(near.strip_prefix(prefix).unwrap_or(&near));
    }
    for suffix in ["-s3alias", "-ol-s3", ".mrap", "-table-s3", "-x-s3"] {
        near = trim(near.strip_suffix(suffix).unwrap_or(&near));
    }
    if (1..3).contains(&near.len()) {
        near.push_str("-data");
    }
    broken_rule(kind, &near).is_none().then_some(near)
}
