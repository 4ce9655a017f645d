use serde_json::{Value, json};

use super::*;
use crate::spec::{Ceilings, Kept};

fn sent(spec: &ContainerSpec) -> Value {
    let owner = Owner { run: "r".into(), stage: "s".into(), attempt: 1, process: "p".into() };
    serde_json::to_value(create_body(&owner, spec, &[])).unwrap()
}

/// The whole of what is sent, so that nothing can come to it unseen.
#[test]
fn what_is_sent_for_the_plainest_container() {
    let sent = sent(&ContainerSpec { image: "node:20".into(), ..ContainerSpec::default() });
    assert_eq!(
        sent,
        json!({
            "Image": "node:20",
            "Env": [],
            "Tty": false,
            "AttachStdin": false,
            "AttachStdout": true,
            "AttachStderr": true,
            "OpenStdin": false,
            "StdinOnce": false,
            "Healthcheck": { "Test": ["NONE"] },
            "Labels": { "dev.runner.run": "r", "dev.runner.stage": "s", "dev.runner.attempt": "1", "dev.runner.process": "p" },
            "HostConfig": {
                "Privileged": false,
                "CapDrop": ["ALL"],
                "CapAdd": [],
                "SecurityOpt": ["no-new-privileges"],
                "IpcMode": "private",
                "PidMode": "",
                "UTSMode": "",
                "UsernsMode": "",
                "CgroupnsMode": "private",
                "NetworkMode": "none",
                "PublishAllPorts": false,
                "PidsLimit": 4096,
                "OomKillDisable": false,
                "Ulimits": [{ "Name": "core", "Soft": 0, "Hard": 0 }],
                "Init": false,
                "ReadonlyRootfs": false,
                "Mounts": [],
                "Tmpfs": {},
                "AutoRemove": false,
                "RestartPolicy": { "Name": "no" },
                "LogConfig": { "Type": "json-file", "Config": { "max-size": "16m", "max-file": "2" } },
            },
        })
    );
}

#[test]
fn what_is_asked_for_is_all_that_changes() {
    let spec = ContainerSpec {
        image: "i".into(),
        entrypoint: Some(vec!["sh".into()]),
        arguments: vec!["-c".into(), "true".into()],
        env: vec![("A".into(), "b=c".into())],
        directory: Some("/w".into()),
        user: Some("1000:1000".into()),
        mounts: vec![
            Mount::Bind { from: "/a:b".into(), to: "/w".into(), writable: false },
            Mount::Volume { name: "v".into(), to: "/v".into(), writable: true },
            Mount::Tmpfs { to: "/tmp".into(), bytes: 1 << 20 },
        ],
        network: NetworkMode::Pod("h".into()),
        limits: Ceilings { memory: Some(64 << 20), cpus: Some(1500), pids: Some(10) },
        read_only_root: true,
        keep_capabilities: vec![Kept::Chown, Kept::NetBindService],
        init: true,
        stop_signal: Some("SIGINT".into()),
        stdin: b"x".to_vec(),
        effect: Some(7),
        ..ContainerSpec::default()
    };
    let sent = sent(&spec);
    let host = &sent["HostConfig"];
    assert_eq!(sent["Labels"]["dev.runner.effect"], "7");
    assert_eq!((&sent["Entrypoint"], &sent["Cmd"]), (&json!(["sh"]), &json!(["-c", "true"])));
    assert_eq!(sent["StopSignal"], "SIGINT");
    assert_eq!((&sent["OpenStdin"], &sent["StdinOnce"]), (&json!(true), &json!(true)));
    assert_eq!(host["NetworkMode"], "container:h");
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)));
    assert_eq!((&host["NanoCpus"], &host["PidsLimit"]), (&json!(1_500_000_000), &json!(10)));
    assert_eq!(host["CapAdd"], json!(["CHOWN", "NET_BIND_SERVICE"]));
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["Tmpfs"], json!({ "/tmp": "rw,exec,nosuid,nodev,mode=1777,size=1048576" }));
    assert_eq!(
        host["Mounts"][0],
        json!({ "Type": "bind", "Source": "/a:b", "Target": "/w", "ReadOnly": true, "BindOptions": { "Propagation": "rprivate" } })
    );
    assert_eq!(host["Mounts"][1], json!({ "Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": false }));
    assert_eq!(host["Privileged"], false);
}
