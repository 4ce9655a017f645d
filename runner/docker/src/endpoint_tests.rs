use std::collections::HashMap;
use std::fs;

use super::*;

/// A folder of Docker's command line, and an environment that points to it.
struct Home {
    folder: tempfile::TempDir,
    variables: HashMap<&'static str, String>,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let variables = HashMap::from([("DOCKER_CONFIG", folder.path().to_str().unwrap().to_owned())]);
        Home { folder, variables }
    }

    fn with(mut self, name: &'static str, value: &str) -> Home {
        self.variables.insert(name, value.to_owned());
        self
    }

    fn file(self, path: &str, text: &str) -> Home {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn context(self, name: &str, meta: &str) -> Home {
        let path = format!("contexts/meta/{}/meta.json", crate::digest::hex(name.as_bytes()));
        self.file(&path, meta)
    }

    fn find(&self, context: Option<&str>) -> Result<Endpoint, String> {
        find(context, &|name| self.variables.get(name).cloned())
            .map_err(|error| error.to_string().replace(self.folder.path().to_str().unwrap(), "HOME"))
    }

    fn shown(&self, context: Option<&str>) -> String {
        self.find(context).map_or_else(|error| error, |found| format!("{} from {}", found.shown(), found.from))
    }
}

const ELSEWHERE: &str =
    r#"{"Name":"elsewhere","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///run/elsewhere.sock","SkipTLSVerify":false}}}"#;

#[test]
fn each_place_gives_way_to_the_one_before_it() {
    let home = Home::new();
    assert_eq!(home.shown(None), "unix:///var/run/docker.sock from the default, since DOCKER_HOST is not set");

    let home = home.context("elsewhere", ELSEWHERE).file("config.json", r#"{"auths":{},"currentContext":"elsewhere"}"#);
    assert!(home.shown(None).starts_with("unix:///run/elsewhere.sock from the context `elsewhere`, which `currentContext` of "));

    let home = home.with("DOCKER_CONTEXT", "default");
    assert_eq!(home.shown(None), "unix:///var/run/docker.sock from the default, since DOCKER_HOST is not set");

    let home = home.with("DOCKER_HOST", "tcp://build:1234");
    assert_eq!(home.shown(None), "tcp://build:1234 from DOCKER_HOST");
    assert_eq!(home.shown(Some("elsewhere")), "unix:///run/elsewhere.sock from the context `elsewhere`, which the grant names");
    assert_eq!(home.shown(Some("default")), "tcp://build:1234 from DOCKER_HOST");
}

#[test]
fn a_context_brings_its_certificates() {
    let meta = ELSEWHERE.replace("unix:///run/elsewhere.sock", "tcp://engine.example");
    let tls = format!("contexts/tls/{}/docker", crate::digest::hex(b"far"));
    let home = Home::new().context("far", &meta).file(&format!("{tls}/ca.pem"), "").file(&format!("{tls}/cert.pem"), "");
    let missing = home.shown(Some("far"));
    assert!(missing.contains("TLS needs HOME/contexts/tls/") && missing.ends_with("/docker/key.pem, which is not there"), "{missing}");

    let home = home.file(&format!("{tls}/key.pem"), "");
    let Address::Tcp { authority, tls } = home.find(Some("far")).unwrap().address else { panic!("not tcp") };
    assert_eq!(authority, "engine.example:2376");
    assert!(tls.is_some_and(|tls| tls.ca.ends_with("docker/ca.pem") && tls.key.ends_with("docker/key.pem")));

    let home = home.context("far", &meta.replace("false", "true"));
    assert!(home.shown(Some("far")).contains("SkipTLSVerify"));
}

#[test]
fn the_environment_says_whether_tls_is_spoken() {
    let home = Home::new().with("DOCKER_HOST", "tcp://engine.example");
    assert_eq!(home.find(None).unwrap().address, Address::Tcp { authority: "engine.example:2375".into(), tls: None });
    let home = home.with("DOCKER_TLS", "1");
    assert!(home.shown(None).contains("DOCKER_TLS alone would trust any server"));
    let home = home.with("DOCKER_TLS_VERIFY", "1");
    assert!(home.shown(None).contains("TLS needs HOME/ca.pem"));
    let home = home.file("certs/ca.pem", "").file("certs/cert.pem", "").file("certs/key.pem", "");
    let certs = home.folder.path().join("certs");
    let home = home.with("DOCKER_CERT_PATH", certs.to_str().unwrap());
    let Address::Tcp { tls: Some(tls), .. } = home.find(None).unwrap().address else { panic!("no TLS") };
    assert_eq!(tls.ca, certs.join("ca.pem"));
    // a socket is a socket, whatever else is set
    assert_eq!(home.with("DOCKER_HOST", "unix:///x").find(None).unwrap().address, Address::Unix("/x".into()));
}

#[test]
fn what_can_t_be_meant_is_said() {
    for (host, words) in [
        ("ssh://me@host", "ssh:// is not supported; forward the engine's socket"),
        ("npipe:////./pipe/docker_engine", "npipe:// is Windows' own"),
        ("fd://", "fd:// is not supported"),
        ("/var/run/docker.sock", "it has no scheme"),
        ("unix://docker.sock", "begins with a slash"),
        ("tcp://", "tcp://host:port and nothing more"),
        ("tcp://user@host:1", "tcp://host:port and nothing more"),
    ] {
        let said = Home::new().with("DOCKER_HOST", host).shown(None);
        assert!(said.starts_with(&format!("DOCKER_HOST gives the Docker endpoint `{host}`: ")) && said.contains(words), "{host}: {said}");
    }
    assert_eq!(
        Home::new().shown(Some("nowhere")),
        "the grant names the Docker context `nowhere`, which HOME/contexts doesn't know; `docker context ls` lists those that exist"
    );
    assert!(Home::new().file("config.json", "{").shown(None).starts_with("HOME/config.json: EOF"));
    assert!(Home::new().context("x", r#"{"Endpoints":{}}"#).shown(Some("x")).contains("no endpoint `docker`"));
}
