//! What the URIs of each store are, and that no text makes the parser panic, or tell a credential.

use super::*;
use proptest::prelude::*;

#[test]
fn prefixes_are_kept_as_they_are() {
    for (uri, scope, bucket, prefix) in [
        ("s3://data", None, "data", ""),
        ("s3://data/", None, "data", ""),
        ("s3://data/a//b/", None, "data", "a//b/"),
        ("s3://data//x", None, "data", "/x"),
        ("gs://my_data.example.com/a?b", None, "my_data.example.com", "a?b"),
        ("r2://data/ä/", None, "data", "ä/"),
        ("cos://us-south/data/x", Some("us-south"), "data", "x"),
        ("az://account1/data/x", Some("account1"), "data", "x"),
        ("az://account1/$web", Some("account1"), "$web", ""),
        ("s3://data--usw2-az1--x-s3/x", None, "data--usw2-az1--x-s3", "x"),
        (
            "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/mine/a/b",
            None,
            "arn:aws:s3:us-west-2:123456789012:accesspoint/mine",
            "a/b",
        ),
        (
            "s3://mine-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias/a",
            None,
            "mine-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias",
            "a",
        ),
    ] {
        let parsed: BucketUri = uri.parse().unwrap();
        let parts = (parsed.scope.as_deref(), parsed.bucket.as_str(), parsed.prefix.as_str());
        assert_eq!(parts, (scope, bucket, prefix), "{uri}");
        assert_eq!(parsed.to_string().parse::<BucketUri>().unwrap(), parsed);
    }
}

#[test]
fn each_store_has_its_own_rules() {
    let long = "a".repeat(64);
    let parts = format!("{}.{}", "a".repeat(63), "b".repeat(63));
    let arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/mine";
    for (kind, name, right) in [
        (StoreKind::S3, "my-bucket.x1", true),
        (StoreKind::S3, "my_bucket", false),
        (StoreKind::S3, "a--b", true),
        (StoreKind::S3, "a.-b", true),
        (StoreKind::S3, "xn--x", false),
        (StoreKind::S3, "sthree-x", false),
        (StoreKind::S3, "amzn-s3-demo-x", false),
        (StoreKind::S3, "x-s3alias", false),
        (StoreKind::S3, "x--ol-s3", false),
        (StoreKind::S3, "x.mrap", false),
        (StoreKind::S3, "x--table-s3", false),
        (StoreKind::S3, &parts, false),
        (StoreKind::S3, "data--use1-az4--x-s3", true),
        (StoreKind::S3, "data--usw2-lax1-az1--x-s3", true),
        (StoreKind::S3, "my.data--use1-az4--x-s3", false),
        (StoreKind::S3, "data--x-s3", false),
        (StoreKind::S3, "--use1-az4--x-s3", false),
        (StoreKind::S3, arn, false),
        (StoreKind::Gcs, "my_bucket", true),
        (StoreKind::Gcs, &parts, true),
        (StoreKind::Gcs, &long, false),
        (StoreKind::Gcs, &format!("x.{long}"), false),
        (StoreKind::Gcs, "goog-x", false),
        (StoreKind::Gcs, "my-g00gle", false),
        (StoreKind::Gcs, "a.-b", false),
        (StoreKind::Gcs, "xn--x", true),
        (StoreKind::Gcs, "1.2.3.4", false),
        (StoreKind::R2, "a--b", true),
        (StoreKind::R2, "a.b.c", false),
        (StoreKind::R2, "-ab", false),
        (StoreKind::Ibm, "a--b", false),
        (StoreKind::Ibm, "a-.b", false),
        (StoreKind::Ibm, "1.2.3.4", false),
        (StoreKind::Ibm, "a-b.c", true),
        (StoreKind::Ibm, "a_b", false),
        (StoreKind::Azure, "a-b", true),
        (StoreKind::Azure, "a--b", false),
        (StoreKind::Azure, "a.b", false),
        (StoreKind::Azure, "$root", true),
        (StoreKind::Azure, "$other", false),
    ] {
        assert_eq!(check_bucket_name(kind, name).is_ok(), right, "{kind:?} {name}");
    }
    // It names a bucket that is there; none can be made so.
    assert!(format!("s3://{arn}").parse::<BucketUri>().is_ok());
    assert!(check_account("devstoreaccount1").is_ok() && check_account("a-b").is_err());
}

#[test]
fn a_name_near_the_wrong_one_is_offered() {
    for (kind, name, near) in [
        (StoreKind::S3, "My_Bucket", Some("my-bucket")),
        (StoreKind::S3, "10.0.0.1", Some("10-0-0-1")),
        (StoreKind::S3, "a", Some("a-data")),
        (StoreKind::S3, "-x..y-", Some("x.y")),
        (StoreKind::S3, "xn--abc", Some("abc")),
        (StoreKind::S3, "data--ol-s3", Some("data")),
        (StoreKind::S3, "ÄÖ", None),
        (StoreKind::S3, "arn:aws:s3:::my-bucket", Some("my-bucket")),
        (StoreKind::Ibm, "a--b.-c", Some("a-b.c")),
        (StoreKind::Gcs, "Goog_le data", Some("le-data")),
        (StoreKind::Gcs, "my-google", None),
        (StoreKind::R2, "my.bucket", Some("my-bucket")),
        (StoreKind::Azure, "My.Container--1", Some("my-container-1")),
    ] {
        let err = check_bucket_name(kind, name).unwrap_err();
        assert_eq!(err.near.as_deref(), near, "{kind:?} {name}");
    }
    assert_eq!(check_account("My-Account").unwrap_err().near.as_deref(), Some("myaccount"));
    assert_eq!(check_region("us-sooth").unwrap_err().near.as_deref(), Some("us-south"));
}

/// What of a URI people write, and what nobody would.
const PIECES: &[&str] = &[
    "s3",
    "gs",
    "r2",
    "cos",
    "az",
    "S3",
    "gcs",
    "s3a",
    "abfss",
    "wasb",
    "https",
    "azure",
    "ibm",
    "://",
    ":/",
    "/",
    "//",
    "arn:",
    "aws:s3:",
    "us-south",
    "123456789012",
    ":accesspoint/",
    "us-west-2:",
    "my-bucket",
    "my_bucket",
    "account1",
    "$web",
    "--x-s3",
    "-s3alias",
    ".mrap",
    "goog",
    "xn--",
    "..",
    ".",
    "-",
    "_",
    "@",
    "?",
    "?sv=1&sig=hunter2",
    ".blob.core.windows.net",
    ".s3.amazonaws.com",
    "storage.googleapis.com",
    ".r2.cloudflarestorage.com",
    "s3.eu-de.cloud-object-storage.appdomain.cloud",
    "ä",
    "\u{1F4A9}",
    "\0",
    "\n",
    " ",
    "%41",
    "10.0.0.1",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A",
    "1",
];

fn uris() -> impl Strategy<Value = String> {
    let pieces =
        prop::collection::vec(prop::sample::select(PIECES), 0..12).prop_map(|pieces| pieces.concat());
    let bytes = prop::collection::vec(any::<u8>(), 0..80);
    let bytes = bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let schemed = (prop::sample::select(PIECES), any::<String>())
        .prop_map(|(scheme, rest)| format!("{scheme}://{rest}"));
    prop_oneof![4 => pieces, 1 => bytes, 1 => any::<String>(), 2 => schemed]
}

fn names() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..6).prop_map(|pieces| pieces.concat());
    prop_oneof![pieces, any::<String>(), "[a-zA-Z0-9._-]{0,80}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is parsed is written and parsed to the same; whatever is not is told in full, with what is right where anything is offered.
    #[test]
    fn any_text_is_a_uri_or_told_why_not(text in uris()) {
        match text.parse::<BucketUri>() {
            Ok(uri) => {
                prop_assert_eq!(uri.to_string().parse::<BucketUri>(), Ok(uri.clone()));
                prop_assert_eq!(uri.bucket_uri().parse::<BucketUri>(), Ok(BucketUri { prefix: String::new(), ..uri }));
            }
            Err(err) => {
                let told = format!("{err} {} {}", err.hint(), err.form_hint());
                prop_assert!(!told.contains("hunter2"), "{}", told);
                prop_assert!(told.chars().count() < 1500, "{}", told);
                if let (UriPart::Scheme, Some(near)) = (err.part, &err.near) {
                    prop_assert!(near.parse::<BucketUri>().is_ok(), "{}", near);
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_offered_is_right(name in names()) {
        for kind in StoreKind::ALL {
            let Err(err) = check_bucket_name(kind, &name) else { continue };
            prop_assert!(!err.rule.is_empty());
            if let Some(near) = err.near {
                prop_assert!(check_bucket_name(kind, &near).is_ok(), "{:?}: {} for {:?}", kind, near, name);
            }
        }
        for (err, check) in [
            (check_account(&name).err(), check_account as fn(&str) -> Result<(), InvalidUri>),
            (check_region(&name).err(), check_region),
        ] {
            if let Some(near) = err.and_then(|err| err.near) {
                prop_assert!(check(&near).is_ok(), "{}", near);
            }
        }
    }
}

const URIS: &[&str] = &[
    "s3://my-bucket/prefix/x",
    "gs://my_bucket",
    "r2://my-bucket/",
    "cos://us-south/my-bucket/a//b",
    "az://account1/$web/x",
    "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/name/x",
    "https://my-bucket.s3.eu-west-1.amazonaws.com/key?X-Amz-Signature=hunter2",
    "https://account1.blob.core.windows.net/container/blob?sv=1&sig=hunter2",
    "https://storage.googleapis.com/bucket/object",
    "abfss://container@account1.dfs.core.windows.net/path",
];

#[test]
fn fuzzed_uris_are_read_or_told_why_not() {
    crate::fuzz::fuzz(URIS, |input| match String::from_utf8_lossy(input).parse::<BucketUri>() {
        Ok(uri) => {
            assert_eq!(uri.to_string().parse::<BucketUri>(), Ok(uri));
            true
        }
        Err(err) => {
            let told = format!("{err} {} {}", err.hint(), err.form_hint());
            // What is to be written in its place may be as long as it is.
            assert!(told.len() < 1500 + 8 * input.len(), "{told}");
            false
        }
    });
}
