use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admission::{PatchKind, Request, Subresource, Write};
use serde_json::{Value, json};

use super::{Answer, Fake, cluster, deployment, pods};
use crate::{ClusterError, Patience, Propagation, Selection, Writing};

const WRITING: Writing<'_> = Writing { manager: "runner/shop/canary", dry_run: false, resource_version: None };

fn merge(patch: Value) -> Request {
    Request { target: deployment("api"), write: Write::Patch { kind: PatchKind::Merge, patch } }
}

fn failure(status: u16, reason: &str, message: &str) -> Answer {
    Answer::Json(status, json!({ "kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message }))
}

#[tokio::test]
async fn writes_say_what_was_looked_at() {
    let fake = Fake::new(|_, _| Answer::Json(200, json!({ "kind": "Deployment" }))).await;
    let cluster = fake.cluster();
    let at = Writing { resource_version: Some("41"), dry_run: true, ..WRITING };
    let json_patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 2 }]);
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api" } });
    let scale = Request { target: deployment("api").part(Subresource::Scale).unwrap(), write: Write::Scale { replicas: 2 } };
    for request in [
        merge(json!({ "spec": { "replicas": 2 } })),
        Request {
            target: deployment("api"),
            write: Write::Patch { kind: PatchKind::Strategic, patch: json!({ "metadata": { "labels": { "a": "b" } } }) },
        },
        Request { target: deployment("api"), write: Write::Patch { kind: PatchKind::Json, patch: json_patch } },
        Request { target: deployment("api"), write: Write::Apply { object: object.clone(), force: true } },
        scale,
    ] {
        cluster.write(&request, at).await.unwrap();
    }
    cluster.write(&Request { target: deployment("api"), write: Write::Create { object } }, WRITING).await.unwrap();
    cluster.delete(&deployment("api"), Propagation::Foreground, Some("41")).await.unwrap();
    let told: Vec<(String, String, String, Value)> = fake
        .asked()
        .iter()
        .map(|asked| {
            let kind = asked.headers["content-type"].to_str().unwrap().to_owned();
            (format!("{} {}", asked.method, asked.uri), kind, String::new(), asked.json())
        })
        .collect();
    let api = "/apis/apps/v1/namespaces/shop/deployments";
    let tail = "fieldManager=runner%2Fshop%2Fcanary&fieldValidation=Strict";
    let expected = [
        (
            format!("PATCH {api}/api?{tail}&dryRun=All"),
            "application/merge-patch+json",
            json!({ "spec": { "replicas": 2 }, "metadata": { "resourceVersion": "41" } }),
        ),
        (
            format!("PATCH {api}/api?{tail}&dryRun=All"),
            "application/strategic-merge-patch+json",
            json!({ "metadata": { "labels": { "a": "b" }, "resourceVersion": "41" } }),
        ),
        (
            format!("PATCH {api}/api?{tail}&dryRun=All"),
            "application/json-patch+json",
            json!([{ "op": "replace", "path": "/spec/replicas", "value": 2 }, { "op": "add", "path": "/metadata/resourceVersion", "value": "41" }]),
        ),
        (
            format!("PATCH {api}/api?force=true&{tail}&dryRun=All"),
            "application/apply-patch+yaml",
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api", "resourceVersion": "41" } }),
        ),
        (
            format!("PATCH {api}/api/scale?{tail}&dryRun=All"),
            "application/merge-patch+json",
            json!({ "spec": { "replicas": 2 }, "metadata": { "resourceVersion": "41" } }),
        ),
        (
            format!("POST {api}?{tail}"),
            "application/json",
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api" } }),
        ),
        (
            format!("DELETE {api}/api"),
            "application/json",
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground", "preconditions": { "resourceVersion": "41" } }),
        ),
    ];
    for ((uri, kind, _, body), (wanted_uri, wanted_kind, wanted_body)) in told.iter().zip(&expected) {
        assert_eq!((uri, kind.as_str(), body), (wanted_uri, *wanted_kind, wanted_body));
    }
    assert_eq!(told.len(), expected.len());
    assert!(fake.asked().iter().all(|asked| asked.headers.keys().all(|name| !name.as_str().starts_with("impersonate"))));
}

#[tokio::test]
async fn an_object_that_wants_another_version_of_itself_is_not_sent() {
    let fake = Fake::new(|_, _| Answer::Json(200, json!({}))).await;
    let request = merge(json!({ "metadata": { "resourceVersion": "40" } }));
    let error = fake.cluster().write(&request, Writing { resource_version: Some("41"), ..WRITING }).await.unwrap_err();
    assert!(matches!(error, ClusterError::Stale { .. }) && error.is_conflict(), "{error}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn throttled_writes_wait_as_long_as_they_are_told() {
    let fake = Fake::new(|number, _| if number == 0 { Answer::Later(429, 1) } else { Answer::Json(200, json!({})) }).await;
    let since = Instant::now();
    fake.cluster().write(&merge(json!({})), WRITING).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_throttle_that_lasts_is_said() {
    let fake = Fake::new(|_, _| Answer::Later(429, 60)).await;
    let error = fake.cluster().get(&deployment("api")).await.unwrap_err();
    assert!(matches!(error, ClusterError::GaveUp { .. }) && error.is_unreachable(), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_not_sent_twice() {
    let broken = Fake::new(|_, _| Answer::Nothing).await;
    let error = broken.cluster().write(&merge(json!({})), WRITING).await.unwrap_err();
    assert!(matches!(error, ClusterError::Lost { .. }), "{error}");
    assert_eq!(broken.asked().len(), 1);

    let gateway = Fake::new(|_, _| failure(504, "Timeout", "gave up")).await;
    let error = gateway.cluster().write(&merge(json!({})), WRITING).await.unwrap_err();
    assert_eq!(error.status(), Some(504), "{error}");
    assert_eq!(gateway.asked().len(), 1);

    let torn = Fake::new(|_, _| Answer::Torn("{\"kind\":".to_owned())).await;
    let error = torn.cluster().write(&merge(json!({})), WRITING).await.unwrap_err();
    assert!(matches!(error, ClusterError::Lost { .. }), "{error}");
    assert_eq!(torn.asked().len(), 1);
}

#[tokio::test]
async fn reads_are_sent_again() {
    let answers = |number, _: &super::Asked| match number {
        0 => Answer::Nothing,
        1 => failure(503, "ServiceUnavailable", "starting"),
        2 => Answer::Torn("{".to_owned()),
        _ => Answer::Json(200, json!({ "kind": "Deployment" })),
    };
    let fake = Fake::new(answers).await;
    assert_eq!(fake.cluster().get(&deployment("api")).await.unwrap(), json!({ "kind": "Deployment" }));
    assert_eq!(fake.asked().len(), 4);
}

#[tokio::test]
async fn a_cluster_that_was_started_again_is_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let waiting = tokio::spawn(async move { cluster(address).write(&merge(json!({})), WRITING).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let fake = Fake::on(listener, |_, _| Answer::Json(200, json!({ "done": true })));
    assert_eq!(waiting.await.unwrap().unwrap(), json!({ "done": true }));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn the_first_question_does_not_wait() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let patient = cluster(address).with_patience(Patience::default());
    let error = tokio::time::timeout(Duration::from_secs(5), patient.version()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let fake = Fake::new(|_, _| Answer::Json(200, json!({ "gitVersion": "v1.33.2" }))).await;
    assert_eq!(fake.cluster().version().await.unwrap(), "v1.33.2");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, reason, fits) in [
        (404, "NotFound", ClusterError::is_missing as fn(&ClusterError) -> bool),
        (409, "Conflict", ClusterError::is_conflict),
        (403, "Forbidden", ClusterError::is_forbidden),
        (401, "Unauthorized", ClusterError::is_forbidden),
        (422, "Invalid", ClusterError::is_invalid),
        (410, "Expired", ClusterError::is_expired),
    ] {
        let fake = Fake::new(move |_, _| failure(status, reason, "no")).await;
        let error = fake.cluster().get(&deployment("api")).await.unwrap_err();
        assert!(fits(&error), "{error}");
        assert_eq!(error.to_string(), format!("reading deployments.apps shop/api: the cluster says: no ({reason}, status {status})"));
    }
    let page = Fake::new(|_, _| Answer::Json(404, json!("<html>\u{1b}[31mnot here</html>"))).await;
    let error = page.cluster().get(&deployment("api")).await.unwrap_err().to_string();
    assert!(error.contains("not here") && !error.contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn lists_come_in_pages_and_say_what_their_items_are() {
    let fake = Fake::new(|_, asked| {
        let (next, name) = if asked.uri.contains("continue=") { ("", "b") } else { ("t&=?", "a") };
        Answer::Json(200, json!({ "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "7", "continue": next }, "items": [{ "metadata": { "name": name } }] }))
    })
    .await;
    let (cluster, selection) = (fake.cluster(), Selection { labels: "app=api,tier!=x".into(), fields: String::new() });
    let first = cluster.list(&pods(), &selection, 1, "").await.unwrap();
    assert_eq!(
        (first.items[0]["kind"].as_str(), first.items[0]["apiVersion"].as_str(), first.next.as_str()),
        (Some("Pod"), Some("v1"), "t&=?")
    );
    let second = cluster.list(&pods(), &selection, 1, &first.next).await.unwrap();
    assert_eq!((second.items[0]["metadata"]["name"].as_str(), second.next.as_str()), (Some("b"), ""));
    assert_eq!(fake.asked()[1].uri, "/api/v1/namespaces/shop/pods?labelSelector=app%3Dapi%2Ctier%21%3Dx&limit=1&continue=t%26%3D%3F");
}

#[tokio::test]
async fn what_breaks_off_in_a_body_is_read_again() {
    let broke = AtomicBool::new(false);
    let fake = Fake::new(move |_, _| {
        if broke.swap(true, Ordering::SeqCst) {
            Answer::Json(200, json!({ "whole": true }))
        } else {
            Answer::Torn("{\"whole\":".to_owned())
        }
    })
    .await;
    assert_eq!(fake.cluster().get(&deployment("api")).await.unwrap(), json!({ "whole": true }));
}
