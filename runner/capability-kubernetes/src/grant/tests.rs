use capability::testing;
use pipeline::grant::{Authority, Grant, Used};

use super::*;

fn decoded(keys: &str) -> Result<Arc<dyn Grant>, Vec<Diagnostic>> {
    testing::grant(&Schema, &format!("kubernetes = {{ {keys} }}"))
}

const CANARY: &str = r#"context = "prod", namespace = "shop", rules = [
  { resources = ["deployments"], names = ["api", "api-canary"], verbs = ["get", "watch", "patch"], fields = { "spec.replicas" = { max = 10 }, "spec.template.spec.containers[*].image" = { like = "ghcr.io/acme/shop@sha256:*" } } },
  { resources = ["virtualservices.networking.istio.io"], names = ["api"], verbs = ["patch"], fields = { "spec.http[*].route[destination.subset=canary].weight" = { min = 0, share = 0.1 }, "metadata.annotations.*" = {} }, shares = [{ part = ["api-canary:spec.replicas"], whole = ["api:spec.replicas", "api-canary:spec.replicas"], max = 0.25 }], copy-of = "api" },
  { namespaces = ["*"], resources = ["*"], verbs = ["list"] },
  { resources = ["pods/exec"], verbs = ["create"] },
  { resources = ["configmaps"], verbs = ["patch", "delete"] },
  { resources = ["services"], verbs = ["patch"], fields = { "spec.selector.version" = { is = ["blue", "green"] } } },
]"#;

#[test]
fn the_plan_shows_everything() {
    let shown: Vec<(String, bool)> =
        decoded(CANARY).unwrap().authority().into_iter().map(|Authority { text, alarming }| (text, alarming)).collect();
    let expected = [
        ("in the cluster of the context prod", false),
        ("get, watch, PATCH deployments api, api-canary in shop", false),
        ("  change spec.replicas (at most 10)", false),
        ("  change spec.template.spec.containers[*].image (like ghcr.io/acme/shop@sha256:*)", false),
        ("PATCH virtualservices.networking.istio.io api in shop", false),
        ("  change spec.http[*].route[destination.subset=canary].weight (at least 0, at most 10.0 % of the list)", false),
        ("  change metadata.annotations.*", false),
        ("  spec.replicas of api-canary at most 25.0 % of spec.replicas of api + spec.replicas of api-canary", false),
        ("  what is created is like api, but for these", false),
        ("list * in ALL namespaces", true),
        ("CREATE pods/exec in shop", true),
        ("PATCH, DELETE configmaps in shop (any field)", true),
        ("PATCH services in shop", false),
        ("  change spec.selector.version (one of \"blue\", \"green\")", false),
    ];
    assert_eq!(shown, expected.map(|(text, alarming)| (text.to_owned(), alarming)));
}

#[test]
fn mistakes_stand_where_they_are() {
    let rule = |rule: &str| format!("namespace = \"shop\", rules = [{{ {rule} }}]");
    let field = |field: &str| rule(&format!("resources = [\"deployments\"], verbs = [\"patch\"], fields = {{ {field} }}"));
    for (keys, code, under) in [
        (
            "rules = [{ resources = [\"pods\"], verbs = [\"get\"] }]".to_owned(),
            "missing-key",
            "{ rules = [{ resources = [\"pods\"], verbs = [\"get\"] }] }",
        ),
        ("namespace = \"shop-*\", rules = [{ resources = [\"pods\"], verbs = [\"get\"] }]".to_owned(), "bad-namespace", "\"shop-*\""),
        ("namespace = \"shop\", rules = []".to_owned(), "empty", "[]"),
        ("namespace = \"shop\", rules = {}".to_owned(), "wrong-type", "{}"),
        ("context = \"\", namespace = \"shop\", rules = [{ resources = [\"pods\"], verbs = [\"get\"] }]".to_owned(), "bad-context", "\"\""),
        (rule("resources = [\"deployments\"], verbs = [\"update\"]"), "bad-verb", "\"update\""),
        (rule("resources = [\"Deployment\"], verbs = [\"get\"]"), "bad-resource", "\"Deployment\""),
        (rule("resources = [\"serviceaccounts/token\"], verbs = [\"create\"]"), "bad-resource", "\"serviceaccounts/token\""),
        (rule("resources = [\"pods\"], verbs = []"), "empty", "verbs"),
        (rule("resources = [\"pods\"], verbs = [\"get\"], names = [\"\"]"), "bad-pattern", "\"\""),
        (rule("resources = [\"pods\"], verbs = [\"get\"], name = [\"x\"]"), "unknown-key", "name"),
        (rule("resources = [\"pods\"], verbs = [\"get\"], copy-of = \"a/b\""), "bad-name", "\"a/b\""),
        (field("\"spec.x[0]\" = {}"), "bad-path", "\"spec.x[0]\""),
        (field("spec.replicas = { max = 3 }"), "unknown-key", "replicas"),
        (field("\"metadata.uid\" = {}"), "bad-field", "\"metadata.uid\""),
        (field("\"spec.replicas\" = { max = \"3\" }"), "wrong-type", "\"3\""),
        (field("\"spec.replicas\" = { min = 4, max = 3 }"), "out-of-range", "4"),
        (field("\"spec.replicas\" = { max = 3, like = \"*\" }"), "bad-bound", "{ max = 3, like = \"*\" }"),
        (field("\"spec.replicas\" = { share = 0.1 }"), "bad-field", "\"spec.replicas\""),
        (field("\"spec.x[a=b].w\" = { share = 10 }"), "out-of-range", "10"),
        (field("\"spec.replicas\" = { is = [] }"), "empty", "[]"),
        (field("\"spec.replicas\" = 3"), "wrong-type", "3"),
        (
            rule(
                "resources = [\"deployments\"], verbs = [\"patch\"], shares = [{ part = [\"api\"], whole = [\"api:spec.replicas\"], max = 1 }]",
            ),
            "bad-term",
            "\"api\"",
        ),
        (
            rule(
                "resources = [\"deployments\"], verbs = [\"patch\"], shares = [{ part = [\"api:spec.replicas\"], whole = [\"api:spec.replicas\"], max = 25 }]",
            ),
            "out-of-range",
            "25",
        ),
    ] {
        let text = format!("kubernetes = {{ {keys} }}");
        let mistakes = decoded(&keys).unwrap_err();
        let [mistake] = &mistakes[..] else { panic!("{keys}: {mistakes:?}") };
        assert_eq!((mistake.code, &text[mistake.span.clone().unwrap()]), (code, under), "{mistake:?}");
        assert!(mistake.hint.is_some() || ["wrong-type", "out-of-range", "empty"].contains(&mistake.code), "{mistake:?}");
    }
}

#[test]
fn what_nobody_used_could_go() {
    let grant = decoded(
        "namespace = \"shop\", rules = [{ resources = [\"deployments\"], names = [\"api\"], verbs = [\"get\", \"patch\"], fields = { \"spec.replicas\" = {} } }, \
         { resources = [\"pods\"], verbs = [\"list\"] }, { resources = [\"pods/log\"], verbs = [\"get\"] }]",
    )
    .unwrap();
    let used = |effect, request| Used { effect, subject: "", request };
    let scale = used(
        "kubernetes.scale",
        r#"{"target":{"kind":{"group":"apps","version":"v1","plural":"deployments"},"own":true,"name":"api","part":"scale"},"write":{"scale":{"replicas":1}}}"#,
    );
    let list = used("kubernetes.list", r#"{"target":{"kind":{"group":"","version":"v1","plural":"pods"},"namespace":"shop"}}"#);
    let logs =
        used("kubernetes.logs", r#"{"target":{"kind":{"group":"","version":"v1","plural":"pods"},"own":true,"name":"a","part":"log"}}"#);
    assert_eq!(grant.unused(&mut [].into_iter()), ["the whole grant: nothing was asked of the cluster"]);
    assert_eq!(
        grant.unused(&mut [scale].into_iter()),
        ["rule 2: never used (list pods in shop)", "rule 3: never used (get pods/log in shop)"]
    );
    assert_eq!(grant.unused(&mut [scale, list, logs].into_iter()), [""; 0]);
}
