//! Keys that compose has and services here can't have, each with the reason and the way out.

pub(super) struct Why {
    pub because: &'static str,
    pub instead: &'static str,
}

const BUILD: Why = Why {
    because: "nothing is built when services start",
    instead: "name an image that exists, or leave the service out: `services = [..]` beside `compose` says which are wanted",
};
const AUTHORITY: Why = Why {
    because: "no service has more of the machine than any other container",
    instead: "remove it; each keeps what entrypoints need to give up root, and nothing else",
};
const NAMESPACE: Why = Why {
    because: "no service is in a namespace of the machine's or of another container's",
    instead: "remove it; the services of a stage share one loopback and reach each other by their names",
};
const NETWORK: Why = Why {
    because: "services have no network but the loopback that those of a stage share",
    instead: "remove it; each is reached by its own name",
};
const OTHER_FILE: Why =
    Why { because: "no other compose file is read", instead: "write here what it brings; anchors, aliases and `<<` are read" };
const CONTENT: Why = Why {
    because: "a service has no secrets and configs but its `environment` and its files",
    instead: "mount a file of the repository read-only under `volumes`",
};
const NAMES: Why =
    Why { because: "services reach each other by their own names", instead: "remove it; `depends_on` says which has to be ready first" };
const SHARED: Why = Why { because: "what services share has a name", instead: "give both the same named volume under `volumes`" };
const KERNEL: Why = Why {
    because: "it is left to the engine",
    instead: "remove it; `mem_limit`, `cpus`, `pids_limit` and `deploy.resources.limits` are read",
};
const TERMINAL: Why = Why { because: "nobody sits in front of a service", instead: "remove it" };
const ORCHESTRATION: Why = Why {
    because: "one container of each service runs for one attempt of a stage",
    instead: "remove it; of `deploy`, `resources.limits` is read",
};
const LOGS: Why = Why { because: "a service's output is kept beside the stage's log", instead: "remove it" };
const PULL: Why = Why { because: "an image is pulled where the engine does not have it, and only then", instead: "remove it" };

/// Of a service, wherever in it the key stands. None: compose has no such key either, as far as is known here.
pub(super) fn of_service(key: &str) -> Option<Why> {
    Some(match key {
        "build" | "develop" | "provider" => BUILD,
        "privileged"
        | "cap_add"
        | "cap_drop"
        | "devices"
        | "device_cgroup_rules"
        | "security_opt"
        | "gpus"
        | "userns_mode"
        | "runtime"
        | "cgroup"
        | "cgroup_parent"
        | "sysctls"
        | "group_add"
        | "use_api_socket"
        | "credential_spec"
        | "isolation"
        | "ulimits" => AUTHORITY,
        "network_mode" | "pid" | "ipc" | "uts" => NAMESPACE,
        "dns" | "dns_opt" | "dns_search" | "domainname" | "extra_hosts" | "mac_address" | "aliases" | "ipv4_address" | "ipv6_address" => {
            NETWORK
        }
        "extends" | "include" | "label_file" => OTHER_FILE,
        "secrets" | "configs" | "models" => CONTENT,
        "links" | "external_links" => NAMES,
        "volumes_from" => SHARED,
        "shm_size" | "mem_reservation" | "mem_swappiness" | "memswap_limit" | "cpu_count" | "cpu_percent" | "cpu_period" | "cpu_quota"
        | "cpu_rt_period" | "cpu_rt_runtime" | "cpu_shares" | "cpuset" | "blkio_config" | "oom_kill_disable" | "oom_score_adj"
        | "storage_opt" | "reservations" => KERNEL,
        "tty" | "stdin_open" | "attach" => TERMINAL,
        "scale" | "replicas" | "mode" | "update_config" | "rollback_config" | "restart_policy" | "placement" | "endpoint_mode"
        | "annotations" | "post_start" | "pre_stop" => ORCHESTRATION,
        "logging" => LOGS,
        "pull_policy" => PULL,
        _ => return None,
    })
}

/// Of the file itself.
pub(super) fn of_file(key: &str) -> Option<Why> {
    Some(match key {
        "include" => OTHER_FILE,
        "secrets" | "configs" | "models" => CONTENT,
        _ => return None,
    })
}
