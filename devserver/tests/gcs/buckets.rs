//! Buckets: making, looking up, removing, and who pays.

use crate::gcs_client::{json, reason, start};
use pail_devserver::{GcsSettings, Settings};
use serde_json::json;

#[tokio::test]
async fn buckets_are_made_once_and_removed_when_empty() {
    let settings = Settings { foreign_buckets: vec!["theirs".into()], ..Settings::default() };
    let (server, gcs) = start(settings).await;
    let make = |name: &'static str| {
        let gcs = &gcs;
        async move { gcs.send("POST", "/storage/v1/b?project=p", &json!({"name": name})).await }
    };
    let given = json!({
        "name": "my_data",
        "location": "europe-west4",
        "storageClass": "NEARLINE",
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}},
        "labels": {"by": "pail"},
    });
    let made = json(&gcs.send("POST", "/storage/v1/b?project=p", &given).await);
    assert_eq!(made, json(&gcs.0.get("/storage/v1/b/my_data").await));
    assert_eq!((&made["kind"], &made["name"]), (&"storage#bucket".into(), &"my_data".into()));
    assert_eq!((&made["location"], &made["locationType"]), (&"EUROPE-WEST4".into(), &"region".into()));
    assert_eq!((&made["storageClass"], &made["labels"]), (&"NEARLINE".into(), &json!({"by": "pail"})));
    assert_eq!(made["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"], true);
    assert_eq!(reason(&make("my_data").await), (409, "conflict".into()));
    assert_eq!(reason(&make("theirs").await), (409, "conflict".into()));
    assert_eq!(reason(&make("No_Bucket").await), (400, "invalid".into()));
    let projectless = gcs.send("POST", "/storage/v1/b", &json!({"name": "other"})).await;
    assert_eq!(reason(&projectless), (400, "required".into()));
    assert_eq!(reason(&gcs.0.get("/storage/v1/b/theirs").await), (403, "forbidden".into()));
    assert_eq!(reason(&gcs.0.get("/storage/v1/b/theirs/o").await), (403, "forbidden".into()));
    assert_eq!(reason(&gcs.0.get("/storage/v1/b/absent").await), (404, "notFound".into()));
    let put = "/upload/storage/v1/b/my_data/o?uploadType=media&name=o";
    let object = json(&gcs.0.ask("POST", put, &[], b"x").await);
    assert_eq!(object["storageClass"], "NEARLINE", "of the bucket");
    let delete = |path: &'static str| {
        let gcs = &gcs;
        async move { gcs.0.ask("DELETE", path, &[], b"").await }
    };
    assert_eq!(reason(&delete("/storage/v1/b/my_data").await), (409, "conflict".into()));
    assert_eq!(delete("/storage/v1/b/my_data/o/o").await.status, 204);
    assert_eq!(delete("/storage/v1/b/my_data").await.status, 204);
    assert_eq!(reason(&delete("/storage/v1/b/my_data").await), (404, "notFound".into()));
    assert_eq!(server.counters().count("buckets.insert"), 5);
}

#[tokio::test]
async fn all_buckets_are_listed_by_pages() {
    let (server, gcs) = start(Settings::default()).await;
    server.create_bucket("other").await.unwrap();
    let first = json(&gcs.0.get("/storage/v1/b?project=p&maxResults=1").await);
    assert_eq!(first["items"][0]["name"], "bucket");
    let token = first["nextPageToken"].as_str().unwrap();
    let second = json(&gcs.0.get(&format!("/storage/v1/b?project=p&maxResults=1&pageToken={token}")).await);
    assert_eq!((&second["items"][0]["name"], second.get("nextPageToken")), (&"other".into(), None));
    assert_eq!(reason(&gcs.0.get("/storage/v1/b").await), (400, "required".into()));
}

#[tokio::test]
async fn where_the_requester_pays_a_project_is_named() {
    let settings = GcsSettings { requester_pays: ["bucket".into()].into(), ..GcsSettings::default() };
    let (server, gcs) = start(Settings { gcs: settings, ..Settings::default() }).await;
    server.create_bucket("by-resource").await.unwrap();
    let pays = json!({"billing": {"requesterPays": true}});
    let patched = json(&gcs.send("PATCH", "/storage/v1/b/by-resource", &pays).await);
    assert_eq!(
        (&patched["billing"], &patched["metageneration"]),
        (&json!({"requesterPays": true}), &"2".into())
    );
    for path in ["/storage/v1/b/bucket", "/storage/v1/b/bucket/o", "/storage/v1/b/by-resource/o"] {
        let refused = gcs.0.get(path).await;
        assert_eq!(reason(&refused), (400, "userProjectMissing".into()), "{path}");
        assert_eq!(gcs.0.get(&format!("{path}?userProject=mine")).await.status, 200, "{path}");
        let by_header = gcs.0.ask("GET", path, &[("x-goog-user-project", "mine")], b"").await;
        assert_eq!(by_header.status, 200, "{path}");
    }
    assert_eq!(gcs.insert("o", "&userProject=mine", b"x").await.status, 200);
    assert_eq!(gcs.insert("o", "", b"x").await.status, 400);
}
