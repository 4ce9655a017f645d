//! What every container is started with, in the engine's words. The one place where they are written: what is not here can't be had.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as EngineMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::owner::{EFFECT, Owner};
use crate::spec::{ContainerSpec, Mount, NetworkMode};

/// A fork bomb ends here, whatever else is asked for.
const PIDS: i64 = 4096;

pub(crate) fn create_body(owner: &Owner, spec: &ContainerSpec, hosts: &[String]) -> ContainerCreateBody {
    let mut labels = owner.labels();
    if let Some(position) = spec.effect {
        labels.insert(EFFECT.to_owned(), position.to_string());
    }
    let stdin = !spec.stdin.is_empty();
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: (!spec.arguments.is_empty()).then(|| spec.arguments.clone()),
        env: Some(pairs(&spec.env)),
        working_dir: spec.directory.clone(),
        user: spec.user.clone(),
        stop_signal: spec.stop_signal.clone(),
        labels: Some(labels),
        tty: Some(false),
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(stdin),
        stdin_once: Some(stdin),
        // who waits for a container asks it what they want to know; the image's own check would only take its time
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host_config(spec, hosts)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, hosts: &[String]) -> HostConfig {
    let memory = spec.limits.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let (mounts, tmpfs) = mounts(&spec.mounts);
    HostConfig {
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(spec.keep_capabilities.iter().map(|kept| kept.name().to_owned()).collect()),
        // seccomp and AppArmor are not named: the engine's own profiles stay
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ipc_mode: Some("private".to_owned()),
        // empty is private, and the only way to say so
        pid_mode: Some(String::new()),
        uts_mode: Some(String::new()),
        userns_mode: Some(String::new()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        network_mode: Some(match &spec.network {
            NetworkMode::None => "none".to_owned(),
            NetworkMode::Pod(holder) => format!("container:{holder}"),
            NetworkMode::Full => "bridge".to_owned(),
        }),
        publish_all_ports: Some(false),
        extra_hosts: (!hosts.is_empty()).then(|| hosts.to_vec()),
        memory,
        memory_swap: memory,
        nano_cpus: spec.limits.cpus.map(|thousandths| i64::from(thousandths) * 1_000_000),
        pids_limit: Some(spec.limits.pids.map_or(PIDS, i64::from)),
        oom_kill_disable: Some(false),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        init: Some(spec.init),
        readonly_rootfs: Some(spec.read_only_root),
        mounts: Some(mounts),
        tmpfs: Some(tmpfs),
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        // what is printed is read as it comes; the engine's copy is there for who finds the container again, and must not fill the disk
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([("max-size".to_owned(), "16m".to_owned()), ("max-file".to_owned(), "2".to_owned())])),
        }),
        ..HostConfig::default()
    }
}

/// Mounts are objects, not the `source:target:options` of old, in which a colon in a path is one more option.
fn mounts(mounts: &[Mount]) -> (Vec<EngineMount>, HashMap<String, String>) {
    let mut made = Vec::new();
    let mut tmpfs = HashMap::new();
    for mount in mounts {
        match mount {
            Mount::Bind { from, to, writable } => made.push(EngineMount {
                typ: Some(MountType::BIND),
                source: Some(from.to_string_lossy().into_owned()),
                target: Some(to.clone()),
                read_only: Some(!writable),
                bind_options: Some(MountBindOptions {
                    propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                    ..MountBindOptions::default()
                }),
                ..EngineMount::default()
            }),
            Mount::Volume { name, to, writable } => made.push(EngineMount {
                typ: Some(MountType::VOLUME),
                source: Some(name.clone()),
                target: Some(to.clone()),
                read_only: Some(!writable),
                ..EngineMount::default()
            }),
            Mount::Tmpfs { to, bytes } => {
                tmpfs.insert(to.clone(), format!("rw,exec,nosuid,nodev,mode=1777,size={bytes}"));
            }
        }
    }
    (made, tmpfs)
}

pub(crate) fn pairs(env: &[(String, String)]) -> Vec<String> {
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
#[path = "harden_tests.rs"]
mod tests;
