//! Who may do what: the cluster's own rules, and how somebody says who they are.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use admission::{Kind, PatchKind, Request, Target, Write};
use serde_json::{Value, json};

use super::{Namespace, all, configmap, connect, engine, pod};
use crate::{Exec, LogOptions, Selection, Writing};

/// Somebody who may read and change ConfigMaps of the namespace, and what proves that it is them.
async fn limited(namespace: &Namespace<'_>) -> String {
    namespace.run(&["create", "serviceaccount", "limited"]);
    namespace.run(&["create", "role", "limited", "--verb=get,list,watch,patch", "--resource=configmaps"]);
    let account = format!("--serviceaccount={}:limited", namespace.name());
    namespace.run(&["create", "rolebinding", "limited", "--role=limited", &account]);
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/limited/token", namespace.name());
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("request");
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    std::fs::write(&asked, request.to_string()).unwrap();
    let answer = namespace.run(&["create", "--raw", &path, "--filename", asked.to_str().unwrap()]);
    serde_json::from_str::<Value>(&answer).unwrap()["status"]["token"].as_str().unwrap().to_owned()
}

/// The kubeconfig of the tests with another user.
fn kubeconfig(folder: &Path, of: &str, user: &str) -> String {
    let text = std::fs::read_to_string(of).unwrap();
    let users = text.lines().find(|line| line.starts_with("users:")).expect("written by the script");
    let name = users.split_once("name: ").unwrap().1.split([',', ' ']).next().unwrap();
    let path = folder.join("kubeconfig");
    std::fs::write(&path, text.replace(users, &format!("users: [{{ name: {name}, user: {user} }}]"))).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_bound_by_the_clusters_rules() {
    let Some(engine) = engine("limited rights") else { return };
    if engine.audited("").is_none() {
        eprintln!("skipped: limited rights: the kubeconfig is the user's own");
        return;
    }
    let namespace = engine.namespace("limited");
    let folder = tempfile::tempdir().unwrap();
    let token = limited(&namespace).await;
    namespace.run(&["create", "configmap", "known", "--from-literal=word=one"]);
    namespace.run(&["create", "secret", "generic", "known", "--from-literal=word=one"]);
    let cluster = connect(&kubeconfig(folder.path(), engine.kubeconfig(), &format!("{{ token: {token} }}"))).await;

    let known = configmap(&namespace, "known");
    assert_eq!(cluster.get(&known).await.unwrap()["data"]["word"], "one");
    let plain = Writing { manager: "runner-test", dry_run: false, resource_version: None };
    let patch = Write::Patch { kind: PatchKind::Merge, patch: json!({ "data": { "word": "two" } }) };
    cluster.write(&Request { target: known.clone(), write: patch.clone() }, plain).await.unwrap();

    let secret = all(&namespace, "", "v1", "secrets").sibling("known").unwrap();
    let error = cluster.get(&secret).await.unwrap_err();
    assert!(error.is_forbidden() && error.to_string().contains("secrets"), "{error}");
    assert!(cluster.list(&all(&namespace, "", "v1", "secrets"), &Selection::default(), 10, "").await.unwrap_err().is_forbidden());
    let error = cluster.write(&Request { target: secret, write: patch }, Writing { dry_run: true, ..plain }).await.unwrap_err();
    assert!(error.is_forbidden(), "{error}");
    let elsewhere = Target::one(Kind::new("", "v1", "configmaps").unwrap(), Some("kube-system"), "known").unwrap();
    assert!(cluster.get(&elsewhere).await.unwrap_err().is_forbidden());
    let nobody = pod(&namespace, "nobody");
    assert!(cluster.logs(&nobody, LogOptions::default()).await.unwrap_err().is_forbidden());
    let exec = Exec { arguments: vec!["true".into()], ..Exec::default() };
    assert!(cluster.exec(&nobody, &exec, |_, _| {}).await.unwrap_err().is_forbidden());
    assert!(cluster.connect_pod(&nobody, 80).await.err().unwrap().is_forbidden());

    // a watch that is refused ends
    let mut watch = cluster.watch(&all(&namespace, "", "v1", "pods"), &Selection::default());
    assert!(watch.next().await.unwrap().unwrap_err().is_forbidden());
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_login_program_says_who_it_is() {
    let Some(engine) = engine("a login program") else { return };
    if engine.audited("").is_none() {
        eprintln!("skipped: a login program: the kubeconfig is the user's own");
        return;
    }
    let namespace = engine.namespace("login");
    let folder = tempfile::tempdir().unwrap();
    let token = limited(&namespace).await;
    namespace.run(&["create", "configmap", "known", "--from-literal=word=one"]);
    let program = folder.path().join("login");
    let write = |token: &str| {
        let said = json!({ "apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": { "token": token } });
        std::fs::write(&program, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write(&token);
    let user = format!("{{ exec: {{ apiVersion: client.authentication.k8s.io/v1beta1, command: \"{}\" }} }}", program.display());
    let path = kubeconfig(folder.path(), engine.kubeconfig(), &user);
    assert_eq!(connect(&path).await.get(&configmap(&namespace, "known")).await.unwrap()["data"]["word"], "one");

    write("not-a-token");
    let error = connect(&path).await.get(&configmap(&namespace, "known")).await.unwrap_err();
    assert!(error.is_forbidden() && error.status() == Some(401), "{error}");
}
