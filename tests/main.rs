//! The end-to-end tests: the built runner, on real projects, seen from outside.

mod cases {
    mod approvals;
    mod boundary;
    mod build_image;
    mod caches;
    mod canary;
    mod code_store;
    mod command_line;
    mod confinement;
    mod containers;
    mod cut_off;
    mod delivery;
    mod determinism;
    mod docker;
    mod docker_escapes;
    mod egress;
    mod escapes;
    mod events;
    mod feastfrenzy;
    mod forks;
    mod grants;
    mod history;
    mod init;
    mod killed;
    mod kubernetes;
    mod kubernetes_escapes;
    mod kubernetes_rules;
    mod kubernetes_trouble;
    mod learn;
    mod limits;
    mod notify;
    mod outcomes;
    mod plugin_guide;
    mod quickstart;
    mod replay;
    mod reports;
    mod resume;
    mod rollout;
    mod secrets;
    mod services;
}

/// The runner under test.
const RUNNER: &str = env!("CARGO_BIN_EXE_runner");
