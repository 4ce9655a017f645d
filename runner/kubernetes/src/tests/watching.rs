use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Asked, Fake, cluster, pods};
use crate::{Change, Known, Selection, Watch};

fn object(name: &str, version: u32) -> Value {
    json!({ "metadata": { "namespace": "shop", "name": name, "uid": format!("u-{name}"), "resourceVersion": version.to_string() } })
}

fn list(version: u32, items: &[Value]) -> Answer {
    Answer::Json(
        200,
        json!({ "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": version.to_string() }, "items": items }),
    )
}

fn lines(events: &[(&str, Value)]) -> String {
    events.iter().map(|(kind, object)| format!("{}\n", json!({ "type": kind, "object": object }))).collect()
}

fn is_watch(asked: &Asked) -> bool {
    asked.uri.contains("watch=true")
}

async fn told(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        let event =
            tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap_or_else(|_| panic!("only {told:?}")).unwrap().unwrap();
        let text = |pointer: &str| event.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        told.push(match event.change {
            Change::Synced => "synced".to_owned(),
            change => format!("{change:?} {} {}", text("/metadata/name"), text("/metadata/resourceVersion")),
        });
    }
    told
}

#[tokio::test]
async fn begins_with_what_is_there_and_follows() {
    let fake = Fake::new(|_, asked| match is_watch(asked) {
        false => list(5, &[object("a", 1), object("b", 2)]),
        true => Answer::Open(lines(&[
            ("ADDED", object("c", 6)),
            ("BOOKMARK", json!({ "metadata": { "resourceVersion": "9" } })),
            ("MODIFIED", object("a", 10)),
            ("DELETED", object("b", 11)),
        ])),
    })
    .await;
    let mut watch = fake.cluster().watch(&pods(), &Selection { labels: "app=api".into(), fields: String::new() });
    assert_eq!(told(&mut watch, 6).await, ["Added a 1", "Added b 2", "synced", "Added c 6", "Modified a 10", "Deleted b 11"]);
    let asked = &fake.asked()[1].uri;
    assert!(
        asked.contains("resourceVersion=5") && asked.contains("labelSelector=app%3Dapi") && asked.contains("allowWatchBookmarks=true"),
        "{asked}"
    );
}

#[tokio::test]
async fn an_expired_version_is_made_good_by_a_list() {
    let fake = Fake::new(|number, asked| match (is_watch(asked), number) {
        (false, 0) => list(5, &[object("a", 1), object("b", 2), object("c", 3)]),
        // in the stream, then as the answer itself
        (true, 1) => Answer::Text(lines(&[("ERROR", json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" }))])),
        (false, 2) => list(20, &[object("a", 1), object("b", 12), object("d", 13)]),
        (true, 3) => Answer::Json(410, json!({ "kind": "Status", "code": 410, "reason": "Gone", "message": "too old" })),
        (false, _) => list(
            30,
            &[object("a", 1), json!({ "metadata": { "namespace": "shop", "name": "b", "uid": "u-other", "resourceVersion": "25" } })],
        ),
        (true, _) => Answer::Open(lines(&[("MODIFIED", object("a", 31))])),
    })
    .await;
    let mut watch = fake.cluster().watch(&pods(), &Selection::default());
    assert_eq!(told(&mut watch, 4).await, ["Added a 1", "Added b 2", "Added c 3", "synced"]);
    assert_eq!(told(&mut watch, 3).await, ["Modified b 12", "Added d 13", "Deleted c 3"]);
    // another one called b is there now: the first is gone
    assert_eq!(told(&mut watch, 4).await, ["Deleted b 12", "Added b 25", "Deleted d 13", "Modified a 31"]);
}

#[tokio::test]
async fn a_broken_connection_goes_on_where_it_was() {
    let fake = Fake::new(|number, asked| match (is_watch(asked), number) {
        (false, _) => list(5, &[object("a", 1)]),
        (true, 1) => Answer::Torn(lines(&[("MODIFIED", object("a", 6))]) + "{\"type\":\"MODI"),
        (true, 2) => Answer::Nothing,
        (true, 3) => Answer::Later(429, 0),
        (true, 4) => Answer::Text(lines(&[("BOOKMARK", json!({ "metadata": { "resourceVersion": "8" } }))])),
        (true, _) => Answer::Open(lines(&[("MODIFIED", object("a", 9))])),
    })
    .await;
    let mut watch = fake.cluster().watch(&pods(), &Selection::default());
    assert_eq!(told(&mut watch, 4).await, ["Added a 1", "synced", "Modified a 6", "Modified a 9"]);
    let versions: Vec<bool> = fake.asked()[2..].iter().map(|asked| asked.uri.contains("resourceVersion=6")).collect();
    assert_eq!(versions, [true, true, true, false]);
    assert!(fake.asked()[5].uri.contains("resourceVersion=8"));
}

#[tokio::test]
async fn a_server_that_is_away_is_said_and_the_watch_goes_on() {
    let first = Fake::new(|_, asked| match is_watch(asked) {
        false => list(5, &[object("a", 1)]),
        true => Answer::Open(String::new()),
    })
    .await;
    let address = first.address;
    let mut impatient = cluster(address);
    impatient.patience.whole = Duration::from_millis(300);
    let mut watch = impatient.watch(&pods(), &Selection::default());
    assert_eq!(told(&mut watch, 2).await, ["Added a 1", "synced"]);
    drop(first);
    let error = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _second = Fake::on(listener, |_, asked| match is_watch(asked) {
        false => list(9, &[object("a", 7)]),
        true => Answer::Open(String::new()),
    });
    let mut event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    while event.is_err() {
        event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    }
    assert_eq!((event.as_ref().unwrap().change, &event.unwrap().object["metadata"]["resourceVersion"]), (Change::Modified, &json!("7")));
}

#[tokio::test]
async fn a_refusal_ends_it() {
    let fake = Fake::new(|_, _| Answer::Json(403, json!({ "kind": "Status", "code": 403, "reason": "Forbidden", "message": "no" }))).await;
    let mut watch = fake.cluster().watch(&pods(), &Selection::default());
    assert!(watch.next().await.unwrap().unwrap_err().is_forbidden());
    assert!(watch.next().await.is_none());
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_watch_that_goes_on_tells_only_what_differs() {
    let fake = Fake::new(|_, asked| match is_watch(asked) {
        false => list(9, &[object("a", 1), object("b", 8), object("d", 9)]),
        true => Answer::Open(lines(&[("MODIFIED", object("a", 10))])),
    })
    .await;
    let mut known = Known::default();
    for (change, told) in [
        (Change::Added, object("a", 1)),
        (Change::Added, object("b", 2)),
        (Change::Added, object("c", 3)),
        (Change::Added, object("gone", 3)),
        (Change::Synced, Value::Null),
        (Change::Deleted, object("gone", 4)),
    ] {
        known.told(change, told);
    }
    let mut watch = fake.cluster().watch_on(&pods(), &Selection::default(), known);
    assert_eq!(told(&mut watch, 4).await, ["Modified b 8", "Added d 9", "Deleted c 3", "Modified a 10"]);
}
