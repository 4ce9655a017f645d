use serde_json::json;

use super::{Answer, Fake, pod};
use crate::LogOptions;

fn running(is: bool) -> Answer {
    let state = if is { json!({ "running": {} }) } else { json!({ "terminated": {} }) };
    Answer::Json(200, json!({ "kind": "Pod", "status": { "containerStatuses": [{ "name": "api", "state": state }] } }))
}

#[tokio::test]
async fn a_log_goes_on_where_it_broke() {
    const A: &str = "2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:01.5Z two\n2026-01-01T00:00:01.5Z two\n";
    let fake = Fake::new(|number, _| match number {
        0 => Answer::Torn(format!("{A}2026-01-01T00:00:02Z hal")),
        1 | 3 => running(true),
        // from the same second on, with what was read already
        2 => Answer::Text(format!("{A}2026-01-01T00:00:01.5Z two\n2026-01-01T00:00:02Z half\n")),
        4 => Answer::Text("2026-01-01T00:00:02Z half\n2026-01-01T00:00:03Z end".to_owned()),
        _ => running(false),
    })
    .await;
    let mut log = fake.cluster().logs(&pod("api-1"), LogOptions { follow: true, tail: Some(10), ..LogOptions::default() }).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = log.line().await.unwrap() {
        lines.push(String::from_utf8(line).unwrap());
    }
    assert_eq!(lines, ["one\n", "two\n", "two\n", "two\n", "half\n", "end"]);
    let asked = fake.asked();
    assert!(
        asked[0].uri.starts_with("/api/v1/namespaces/shop/pods/api-1/log?follow=true&timestamps=true&tailLines=10"),
        "{}",
        asked[0].uri
    );
    assert!(asked[2].uri.contains("sinceTime=2026-01-01T00%3A00%3A01.5Z") && !asked[2].uri.contains("tailLines"), "{}", asked[2].uri);
}

#[tokio::test]
async fn a_log_that_is_not_followed_ends() {
    let fake = Fake::new(|_, _| Answer::Text("2026-01-01T00:00:01Z a b\nno time here\n".to_owned())).await;
    let options = LogOptions {
        timestamps: true,
        since: std::time::Duration::from_millis(1500),
        container: Some("api".into()),
        ..LogOptions::default()
    };
    let mut log = fake.cluster().logs(&pod("api-1"), options).await.unwrap();
    assert_eq!(log.line().await.unwrap().unwrap(), b"2026-01-01T00:00:01Z a b\n");
    assert_eq!(log.line().await.unwrap().unwrap(), b"no time here\n");
    assert_eq!(log.line().await.unwrap(), None);
    assert!(fake.asked()[0].uri.contains("container=api") && fake.asked()[0].uri.contains("sinceSeconds=2"));
}

#[tokio::test]
async fn a_log_goes_on_behind_a_place() {
    const WHOLE: &str = "2026-01-01T00:00:01Z one\n2026-01-01T00:00:01Z two\n2026-01-01T00:00:02Z three\n";
    let fake = Fake::new(|_, _| Answer::Text(WHOLE.to_owned())).await;
    let options = LogOptions { tail: Some(100), ..LogOptions::default() };
    let mut first = fake.cluster().logs(&pod("api-1"), options.clone()).await.unwrap();
    assert_eq!(first.line().await.unwrap().unwrap(), b"one\n");
    assert_eq!(first.line().await.unwrap().unwrap(), b"two\n");
    let place = serde_json::from_value(serde_json::to_value(first.place()).unwrap()).unwrap();
    let mut second = fake.cluster().logs_from(&pod("api-1"), options, place).await.unwrap();
    assert_eq!(second.line().await.unwrap().unwrap(), b"three\n");
    assert_eq!(second.line().await.unwrap(), None);
    assert!(fake.asked()[1].uri.contains("sinceTime=2026-01-01T00%3A00%3A01Z") && !fake.asked()[1].uri.contains("tailLines"));
}
