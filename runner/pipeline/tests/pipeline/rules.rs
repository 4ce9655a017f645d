//! Where a value may stand, and what it becomes.

use pipeline::bind::{Ended, Results};
use pipeline::plan::{Plan, StageIndex};

use crate::fakes::{FakeGrant, World, codes, good, stage};

/// Inputs, a matrix and the rest, for one line of a stage.
fn file(line: &str) -> String {
    format!(
        "format = 1\nname = \"shop\"\n[input.free]\ntype = \"string\"\ndefault = \"a/b c\"\n[input.choice]\ntype = \"choice\"\noptions = [\"x\", \"y\"]\n\
         default = \"x\"\n[input.flag]\ntype = \"boolean\"\ndefault = true\n[input.number]\ntype = \"number\"\ndefault = 3\n\
         [stage.s]\nuses = \"test\"\nmatrix = {{ app = [\"web\"], n = [7] }}\n{line}\n"
    )
}

fn tag(line: &str) -> String {
    let plan = good(&file(&format!("with.tags = [{line}]")));
    plan.stages[0].settings["tags"][0].as_str().unwrap().to_owned()
}

fn grant(plan: &Plan) -> Vec<String> {
    let grant = &plan.stages[0].grants[0].grant;
    grant.as_any().downcast_ref::<FakeGrant>().unwrap().lines.clone()
}

#[test]
fn values_are_data_in_settings() {
    for (line, expected) in [
        ("'${input.free}'", "a/b c"),
        ("'${input.choice}-${matrix.app}'", "x-web"),
        ("'${input.flag} ${input.number} ${matrix.n}'", "true 3 7"),
        ("'${git.branch}@${git.short}'", "feature/x@0123456"),
        ("'${git.sha}'", "0123456789abcdef0123456789abcdef01234567"),
        ("'${run.id} of ${pipeline.name}'", "r1 of shop"),
        ("'$${input.free} $HOME $$'", "${input.free} $HOME $$"),
        ("'${default(git.branch, \"none\")}'", "feature/x"),
        ("'${input.free}$(rm -rf /)`x`'", "a/b c$(rm -rf /)`x`"),
    ] {
        assert_eq!(tag(line), expected, "{line}");
    }
}

#[test]
fn a_value_is_filled_in_once() {
    let world = World { inputs: vec![("free".into(), "${git.branch} $${x}".into())], ..World::default() };
    let (plan, _) = world.plan(&file("with.tags = ['<${input.free}>']")).unwrap();
    assert_eq!(plan.stages[0].settings["tags"][0], "<${git.branch} $${x}>");
}

#[test]
fn without_git_a_default_stands_in() {
    let mut world = World::default();
    world.facts.git_branch = None;
    world.facts.git_sha = None;
    let (plan, _) = world.plan(&file("with.tags = ['${default(git.branch, \"none\")}', '${default(git.short, \"\")}!']")).unwrap();
    assert_eq!(plan.stages[0].settings["tags"], serde_json::json!(["none", "!"]));
    let found = world.plan(&file("with.tags = ['${git.branch}']")).unwrap_err();
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["no-value"]);
    let (plan, _) = world.plan(&file("when = 'git.branch == \"\" && git.short == \"\"'")).unwrap();
    assert!(plan.stages[0].when.is_some());
}

#[test]
fn a_reference_alone_has_the_type_that_the_setting_wants() {
    let suites = |value: &str| {
        good(&file(&format!("with.suites = [{{ run = ['x', '${{matrix.n}}'], retries = '{value}' }}]"))).stages[0].settings.clone()
    };
    for value in ["${matrix.n}", "${input.number}"] {
        let settings = suites(value);
        assert!(settings["suites"][0]["retries"].is_i64());
        assert_eq!(settings["suites"][0]["run"][1], "7", "where a string is wanted it stays one");
    }
    assert_eq!(good(&file("with.level = '${input.flag}'")).stages[0].settings["level"], true);
    assert_eq!(codes(&file("with.level = '${input.free}'")), ["bad-setting"]);
    assert_eq!(codes(&file("with.suites = [{ run = ['x'], retries = 'n${matrix.n}' }]")), ["bad-setting"]);
}

#[test]
fn fixed_values_stand_anywhere_in_a_grant_and_others_as_a_segment() {
    let http = |url: &str| format!("grants.http = [{{ url = '{url}' }}]");
    let path = |path: &str| format!("grants.files = [{{ path = '{path}' }}]");
    for (line, expected) in [
        (http("https://${matrix.app}.example/${input.choice}"), " https://web.example/x"),
        (http("https://a.example/${git.branch}"), " https://a.example/feature%2Fx"),
        (http("https://a.example/${input.free}/x/**"), " https://a.example/a%2Fb%20c/x/**"),
        (http("https://a.example/v/${git.short}?q=1"), ""),
        (http("https://a.example/v?x=/${git.short}"), ""),
        (http("https://a.example/v#/${git.short}"), ""),
        (http("https://a.example/v-${git.short}"), ""),
        (http("https://a.example/${git.short}.json"), ""),
        (http("https://a.example/${git.short}${git.short}"), ""),
        (http("https://a.example/${git.short}${matrix.app}"), ""),
        (http("https://a.example/${matrix.app}${git.short}"), ""),
        (http("https://${git.branch}/x"), ""),
        (http("https://a.example:${input.number}/x"), ""),
        (http("${input.free}"), ""),
        (http("${input.free}://a.example/x"), ""),
        (http("https:///${git.short}"), ""),
        (http("/x/${git.short}"), ""),
        (path("${git.branch}"), "read feature%2Fx"),
        (path("reports/${git.branch}/out"), "read reports/feature%2Fx/out"),
        (path("${matrix.app}${input.number}"), ""),
        (path("reports/${matrix.app}-${matrix.n}"), "read reports/web-7"),
        ("grants.files = [{ path = '.', access = '${git.branch}' }]".into(), ""),
        ("grants.http = [{ url = 'https://a.example/', methods = ['${input.free}'] }]".into(), ""),
        (
            "grants.http = [{ url = 'https://a.example/', methods = ['${input.choice}'], private = '${input.flag}' }]".into(),
            "x https://a.example/",
        ),
    ] {
        let text = file(&line);
        if expected.is_empty() {
            assert_eq!(codes(&text), ["outside-value"], "{line}");
        } else {
            assert_eq!(grant(&good(&text)), [expected], "{line}");
        }
    }
}

#[test]
fn a_segment_is_never_a_way_up() {
    for value in ["", ".", "..", "~", "~root"] {
        let world = World { inputs: vec![("free".into(), value.into())], ..World::default() };
        let found = world.plan(&file("grants.files = [{ path = '${input.free}' }]")).unwrap_err();
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["outside-value"], "{value:?}");
    }
    for (value, expected) in [("../x", "read a/..%2Fx"), ("*", "read a/%2A"), ("a\\b", "read a/a%5Cb"), ("ä%", "read a/%C3%A4%25")] {
        let world = World { inputs: vec![("free".into(), value.into())], ..World::default() };
        let (plan, _) = world.plan(&file("grants.files = [{ path = 'a/${input.free}' }]")).unwrap();
        assert_eq!(grant(&plan), [expected]);
    }
}

#[test]
fn a_plan_lists_what_it_filled_in() {
    let plan = good(&file("grants.http = [{ url = 'https://${matrix.app}.example/${git.short}' }, { url = 'https://b.example/' }]"));
    let shown: Vec<String> =
        plan.stages[0].expansions.iter().map(|e| format!("{}: {} = {}", e.place, e.template, e.value.as_deref().unwrap_or("?"))).collect();
    assert_eq!(shown, ["grants.http[0].url: https://${matrix.app}.example/${git.short} = https://web.example/0123456"]);
}

#[test]
fn programs_scripts_and_options_are_not_chosen_from_outside() {
    let with = |run: &str| file(&format!("with.suites = [{{ run = [{run}] }}]"));
    let world = World { inputs: vec![("free".into(), "--evil".into())], ..World::default() };
    for (run, expected) in [
        ("'cargo', '${git.branch}'", ""),
        ("'${matrix.app}', '${input.choice}'", ""),
        ("'${git.branch}'", "outside-program"),
        ("'x-${git.branch}'", "outside-program"),
        ("'echo', '${input.free}'", "outside-option"),
        ("'echo', '--', '${input.free}'", ""),
        ("'echo', '${input.free}', '--'", "outside-option"),
        ("'echo', 'x=${input.free}'", ""),
        ("'echo', '--name=${input.free}'", ""),
        ("'sh', '-c', 'echo hi', 'sh', '--', '${input.free}'", ""),
        ("'sh', '-ec', 'echo ${git.branch}'", "outside-script"),
        ("'env', 'bash', '-c', '${git.branch}'", "outside-script"),
        ("'python3', '-c', 'print(\"${git.branch}\")'", "outside-script"),
        ("'cargo', '-c', '${git.branch}'", ""),
    ] {
        let found = world.plan(&with(run)).err().unwrap_or_default();
        let found: Vec<&str> = found.iter().map(|d| d.code).collect();
        assert_eq!(found, Vec::from_iter((!expected.is_empty()).then_some(expected)), "{run}");
    }
    let empty = World { inputs: vec![("free".into(), String::new())], ..World::default() };
    let found = empty.plan(&with("'echo', '${input.free}-rf'")).unwrap_err();
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["outside-option"], "nothing, and then a dash");
    for (lines, expected) in [
        ("with.lines = [['a'], ['b', '${git.branch}']]", vec![]),
        ("with.lines = [['a'], ['${git.branch}']]", vec![]),
        ("with.run = [['a', '${git.branch}'], ['${git.branch}']]", vec!["outside-program", "unknown-setting"]),
        ("with.shell = ['${git.branch}']", vec!["outside-program", "unknown-setting"]),
        ("with.program = '${git.branch}'", vec!["outside-program", "unknown-setting"]),
        ("with.command = '${input.choice}'", vec!["unknown-setting"]),
    ] {
        let mut found = codes(&file(lines));
        found.sort_unstable();
        assert_eq!(found, expected, "{lines}");
    }
    assert_eq!(codes(&file("with.script = 'echo ${git.branch}'")), ["outside-script"]);
    assert_eq!(codes(&file("with.script = 'echo ${matrix.app} ${input.choice}'")), Vec::<&str>::new());
    assert_eq!(codes(&file("env.BRANCH = '${git.branch}'\nwith.script = 'echo \"$BRANCH\"'")), Vec::<&str>::new());
}

#[test]
fn references_are_not_replaced_in_keys() {
    assert_eq!(codes(&file("with.suites = [{ run = ['a'], '${matrix.app}' = 1 }]")), ["reference-here", "unknown-setting"]);
    assert_eq!(codes(&file("grants.http = [{ url = 'https://a.example/', '${matrix.app}' = 1 }]")), ["reference-here"]);
}

#[test]
fn artifact_paths_follow_the_rules_of_grants() {
    let paths = |path: &str| file(&format!("grants.files = [{{ path = '.', access = 'write' }}]\nartifacts.a = {{ paths = ['{path}'] }}"));
    let plan = good(&paths("${matrix.app}-${matrix.n}/${git.branch}/**"));
    assert_eq!(plan.stages[0].artifacts[0].paths, ["web-7/feature%2Fx/**"]);
    assert_eq!(codes(&paths("x${git.branch}/**")), ["outside-value"]);
    let up =
        file("grants.files = [{ path = '.', access = 'write' }]\nartifacts.a.paths = ['${matrix.app}/x']").replace("\"web\"", "\"..\"");
    assert_eq!(codes(&up), ["bad-path"]);
}

/// What an output may not be referred to without, by what stands between the two stages.
#[test]
fn outputs_that_may_be_missing_need_a_default() {
    let file = |build: &str, between: &str, last: &str| {
        format!(
            "format = 1\nname = \"p\"\n[stage.build]\nuses = \"test\"\n{build}\n[stage.between]\nuses = \"test\"\nneeds = [\"build\"]\n{between}\n\
             [stage.last]\nuses = \"test\"\n{last}\nwith.tags = [\"REF\"]\n"
        )
    };
    let direct = "needs = [\"build\"]";
    let through = "needs = [\"between\"]";
    for (build, between, last, needed) in [
        ("", "", direct, false),
        ("", "", through, false),
        ("retries = 3", "", direct, false),
        ("run-on = \"always\"", "", direct, false),
        ("when = 'true'", "", direct, true),
        ("soft-fail = true", "", direct, true),
        ("run-on = \"failure\"", "", direct, true),
        ("", "when = 'true'", through, false),
        ("", "soft-fail = true", through, false),
        ("", "run-on = \"always\"", through, true),
        ("", "run-on = \"failure\"", through, true),
        ("", "run-on = \"always\"", "needs = [\"between\", \"build\"]", false),
        ("", "", "needs-any = [\"build\", \"between\"]", true),
        ("", "", "needs-any = [\"between\"]", true),
        ("", "", "needs = [\"build\"]\nneeds-any = [\"between\"]", false),
        ("", "", "needs = [\"build\"]\nrun-on = \"always\"", true),
        ("", "", "needs = [\"build\"]\nrun-on = \"failure\"", true),
        ("", "", "needs = [\"*\"]", false),
        ("soft-fail = true", "", "needs = [\"*\"]", true),
    ] {
        let text = file(build, between, last);
        let bare = text.replace("REF", "${stage.build.outputs.v}");
        let with_default = text.replace("REF", "${default(stage.build.outputs.v, 'x')}");
        let expected = if needed { vec!["needs-default"] } else { Vec::new() };
        assert_eq!(codes(&bare), expected, "{build} | {between} | {last}");
        assert_eq!(codes(&with_default), Vec::<&str>::new(), "{build} | {between} | {last}");
        // The same rule in a condition, where `has()` asks.
        let when = |condition: &str| text.replace("with.tags = [\"REF\"]", &format!("when = '{condition}'"));
        assert_eq!(codes(&when("stage.build.outputs.v == \"1\"")), expected);
        assert_eq!(codes(&when("has(stage.build.outputs.v) && stage.build.outputs.v == \"1\"")), Vec::<&str>::new());
    }
}

/// No stage has ended.
pub struct Nothing;

impl Results for Nothing {
    fn ended(&self, _: StageIndex) -> Option<Ended<'_>> {
        None
    }
}

#[test]
fn a_missing_input_is_no_mistake_where_it_may_miss() {
    let text = stage("with.on = '${input.event}'\ngrants.http = [{ url = 'https://${input.host}/x/${input.free}' }]")
        + "[input.event]\ntype = \"string\"\n[input.free]\ntype = \"string\"\n[input.host]\ntype = \"choice\"\noptions = [\"a.example\", \"b.example\"]\n";
    assert_eq!(codes(&text), ["missing-input", "missing-input", "missing-input"]);
    let world = World { inputs_may_miss: true, ..World::default() };
    let (plan, _) = world.plan(&text).unwrap();
    assert_eq!(grant(&plan), [" https://a.example/x/input.free"]);
    assert_eq!(plan.stages[0].settings["on"], "${input.event}");
    assert!(plan.inputs.is_empty());
}
