//! What a stage gets once its needs have run.

use std::collections::HashMap;

use pipeline::diagnostic::render;
use pipeline::plan::{Bound, Plan};
use pipeline::source::Sources;

use crate::fakes::{FakeGrant, codes, good, stage};
use crate::rules::Nothing;
use crate::when::{Done, failed, passed};

fn file(last: &str) -> String {
    format!("format = 1\nname = \"p\"\n[stage.build]\nuses = \"test\"\n[stage.s]\nuses = \"test\"\nneeds = [\"build\"]\n{last}\n")
}

fn bind(plan: &Plan, outputs: &[(&str, &str)]) -> Result<Bound, String> {
    let done = Done(HashMap::from([(0, passed(outputs))]));
    plan.stages[1].bind(&done).map_err(|diagnostics| render(&diagnostics, &Sources::new("pipeline.toml", plan.sources.text()), false))
}

fn codes_of(plan: &Plan, outputs: &[(&str, &str)]) -> Vec<&'static str> {
    let done = Done(HashMap::from([(0, passed(outputs))]));
    plan.stages[1].bind(&done).err().unwrap_or_default().iter().map(|d| d.code).collect()
}

#[test]
fn outputs_reach_settings_variables_and_grants() {
    let plan = good(&file(
        "env = { VERSION = 'v${stage.build.outputs.version}', N = 3 }\nwith.tags = ['${stage.build.outputs.version}', 'x']\n\
         with.suites = [{ run = ['x', '${stage.build.outputs.count}'], retries = '${stage.build.outputs.count}' }]\n\
         grants.http = [{ url = 'https://a.example/${stage.build.outputs.version}/x' }]",
    ));
    let planned = &plan.stages[1];
    assert!(planned.is_late() && !plan.stages[0].is_late());
    assert_eq!(planned.settings["tags"][0], "${stage.build.outputs.version}");
    assert_eq!(planned.grants[0].grant.authority()[0].text, " https://a.example/stage.build.outputs.version/x");
    assert_eq!(planned.expansions[0].value, None);
    let bound = bind(&plan, &[("version", "1/2"), ("count", "4")]).unwrap();
    assert_eq!(bound.env, [("VERSION".to_owned(), "v1/2".to_owned()), ("N".to_owned(), "3".to_owned())]);
    assert_eq!(bound.settings["tags"], serde_json::json!(["1/2", "x"]));
    assert_eq!(bound.settings["suites"][0], serde_json::json!({ "run": ["x", "4"], "retries": 4 }));
    let grant = bound.grants[0].grant.as_any().downcast_ref::<FakeGrant>().unwrap();
    assert_eq!(grant.lines, [" https://a.example/1%2F2/x"]);
}

#[test]
fn what_outputs_may_not_be() {
    let option = good(&file("with.suites = [{ run = ['echo', '${stage.build.outputs.v}'] }]"));
    assert_eq!(codes_of(&option, &[("v", "fine")]), Vec::<&str>::new());
    assert_eq!(codes_of(&option, &[("v", "--evil")]), ["outside-option"]);
    let segment = good(&file("grants.files = [{ path = 'out/${stage.build.outputs.v}' }]"));
    assert_eq!(codes_of(&segment, &[("v", "fine")]), Vec::<&str>::new());
    for value in ["", ".", ".."] {
        assert_eq!(codes_of(&segment, &[("v", value)]), ["outside-value"]);
    }
    let number = good(&file("with.suites = [{ run = ['x'], retries = '${stage.build.outputs.v}' }]"));
    assert_eq!(codes_of(&number, &[("v", "3")]), Vec::<&str>::new());
    assert_eq!(codes_of(&number, &[("v", "three")]), ["bad-setting"]);
    let word = good(&file("with.on = '${stage.build.outputs.v}'"));
    assert_eq!(codes_of(&word, &[("v", "merge")]), Vec::<&str>::new());
    assert_eq!(codes_of(&word, &[("v", "sometimes")]), ["bad-setting"]);
    let variable = good(&file("env.V = '${stage.build.outputs.v}'"));
    assert_eq!(codes_of(&variable, &[("v", "a\0b")]), ["bad-value"]);
    for line in [
        "with.suites = [{ run = ['${stage.build.outputs.v}'] }]",
        "with.script = '${stage.build.outputs.v}'",
        "grants.http = [{ url = 'https://a.example/', methods = ['${stage.build.outputs.v}'] }]",
        "grants.http = [{ url = 'https://${stage.build.outputs.v}/' }]",
        "with.suites = '${stage.build.outputs.v}'",
        "artifacts.a.paths = ['${stage.build.outputs.v}/x']\ngrants.files = [{ path = '.', access = 'write' }]",
    ] {
        assert_eq!(codes(&file(line)).len(), 1, "known when planned: {line}");
    }
}

#[test]
fn a_missing_output_is_named_with_what_there_is() {
    let plan = good(&file("with.tags = ['${stage.build.outputs.version}', '${default(stage.build.outputs.extra, \"none\")}']"));
    insta::assert_snapshot!(bind(&plan, &[("verson", "1"), ("digest", "x")]).unwrap_err());
    assert_eq!(bind(&plan, &[("version", "1")]).unwrap().settings["tags"], serde_json::json!(["1", "none"]));
    assert_eq!(codes_of(&plan, &[]), ["no-value"]);
    assert!(plan.stages[1].bind(&Nothing).is_err());
}

#[test]
fn what_failed_softly_has_its_default() {
    let text = file("with.tags = ['${default(stage.build.outputs.v, \"none\")}']").replacen(
        "uses = \"test\"",
        "uses = \"test\"\nsoft-fail = true",
        1,
    );
    let plan = good(&text);
    let done = Done(HashMap::from([(0, (failed(true), Vec::new()))]));
    assert_eq!(plan.stages[1].bind(&done).unwrap().settings["tags"][0], "none");
}

#[test]
fn a_stage_without_outputs_of_others_is_complete() {
    let plan = good(&stage("with.tags = ['${git.branch}']\nenv.A = '1'"));
    let bound = plan.stages[0].bind(&Nothing).unwrap();
    assert_eq!((bound.settings["tags"][0].as_str(), &bound.env), (Some("feature/x"), &plan.stages[0].env));
}

#[test]
fn instances_take_the_outputs_of_their_like() {
    let text = "format = 1\nname = \"p\"\n[stage.build]\nuses = \"test\"\nmatrix = { os = [\"a\", \"b\"], n = [1, 2] }\nwith.tags = ['${matrix.os}', '${matrix.n}']\n\
                [stage.s]\nuses = \"test\"\nneeds = [\"build\"]\nmatrix = { n = [2, 1], os = [\"b\"], more = [true] }\n\
                with.tags = ['${matrix.more}', '${stage.build.outputs.v}']\n";
    let plan = good(text);
    let done = Done((0..4).map(|i| (i, passed(&[("v", &format!("from {i}"))]))).collect());
    let tags: Vec<String> =
        plan.stages[4..].iter().map(|s| s.bind(&done).unwrap().settings["tags"][1].as_str().unwrap().to_owned()).collect();
    let ids: Vec<&str> = plan.stages.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids[2..], ["build (os=b, n=1)", "build (os=b, n=2)", "s (n=2, os=b, more=true)", "s (n=1, os=b, more=true)"]);
    assert_eq!(tags, ["from 3", "from 2"]);
    assert_eq!(codes(&text.replace("[2, 1]", "[2, 3]")), ["ambiguous-output"]);
}
