//! Objects made of others: compose, copy, rewrite, move.

use crate::client::Answer;
use crate::gcs_client::{Gcs, enc, generation, json, reason, start};
use pail_devserver::{GcsSettings, Settings};
use serde_json::{Value, json};

async fn compose(gcs: &Gcs, name: &str, query: &str, document: &Value) -> Answer {
    gcs.send("POST", &format!("/storage/v1/b/bucket/o/{}/compose{query}", enc(name)), document).await
}

#[tokio::test]
async fn a_composite_has_the_bytes_and_the_checksum_of_its_components() {
    let (_server, gcs) = start(Settings::default()).await;
    let first = gcs.put("d//1", b"12345").await;
    gcs.put("2", b"").await;
    gcs.put("3", b"6789").await;
    let document = json!({
        "destination": {"contentType": "a/b", "metadata": {"k": "v"}},
        "sourceObjects": [{"name": "d//1", "generation": first.to_string()}, {"name": "2"}, {"name": "3"}],
    });
    let answer = compose(&gcs, "../whole", "?ifGenerationMatch=0", &document).await;
    let resource = json(&answer);
    assert_eq!(answer.status, 200, "{resource}");
    assert_eq!((&resource["name"], &resource["componentCount"]), (&"../whole".into(), &3.into()));
    assert_eq!((&resource["size"], &resource["crc32c"]), (&"9".into(), &"4waSgw==".into()));
    assert_eq!((&resource["contentType"], &resource["metadata"]), (&"a/b".into(), &json!({"k": "v"})));
    assert_eq!(resource.get("md5Hash"), None);
    assert_eq!(gcs.media("../whole").await.text(), "123456789");
    assert_eq!(compose(&gcs, "../whole", "?ifGenerationMatch=0", &document).await.status, 412);
    // An append: the base is a component of itself.
    let number = generation(&resource);
    let append = json!({"sourceObjects": [
        {"name": "../whole", "objectPreconditions": {"ifGenerationMatch": number.to_string()}}, {"name": "3"},
    ]});
    let appended = compose(&gcs, "../whole", &format!("?ifGenerationMatch={number}"), &append).await;
    assert_eq!(json(&appended)["componentCount"], 4);
    assert_eq!(gcs.media("../whole").await.text(), "1234567896789");
    assert_eq!(compose(&gcs, "../whole", "", &append).await.status, 412, "the base has changed");
}

#[tokio::test]
async fn a_composite_has_1_to_32_components_that_are_there() {
    let (_server, gcs) = start(Settings::default()).await;
    let number = gcs.put("o", b"x").await;
    let of = |count: usize| json!({"sourceObjects": vec![json!({"name": "o"}); count]});
    assert_eq!(json(&compose(&gcs, "32", "", &of(32)).await)["size"], "32");
    assert_eq!(reason(&compose(&gcs, "33", "", &of(33)).await), (400, "invalid".into()));
    assert_eq!(reason(&compose(&gcs, "0", "", &of(0)).await), (400, "required".into()));
    for source in [json!({"name": "absent"}), json!({"name": "o", "generation": (number + 1).to_string()})] {
        let answer = compose(&gcs, "x", "", &json!({"sourceObjects": [source]})).await;
        assert_eq!(reason(&answer), (404, "notFound".into()));
    }
}

#[tokio::test]
async fn a_rewrite_of_many_bytes_takes_several_calls() {
    let gcs_settings = GcsSettings { rewrite_bytes_per_call_max: 400, ..GcsSettings::default() };
    let (_server, gcs) = start(Settings { gcs: gcs_settings, ..Settings::default() }).await;
    let given =
        json!({"name": "a//b", "contentType": "a/b", "storageClass": "NEARLINE", "metadata": {"k": "v"}});
    let source = generation(&json(&gcs.related("", &given, &[7; 1000]).await));
    let path = "/storage/v1/b/bucket/o/a%2F%2Fb/rewriteTo/b/bucket/o/to";
    let mut token = String::new();
    for done in [400, 800] {
        let query = format!("?ifSourceGenerationMatch={source}&ifGenerationMatch=0{token}");
        let part = json(&gcs.0.ask("POST", &format!("{path}{query}"), &[], b"").await);
        assert_eq!((&part["done"], &part["totalBytesRewritten"]), (&false.into(), &done.to_string().into()));
        assert_eq!((&part["kind"], &part["objectSize"]), (&"storage#rewriteResponse".into(), &"1000".into()));
        assert_eq!(gcs.get("to").await.status, 404);
        token = format!("&rewriteToken={}", part["rewriteToken"].as_str().unwrap());
    }
    let other = format!("/storage/v1/b/bucket/o/a%2F%2Fb/rewriteTo/b/bucket/o/other?{token}");
    assert_eq!(reason(&gcs.0.ask("POST", &other, &[], b"").await), (400, "invalid".into()));
    let last = json(&gcs.0.ask("POST", &format!("{path}?{token}"), &[], b"").await);
    assert_eq!(last["done"], true);
    let resource = &last["resource"];
    assert_eq!((&resource["name"], &resource["contentType"]), (&"to".into(), &"a/b".into()));
    assert_eq!((&resource["metadata"], &resource["storageClass"]), (&json!({"k": "v"}), &"STANDARD".into()));
    assert!(generation(resource) > source);
    assert_eq!(gcs.media("to").await.body, [7; 1000]);
    // A source that has changed does not go on.
    let part = json(&gcs.0.ask("POST", path, &[], b"").await);
    gcs.put("a//b", &[8; 1000]).await;
    let changed = format!("{path}?rewriteToken={}", part["rewriteToken"].as_str().unwrap());
    assert_eq!(reason(&gcs.0.ask("POST", &changed, &[], b"").await), (412, "conditionNotMet".into()));
}

#[tokio::test]
async fn copies_hold_to_conditions_and_take_given_metadata() {
    let (server, gcs) = start(Settings::default()).await;
    server.create_bucket("second").await.unwrap();
    let given = json!({"name": "from", "contentType": "a/b", "metadata": {"k": "v"}});
    let number = generation(&json(&gcs.related("", &given, b"bytes").await));
    for how in ["copyTo", "rewriteTo"] {
        let path = format!("/storage/v1/b/bucket/o/from/{how}/b/second/o/to");
        let ask = |query: String| {
            let (gcs, path) = (&gcs, &path);
            async move { gcs.0.ask("POST", &format!("{path}{query}"), &[], b"").await }
        };
        assert_eq!(ask(format!("?ifSourceGenerationMatch={}", number + 1)).await.status, 412);
        assert_eq!(ask(format!("?sourceGeneration={}", number + 1)).await.status, 404);
        assert_eq!(ask("?ifGenerationMatch=7".into()).await.status, 412);
        assert_eq!(ask(format!("?sourceGeneration={number}&ifGenerationMatch=0")).await.status, 200);
        assert_eq!(ask("?ifGenerationMatch=0".into()).await.status, 412);
        let to = "/storage/v1/b/second/o/to";
        let kept = json(&gcs.0.get(to).await);
        assert_eq!((&kept["contentType"], &kept["metadata"]), (&"a/b".into(), &json!({"k": "v"})));
        let replaced = json!({"contentType": "x/y", "storageClass": "ARCHIVE"});
        gcs.send("POST", &path, &replaced).await;
        let replaced = json(&gcs.0.get(to).await);
        assert_eq!((&replaced["contentType"], replaced.get("metadata")), (&"x/y".into(), None));
        assert_eq!((&replaced["storageClass"], &replaced["crc32c"]), (&"ARCHIVE".into(), &kept["crc32c"]));
        assert_eq!(gcs.0.get(&format!("{to}?alt=media")).await.text(), "bytes");
        assert_eq!(gcs.0.ask("DELETE", to, &[], b"").await.status, 204);
    }
}

#[tokio::test]
async fn a_move_takes_the_object_away_and_leaves_nothing_behind() {
    let (_server, gcs) = start(Settings::default()).await;
    let given =
        json!({"name": "a//b", "contentType": "a/b", "storageClass": "NEARLINE", "metadata": {"k": "v"}});
    let source = generation(&json(&gcs.related("", &given, b"bytes").await));
    let target = gcs.put("./to", b"old").await;
    let path = "/storage/v1/b/bucket/o/a%2F%2Fb/moveTo/o/.%2Fto";
    let ask = |query: String| {
        let gcs = &gcs;
        async move { gcs.0.ask("POST", &format!("{path}{query}"), &[], b"").await }
    };
    assert_eq!(ask("?ifGenerationMatch=0".into()).await.status, 412);
    assert_eq!(ask(format!("?ifSourceGenerationMatch={}", source + 1)).await.status, 412);
    let moved = ask(format!("?ifSourceGenerationMatch={source}&ifGenerationMatch={target}")).await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    let moved = json(&moved);
    assert!(generation(&moved) > target);
    assert_eq!((&moved["name"], &moved["storageClass"]), (&"./to".into(), &"NEARLINE".into()));
    assert_eq!((&moved["contentType"], &moved["metadata"]), (&"a/b".into(), &json!({"k": "v"})));
    assert_eq!(gcs.media("./to").await.text(), "bytes");
    assert_eq!(gcs.get("a//b").await.status, 404);
    assert_eq!(reason(&ask(String::new()).await), (404, "notFound".into()));
    let itself = gcs.0.ask("POST", "/storage/v1/b/bucket/o/o/moveTo/o/o", &[], b"").await;
    assert_eq!(reason(&itself), (400, "invalid".into()));
}
