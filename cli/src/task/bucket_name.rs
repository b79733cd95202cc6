//! The rules for buckets' names, by store.
//!
//! Owns: [`check`]. Sources: Amazon S3 User Guide, "General purpose bucket naming rules" (in the store's crate); Google Cloud Storage,
//! "Bucket naming requirements"; IBM Cloud Object Storage, "Bucket naming". R2 and the others keep the S3 family's.

use super::bucket::unknown_variable_hint;
use super::mistakes::Mistake;
use super::reader::Word;
use pail_store::{BucketUri, InvalidUri};
use std::net::Ipv4Addr;

/// Checks the name of a bucket in `store`, which is, or is in, `word`. Errors: the rule that it breaks, and a name near it that is right.
pub fn check(store: &str, name: &str, word: &Word) -> Result<(), Mistake> {
    let Some(rule) = broken_rule(store, name) else { return Ok(()) };
    // Part of a secret is one, too.
    let open = word.shown == word.value;
    let told = if open { name } else { &word.shown };
    let what = match name {
        "" => "a bucket's name is missing".to_owned(),
        _ => format!("{told:?} cannot be a bucket's name: {rule}"),
    };
    let near = open.then(|| near(store, name)).flatten().map(|near| format!("such as {near:?}"));
    let missing = (name.is_empty() && word.value.contains("://")).then(|| match store {
        "ibm" => "write cos://REGION/BUCKET".to_owned(),
        "gcs" => "write gs://BUCKET or gs://BUCKET/PREFIX".to_owned(),
        store => format!("write {store}://BUCKET or {store}://BUCKET/PREFIX"),
    });
    Err(Mistake::new(word.place, what).with_hint_if(unknown_variable_hint(word).or(missing).or(near)))
}

fn broken_rule(store: &str, name: &str) -> Option<&'static str> {
    match store {
        "gcs" => broken_rule_of_gcs(name),
        "ibm" => broken_rule_of_ibm(name),
        _ => match format!("s3://{name}").parse::<BucketUri>() {
            Err(InvalidUri::Name { rule, .. }) => Some(rule),
            _ if name.contains('/') => Some("it may not have slashes"),
            _ => None,
        },
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn broken_rule_of_gcs(name: &str) -> Option<&'static str> {
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
        return Some("it must begin and end with a letter or a digit");
    }
    if ["..", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Some("it may not have two dots in a row, nor a dot beside a hyphen");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some("it may not look like an IP address");
    }
    if name.starts_with("goog") {
        return Some("it may not begin with goog");
    }
    let read: String =
        name.chars().filter(|c| !"._-".contains(*c)).map(|c| if c == '0' { 'o' } else { c }).collect();
    if ["google", "g00gle", "gogle", "googel"].iter().any(|like| read.contains(like)) {
        return Some("it may not have google in it, nor what is close to it");
    }
    None
}

fn broken_rule_of_ibm(name: &str) -> Option<&'static str> {
    if !name.chars().all(|c| is_plain(c) || ".-".contains(c)) {
        return Some("it may have only lower-case letters, digits, dots and hyphens");
    }
    if !(3..=63).contains(&name.len()) {
        return Some("it must have 3 to 63 characters");
    }
    if !name.starts_with(is_plain) || !name.ends_with(is_plain) {
        return Some("it must begin and end with a letter or a digit");
    }
    if ["..", "--", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Some("it may not have two dots or hyphens side by side");
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some("it may not look like an IP address");
    }
    None
}

/// A name near `name` that `store` takes.
fn near(store: &str, name: &str) -> Option<String> {
    let mut near = String::new();
    for c in name.chars().take(256).flat_map(char::to_lowercase) {
        let c = if is_plain(c) || c == '.' || (c == '_' && store == "gcs") { c } else { '-' };
        // Two separators in a row are against some rule of every store.
        if is_plain(c) || !near.ends_with(|last| !is_plain(last)) {
            near.push(c);
        }
    }
    let trimmed = near.trim_matches(|c| !is_plain(c));
    let mut near = trimmed.chars().take(63).collect::<String>().trim_matches(|c| !is_plain(c)).to_owned();
    if near.parse::<Ipv4Addr>().is_ok() {
        near = near.replace('.', "-");
    }
    for prefix in ["xn--", "xn-", "goog"] {
        near = near.strip_prefix(prefix).unwrap_or(&near).trim_matches(|c| !is_plain(c)).to_owned();
    }
    if (1..3).contains(&near.len()) {
        near.push_str("-data");
    }
    for suffix in ["-s3alias", "-ol-s3"] {
        near = near.strip_suffix(suffix).unwrap_or(&near).to_owned();
    }
    broken_rule(store, &near).is_none().then_some(near)
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Place;
    use super::*;

    fn checked(store: &str, name: &str) -> Result<(), Mistake> {
        let word =
            Word { value: name.to_owned(), shown: name.to_owned(), place: Place { line: 1, column: 1 } };
        check(store, name, &word)
    }

    #[test]
    fn each_store_has_its_own_rules() {
        let long = "a".repeat(64);
        let parts = format!("{}.{}", "a".repeat(63), "b".repeat(63));
        for (store, name, right) in [
            ("s3", "my-bucket.x1", true),
            ("s3", "my_bucket", false),
            ("s3", "a--b", true),
            ("s3", "a.-b", true),
            ("r2", "xn--x", false),
            ("s3", "x-s3alias", false),
            ("s3", "x--ol-s3", false),
            ("s3", &parts, false),
            ("gcs", "my_bucket", true),
            ("gcs", &parts, true),
            ("gcs", &long, false),
            ("gcs", &format!("x.{long}"), false),
            ("gcs", "goog-x", false),
            ("gcs", "my-g00gle", false),
            ("gcs", "a.-b", false),
            ("gcs", "xn--x", true),
            ("gcs", "1.2.3.4", false),
            ("ibm", "a--b", false),
            ("ibm", "a-.b", false),
            ("ibm", "1.2.3.4", false),
            ("ibm", "a-b.c", true),
            ("ibm", "a_b", false),
        ] {
            assert_eq!(checked(store, name).is_ok(), right, "{store} {name}");
        }
    }

    #[test]
    fn a_name_near_the_wrong_one_is_right() {
        for (store, name, near) in [
            ("s3", "My_Bucket", Some("my-bucket")),
            ("s3", "10.0.0.1", Some("10-0-0-1")),
            ("s3", "a", Some("a-data")),
            ("s3", "-x..y-", Some("x.y")),
            ("s3", "xn--abc", Some("abc")),
            ("s3", "data--ol-s3", Some("data")),
            ("ibm", "a--b.-c", Some("a-b.c")),
            ("gcs", "Goog_le data", Some("le-data")),
            ("gcs", "my-google", None),
            ("s3", "ÄÖ", None),
        ] {
            let near = near.map(|near| format!("such as {near:?}"));
            assert_eq!(checked(store, name).unwrap_err().hint, near, "{name}");
        }
    }
}
