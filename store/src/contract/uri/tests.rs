use super::*;

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
