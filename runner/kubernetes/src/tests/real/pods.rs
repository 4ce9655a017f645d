//! Logs, programs and ports of Pods.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{all, connect, engine, pod};
use crate::cluster::Cluster;
use crate::{ClusterError, Exec, Log, LogOptions, Output, Tunnel};

async fn rest(log: &mut Log) -> String {
    let mut text = Vec::new();
    while let Some(line) = log.line().await.unwrap() {
        text.extend(line);
    }
    String::from_utf8(text).unwrap()
}

const TALKER: &str = "
apiVersion: v1
kind: Pod
metadata: { name: talker }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - { name: main, image: 'runner-test/busybox:1', command: [sh, -c, 'for i in 1 2 3; do echo line $i; sleep 0.3; done; echo last words >&2; sleep 600'] }
    - { name: other, image: 'runner-test/busybox:1', command: [sh, -c, 'echo it is over; exit 3'] }
  restartPolicy: Never
";

#[tokio::test]
async fn logs_are_followed_cut_and_ended() {
    let Some(engine) = engine("logs") else { return };
    let namespace = engine.namespace("logs");
    let cluster = connect(engine.kubeconfig()).await;
    namespace.apply(TALKER);
    let target = pod(&namespace, "talker");
    let of = |container: &str| LogOptions { container: Some(container.to_owned()), ..LogOptions::default() };
    let mut log = super::soon("a log", 90, async || cluster.logs(&target, LogOptions { follow: true, ..of("main") }).await.ok()).await;
    for expected in ["line 1\n", "line 2\n", "line 3\n", "last words\n"] {
        assert_eq!(log.line().await.unwrap().as_deref().map(String::from_utf8_lossy).as_deref(), Some(expected));
    }
    // it still runs
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), log.line()).await.is_err());
    let mut log = cluster.logs(&target, LogOptions { tail: Some(2), timestamps: true, ..of("main") }).await.unwrap();
    let text = rest(&mut log).await;
    assert!(text.lines().count() == 2 && text.starts_with("20") && text.ends_with("Z last words\n"), "{text}");
    let mut log = cluster.logs(&target, LogOptions { follow: true, ..of("other") }).await.unwrap();
    assert_eq!(rest(&mut log).await, "it is over\n", "a container that has ended is not followed for ever");
    let error = cluster.logs(&target, of("nobody")).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("nobody"), "{error}");
    let error = cluster.logs(&target, LogOptions::default()).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("main"), "it has two containers: {error}");
    let error = cluster.logs(&target, LogOptions { previous: true, ..of("main") }).await.unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

async fn exec(cluster: &Cluster, target: &admission::Target, script: &str, stdin: &str) -> (Result<i32, ClusterError>, String, String) {
    let exec = Exec { container: Some("main".into()), arguments: vec!["sh".into(), "-c".into(), script.into()], stdin: stdin.into() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cluster
        .exec(target, &exec, |output, bytes| match output {
            Output::Stdout => out.extend_from_slice(bytes),
            Output::Stderr => err.extend_from_slice(bytes),
        })
        .await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn programs_run_in_pods() {
    let Some(engine) = engine("exec") else { return };
    let namespace = engine.namespace("exec");
    let cluster = connect(engine.kubeconfig()).await;
    namespace.apply(TALKER);
    let target = pod(&namespace, "talker");
    let (code, out, err) = super::soon("exec", 90, async || {
        let said = exec(&cluster, &target, "echo out; echo err >&2; exit 7", "").await;
        said.0.is_ok().then_some(said)
    })
    .await;
    assert_eq!((code.unwrap(), out.as_str(), err.as_str()), (7, "out\n", "err\n"));
    let (code, out, _) = exec(&cluster, &target, "head -c 6 | tr a-z A-Z", "spoken and not heard").await;
    match code {
        Ok(code) => assert_eq!((code, out.as_str()), (0, "SPOKEN")),
        Err(error) => {
            assert!(matches!(error, ClusterError::Lost { .. }) && error.to_string().contains("takes a cluster of 1.30"), "{error}");
            let version = cluster.version().await.unwrap();
            assert!(version.starts_with("v1.1") || version.starts_with("v1.2"), "{version}: {error}");
        }
    }
    let (code, out, _) = exec(&cluster, &target, "seq 1 20000", "").await;
    assert_eq!((code.unwrap(), out.lines().count(), out.lines().last()), (0, 20000, Some("20000")));

    let nothing = Exec { container: Some("main".into()), arguments: vec!["no-such-program".into()], stdin: Vec::new() };
    let error = cluster.exec(&target, &nothing, |_, _| {}).await;
    assert!(matches!(&error, Err(error) if error.to_string().contains("no-such-program")) || matches!(error, Ok(126 | 127)), "{error:?}");
    let nowhere = Exec { container: Some("nobody".into()), arguments: vec!["true".into()], stdin: Vec::new() };
    assert!(cluster.exec(&target, &nowhere, |_, _| {}).await.is_err());
    assert!(cluster.exec(&pod(&namespace, "nobody"), &nowhere, |_, _| {}).await.is_err());
}

async fn get(tunnel: Result<Tunnel, ClusterError>, path: &str) -> Result<String, String> {
    let mut tunnel = tunnel.map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    tunnel.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    tunnel.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(answer)
}

#[tokio::test]
async fn ports_of_pods_and_services_are_reached() {
    let Some(engine) = engine("ports") else { return };
    let namespace = engine.namespace("ports");
    let cluster = connect(engine.kubeconfig()).await;
    namespace.serve("api", "stable", "2", 2);
    let service = all(&namespace, "", "v1", "services").sibling("api").unwrap();
    let answer = get(cluster.connect_service(&service, 80).await, "/health").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"version\":\"2\""), "{answer}");
    // more than a buffer holds, and several at once
    let answers = futures::future::join_all((0..8).map(async |_| get(cluster.connect_service(&service, 80).await, "/metrics").await)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.contains("http_requests_total"))), "{answers:?}");

    let name = namespace.run(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"]);
    let target = pod(&namespace, &name);
    assert!(get(cluster.connect_pod(&target, 8080).await, "/health/ready").await.unwrap().starts_with("HTTP/1.1 200"));
    let refused = get(cluster.connect_pod(&target, 9).await, "/").await;
    assert!(refused.as_ref().is_err() || refused.as_ref().is_ok_and(String::is_empty), "{refused:?}");
    assert!(get(cluster.connect_pod(&pod(&namespace, "nobody"), 80).await, "/").await.is_err());
    assert!(get(cluster.connect_service(&service, 81).await, "/").await.unwrap_err().contains("no such port"));
    namespace.run(&["scale", "deployment/api-stable", "--replicas=0"]);
    super::soon("no Pod is left", 90, async || cluster.connect_service(&service, 80).await.err()).await;
}
