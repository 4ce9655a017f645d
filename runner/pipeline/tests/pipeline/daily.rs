//! What a pipeline says beyond its stages: where it came from, what it is put together from, and what stands around them.

use pipeline::diagnostic::Severity;
use pipeline::facts::{Changed, EventKind, Facts, Trust};
use pipeline::plan::{ImageService, KeyPart, MountSource, OnBusy, Plan, Probe, ServiceMount, ServiceSource};
use pipeline::source::Sources;

use crate::fakes::{World, good, stage};

fn world(change: impl FnOnce(&mut Facts)) -> World {
    let mut world = World::default();
    change(&mut world.facts);
    world
}

fn planned(world: &World, text: &str) -> Plan {
    match world.plan(text) {
        Ok((plan, _)) => plan,
        Err(found) => panic!("{}", pipeline::diagnostic::render(&found, &Sources::new("pipeline.toml", text), false)),
    }
}

/// Codes of the errors.
fn codes(world: &World, text: &str) -> Vec<&'static str> {
    let found = world.plan(text).err().unwrap_or_default();
    found.iter().filter(|d| d.severity == Severity::Error).map(|d| d.code).collect()
}

#[test]
fn a_stage_wins_over_its_templates_and_the_later_template_over_the_earlier() {
    let plan = good(
        "format = 1\nname = \"p\"\n\
         [template.base]\ntimeout = \"1m\"\nenv = { A = \"base\", B = \"base\" }\ngrants.files = [{ path = \"a\" }]\n\
         [template.slow]\nextends = [\"base\"]\ntimeout = \"9m\"\nenv = { B = \"slow\", C = \"slow\" }\n\
         [template.tags]\nwith.tags = [\"x\", \"y\"]\nenv.C = \"tags\"\n\
         [stage.s]\nuses = \"test\"\nextends = [\"slow\", \"tags\"]\nenv = { A = \"own\" }\nwith.tags = [\"own\"]\n",
    );
    let stage = &plan.stages[0];
    let mut env = stage.env.clone();
    env.sort();
    assert_eq!(env, [("A", "own"), ("B", "slow"), ("C", "tags")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(stage.timeout.map(|t| t.as_secs()), Some(540));
    assert_eq!(stage.settings["tags"], serde_json::json!(["own"]), "arrays replace");
    assert_eq!(stage.grants.len(), 1);
}

#[test]
fn a_mistake_in_a_template_is_told_once_however_many_extend_it() {
    let text = "format = 1\nname = \"p\"\n[template.t]\ntimeuot = \"1m\"\nretries = 1000\n\
                [stage.a]\nuses = \"test\"\nextends = [\"t\"]\n[stage.b]\nuses = \"test\"\nextends = [\"t\"]\n";
    assert_eq!(codes(&World::default(), text), ["out-of-range", "unknown-key"]);
    let circle = "format = 1\nname = \"p\"\n[template.a]\nextends = [\"b\"]\n[template.b]\nextends = [\"a\"]\n[stage.s]\nuses = \"test\"\nextends = [\"a\"]\n";
    assert_eq!(codes(&World::default(), circle), ["cycle"]);
    let unused = "format = 1\nname = \"p\"\n[template.t]\nneed = []\n[stage.s]\nuses = \"test\"\n";
    assert_eq!(codes(&World::default(), unused), ["unknown-key"], "read even if nobody extends it");
}

const COMMON: &str =
    "format = 1\n[template.node]\ntimeout = \"3m\"\n[secret.token]\nfrom = \"env:TOKEN\"\n[stage.first]\nuses = \"test\"\n";

#[test]
fn files_are_included_from_where_they_stand() {
    let mut world = World {
        files: vec![("ci/common.toml", COMMON), ("ci/more/deep.toml", "format = 1\ninclude = [\"../common.toml\"]\n")],
        ..World::default()
    };
    let text = "format = 1\nname = \"p\"\ninclude = [\"ci/common.toml\", \"ci/more/deep.toml\"]\n\
                [stage.s]\nuses = \"test\"\nneeds = [\"first\"]\nextends = [\"node\"]\nwith.tags = [\"${secret.token}\"]\n";
    let plan = planned(&world, text);
    assert_eq!(plan.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["first", "s"]);
    assert_eq!(plan.stages[1].timeout.map(|t| t.as_secs()), Some(180));
    let lines: Vec<String> = plan.expanded().iter().map(|l| format!("{} # {}", l.text, l.origin.as_deref().unwrap_or("-"))).collect();
    insta::assert_snapshot!("expanded", lines.join("\n"), text);

    world.files[0].1 = "format = 1\nname = \"not mine\"\n[stage.s]\nuses = \"lnit\"\n";
    let refused = world.plan(text).unwrap_err();
    let found: Vec<&str> = refused.iter().filter(|d| d.severity == Severity::Error).map(|d| d.code).collect();
    assert!(["duplicate", "unknown-key", "unknown-plugin"].iter().all(|code| found.contains(code)), "{found:?}");
}

#[test]
fn a_mistake_in_an_included_file_is_shown_there() {
    let text = "format = 1\nname = \"p\"\ninclude = [\"ci/common.toml\"]\n[stage.s]\nuses = \"test\"\n";
    let common = "format = 1\n\n[stage.first]\nuses = \"lnit\"\nneeds = [\"s\"]\ntimeout = \"soon\"\n";
    let world = World { files: vec![("ci/common.toml", common)], ..World::default() };
    let found = world.plan(text).unwrap_err();
    let request_sources = {
        let mut shown = Vec::new();
        for diagnostic in &found {
            shown.push((diagnostic.code, diagnostic.span.clone().map(|span| span.start >= text.len())));
        }
        shown
    };
    assert!(request_sources.iter().all(|(_, there)| *there == Some(true)), "{request_sources:?}");
    insta::assert_snapshot!("in-an-included-file", world.shown(text), text);
    let broken = World { files: vec![("ci/common.toml", "format = 1\n[stage.first\n")], ..World::default() };
    insta::assert_snapshot!("broken-include", broken.shown(text), text);
}

#[test]
fn what_there_is_anything_to_do_for() {
    let on = "[on]\npush = { branches = [\"main\", \"release/*\"], tags = [\"v*\"] }\npull-request = { into = [\"main\"] }\nschedule = { cron = \"0 4 * * *\", timezone = \"Europe/Berlin\" }\n";
    let text = format!("{}{on}", stage(""));
    let ask = |event: EventKind, change: &dyn Fn(&mut Facts)| {
        let world = world(|facts| {
            (facts.event, facts.event_given, facts.trust) = (event, true, Trust::Branch);
            change(facts);
        });
        planned(&world, &text).nothing_to_do
    };
    let branch = |name: &str| {
        let name = Some(name.to_owned());
        ask(EventKind::Push, &move |facts| facts.git_branch = name.clone())
    };
    assert_eq!(branch("main"), None);
    assert_eq!(branch("release/1"), None);
    assert_eq!(branch("release/1/hot").as_deref(), Some("release/1/hot (push)"));
    assert_eq!(branch("feature/x").as_deref(), Some("feature/x (push)"));
    assert_eq!(ask(EventKind::Push, &|facts| facts.git_tag = Some("v1".into())), None);
    assert_eq!(ask(EventKind::Push, &|facts| facts.git_tag = Some("nightly".into())).as_deref(), Some("tag nightly (push)"));
    assert_eq!(ask(EventKind::PullRequest, &|facts| facts.git_base = Some("main".into())), None);
    let into_old = |facts: &mut Facts| (facts.git_base, facts.pull_request) = (Some("old".into()), Some("7".into()));
    assert_eq!(ask(EventKind::PullRequest, &into_old).as_deref(), Some("pull request 7 into old (pull-request)"));
    assert_eq!(ask(EventKind::Schedule, &|_| {}), None);
    assert!(ask(EventKind::Manual, &|_| {}).is_some(), "`manual` is not there");
    assert_eq!(planned(&World::default(), &text).nothing_to_do, None, "a person at the keyboard means it");
    assert_eq!(good(&stage("")).nothing_to_do, None, "without [on], any event");
}

const ENVIRONMENTS: &str = "[environment.production]\nbranches = [\"main\"]\nvars = { context = \"prod\", replicas = 3 }\n\
     secrets.token = { from = \"env:PROD_TOKEN\", to = [\"https://prod.example/**\"] }\n\
     [environment.staging]\nvars = { context = \"stage\" }\n[secret.token]\nfrom = \"env:TOKEN\"\nto = [\"https://a.example/**\"]\n";

#[test]
fn an_environment_gives_values_and_secrets() {
    let text = |environment: &str| {
        format!(
            "{}{ENVIRONMENTS}",
            stage(&format!(
                "environment = \"{environment}\"\nwith.tags = [\"${{environment.name}}-${{environment.context}}\", \"${{secret.token}}\"]\n\
                 grants.http = [{{ url = \"https://${{environment.context}}.example/x\" }}, {{ url = \"${{secret.token}}\" }}]\nwhen = 'environment.context != \"x\" && environment.name == \"{environment}\"'"
            ))
        )
    };
    let plan = good(&text("production"));
    let stage = &plan.stages[0];
    assert_eq!(stage.settings["tags"][0], "production-prod");
    let secret = &stage.secrets[0];
    assert_eq!((stage.secrets.len(), secret.secret.from.as_str(), secret.read), (1, "env:PROD_TOKEN", false));
    assert_eq!(stage.settings["tags"][1], secret.placeholder.as_str());
    assert!(secret.placeholder.starts_with("__secret-token-") && secret.placeholder.len() > 40);
    let other = good(&text("staging"));
    assert_eq!(other.stages[0].secrets[0].secret.from, "env:TOKEN");
    let reseeded = planned(&world(|facts| facts.placeholder_seed = [7; 32]), &text("production"));
    assert_ne!(reseeded.stages[0].secrets[0].placeholder, secret.placeholder, "another run, another placeholder");
    assert!(
        codes(&World::default(), &text("production").replace("${environment.context}", "${environment.contxt}"))
            .contains(&"unknown-reference")
    );
}

#[test]
fn an_environment_is_for_its_branches_and_secrets_are_not_for_forks() {
    struct Nothing;
    impl pipeline::bind::Results for Nothing {
        fn ended(&self, _: usize) -> Option<pipeline::bind::Ended<'_>> {
            None
        }
    }
    let run = |lines: &str, change: &dyn Fn(&mut Facts)| {
        let plan = planned(&world(|facts| change(facts)), &format!("{}{ENVIRONMENTS}", stage(lines)));
        plan.stages[0].when.as_ref().map_or(Ok(true), |when| when.evaluate(&Nothing))
    };
    let production = "environment = \"production\"";
    let branch = |facts: &mut Facts, name: &str, trust: Trust| (facts.git_branch, facts.trust) = (Some(name.to_owned()), trust);
    assert_eq!(run(production, &|facts| branch(facts, "main", Trust::Local)), Ok(true));
    assert_eq!(run(production, &|facts| branch(facts, "main", Trust::Branch)), Ok(true));
    let refused = run(production, &|facts| branch(facts, "feature/x", Trust::Branch)).unwrap_err();
    assert_eq!(refused, "the environment `production` is for main; this run is of feature/x (branch)");
    assert!(run(production, &|facts| branch(facts, "main", Trust::Fork)).is_err(), "a fork may call its branch main");
    assert!(run(production, &|facts| branch(facts, "main", Trust::PullRequest)).is_err());
    assert_eq!(
        run(&format!("{production}\nwhen = 'git.branch == \"main\"'"), &|facts| branch(facts, "x", Trust::Branch)),
        Ok(false),
        "skipped before it is refused"
    );
    let uses = "with.tags = [\"${secret.token}\"]";
    assert_eq!(run(uses, &|facts| branch(facts, "x", Trust::PullRequest)), Ok(true));
    assert!(run(uses, &|facts| branch(facts, "x", Trust::Fork)).unwrap_err().contains("a pull request from a fork gets none"));
    assert_eq!(run("", &|facts| branch(facts, "x", Trust::Fork)), Ok(true), "a stage without secrets runs");
    let lent = "grants.http = [{ url = \"https://cluster.example/**\", methods = [\"GET\"] }]";
    assert_eq!(run(lent, &|facts| branch(facts, "x", Trust::PullRequest)), Ok(true));
    let refused = run(lent, &|facts| branch(facts, "x", Trust::Fork)).unwrap_err();
    assert_eq!(refused, "it uses the runner's login, which a pull request from a fork does not get");
}

#[test]
fn what_changed_decides() {
    struct Nothing;
    impl pipeline::bind::Results for Nothing {
        fn ended(&self, _: usize) -> Option<pipeline::bind::Ended<'_>> {
            None
        }
    }
    let files = Changed::Files(vec!["backend/src/a.rs".into(), "README.md".into()]);
    let run = |lines: &str, changed: &Changed| {
        let plan = planned(&world(|facts| facts.changed = changed.clone()), &stage(lines));
        plan.stages[0].when.as_ref().map_or(Ok(true), |when| when.evaluate(&Nothing))
    };
    let unknown = Changed::Unknown("shallow".into());
    for (lines, known) in [
        ("if-changed = [\"frontend/**\", \"backend/**\"]", true),
        ("if-changed = [\"frontend/**\"]", false),
        ("if-changed = [\"*.rs\"]", false),
        ("if-changed = [\"**/*.rs\"]\nwhen = 'git.branch == \"other\"'", false),
        ("when = 'changed([\"frontend/**\", \"*.md\"])'", true),
        ("when = 'changed([\"frontend/**\"]) || event == \"push\"'", false),
        ("when = '!changed([\"frontend/**\"]) && trust == \"local\" && event == \"manual\"'", true),
    ] {
        assert_eq!(run(lines, &files), Ok(known), "{lines}");
        if !lines.contains('!') && !lines.contains("other") {
            assert_eq!(run(lines, &unknown), Ok(true), "what nobody can tell counts as changed: {lines}");
        }
    }
    let plan = planned(&world(|facts| facts.changed = files.clone()), &stage("if-changed = [\"frontend/**\"]"));
    assert_eq!(plan.stages[0].when.as_ref().map(|when| when.source()), Some("nothing changed in frontend/**"));
    assert_eq!(codes(&World::default(), &stage("if-changed = [\"[\", \"/etc\"]")), ["bad-path", "bad-path"]);
    assert_eq!(codes(&world(|facts| facts.changed = files), &stage("when = 'changed([\"[\"])'")), ["when-result"]);
}

#[test]
fn only_the_file_chooses_the_image_of_a_service() {
    let service = format!("{}[service.db]\nimage = \"${{input.images}}/redis:7\"\n", stage("services = [\"db\"]"));
    let choice = "[input.images]\ntype = \"choice\"\noptions = [\"docker.io/library\", \"mirror.example\"]\ndefault = \"mirror.example\"\n";
    let plan = good(&format!("{service}{choice}"));
    let ServiceSource::Image(image) = &plan.services[0].source else { panic!("a container") };
    assert_eq!(image.image, "mirror.example/redis:7");
    let free = "[input.images]\ntype = \"string\"\ndefault = \"mirror.example\"\n";
    assert_eq!(codes(&World::default(), &format!("{service}{free}")), ["outside-value"]);
}

#[test]
fn services_come_in_their_order() {
    let text = format!(
        "{}[service.api]\ncommand = [\"node\", \"api.js\"]\ntoolchain = \"node\"\nneeds = [\"db\"]\nready = {{ http = \"http://api:8080/health\" }}\n\
         [service.db]\nimage = \"mysql:8.0\"\nenv = {{ A = 1 }}\nready = {{ command = [\"mysqladmin\", \"ping\"], timeout = \"5s\" }}\noptional = true\n",
        stage("services = [\"api\"]")
    );
    let plan = good(&text);
    let names: Vec<&str> = plan.stages[0].services.iter().map(|&index| plan.services[index].name.as_str()).collect();
    assert_eq!(names, ["db", "api"]);
    let db = &plan.services[plan.stages[0].services[0]];
    assert_eq!(db.source, ServiceSource::Image(ImageService { image: "mysql:8.0".into(), ..ImageService::default() }));
    assert_eq!(db.env, [("A".to_owned(), "1".to_owned())]);
    let ready = db.ready.as_ref().unwrap();
    assert_eq!((&ready.probe, ready.timeout.as_secs()), (&Probe::Command(vec!["mysqladmin".into(), "ping".into()]), 5));
    let all = "image = \"a\"\nenv = { \"discovery.type\" = \"single-node\" }\narguments = [\"sh\", \"-c\", \"echo $${HOME}\"]\nuser = \"999:999\"\ndirectory = \"/srv\"\n\
               read-only = true\ninit = true\nstop-signal = \"SIGINT\"\ngrace = \"2s\"\nready = { exit = 0, try-timeout = \"9s\" }\n\
               mounts = [{ volume = \"v\", to = \"/v\", read-only = true }, { path = \"./db/init.sql\", to = \"/init.sql\" }]";
    let plan = good(&format!("{}[service.x]\n{all}\n", stage("services = [\"x\"]")));
    let service = &plan.services[0];
    let mount = |from, to: &str| ServiceMount { from, to: to.to_owned() };
    let expected = ImageService {
        image: "a".into(),
        arguments: Some(vec!["sh".into(), "-c".into(), "echo ${HOME}".into()]),
        user: Some("999:999".into()),
        directory: Some("/srv".into()),
        read_only: true,
        init: true,
        stop_signal: Some("SIGINT".into()),
        mounts: vec![
            mount(MountSource::Volume { name: "v".into(), writable: false }, "/v"),
            mount(MountSource::Checkout("db/init.sql".into()), "/init.sql"),
        ],
        ..ImageService::default()
    };
    assert_eq!(service.source, ServiceSource::Image(expected));
    let ready = service.ready.as_ref().unwrap();
    assert_eq!((&ready.probe, ready.try_timeout.as_secs(), service.grace.as_secs()), (&Probe::Exit(0), 9, 2));
    for (lines, code) in [
        ("command = [\"a\"]\nimage = \"b\"", "contradiction"),
        ("env = { A = 1 }", "missing-key"),
        ("command = [\"a\"]\nready = { tcp = 1, log = \"x\" }", "contradiction"),
        ("command = [\"a\"]\nready = { tcp = 70000 }", "out-of-range"),
        ("command = [\"a\"]\nready = { http = \"http://other/health\" }", "bad-value"),
        ("command = [\"a\"]\nready = {}", "contradiction"),
        ("command = [\"a\"]\nmemory = \"1GiB\"", "contradiction"),
        ("image = \"a\"\ntoolchain = \"node\"", "contradiction"),
        ("image = \"a\"\nports = [0]", "out-of-range"),
        ("image = \"a\"\ntmpfs = [\"var/lib\"]", "bad-value"),
        ("image = \"a\"\nmounts = [{ to = \"/x\" }]", "contradiction"),
        ("image = \"a\"\nmounts = [{ volume = \"v\", path = \"p\", to = \"/x\" }]", "contradiction"),
        ("image = \"a\"\nmounts = [{ path = \"p\", to = \"/x\", read-only = false }]", "contradiction"),
        ("image = \"a\"\nmounts = [{ path = \"../p\", to = \"/x\" }]", "bad-path"),
        ("image = \"a\"\nmounts = [{ path = \".git/config\", to = \"/x\" }]", "bad-path"),
        ("image = \"a\"\nmounts = [{ path = \".\", to = \"/x\" }]", "bad-path"),
        ("image = \"a\"\nmounts = [{ volume = \"v\" }]", "missing-key"),
        ("image = \"a\"\nuser = \"a b\"", "bad-value"),
        ("image = \"a\"\ndirectory = \"srv\"", "bad-value"),
        ("image = \"a\"\nready = { exit = 256 }", "out-of-range"),
        ("image = \"a\"\narguments = [\"${git.branch}\"]", "bad-value"),
        ("command = [\"a\"]\nuser = \"root\"", "contradiction"),
        ("command = [\"a\"]\nenv = { \"a.b\" = 1 }", "bad-name"),
        ("compose = \"compose.yaml\"", "bad-include"),
        ("image = \"a b\"", "bad-value"),
        ("command = [\"\"]", "bad-value"),
        ("command = [\"a\"]\nneeds = [\"x\"]", "cycle"),
    ] {
        assert_eq!(codes(&World::default(), &format!("{}[service.x]\n{lines}\n", stage("services = [\"x\"]"))), [code], "{lines}");
    }
}

#[test]
fn caches_and_groups_are_filled_in_for_each_instance() {
    let text = format!(
        "{}[cache.npm]\npaths = [\"~/.npm/./x\", \".venv\"]\nkey = [\"node${{matrix.node}}\", \"${{git.branch}}\", {{ files = [\"*/package-lock.json\"] }}]\n\
         [environment.staging]\n",
        stage(
            "matrix.node = [20, 22]\ncaches = [\"npm\"]\nenvironment = \"staging\"\nconcurrency = { group = \"deploy-${environment.name}-${matrix.node}\", on-busy = \"cancel-older\" }"
        )
    );
    let plan = good(&text);
    let keys: Vec<&KeyPart> = plan.stages.iter().map(|stage| &stage.caches[0].key[0]).collect();
    assert_eq!(keys, [&KeyPart::Text("node20".into()), &KeyPart::Text("node22".into())]);
    assert_eq!(plan.stages[0].caches[0].paths, ["~/.npm/x", ".venv"]);
    assert_eq!(plan.stages[0].caches[0].key[1], KeyPart::Text("feature/x".into()));
    let group = plan.stages[1].concurrency.as_ref().unwrap();
    assert_eq!((group.group.as_str(), group.on_busy), ("deploy-staging-22", OnBusy::CancelOlder));
    for (lines, code) in [
        ("paths = [\"/etc\"]\nkey = [\"a\"]", "bad-path"),
        ("paths = [\"../x\"]\nkey = [\"a\"]", "bad-path"),
        ("paths = [\".git/x\"]\nkey = [\"a\"]", "bad-path"),
        ("paths = [\"~\"]\nkey = [\"a\"]", "bad-path"),
        ("paths = [\"a\", \"a/b\"]\nkey = [\"a\"]", "duplicate"),
        ("paths = [\"a\"]\nkey = []", "bad-value"),
        ("paths = [\"a\"]\nkey = [{ files = [\"../x\"] }]", "bad-path"),
        ("paths = [\"a\"]\nkey = \"a\"", "wrong-type"),
    ] {
        let found = codes(&World::default(), &format!("{}[cache.x]\n{lines}\n", stage("caches = [\"x\"]")));
        assert_eq!(found, [code], "{lines}");
    }
}
