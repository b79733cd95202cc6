//! What each dialect makes of options and variables.

use super::*;
use crate::contract::{BucketUri, CallerVariables, NewObjects};

/// A caller, with a home of their own.
struct Caller {
    home: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Caller {
    fn with(variables: &[(&'static str, &'static str)]) -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: variables.to_vec() }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn options(&self, uri: &str) -> StoreOptions {
        let home = ("HOME", self.home.path().to_str().unwrap());
        let all = self.variables.iter().copied().chain([home]);
        let environment = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let options = StoreOptions::new(uri.parse::<BucketUri>().unwrap());
        StoreOptions { environment: Some(CallerVariables(environment)), ..options }
    }
}

async fn endpoint(options: &StoreOptions) -> Result<Endpoint, String> {
    let environment = Environment(options.environment.as_ref());
    let profile = Profile::load(options.profile.as_deref(), environment).await;
    let opening = Opening { options, environment, profile: &profile };
    of(&opening).endpoint(&opening)
}

async fn url(options: &StoreOptions) -> String {
    endpoint(options).await.map_or_else(|cause| cause, |endpoint| endpoint.url())
}

async fn creation(options: &StoreOptions) -> Result<Creation, String> {
    let environment = Environment(options.environment.as_ref());
    let profile = Profile::load(options.profile.as_deref(), environment).await;
    let opening = Opening { options, environment, profile: &profile };
    let dialect = of(&opening);
    dialect.creation(&opening, &dialect.endpoint(&opening)?)
}

fn with_class(options: StoreOptions, class: &str) -> StoreOptions {
    let new_objects = NewObjects { storage_class: Some(class.to_owned()), ..NewObjects::default() };
    StoreOptions { new_objects, ..options }
}

#[test]
fn the_host_of_an_endpoint_tells_whose_it_is() {
    for (url, is_r2) in [
        ("https://0123.r2.cloudflarestorage.com", true),
        ("https://0123.eu.R2.cloudflarestorage.com:443/", true),
        ("https://r2.cloudflarestorage.com.example.com", false),
        ("https://notr2.cloudflarestorage.com", false),
        ("http://localhost:9000/r2.cloudflarestorage.com", false),
    ] {
        assert_eq!(is_within(&host_of(url), r2::DOMAIN), is_r2, "{url}");
    }
}

#[tokio::test]
async fn an_r2_bucket_is_at_its_account_s_endpoint() {
    let in_file = || Caller::with(&[]).file(".cloudflare/accountid", "0AB1\n");
    for (caller, region, expected) in [
        (Caller::with(&[("R2_ACCOUNT_ID", "ab12")]), None, "https://ab12.r2.cloudflarestorage.com"),
        (Caller::with(&[("CLOUDFLARE_ACCOUNT_ID", "cd")]), None, "https://cd.r2.cloudflarestorage.com"),
        (in_file(), None, "https://0ab1.r2.cloudflarestorage.com"),
        (in_file(), Some("auto"), "https://0ab1.r2.cloudflarestorage.com"),
        (in_file(), Some("EU"), "https://0ab1.eu.r2.cloudflarestorage.com"),
        (in_file(), Some("fedramp"), "https://0ab1.fedramp.r2.cloudflarestorage.com"),
        (in_file(), Some("weur"), "https://0ab1.r2.cloudflarestorage.com"),
        (
            Caller::with(&[("R2_ACCOUNT_ID", "ab12"), ("R2_JURISDICTION", "eu")]),
            None,
            "https://ab12.eu.r2.cloudflarestorage.com",
        ),
        // The region and the endpoint of AWS's variables are AWS's.
        (
            Caller::with(&[
                ("R2_ACCOUNT_ID", "ab12"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ENDPOINT_URL", "https://minio.example"),
            ]),
            None,
            "https://ab12.r2.cloudflarestorage.com",
        ),
        (Caller::with(&[("R2_ENDPOINT_URL", "https://r2.example")]), None, "https://r2.example"),
    ] {
        let options = StoreOptions { region: region.map(str::to_owned), ..caller.options("r2://bucket") };
        let endpoint = endpoint(&options).await.unwrap();
        assert_eq!((endpoint.url().as_str(), endpoint.region.as_str()), (expected, "auto"));
    }
    let named = StoreOptions {
        endpoint_url: Some("https://x.eu.r2.cloudflarestorage.com".into()),
        ..in_file().options("r2://bucket")
    };
    assert_eq!(url(&named).await, "https://x.eu.r2.cloudflarestorage.com");
}

#[tokio::test]
async fn another_machine_finds_the_buckets_of_this_one() {
    let at_home =
        Caller::with(&[("R2_JURISDICTION", "eu"), ("R2_ACCESS_KEY_ID", "k"), ("R2_SECRET_ACCESS_KEY", "s")])
            .file(".cloudflare/accountid", "0AB1\n");
    let of_r2_by_s3 = Caller::with(&[
        ("AWS_ENDPOINT_URL", "https://ab12.r2.cloudflarestorage.com"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    let private = Caller::with(&[("IBM_COS_ENDPOINT_TYPE", "private")]);
    for (caller, uri) in
        [(at_home, "r2://bucket"), (of_r2_by_s3, "s3://bucket"), (private, "cos://eu-de/bucket")]
    {
        let here = caller.options(uri);
        let (lent, _) = crate::s3::lend(&here).await.unwrap();
        let there = StoreOptions { environment: Some(lent), ..here.clone() };
        assert_eq!(url(&there).await, url(&here).await, "{uri}");
        let region = |options: StoreOptions| async move { endpoint(&options).await.unwrap().region };
        assert_eq!(region(there).await, region(here).await, "{uri}");
    }
}

#[tokio::test]
async fn what_r2_needs_and_does_not_have_is_told() {
    let nothing = Caller::with(&[]).options("r2://bucket");
    let told = url(&nothing).await;
    assert!(told.contains("R2_ACCOUNT_ID") && told.contains("~/.cloudflare/accountid"), "{told}");
    let odd = Caller::with(&[("R2_ACCOUNT_ID", "a.evil.example/")]).options("r2://bucket");
    assert!(url(&odd).await.contains("R2_ACCOUNT_ID has more than letters and digits"));
    let known = Caller::with(&[("R2_ACCOUNT_ID", "ab12")]);
    let elsewhere = StoreOptions { region: Some("eu-west-1".into()), ..known.options("r2://bucket") };
    let told = url(&elsewhere).await;
    assert!(told.contains("no region \"eu-west-1\"") && told.contains("weur"), "{told}");
    let odd = Caller::with(&[("R2_ACCOUNT_ID", "ab12"), ("R2_JURISDICTION", "mars")]);
    assert!(url(&odd.options("r2://bucket")).await.contains("eu or fedramp"));
    let told = creation(&with_class(known.options("r2://bucket"), "GLACIER")).await.unwrap_err();
    assert!(told.contains("STANDARD, STANDARD_IA"), "{told}");
    let there = StoreOptions { region: Some("weur".into()), ..known.options("r2://bucket") };
    let made = creation(&with_class(there, "STANDARD_IA")).await.unwrap();
    assert_eq!(made.location.as_deref(), Some("weur"));
}

/// The endpoints of IBM's documentation, "Endpoints and storage locations": regions, and single data centers.
const IBM_REGIONS: [&str; 18] = [
    "us-south", "us-east", "eu-gb", "eu-de", "au-syd", "jp-tok", "jp-osa", "ca-tor", "br-sao", "eu-es",
    "ca-mon", "in-che", "ams03", "che01", "mon01", "par01", "sjc04", "sng01",
];

#[tokio::test]
async fn an_ibm_bucket_is_at_its_region_s_endpoint_of_one_of_three_networks() {
    for (network, part) in [("", ""), ("public", ""), ("Private", "private."), ("direct", "direct.")] {
        for region in IBM_REGIONS {
            let caller = Caller::with(&[("IBM_COS_ENDPOINT_TYPE", network), ("AWS_REGION", "us-west-2")]);
            let Ok(uri) = format!("cos://{region}/bucket").parse::<BucketUri>() else {
                // The parser of URIs knows regions alone.
                continue;
            };
            let endpoint = endpoint(&caller.options(&uri.to_string())).await.unwrap();
            let expected = format!("https://s3.{part}{region}.cloud-object-storage.appdomain.cloud");
            assert_eq!((endpoint.url(), endpoint.region.as_str()), (expected, region));
        }
    }
    let odd = Caller::with(&[("IBM_COS_ENDPOINT_TYPE", "vpc")]).options("cos://eu-de/bucket");
    assert!(url(&odd).await.contains("public, private or direct"));
}

#[tokio::test]
async fn an_s3_uri_with_an_endpoint_of_ibm_s_is_signed_for_that_region() {
    let at = |url: &str| StoreOptions {
        endpoint_url: Some(url.to_owned()),
        ..Caller::with(&[]).options("s3://bucket")
    };
    let private = at("https://s3.private.eu-de.cloud-object-storage.appdomain.cloud");
    assert_eq!(endpoint(&private).await.unwrap().region, "eu-de");
    assert_eq!(endpoint(&at("http://localhost:9000")).await.unwrap().region, "us-east-1");
}

#[tokio::test]
async fn an_ibm_bucket_is_made_in_an_instance_with_a_location_that_names_the_class() {
    let yaml = "resource_instance_id: crn:v1:x\niam_api_key: key\n";
    let known = Caller::with(&[]).file(".ibm/credentials.yaml", yaml);
    let made = creation(&known.options("cos://eu-de/bucket")).await.unwrap();
    assert_eq!(made.location.as_deref(), Some("eu-de-standard"));
    assert_eq!(made.headers, [("ibm-service-instance-id", "crn:v1:x".to_owned())]);
    for class in ["Smart", "vault", "COLD", "onerate_active"] {
        let options = with_class(known.options("cos://eu-de/bucket"), class);
        let made = creation(&options).await.unwrap();
        assert_eq!(made.location, Some(format!("eu-de-{}", class.to_lowercase())));
    }
    let refused = creation(&with_class(known.options("cos://eu-de/bucket"), "GLACIER")).await.unwrap_err();
    assert!(refused.contains("smart"), "{refused}");
    let unknown = creation(&Caller::with(&[]).options("cos://eu-de/bucket")).await.unwrap();
    assert!(
        unknown.headers.is_empty() && unknown.missing_with_token.unwrap().contains("IBM_SERVICE_INSTANCE_ID")
    );
}

#[tokio::test]
async fn aws_endpoints_are_of_the_kind_that_is_wished_for() {
    let config = |text: &str| Caller::with(&[]).file(".aws/config", text);
    for (caller, expected) in [
        (Caller::with(&[]), "https://bucket.s3.us-east-1.amazonaws.com"),
        (
            Caller::with(&[("AWS_REGION", "eu-west-1"), ("AWS_USE_DUALSTACK_ENDPOINT", "true")]),
            "https://bucket.s3.dualstack.eu-west-1.amazonaws.com",
        ),
        (
            Caller::with(&[("AWS_REGION", "us-gov-west-1"), ("AWS_USE_FIPS_ENDPOINT", "true")]),
            "https://bucket.s3-fips.us-gov-west-1.amazonaws.com",
        ),
        (
            config(
                "[default]\nregion = us-east-2\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n",
            ),
            "https://bucket.s3-fips.dualstack.us-east-2.amazonaws.com",
        ),
        (
            config("[default]\ns3 =\n  max_concurrent_requests = 20\n  use_accelerate_endpoint = true\n"),
            "https://bucket.s3-accelerate.amazonaws.com",
        ),
        (
            Caller::with(&[("AWS_S3_USE_ACCELERATE_ENDPOINT", "true")]),
            "https://bucket.s3-accelerate.amazonaws.com",
        ),
        (
            Caller::with(&[("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_REGION", "cn-north-1")]),
            "cn-north-1 has no FIPS endpoints",
        ),
    ] {
        assert_eq!(url(&caller.options("s3://bucket")).await, expected);
    }
}

/// AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
#[tokio::test]
async fn endpoints_are_named_in_the_order_of_the_aws_tools() {
    const CONFIG: &str = "[default]\nservices = mine\nendpoint_url = http://of-profile\n\
                          [services mine]\ns3 =\n  endpoint_url = http://of-services\n";
    for (variables, expected) in [
        (vec![], "http://of-services"),
        (vec![("AWS_ENDPOINT_URL", "http://of-all")], "http://of-all"),
        (
            vec![("AWS_ENDPOINT_URL", "http://of-all"), ("AWS_ENDPOINT_URL_S3", "http://of-s3")],
            "http://of-s3",
        ),
        (
            vec![("AWS_ENDPOINT_URL", "http://of-all"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
            "https://bucket.s3.us-east-1.amazonaws.com",
        ),
    ] {
        let caller = Caller::with(&variables).file(".aws/config", CONFIG);
        assert_eq!(url(&caller.options("s3://bucket")).await, expected, "{variables:?}");
    }
    let caller = Caller::with(&[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]);
    let named =
        StoreOptions { endpoint_url: Some("http://named".to_owned()), ..caller.options("s3://bucket") };
    assert_eq!(url(&named).await, "http://named", "what is asked for here is not configured elsewhere");
    let caller = Caller::with(&[]).file(".aws/config", "[default]\nendpoint_url = http://of-profile\n");
    assert_eq!(url(&caller.options("s3://bucket")).await, "http://of-profile");
}
