//! Files that nobody would write by hand, and files that somebody does: all of them get an answer, and soon.

use std::time::{Duration, Instant};

use pipeline::diagnostic::render;
use pipeline::node::Value;
use pipeline::raw;
use pipeline::source::Sources;
use proptest::prelude::*;

use crate::fakes::{codes, good, plan, shown, stage};

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    let text = format!("\u{feff}{}", stage("timeout = \"90s\"\nneeds = [\n]\n").replace('\n', "\r\n"));
    assert_eq!(good(&text).stages.len(), 1);
    let text = format!("\u{feff}{}", stage("timeut = \"90s\"").replace('\n', "\r\n"));
    let shown = shown(&text);
    assert!(shown.contains("--> pipeline.toml:5:1") && shown.contains("5 | timeut = \"90s\"\n  | ^^^^^^\n"), "{shown}");
}

#[test]
fn what_toml_knows_and_we_do_not_want_is_named() {
    for (line, code) in [
        ("timeout = 2024-01-01", "wrong-type"),
        ("timeout = 90", "wrong-type"),
        ("retries = 99999999999999999999", "syntax"),
        ("retries = 1e999", "syntax"),
        ("retries = -1", "out-of-range"),
        ("retries = 0x10", ""),
        ("with.level = 1_000", ""),
        ("name = \"a\0b\"", "syntax"),
        ("needs = [\"a\u{1}\"]", "syntax"),
        ("[[stage.s]]", "syntax"),
        ("[[stage.t]]\nuses = \"test\"", "wrong-type"),
        ("[stage.\"\"]\nuses = \"test\"", "bad-name"),
        ("[stage.\"${git.branch}\"]\nuses = \"test\"", "bad-name"),
        ("stage.t.uses = \"test\"", "unknown-key"),
        ("env.A.b = \"c\"", "wrong-type"),
        ("uses = \"test\"", "syntax"),
        ("needs = [\"x\"", "syntax"),
    ] {
        let found = codes(&stage(line));
        assert_eq!(found.first().copied().unwrap_or(""), code, "{line}: {found:?}");
    }
}

#[test]
fn all_syntax_errors_at_once() {
    let text = "format = 1\na = \nb = 'x\nc = 01\n[d\n";
    let found = codes(text);
    assert!(found.len() >= 4 && found.iter().all(|code| *code == "syntax"), "{}", shown(text));
    let noise = "=\n".repeat(5000);
    let found = plan(&noise).unwrap_err();
    assert_eq!(found.len(), 51, "many are cut short");
    assert!(found.last().unwrap().message.contains("more syntax errors are not shown"));
}

#[test]
fn a_duplicate_shows_its_first() {
    let text = stage("soft-fail = true\nsoft-fail = false");
    let shown = shown(&text);
    assert!(shown.contains("stands twice in one table") && shown.contains("first here"), "{shown}");
}

#[test]
fn a_newer_format_is_the_only_complaint() {
    for text in ["format = 2", "format = 9\nname = [\n", "junk = true\nformat = 2\nname = 3\n[stage]\n= = ="] {
        assert_eq!(codes(text), ["newer-format"], "{text}");
    }
    for text in ["format = \"1\"\nname = \"p\"\n[stage.s]\nuses = \"test\"\n", "format = 0\nname = \"p\"\n[stage.s]\nuses = \"test\"\n"] {
        assert_eq!(codes(text), ["format"], "{text}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let latin1 = b"format = 1\nname = \"caf\xe9\"\n".to_vec();
    let diagnostic = raw::decode(latin1).unwrap_err();
    assert_eq!(diagnostic.code, "not-utf8");
    assert!(diagnostic.message.contains("0xE9 at offset 22 (line 2, column 12)"), "{}", diagnostic.message);
    let utf16: Vec<u8> = "format = 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(codes(&raw::decode(utf16).unwrap()).first(), Some(&"syntax"));
    assert_eq!(raw::decode(vec![0xff, 0xfe]).unwrap_err().code, "not-utf8");
    assert_eq!(raw::decode(vec![b' '; raw::MAX_BYTES + 1]).unwrap_err().code, "too-large");
    assert_eq!(codes(&" ".repeat(raw::MAX_BYTES + 1)), ["too-large"]);
    assert_eq!(raw::decode(b"ok".to_vec()).unwrap(), "ok");
}

#[test]
fn nesting_has_an_end() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}{}", "[".repeat(79), "]".repeat(79)),
        format!("x = {}", "{a=".repeat(50_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(1_000_000)),
        format!("x = {{ {}a = 1 }}", "a.".repeat(100_000)),
        format!("x = [\n{{ y = 1, {}a = 1 }}]", "a.".repeat(100_000)),
        format!("[{}\"b\"]\n", "\"a\" . ".repeat(100_000)),
        format!("[\"=\"{}]\n", ".a".repeat(100_000)),
        format!("'#'{} = 1\n", ".a".repeat(100_000)),
        format!("s = \"\"\"\n\\\"\"\"\"{} = 1\n", "\n".repeat(2) + &"a.".repeat(100_000)),
    ] {
        let started = busy();
        let found = plan(&text).unwrap_err();
        assert!(!found.is_empty());
        drop(render(&found, &Sources::new("pipeline.toml", &text), false));
        let took = busy() - started;
        assert!(took < Duration::from_secs(2), "{} took {took:?}", &text[..20]);
    }
}

#[test]
fn dots_that_are_no_keys_do_not_count() {
    let dots = "…".repeat(3) + &".".repeat(100);
    let floats = "0.5, ".repeat(100);
    for line in [
        format!("with.script = '''\n{dots}\n# {dots}\n'''"),
        format!("with.script = \"{dots}\" # {dots}"),
        format!("# {dots}\nmatrix.i = [\n1, # {dots}\n]"),
        format!("with.script = \"\"\"\n\\\"\"\" {dots}\n\"\"\"\"\""),
    ] {
        good(&stage(&line));
    }
    assert_eq!(codes(&stage(&format!("with.level = [\n{floats}\n]"))), ["bad-setting"]);
}

#[test]
fn every_kind_of_value_keeps_its_place() {
    let text = "a = 'x'\nb = -5\nc = 1.5\nd = true\ne = 1979-05-27T07:32:00Z\nf = [1, 'two']\n[g.h]\ni = 1\n[[j]]\nk = 1\n[[j]]\n";
    let root = raw::tree(text).unwrap();
    let Value::Table(table) = &root.value else { panic!() };
    let at = |name: &str| &text[table.get(name).unwrap().span.clone()];
    assert_eq!([at("a"), at("b"), at("c"), at("d"), at("e"), at("f")], ["'x'", "-5", "1.5", "true", "1979-05-27T07:32:00Z", "[1, 'two']"]);
    assert_eq!(&text[table.key("g").unwrap().span.clone()], "g");
    assert!(matches!(&table.get("j").unwrap().value, Value::Array(items) if items.len() == 2));
    assert!(matches!(&table.get("e").unwrap().value, Value::Datetime(text) if text == "1979-05-27T07:32:00Z"));
}

/// A pipeline of that many bytes or a little more.
fn large(bytes: usize, with: &str) -> String {
    let mut text = String::from("format = 1\nname = \"large\"\n");
    let mut number = 0;
    while text.len() < bytes {
        text.push_str(&format!("[stage.s{number}]\nuses = \"test\"\n{with}\n"));
        if number > 0 {
            text.push_str(&format!("needs = [\"s{}\"]\n", number - 1));
        }
        number += 1;
    }
    text
}

/// Time that this thread has had a processor, so that a busy machine does not count; by the clock where Linux does not tell.
fn busy() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = own.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// The work can be done within the time: the best of some attempts.
#[track_caller]
fn within(limit: Duration, mut work: impl FnMut()) {
    let mut best = Duration::MAX;
    for _ in 0..30 {
        let started = busy();
        work();
        best = best.min(busy() - started);
        if best < limit {
            return;
        }
    }
    panic!("took {best:?} at best, and not {limit:?}");
}

#[test]
fn a_file_of_a_megabyte_is_read_at_once() {
    let text = large(1 << 20, "with.tags = [\"a\", \"b\", \"c\", \"d\"] # a comment that makes this line longer than it would have to be");
    within(Duration::from_millis(100), || drop(raw::tree(&text).unwrap()));
    within(Duration::from_millis(300), || assert!(good(&text).stages.len() > 5_000));
    let long = format!("format = 1\nname = \"p\"\n[stage.s]\nuses = \"test\"\nwith.script = \"{}\"\n", "x".repeat(1 << 20));
    within(Duration::from_millis(100), || drop(good(&long)));
}

#[test]
fn a_string_full_of_references_is_read_once() {
    let text = stage(&format!("with.script = \"{}\"", "\\t${matrix.none}".repeat(20_000)));
    let started = busy();
    assert_eq!(codes(&text).len(), 20_000);
    let took = busy() - started;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_large_file_of_mistakes_is_shown_at_once() {
    let text = large(1 << 20, "tags = 1");
    let diagnostics = plan(&text).unwrap_err();
    assert!(diagnostics.len() > 10_000);
    let started = busy();
    let shown = render(&diagnostics, &Sources::new("pipeline.toml", &text), false);
    assert!(shown.matches("unknown-key").count() > 10_000);
    let took = busy() - started;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn many_stages_and_many_instances_are_planned_in_linear_time() {
    let values: String = (0..100_000).map(|i| format!("{i},")).collect();
    let text = stage(&format!("matrix.i = [{values}]\nwith.tags = [\"${{matrix.i}}\"]"));
    let started = busy();
    let plan = good(&text);
    assert_eq!(plan.stages.len(), 100_000);
    assert_eq!(plan.order().len(), 1);
    let took = busy() - started;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_chain_of_stages_needs_no_stack() {
    let mut text = String::from("format = 1\nname = \"chain\"\n");
    for number in (0..20_000).rev() {
        text.push_str(&format!("[stage.s{number}]\nuses = \"test\"\n"));
        if number > 0 {
            text.push_str(&format!("needs = [\"s{}\"]\n", number - 1));
        }
    }
    assert_eq!(good(&text).order().len(), 20_000);
    let text = text.replacen("needs = []", "", 1).replace("[stage.s0]\n", "[stage.s0]\nneeds = [\"s19999\"]\n");
    let found = plan(&text).unwrap_err();
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["cycle"]);
    assert!(found[0].message.contains(" → … → s"), "{}", found[0].message);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        if let Err(diagnostics) = plan(&text) {
            render(&diagnostics, &Sources::new("pipeline.toml", &text), false);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = raw::decode(bytes) && let Err(diagnostics) = plan(&text) {
            render(&diagnostics, &Sources::new("pipeline.toml", &text), true);
        }
    }

    /// Words of the format in any order, so that more than the TOML reader is reached.
    #[test]
    fn no_pipeline_panics(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let text = format!("format = 1\nname = 'p'\n{}", words.concat());
        match plan(&text) {
            Ok((plan, _)) => drop(plan.order()),
            Err(diagnostics) => drop(render(&diagnostics, &Sources::new("pipeline.toml", &text), false)),
        }
    }

    #[test]
    fn no_reference_panics(inner in "[ -~äö€\n]{0,40}", quote in "['\"]") {
        let text = stage(&format!("with.tags = [{quote}{quote}{quote}a${{{inner}{quote}{quote}{quote}]"));
        if let Err(diagnostics) = plan(&text) {
            render(&diagnostics, &Sources::new("pipeline.toml", &text), false);
        }
    }

    #[test]
    fn no_condition_panics(condition in "[a-z0-9.()\\[\\]{}!&|=<>+*/%?:,\" äß-]{0,60}") {
        let text = stage(&format!("when = '{condition}'"));
        if let Err(diagnostics) = plan(&text) {
            render(&diagnostics, &Sources::new("pipeline.toml", &text), false);
        }
    }
}

const WORDS: &[&str] = &[
    "[stage.a]\nuses = 'test'\n",
    "[stage.b]\nuses = 'command'\n",
    "[stage.c]\nuses = 'nobody'\n",
    "[stage.B]\n",
    "[input.x]\ntype = 'choice'\noptions = ['a', 'b']\n",
    "[input.y]\ntype = 'string'\n",
    "[secret.z]\nfrom = 'env:Z'\n",
    "default = 'a'\n",
    "required = true\n",
    "needs = ['a']\n",
    "needs = ['b', '*']\n",
    "needs-any = ['a', 'c']\n",
    "matrix = { i = [1, 2], j = ['x'] }\n",
    "matrix.include = [{ i = 3 }]\n",
    "when = 'stage.a.outcome == \"failed\"'\n",
    "when = 'has(stage.a.outputs.v) && matrix.i > 1'\n",
    "run-on = 'always'\n",
    "soft-fail = true\n",
    "retries = { count = 2, delay = '1s' }\n",
    "env = { A = '${input.x}', B = 3 }\n",
    "with.tags = ['${stage.a.outputs.v}', '${matrix.i}']\n",
    "with.suites = [{ run = ['${git.branch}', '-x'] }]\n",
    "with.run = ['echo', '${default(stage.b.outputs.v, \"none\")}']\n",
    "grants.files = [{ path = '${input.y}/x', access = 'write' }]\n",
    "grants.commands = { in = 'process', programs = ['${input.x}'] }\n",
    "artifacts.dist = { paths = ['${matrix.i}/**'] }\n",
    "consumes = ['a.dist']\n",
    "workspace = 'shared'\n",
    "limits.memory = '1MiB'\n",
    "timeout = '1s'\n",
    "junk = []\n",
];
