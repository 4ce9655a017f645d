//! Services of a compose file: what real projects write, and every way in which one asks for what can't be had.

use pipeline::diagnostic::{Severity, render};
use pipeline::plan::{MountSource, Plan, Probe, Service, ServiceSource};
use pipeline::source::Sources;

use crate::fakes::{World, stage};

fn world(files: &[(&'static str, &'static str)]) -> World {
    World { files: files.to_vec(), ..World::default() }
}

/// A pipeline whose one stage has the services of a compose file. `lines`: beside `compose`.
fn text(lines: &str) -> String {
    format!("{}[service.backend]\ncompose = \"compose.yaml\"\n{lines}", stage("services = [\"backend\"]"))
}

#[track_caller]
fn planned(world: &World, text: &str) -> (Plan, Vec<&'static str>) {
    match world.plan(text) {
        Ok((plan, warnings)) => (plan, warnings.iter().map(|warning| warning.code).collect()),
        Err(_) => panic!("{}", world.shown(text)),
    }
}

/// What `plan --expanded` prints.
fn expanded(plan: &Plan) -> String {
    let line = |line: pipeline::plan::Line| match line.origin {
        Some(origin) => format!("{:<100} # {origin}", line.text).trim_end().to_owned(),
        None => line.text,
    };
    plan.expanded().into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn services(plan: &Plan) -> Vec<Service> {
    plan.services.iter().map(|service| Service { span: 0..0, ..service.clone() }).collect()
}

/// The names of a stage's services, the needed first.
fn of_stage(plan: &Plan) -> Vec<&str> {
    plan.stages[0].services.iter().map(|&index| plan.services[index].name.as_str()).collect()
}

/// The shape of a blog as the images' own pages show it.
const WORDPRESS: &str = r#"
version: "3.9"
services:
  db:
    image: mariadb:10.6.4-focal
    command: '--default-authentication-plugin=mysql_native_password'
    volumes:
      - db_data:/var/lib/mysql
      - ./db/init.sql:/docker-entrypoint-initdb.d/init.sql:ro
    restart: always
    environment:
      - MYSQL_ROOT_PASSWORD=somewordpress
      - MYSQL_DATABASE=wordpress
    expose:
      - 3306
      - 33060
    healthcheck:
      test: ["CMD-SHELL", "mysqladmin ping -p$${MYSQL_ROOT_PASSWORD}"]
      interval: 5s
      timeout: 3s
      retries: 10
      start_period: 30s
  wordpress:
    image: wordpress:${WORDPRESS_TAG:-latest}
    depends_on:
      db:
        condition: service_healthy
    volumes:
      - wp_data:/var/www/html
    ports:
      - 80:80
    restart: always
    environment:
      WORDPRESS_DB_HOST: db
      WORDPRESS_DB_PASSWORD: ${DB_PASSWORD:?say it}
      WORDPRESS_DEBUG: 1
volumes:
  db_data:
  wp_data: {}
"#;

/// The shape of a Node.js application: anchors, a migration before it, tools in a profile, and an image that is built.
const NODE: &str = r#"
name: shop
x-defaults: &defaults
  restart: unless-stopped
  init: true
  read_only: true
  tmpfs: /tmp
  networks: [back]
  labels: { team: shop }
services:
  web:
    build: ../web
    depends_on: [api]
  api:
    <<: *defaults
    image: "shop-api:${TAG}"
    entrypoint: node --enable-source-maps
    command: ["server.js", "--name", "$$HOSTNAME ${TAG}"]
    user: 1000:1000
    working_dir: /srv
    env_file:
      - defaults.env
      - { path: ./local.env, required: false }
    environment: &environment
      DATABASE_URL: postgres://app@db:5432/app
      REDIS_URL: redis://cache:6379
      discovery.type: single-node
    depends_on:
      migrate: { condition: service_completed_successfully }
      cache: { condition: service_started, restart: true }
      mail: { condition: service_started, required: false }
    ports:
      - { target: 3000, published: 3000, protocol: tcp, mode: host }
    deploy:
      resources:
        limits: { memory: 512m, cpus: "0.5", pids: 100 }
    stop_signal: SIGINT
    stop_grace_period: 1m30s
  migrate:
    <<: *defaults
    image: "shop-api:${TAG}"
    command: node migrate.js 'all of it'
    environment: *environment
    depends_on: { db: { condition: service_healthy } }
  db:
    image: postgres:16
    environment: { POSTGRES_HOST_AUTH_METHOD: trust }
    volumes:
      - type: volume
        source: data
        target: /var/lib/postgresql/data
      - type: bind
        source: ../db/init
        target: /docker-entrypoint-initdb.d
        read_only: true
      - type: tmpfs
        target: /run/postgresql
      - /var/cache
    healthcheck: { test: "pg_isready -U $${POSTGRES_USER:-postgres}", interval: 500ms }
    mem_limit: 1.5g
    networks: { back: { aliases: [db] } }
  cache:
    <<: *defaults
    image: redis:7
    expose: ["6379/tcp"]
    healthcheck: { disable: true }
  mail:
    image: mailpit
    profiles: [tools]
    network_mode: host
volumes:
  data: { driver: local, name: shop-data }
networks:
  back: { driver: bridge, internal: true }
"#;

const DEFAULTS: &str = "# of the application\nexport LOG_LEVEL=debug\nGREETING=\"hello ${TAG}\"\nDATABASE_URL=overridden\n";

#[test]
fn a_blog_and_its_database() {
    let world = world(&[("compose.yaml", WORDPRESS)]);
    let text = text("env = { DB_PASSWORD = \"${git.short}\" }\n");
    let (plan, warnings) = planned(&world, &text);
    assert_eq!(warnings, ["compose-ignored"]);
    assert_eq!(of_stage(&plan), ["db", "wordpress"]);
    assert_eq!(plan.services[1].env[1], ("WORDPRESS_DB_PASSWORD".to_owned(), "0123456".to_owned()), "a variable may be a reference");
    let ready = plan.services[0].ready.as_ref().unwrap();
    let shell = vec!["/bin/sh".to_owned(), "-c".to_owned(), "mysqladmin ping -p${MYSQL_ROOT_PASSWORD}".to_owned()];
    assert_eq!(ready.probe, Probe::Command(shell));
    assert_eq!((ready.timeout.as_secs(), ready.interval.as_millis(), ready.try_timeout.as_secs()), (110, 1000, 3));
    insta::assert_snapshot!("wordpress", expanded(&plan));
    again(&world, &plan);
}

#[test]
fn an_application_with_its_database_cache_and_migration() {
    let files = [("ci/compose.yaml", NODE), ("ci/defaults.env", DEFAULTS)];
    let world = world(&files);
    let text = text("services = [\"api\"]\nenv = { TAG = \"1.2\" }\n").replace("compose.yaml", "ci/compose.yaml");
    let (plan, warnings) = planned(&world, &text);
    assert_eq!(warnings, ["compose-ignored", "compose-ignored"]);
    assert_eq!(of_stage(&plan), ["db", "migrate", "cache", "api"], "and not `web`, which is built, nor `mail`, which is in a profile");
    let find = |name: &str| plan.services.iter().find(|service| service.name == name).unwrap();
    assert_eq!(find("migrate").ready.as_ref().unwrap().probe, Probe::Exit(0));
    let ServiceSource::Image(db) = &find("db").source else { panic!() };
    assert_eq!(db.mounts[1].from, MountSource::Checkout("db/init".to_owned()), "from the compose file's folder");
    insta::assert_snapshot!("node", expanded(&plan));
    again(&world, &plan);
    let recorded: Vec<String> = plan.sources.included().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(recorded, ["ci/compose.yaml", "ci/defaults.env"], "a run's record has what a replay reads");
}

/// What is printed is a pipeline file that means the same.
#[track_caller]
fn again(world: &World, plan: &Plan) {
    let text = plan.expanded().into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n");
    let (other, _) = planned(world, &text);
    assert_eq!(services(&other), services(plan), "{text}");
    assert_eq!(of_stage(&other), of_stage(plan));
}

const SMALL: &str =
    "services:\n  db:\n    image: postgres:16\n  cache:\n    image: redis:7\n  tool:\n    image: tool\n    profiles: [tools]\n";

#[test]
fn the_name_of_the_file_stands_for_its_services() {
    let world = world(&[("compose.yaml", SMALL), ("ci/services.toml", "format = 1\n[service.backend]\ncompose = \"../compose.yaml\"\n")]);
    let names = |text: &str| -> Vec<String> { of_stage(&planned(&world, text).0).into_iter().map(str::to_owned).collect() };
    assert_eq!(names(&text("")), ["db", "cache"]);
    assert_eq!(names(&text("services = [\"tool\"]")), ["tool"]);
    assert_eq!(names(&text("").replace("services = [\"backend\"]", "services = [\"cache\", \"backend\"]")), ["cache", "db"]);
    assert_eq!(
        names(&text("").replace("services = [\"backend\"]", "services = [\"cache\"]")),
        ["cache"],
        "they have names of their own too"
    );
    assert_eq!(names(&text("").replace("service.backend", "service.db").replace("[\"backend\"]", "[\"db\"]")), ["db", "cache"]);
    let app = "[service.app]\nimage = \"app\"\nneeds = [\"backend\"]\n";
    assert_eq!(names(&text(app).replace("services = [\"backend\"]", "services = [\"app\"]")), ["db", "cache", "app"]);
    let included = format!("include = [\"ci/services.toml\"]\n{}", stage("services = [\"backend\"]").replacen("format = 1\n", "", 1));
    assert_eq!(names(&format!("format = 1\n{included}")), ["db", "cache"], "a path is relative to the file that names it");
}

/// The errors of a file, each once, without what stands around them.
fn mistakes(world: &World, text: &str) -> String {
    let mut sources = Sources::default();
    let found = world.plan_in(text, &mut sources).err().unwrap_or_default();
    let errors: Vec<_> = found.into_iter().filter(|one| one.severity == Severity::Error).collect();
    render(&errors, &sources, false)
}

/// Keys of a service that compose knows and that can't be had.
const KEYS: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent configs cpu_count cpu_percent cpu_period cpu_quota \
     cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec develop device_cgroup_rules devices dns dns_opt dns_search domainname extends \
     external_links extra_hosts gpus group_add ipc isolation label_file links logging mac_address mem_reservation mem_swappiness memswap_limit models \
     network_mode oom_kill_disable oom_score_adj pid post_start pre_stop privileged provider pull_policy runtime scale secrets security_opt shm_size \
     stdin_open storage_opt sysctls tty ulimits use_api_socket userns_mode uts volumes_from";

#[test]
fn every_key_of_compose_is_read_or_refused() {
    for key in KEYS.split_whitespace() {
        let yaml: &'static str = format!("services:\n  a:\n    image: a\n    {key}: x\n").leak();
        let found = mistakes(&world(&[("compose.yaml", yaml)]), &text(""));
        let (first, place) = (format!("error[compose-unsupported]: `services.a.{key}` can't be had"), "compose.yaml:4:5");
        let whole = found.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(whole.starts_with(&first) && whole.contains(place) && whole.contains("= help:"), "{found}");
        assert_eq!(found.matches("error[").count(), 1, "{found}");
    }
}

/// One service, with these lines.
const REFUSED: &[&str] = &[
    "    build: .",
    "    environment: { A: 1 }",
    "    image:",
    "    image: ${IMAGE}",
    "    image: a\n    privileged: true\n    cap_add: [SYS_ADMIN]\n    devices: [/dev/kvm]\n    security_opt: [seccomp=unconfined]",
    "    image: a\n    network_mode: host\n    pid: host\n    ipc: host\n    uts: host\n    userns_mode: host",
    "    image: a\n    extends: { service: b }\n    secrets: [x]\n    configs: [x]\n    links: [b]\n    volumes_from: [b]",
    "    image: a\n    dns: 1.1.1.1\n    extra_hosts: [\"a:1.2.3.4\"]\n    shm_size: 1g\n    tty: true\n    scale: 2\n    logging: {}\n    pull_policy: always",
    "    image: a\n    volumez: []\n    enviroment: {}\n    nonsense: 1",
    "    image: a\n    image: b",
    "    image: [a]\n    user: {}\n    read_only: maybe\n    tmpfs: {}",
    "    image: a\n    command: echo $HOME\n    environment:\n      - A=${B:?is needed}\n      - C\n      - D=$E",
    "    image: a\n    environment: { A: }\n    env_file: [gone.env, bad.env]",
    "    image: a\n    command: \"a && b\"\n    entrypoint: []",
    "    image: a\n    volumes: [\"./x:/x\", \"/etc:/etc:ro\", \"../x:/x:ro\", \"~/x:/x:ro\", \".:/x:ro\", \"other:/x\", \"./x:/x:ro,z\", \"a:b:c:d\"]",
    "    image: a\n    volumes:\n      - { type: npipe, source: a, target: /a }\n      - { type: bind, source: ./a, target: /a }\n      - { type: volume, target: /a, volume: { nocopy: true } }\n      - { source: a }",
    "    image: a\n    volumes: [\"./x:x:ro\", \"./.git:/x:ro\"]\n    tmpfs: [\"/run:size=64m\", run]",
    "    image: a\n    ports: [\"8080:80\", \"127.0.0.1:80:80\", \"53:53/udp\", \"1-9999\", http, { published: 3 }]\n    expose: [\"0\"]",
    "    image: a\n    depends_on: { b: { condition: service_ready }, c: {} }",
    "    image: a\n    depends_on: { b: { condition: service_healthy } }\n  b:\n    image: b\n    healthcheck: { test: NONE }",
    "    image: a\n    depends_on: { b: { condition: service_healthy } }\n  c:\n    image: c\n    depends_on: { b: { condition: service_completed_successfully } }\n  b:\n    image: b\n    healthcheck: { test: \"true\" }",
    "    image: a\n    depends_on: [b]\n  b:\n    image: b\n    depends_on: [x]",
    "    image: a\n    healthcheck: { interval: 10, retries: few }",
    "    image: a\n    healthcheck: { test: [pg_isready] }",
    "    image: a\n    ports: [80]\n  b:\n    image: b\n    expose: [80]",
    "    image: a\n    networks: [front]\n  b:\n    image: b\n    networks: { back: { aliases: [other], ipv4_address: 1.2.3.4 } }",
    "    image: a\n    platform: windows/amd64",
    "    image: a\n    mem_limit: lots\n    cpus: many\n    pids_limit: 0\n    deploy: { replicas: 2, resources: { limits: { memory: 1g }, reservations: {} } }",
    "    image: a\n    restart: sometimes\n    stop_grace_period: 10\n    stop_signal: \"9 9\"\n    user: \"$$x\"",
    "    image: a b",
    "    image: a\n  b_c:\n    image: b",
    "    image: a\nvolumes: { d: { external: true }, e: { driver: nfs, driver_opts: {} } }\nnetworks: { n: { external: true, ipam: {} } }",
    "    image: a\nsecrets: {}\nconfigs: {}\ninclude: [other.yaml]\nextra: 1",
    "    image: !reset a",
    "    image: a\n   b: c",
    "    image: a\n---\nservices: {}",
];

#[test]
fn what_can_not_be_had_is_a_mistake_with_its_place_and_the_way_out() {
    let mut all = String::new();
    for lines in REFUSED {
        let yaml: &'static str = format!("services:\n  a:\n{lines}\n").leak();
        let world = world(&[("compose.yaml", yaml), ("bad.env", "A=1\nB\nC='x\n")]);
        let found = mistakes(&world, &text(""));
        assert!(!found.is_empty(), "{lines}");
        all.push_str(&format!("{lines}\n\n{found}\n"));
    }
    insta::assert_snapshot!("refused", all);
}

#[test]
fn an_image_is_for_the_machine_that_the_runner_runs_on() {
    let machine = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let yaml: &'static str = format!("services:\n  a:\n    image: a\n    platform: linux/{machine}\n").leak();
    assert_eq!(of_stage(&planned(&world(&[("compose.yaml", yaml)]), &text("")).0), ["a"]);
}

#[test]
fn what_stands_beside_compose_is_checked_too() {
    let cases = [
        ("image = \"a\"\ncommand = [\"b\"]\nports = [1]\nservices = [\"bd\", \"db\"]\nenv = { \"a.b\" = 1 }", "compose.yaml"),
        ("", "gone.yaml"),
        ("", "../../etc/compose.yaml"),
        ("", "https://example.com/compose.yaml"),
        ("", "empty.yaml"),
        ("", "list.yaml"),
        ("[service.cache]\nimage = \"redis\"", "compose.yaml"),
        ("[service.Backend]\ncompose = \"compose.yaml\"", "compose.yaml"),
    ];
    let world = world(&[("compose.yaml", SMALL), ("empty.yaml", "# nothing\n"), ("list.yaml", "- a\n")]);
    let shown = cases.map(|(lines, path)| mistakes(&world, &text(lines).replacen("\"compose.yaml\"", &format!("\"{path}\""), 1)));
    insta::assert_snapshot!("beside", shown.join("\n"));
}

const PIECES: &[&str] = &[
    "services:",
    "\n",
    "  ",
    "a:",
    " image: x",
    "&a",
    "*a",
    "<<: *a",
    "${A",
    "$$",
    "}",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "- ",
    "|",
    "ä",
    "---",
    "#",
    "ports: [",
    "80:80",
    "!!str",
    "\t",
    "depends_on: {a: {}}",
];

#[test]
fn no_text_breaks_it() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(2000), |(chosen in proptest::collection::vec(proptest::sample::select(PIECES), 0..40))| {
        let yaml: &'static str = format!("services:\n  a:\n    image: a\n{}", chosen.concat()).leak();
        // mistakes or none: either way, with places that can be shown
        let _ = world(&[("compose.yaml", yaml)]).shown(&text(""));
    });
}
