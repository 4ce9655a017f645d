use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Answer, Fake, deployment};
use crate::cluster::Cluster;
use crate::config::{self, Found};
use crate::error::ClusterError;

fn kubeconfig(folder: &Path, name: &str, current: &str, contexts: &[(&str, &str)], user: &str) -> PathBuf {
    let clusters: String = contexts.iter().map(|(name, cluster)| format!("- name: {name}\n  cluster: {{ {cluster} }}\n")).collect();
    let listed: String =
        contexts.iter().map(|(name, _)| format!("- name: {name}\n  context: {{ cluster: {name}, user: me, namespace: shop }}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: \"{current}\"\nclusters:\n{clusters}contexts:\n{listed}users:\n- name: me\n  user: {user}\n"
    );
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn find(context: Option<&str>, variables: &[(&str, String)]) -> Result<Found, ClusterError> {
    config::find(context, &|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())).await
}

#[tokio::test]
async fn contexts() {
    let folder = tempfile::tempdir().unwrap();
    let a = kubeconfig(
        folder.path(),
        "a",
        "one",
        &[("one", "server: \"http://one.example\""), ("loose", "server: \"https://x\", insecure-skip-tls-verify: true")],
        "{}",
    );
    let b = kubeconfig(folder.path(), "b", "two", &[("two", "server: \"http://two.example\"")], "{}");
    let missing = folder.path().join("missing");
    let list = |paths: &[&Path]| [("KUBECONFIG", std::env::join_paths(paths).unwrap().into_string().unwrap())];
    let both = list(&[&missing, &a, &b]);

    let found = find(None, &both).await.unwrap();
    assert_eq!((found.context.as_deref(), found.config.cluster_url.to_string().as_str()), (Some("one"), "http://one.example/"));
    assert!(found.from.starts_with("the context `one`, which current-context of"), "{}", found.from);
    assert!(!found.config.default_retry);
    assert_eq!(found.config.default_namespace, "shop");
    assert_eq!(find(Some("two"), &both).await.unwrap().from, "the context `two`, which the grant names");

    let error = find(Some("three"), &both).await.unwrap_err().to_string();
    assert!(error.contains("names the context `three`") && error.contains("one, loose, two"), "{error}");
    assert!(matches!(find(Some("loose"), &both).await.unwrap_err(), ClusterError::Insecure { .. }));
    let nameless = kubeconfig(folder.path(), "c", "", &[("one", "server: \"http://one.example\"")], "{}");
    assert!(matches!(find(None, &list(&[&nameless])).await.unwrap_err(), ClusterError::NoCurrent { .. }));
    std::fs::write(&missing, "contexts: [").unwrap();
    assert!(matches!(find(None, &list(&[&missing])).await.unwrap_err(), ClusterError::Config { .. }));
}

#[tokio::test]
async fn without_a_file_there_is_the_pods_own_cluster_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let home = ("HOME", folder.path().display().to_string());
    assert!(matches!(find(None, std::slice::from_ref(&home)).await.unwrap_err(), ClusterError::NoConfig { .. }));
    assert!(matches!(find(Some("prod"), std::slice::from_ref(&home)).await.unwrap_err(), ClusterError::NoContext { .. }));
    std::fs::create_dir(folder.path().join(".kube")).unwrap();
    let path = kubeconfig(&folder.path().join(".kube"), "config", "one", &[("one", "server: \"http://one.example\"")], "{}");
    assert!(find(None, &[home]).await.unwrap().from.contains(&path.display().to_string()));
}

#[tokio::test]
async fn login_programs_are_asked_and_get_no_terminal() {
    let fake = Fake::new(|_, _| Answer::Json(200, json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("login");
    let script = "#!/bin/sh\ncase \"$KUBERNETES_EXEC_INFO\" in *'\"interactive\":false'*) token=quiet ;; *) token=asks ;; esac\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$token'\"}}'\n";
    std::fs::write(&plugin, script).unwrap();
    let user = format!(
        "{{ exec: {{ apiVersion: client.authentication.k8s.io/v1, command: sh, args: [\"{}\"], interactiveMode: Always }} }}",
        plugin.display()
    );
    let server = format!("server: \"http://{}\"", fake.address);
    let path = kubeconfig(folder.path(), "a", "one", &[("one", &server)], &user);
    let found = find(None, &[("KUBECONFIG", path.display().to_string())]).await.unwrap();
    Cluster::of(found).unwrap().get(&deployment("api")).await.unwrap();
    assert_eq!(fake.asked()[0].headers["authorization"], "Bearer quiet");
}
