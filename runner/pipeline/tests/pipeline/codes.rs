use crate::fakes::shown;
#[test]
fn ten() {
    println!("{}", shown(r#"format = 1
name = "shop"
timeout = "40 minuts"
secrets = 3

[input.environment]
type = "choise"

[stage.Build]
uses = "command"
with = { runn = ["cargo", "build"], count = "many" }
grants.commands = { in = "process", programs = ["${git.branch}"] }

[stage.test]
uses = "tets"
needs = ["Biuld", "lint"]
when = 'git.brunch == "main" && foo(1)'

[stage.lint]
uses = "test"
needs = ["test"]
with.suites = [{ run = ["${input.tool}", "-x"], format = "nod" }, {}]
artifacts.report = { paths = ["../x"] }
with.to = [{ kind = "mail", room = 3 }]
with.level = "x"
"#));
}
