//! Where credentials are found, and what is said of it.

use crate::caller::{Caller, KEY, SECRET, profile, read, server};
use pail_store::{ErrorKind, S3Store, StoreOptions};

const AWS_FILE: &str = ".aws/credentials";
const R2_FILE: &str = ".cloudflare/r2.credentials";
const IBM_FILE: &str = ".ibm/credentials.yaml";
const SERVICE_CREDENTIAL: &str = ".bluemix/cos_credentials";

fn with(id: &str, secret_name: &str, secret: &str) -> Caller {
    Caller::new().variable(id, KEY).variable(secret_name, secret)
}

fn aws(secret: &str) -> Caller {
    with("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", secret)
}

fn yaml(secret: &str) -> String {
    format!("access_key_id: {KEY}\nsecret_access_key: {secret}\n")
}

/// A dialect, its caller, and where the caller's keys are, in words.
type Case = (&'static str, Caller, &'static str);

/// All places, with keys that have this secret.
fn cases(secret: &str) -> Vec<Case> {
    let service = format!(
        r#"{{"apikey": "k", "cos_hmac_keys": {{"access_key_id": "{KEY}", "secret_access_key": "{secret}"}}}}"#
    );
    vec![
        ("s3://bucket", aws(secret), "the environment (AWS_ACCESS_KEY_ID)"),
        (
            "s3://bucket",
            Caller::new().file(AWS_FILE, &profile("default", KEY, secret)),
            "the profile default of ~/.aws/config and ~/.aws/credentials",
        ),
        (
            "s3://bucket",
            Caller::new().file(AWS_FILE, &profile("work", KEY, secret)).variable("AWS_PROFILE", "work"),
            "the profile work of ~/.aws/config and ~/.aws/credentials",
        ),
        (
            "r2://bucket",
            with("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", secret),
            "the environment (R2_ACCESS_KEY_ID)",
        ),
        (
            "r2://bucket",
            Caller::new().file(R2_FILE, &profile("r2", KEY, secret)),
            "the profile r2 of ~/.cloudflare/r2.credentials",
        ),
        ("r2://bucket", aws(secret), "the environment (AWS_ACCESS_KEY_ID)"),
        (
            "cos://eu-de/bucket",
            with("IBM_COS_ACCESS_KEY_ID", "IBM_COS_SECRET_ACCESS_KEY", secret),
            "the environment (IBM_COS_ACCESS_KEY_ID)",
        ),
        ("cos://eu-de/bucket", Caller::new().file(IBM_FILE, &yaml(secret)), "~/.ibm/credentials.yaml"),
        (
            "cos://eu-de/bucket",
            Caller::new().file(SERVICE_CREDENTIAL, &service),
            "~/.bluemix/cos_credentials",
        ),
        ("cos://eu-de/bucket", aws(secret), "the environment (AWS_ACCESS_KEY_ID)"),
    ]
}

#[tokio::test]
async fn credentials_are_found_in_each_of_their_places() {
    let server = server().await;
    for (uri, caller, place) in cases(SECRET) {
        assert_eq!(read(&*caller.open(uri, &server).await).await.unwrap(), 1000, "{uri} {place}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_place_and_not_the_secret() {
    let (server, wrong) = (server().await, "hunter3-hunter3");
    for (uri, caller, place) in cases(wrong) {
        let store = caller.open(uri, &server).await;
        let error = read(&store).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{uri} {place}: {error}");
        let told = format!("{error} {error:?} {store:?}");
        assert!(told.contains(&format!("with the access key …WXYZ from {place}")), "{told}");
        assert!(!told.contains(wrong) && !told.contains(SECRET) && !told.contains(KEY), "{told}");
    }
}

#[tokio::test]
async fn the_environment_goes_before_files_and_a_profile_s_name_before_both() {
    let server = server().await;
    let wrong = || {
        with("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "wrong").file(R2_FILE, &profile("r2", KEY, SECRET))
    };
    let error = read(&*wrong().open("r2://bucket", &server).await).await.unwrap_err();
    assert!(error.message.contains("environment (R2_ACCESS_KEY_ID)"), "{error}");
    let caller = wrong();
    let named = StoreOptions { profile: Some("r2".into()), ..caller.options("r2://bucket", &server) };
    assert_eq!(read(&S3Store::open(named).await.unwrap()).await.unwrap(), 1000);
    // A profile of the AWS files does for R2 as well.
    let caller = Caller::new().file(AWS_FILE, &profile("cloudflare", KEY, SECRET));
    let named = StoreOptions { profile: Some("cloudflare".into()), ..caller.options("r2://bucket", &server) };
    assert_eq!(read(&S3Store::open(named).await.unwrap()).await.unwrap(), 1000);
    let absent = StoreOptions { profile: Some("none".into()), ..caller.options("r2://bucket", &server) };
    let error = S3Store::open(absent).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.message.contains("r2.credentials") && error.message.contains("cloudflare"), "{error}");
}

#[tokio::test]
async fn where_there_are_none_the_places_are_named() {
    let server = server().await;
    for (uri, kind, places) in [
        ("s3://bucket", ErrorKind::Denied, ["AWS_ACCESS_KEY_ID", "~/.aws/credentials"]),
        ("r2://bucket", ErrorKind::Credentials, ["R2_ACCESS_KEY_ID", "~/.cloudflare/r2.credentials"]),
        ("cos://eu-de/bucket", ErrorKind::Denied, ["IBM_API_KEY_ID", "~/.ibm/credentials.yaml"]),
    ] {
        let error = read(&*Caller::new().open(uri, &server).await).await.unwrap_err();
        assert_eq!(error.kind, kind, "{uri}: {error}");
        assert!(error.message.contains("none were found in"), "{uri}: {error}");
        assert!(places.iter().all(|place| error.message.contains(place)), "{uri}: {error}");
    }
}

#[tokio::test]
async fn half_a_pair_is_an_error_that_says_which_half() {
    let server = server().await;
    let lone = |name: &str| Caller::new().variable(name, SECRET);
    let half_profile = format!("[r2]\naws_access_key_id = {KEY}\n");
    for (uri, caller, told) in [
        ("s3://bucket", lone("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY is not"),
        ("s3://bucket", lone("AWS_SECRET_ACCESS_KEY"), "AWS_ACCESS_KEY_ID is not"),
        ("r2://bucket", lone("R2_ACCESS_KEY_ID"), "R2_SECRET_ACCESS_KEY is not"),
        ("r2://bucket", Caller::new().file(R2_FILE, &half_profile), "the profile r2 of"),
        ("cos://eu-de/bucket", lone("IBM_COS_ACCESS_KEY_ID"), "IBM_COS_SECRET_ACCESS_KEY is not"),
        (
            "cos://eu-de/bucket",
            Caller::new().file(IBM_FILE, &format!("secret_access_key: {SECRET}\n")),
            "it has secret_access_key, and no access_key_id",
        ),
        ("cos://eu-de/bucket", Caller::new().file(IBM_FILE, &format!("a: [{SECRET}")), "YAML"),
    ] {
        // Another place has whole ones, which are not meant then.
        let caller = caller.file(".bluemix/cos_credentials", "{}");
        let error = read(&*caller.open(uri, &server).await).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials, "{uri}: {error}");
        assert!(error.message.contains(told) && !error.message.contains(SECRET), "{uri}: {error}");
    }
}
