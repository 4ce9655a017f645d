//! The lockfiles of the other tools: each is read as its tool means it.

use plugin_audit::inventory::{Ecosystem, Origin, StatedLicense};
use plugin_audit::lockfile::{Companions, Include, includes, read};
use proptest::prelude::*;

use crate::lockfiles::{describe, find, manifest, mutated};

const YARN_MANIFEST: &str = include_str!("../../fixtures/npm/package.json");
pub const YARN_V1: &str = include_str!("../../fixtures/yarn/v1/yarn.lock");
const YARN_V6: &str = include_str!("../../fixtures/yarn/berry-v6/yarn.lock");
const YARN_V10: &str = include_str!("../../fixtures/yarn/berry-v10/yarn.lock");
const YARN_SOURCES: &str = include_str!("../../fixtures/yarn/sources-v1/yarn.lock");
const PNPM_V6: &str = include_str!("../../fixtures/pnpm/v6/pnpm-lock.yaml");
const PNPM_V9: &str = include_str!("../../fixtures/pnpm/v9/pnpm-lock.yaml");
const PNPM_SOURCES: &str = include_str!("../../fixtures/pnpm/sources-v9/pnpm-lock.yaml");
pub const REQUIREMENTS: &str = include_str!("../../fixtures/python/requirements/requirements.txt");
const POETRY: &str = include_str!("../../fixtures/python/poetry/poetry.lock");
const PYPROJECT: &str = include_str!("../../fixtures/python/poetry/pyproject.toml");
const UV: &str = include_str!("../../fixtures/python/uv/uv.lock");
const GO_SUM: &str = include_str!("../../fixtures/go/go1.19/go.sum");
const GO_MOD: &str = include_str!("../../fixtures/go/go1.19/go.mod");
const OLD_GO_SUM: &str = include_str!("../../fixtures/go/go1.16/go.sum");
const OLD_GO_MOD: &str = include_str!("../../fixtures/go/go1.16/go.mod");
pub const GEMFILE: &str = include_str!("../../fixtures/ruby/Gemfile.lock");
pub const COMPOSER: &str = include_str!("../../fixtures/php/composer.lock");
const COMPOSER_MANIFEST: &str = include_str!("../../fixtures/php/composer.json");

fn described(path: &str, text: &str, companions: &Companions) -> Vec<String> {
    describe(&read(path, text.as_bytes(), companions).unwrap())
}

fn alone() -> Companions {
    Companions::new()
}

#[test]
fn yarn_classic_takes_the_projects_wishes_from_its_manifest() {
    let expected = [
        "local-dir → ms 2.0.0:",
        "shop → ansi-regex 5.0.0: dev",
        "shop → fsevents 2.3.2: optional",
        "shop → lodash4 (lodash 4.17.20):",
        "shop → minimist 0.0.8:",
        "shop → minimist 1.2.5:",
        "shop → mkdirp 0.5.5 → minimist 1.2.8:",
        "shop → mkdirp 0.5.5:",
        "shop → qs 6.5.2:",
        "shop → strip-ansi 6.0.0 → ansi-regex 5.0.1: dev",
        "shop → strip-ansi 6.0.0: dev",
    ];
    assert_eq!(described("yarn.lock", YARN_V1, &manifest("package.json", YARN_MANIFEST)), expected);
    let lockfile = read("yarn.lock", YARN_V1.as_bytes(), &alone()).unwrap();
    assert!(lockfile.packages.iter().all(|package| !package.dev), "nobody says what is for development");
    assert_eq!(find(&lockfile, "lodash", "4.17.20").checksums[0].algorithm, "SHA-512");
    let line = find(&lockfile, "qs", "6.5.2").line as usize;
    assert_eq!(YARN_V1.lines().nth(line - 1), Some("qs@6.5.2:"));
}

#[test]
fn yarn_berry_has_the_workspaces_and_their_development_by_manifest() {
    let ui = r#"{ "dependencies": { "minimist": "0.0.8" } }"#;
    let mut companions = manifest("package.json", &YARN_MANIFEST.replace(r#""fsevents": "2.3.2""#, r#""typescript": "5.4.5""#));
    companions.insert("packages/ui/package.json".into(), ui.into());
    let expected = [
        "@shop/api → qs 6.5.2:",
        "@shop/ui → minimist 0.0.8:",
        "local-dir → ms 2.0.0:",
        "shop → ansi-regex 5.0.0: dev",
        "shop → lodash4 (lodash 4.17.20):",
        "shop → minimist 1.2.5:",
        "shop → mkdirp 0.5.5 → minimist 1.2.8:",
        "shop → mkdirp 0.5.5:",
        "shop → strip-ansi 6.0.0 → ansi-regex 5.0.1: dev",
        "shop → strip-ansi 6.0.0: dev",
        // As published, and with Yarn's own patch.
        "shop → typescript 5.4.5: optional",
        "shop → typescript 5.4.5: optional",
    ];
    for text in [YARN_V6, YARN_V10] {
        assert_eq!(described("yarn.lock", text, &companions), expected);
    }
    companions.insert("packages/ui/package.json".into(), ui.replace("dependencies", "devDependencies"));
    assert!(described("yarn.lock", YARN_V10, &companions).contains(&"@shop/ui → minimist 0.0.8: dev".to_owned()));
}

#[test]
fn pnpms_versions_tell_the_same() {
    let expected = [
        "(root) → ansi-regex 5.0.0: dev",
        "(root) → fsevents 2.3.2: optional",
        "(root) → lodash4 (lodash 4.17.20):",
        "(root) → minimist 1.2.5:",
        "(root) → mkdirp 0.5.5:",
        "(root) → strip-ansi 6.0.0: dev",
        "api → qs 6.5.2:",
        "local-dir → ms 2.0.0:",
        "ui → minimist 0.0.8:",
    ];
    for text in [PNPM_V6, PNPM_V9] {
        assert_eq!(described("pnpm-lock.yaml", text, &alone()), expected);
    }
    let lockfile = read("pnpm-lock.yaml", PNPM_V9.as_bytes(), &alone()).unwrap();
    let line = find(&lockfile, "qs", "6.5.2").line as usize;
    assert_eq!(PNPM_V9.lines().nth(line - 1), Some("  qs@6.5.2:"));
    assert_eq!(find(&lockfile, "qs", "6.5.2").checksums[0].algorithm, "SHA-512");
}

#[test]
fn packages_from_elsewhere_are_told_apart() {
    let git = Origin::Git { repository: "file:///home/dev/src-git".into(), commit: "83fbf7ee991475d08218f2161e6ba287631a79a9".into() };
    for (path, text) in [("yarn.lock", YARN_SOURCES), ("pnpm-lock.yaml", PNPM_SOURCES)] {
        let lockfile = read(path, text.as_bytes(), &alone()).unwrap();
        let gitdep = find(&lockfile, "gitdep", "1.4.0");
        assert_eq!(gitdep.origin, git, "{path}");
        let tardep = find(&lockfile, "tardep", "2.0.0");
        assert!(matches!(tardep.origin, Origin::Archive(_)), "{path}: {:?}", tardep.origin);
        // Put together with a peer: the version is still the published one.
        assert_eq!(find(&lockfile, "use-sync-external-store", "1.2.0").origin, Origin::Registry);
    }
}

#[test]
fn berrys_other_protocols_are_told_apart() {
    let entry = |resolution: &str| {
        let text = format!("__metadata:\n  version: 8\n\n\"x@any\":\n  version: 1.0.0\n  resolution: \"{resolution}\"\n");
        read("yarn.lock", text.as_bytes(), &alone()).unwrap().packages[0].origin.clone()
    };
    let git = |repository: &str| Origin::Git { repository: repository.into(), commit: "0123456".into() };
    for (resolution, origin) in [
        ("x@npm:1.0.0", Origin::Registry),
        ("x@workspace:.", Origin::Local),
        ("x@portal:../x::locator=y", Origin::Local),
        ("x@file:../x.tgz#../x.tgz::hash=1&locator=y", Origin::Archive("file:../x.tgz".into())),
        ("x@https://git.example/x.git#commit=0123456", git("https://git.example/x.git")),
        ("x@patch:x@npm%3A1.0.0#~/.yarn/patches/x.patch::version=1.0.0&hash=1", Origin::Registry),
        ("x@https://example.com/x.tgz", Origin::Archive("https://example.com/x.tgz".into())),
    ] {
        assert_eq!(entry(resolution), origin, "{resolution}");
    }
}

fn python(root: &str) -> Vec<String> {
    let requests = ["certifi 2026.10.18", "chardet 3.0.4", "idna 2.10", "pysocks 1.7.1", "urllib3 1.26.20"];
    let mut lines = vec![
        format!("{root} → jinja2 2.11.2 → markupsafe 3.0.4:"),
        format!("{root} → jinja2 2.11.2:"),
        format!("{root} → requests 2.25.0:"),
    ];
    lines.extend(requests.map(|name| format!("{root} → requests 2.25.0 → {name}:")));
    lines
}

fn sorted(mut lines: Vec<String>, more: &[&str]) -> Vec<String> {
    lines.extend(more.iter().map(|&line| line.to_owned()));
    lines.sort();
    lines
}

#[test]
fn pythons_three_formats_tell_the_same() {
    assert_eq!(described("requirements.txt", REQUIREMENTS, &alone()), sorted(python("(root)"), &[]));
    let poetry = described("poetry.lock", POETRY, &manifest("pyproject.toml", PYPROJECT));
    assert_eq!(poetry, sorted(python("shop"), &["shop → colorama 0.4.4: dev"]));
    // An extra of the member needs colorama too, so it is not for development only.
    assert_eq!(described("uv.lock", UV, &alone()), sorted(python("shop"), &["shop → colorama 0.4.4:", "shop-core → six 1.15.0:"]));
    let group = UV.replace("color = [\n    { name = \"colorama\" },\n]", "color = []");
    assert_ne!(group, UV);
    assert!(described("uv.lock", &group, &alone()).contains(&"shop → colorama 0.4.4: dev".to_owned()));
    for (path, text) in [("requirements.txt", REQUIREMENTS), ("poetry.lock", POETRY), ("uv.lock", UV)] {
        let lockfile = read(path, text.as_bytes(), &alone()).unwrap();
        assert_eq!(lockfile.ecosystem, Ecosystem::PyPi);
        let line = text.lines().nth(find(&lockfile, "idna", "2.10").line as usize - 1).unwrap();
        assert!(line == "[[package]]" || line.starts_with("idna==2.10"), "{path}: {line}");
    }
    assert_eq!(find(&read("requirements.txt", REQUIREMENTS.as_bytes(), &alone()).unwrap(), "idna", "2.10").checksums.len(), 2);
}

#[test]
fn requirements_are_read_in_all_their_shapes() {
    let text = "# tools\n-r base.txt\n--requirement=sub/more.txt  # more\n-c constraints.txt\n--extra-index-url https://example.com/simple\n\
                Flask_Login[extra]==0.6.3 ; python_version >= '3.8' --hash=sha256:00\nrequests>=2,<3\nplain\nlocked === 1.0\nwild==1.*\n(odd) \n";
    let error = read("requirements.txt", text.as_bytes(), &alone()).unwrap_err();
    assert_eq!((error.line, error.what.as_str()), (11, "`(odd)` is no requirement"));
    let text = text.replace("(odd) \n", "");
    let more = "-e ./own\ntool @ git+https://git.example/tool.git@0123456789abcdef0123456789abcdef01234567\n\
                git+https://git.example/egg.git@v1#egg=Egg_Name\nhttps://example.com/wheel-1.2.0-py3-none-any.whl\nparens (>=1.0)\n";
    let lockfile = read("requirements.txt", format!("{text}{more}").as_bytes(), &alone()).unwrap();
    let found: Vec<(&str, &str)> = lockfile.packages[1..].iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
    let expected = [
        ("flask-login", "0.6.3"),
        ("requests", ""),
        ("plain", ""),
        ("locked", "1.0"),
        ("wild", ""),
        ("own", ""),
        ("tool", ""),
        ("egg-name", ""),
        ("wheel", "1.2.0"),
        ("parens", ""),
    ];
    assert_eq!(found, expected);
    let commit = |name: &str| match &find(&lockfile, name, "").origin {
        Origin::Git { commit, .. } => commit.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((commit("tool"), commit("egg-name")), (40, 0));
    assert_eq!(find(&lockfile, "own", "").origin, Origin::Local);

    let included = includes("api/requirements.txt", text.as_bytes(), false).unwrap();
    let include = |path: &str, line| Include { path: path.into(), line };
    assert_eq!(included, [include("api/base.txt", 2), include("api/sub/more.txt", 3)]);
    assert_eq!(includes("api/dev/x.txt", b"-r ../requirements.txt", true).unwrap(), [include("api/requirements.txt", 1)]);
    assert_eq!(includes("Cargo.lock", b"-r x", false).unwrap(), []);
    for (line, part) in [("-r ../../x.txt", "does not stay in the workspace"), ("-r https://example.com/x.txt", "is not in the workspace")]
    {
        let error = includes("api/requirements.txt", line.as_bytes(), false).unwrap_err();
        assert!(error.line == 1 && error.what.contains(part), "{error}");
    }
}

#[test]
fn go_selects_what_it_builds() {
    let expected = [
        "example.com/sampler v1.3.0:",
        "example.com/shop → example.com/log v0.0.0-20240101000000-0123456789ab:",
        "example.com/shop → example.com/original (example.com/fork v1.0.1):",
        "example.com/shop → example.com/quote v1.5.2:",
        "example.com/text v0.3.5:",
    ];
    assert_eq!(described("go.sum", GO_SUM, &manifest("go.mod", GO_MOD)), expected);
    assert_eq!(described("go.sum", OLD_GO_SUM, &manifest("go.mod", OLD_GO_MOD)), expected);
    assert_eq!(described("go.mod", GO_MOD, &alone()), expected);
    let lockfile = read("go.sum", GO_SUM.as_bytes(), &manifest("go.mod", GO_MOD)).unwrap();
    let line = find(&lockfile, "example.com/text", "v0.3.5").line as usize;
    assert!(GO_SUM.lines().nth(line - 1).unwrap().starts_with("example.com/text v0.3.5 h1:"));

    // A digest that was left behind is not built from Go 1.17 on; before, the highest is.
    let left = format!(
        "{GO_SUM}{}\n",
        GO_SUM.lines().find(|line| line.starts_with("example.com/text v0.3.5 h1")).unwrap().replace("v0.3.5", "v0.3.8")
    );
    let text = |companions: &Companions| -> Vec<String> {
        described("go.sum", &left, companions).into_iter().filter(|line| line.contains("/text")).collect()
    };
    assert_eq!(text(&manifest("go.mod", GO_MOD)), ["example.com/text v0.3.5:"]);
    assert_eq!(text(&manifest("go.mod", OLD_GO_MOD)), ["example.com/text v0.3.8:"]);
    assert_eq!(text(&alone()), ["example.com/text v0.3.8:"]);
    let error = read("go.mod", OLD_GO_MOD.as_bytes(), &alone()).unwrap_err().to_string();
    assert!(error.contains("before `go 1.17`") && error.contains("Name the go.sum"), "{error}");
}

#[test]
fn bundlers_sources_and_platforms_are_read() {
    let expected = [
        "(root) → gemdep 0.4.0:",
        "(root) → nokogiri 1.11.0 → racc 1.6.0:",
        "(root) → nokogiri 1.11.0:",
        "(root) → rake 13.0.1:",
        "(root) → sinatra 2.1.0 → mustermann 1.1.1 → ruby2_keywords 0.0.5:",
        "(root) → sinatra 2.1.0 → mustermann 1.1.1:",
        "(root) → sinatra 2.1.0 → rack-protection 2.1.0:",
        "(root) → sinatra 2.1.0 → tilt 2.0.10:",
        "(root) → sinatra 2.1.0:",
        "engine → rack 2.2.3:",
    ];
    assert_eq!(described("Gemfile.lock", GEMFILE, &alone()), expected);
    let lockfile = read("Gemfile.lock", GEMFILE.as_bytes(), &alone()).unwrap();
    let commit = "0e945f95167f2a14d666f16e70812314ad65a716".to_owned();
    assert_eq!(find(&lockfile, "gemdep", "0.4.0").origin, Origin::Git { repository: "file:///home/dev/gem-git".into(), commit });
    let digest = "ab".repeat(32);
    let with = format!("{GEMFILE}\nCHECKSUMS\n  rack (2.2.3) sha256={digest}\n");
    assert_eq!(find(&read("Gemfile.lock", with.as_bytes(), &alone()).unwrap(), "rack", "2.2.3").checksums[0].hex, digest);
}

#[test]
fn composers_lists_and_branches_are_read() {
    let expected = [
        "acme/shop → acme/theme dev-main:",
        "acme/shop → psr/container 1.0.0: dev",
        "acme/shop → psr/log 1.1.3:",
        "acme/shop → twig/twig v2.14.0 → symfony/polyfill-ctype v1.20.0:",
        "acme/shop → twig/twig v2.14.0 → symfony/polyfill-mbstring v1.20.0:",
        "acme/shop → twig/twig v2.14.0:",
    ];
    assert_eq!(described("composer.lock", COMPOSER, &manifest("composer.json", COMPOSER_MANIFEST)), expected);
    let lockfile = read("composer.lock", COMPOSER.as_bytes(), &alone()).unwrap();
    let theme = find(&lockfile, "acme/theme", "dev-main");
    assert_eq!(theme.origin, Origin::Git { repository: String::new(), commit: "0123456789abcdef0123456789abcdef01234567".into() });
    assert_eq!(theme.license, StatedLicense::Text("(MIT OR GPL-2.0-or-later)".into()));
    let line = find(&lockfile, "twig/twig", "v2.14.0").line as usize;
    assert!(COMPOSER.lines().nth(line).unwrap().contains("\"name\": \"twig/twig\""));
}

/// Each format's file, and the manifest that goes with it.
fn all() -> [(&'static str, &'static str); 13] {
    [
        ("yarn.lock", YARN_V1),
        ("yarn.lock", YARN_V6),
        ("yarn.lock", YARN_V10),
        ("pnpm-lock.yaml", PNPM_V6),
        ("pnpm-lock.yaml", PNPM_V9),
        ("requirements.txt", REQUIREMENTS),
        ("poetry.lock", POETRY),
        ("uv.lock", UV),
        ("go.sum", GO_SUM),
        ("go.mod", GO_MOD),
        ("Gemfile.lock", GEMFILE),
        ("composer.lock", COMPOSER),
        ("yarn.lock", YARN_SOURCES),
    ]
}

#[test]
fn an_unfinished_merge_and_a_cut_off_file_are_errors() {
    for (path, text) in all() {
        let merge = format!("{text}<<<<<<< HEAD\n");
        let error = read(path, merge.as_bytes(), &alone()).unwrap_err();
        assert_eq!(error.line as usize, text.lines().count() + 1, "{path}");
        assert!(error.mend.starts_with("Resolve the merge, then write the file anew with `"), "{error}");
        // Lists of lines are as good with fewer of them, unless they stop within one.
        let (at, part) = match path {
            "requirements.txt" => (text.find(" \\\n").unwrap() + 3, "it is cut off"),
            "go.sum" => (text.len() - 10, "is not whole"),
            _ => (text.len() * 3 / 5, ""),
        };
        let error = read(path, &text.as_bytes()[..at], &alone()).unwrap_err();
        assert!(error.to_string().contains(part) && error.mend.starts_with("Write it anew with `"), "{error}");
    }
}

#[test]
fn what_is_newer_or_wrong_says_how_to_mend_it() {
    for (path, text, place, part) in [
        ("yarn.lock", "", "yarn.lock:1: ", "does not say `# yarn lockfile v1`"),
        ("yarn.lock", "__metadata:\n  version: 99\n", "yarn.lock:1: ", "lockfile version 99 is not supported, 1 to 10 are. Write it with"),
        ("yarn.lock", "# yarn lockfile v1\nx@1:\n  resolved \"y\"\n", "yarn.lock:2: ", "the entry `x@1` has no version"),
        ("yarn.lock", "# yarn lockfile v1\nx@1:\n  version \"1\"\n   odd\n", "yarn.lock:4: ", "`odd` does not belong there"),
        ("yarn.lock", "__metadata:\n  version: 8\n\"x@npm:1\":\n  version: 1\n", "yarn.lock:3: ", "has no `resolution`"),
        ("pnpm-lock.yaml", "lockfileVersion: '5.4'\n", "pnpm-lock.yaml:1: ", "lockfileVersion `5.4` is not supported, 6 and 9 are"),
        ("pnpm-lock.yaml", "lockfileVersion: '12.0'\n", "pnpm-lock.yaml:1: ", "or update the runner"),
        ("pnpm-lock.yaml", "a: [\n", "pnpm-lock.yaml:", "cannot be read"),
        ("pnpm-lock.yaml", "a: &x 1\nb: *x\n", "pnpm-lock.yaml:2: ", "aliases are not used in lockfiles"),
        (
            "pnpm-lock.yaml",
            "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      x:\n        specifier: 1\n        version: 1.0.0\n",
            "pnpm-lock.yaml:5: ",
            "the project asks for x 1.0.0, which has no entry",
        ),
        ("requirements.txt", "requests == 2.25.0 \\\n", "requirements.txt:1: ", "it is cut off"),
        ("poetry.lock", "[metadata]\nlock-version = \"3.0\"\n", "poetry.lock:2: ", "lock-version 3.0 is not supported, 1 and 2 are"),
        ("poetry.lock", "[[package]]\nname = \"x\"\n", "poetry.lock:1: ", "missing field `version`"),
        ("uv.lock", "version = 2\n", "uv.lock:1: ", "lockfile version 2 is not supported, 1 is"),
        ("uv.lock", "version = 1\n[[package]]\nname = \"x\"\nsource = { cloud = \"y\" }\n", "uv.lock:2: ", "of an unknown kind"),
        ("go.sum", "example.com/x v1.0.0\n", "go.sum:1: ", "a module, a version and a digest"),
        ("go.sum", "example.com/x v1.0.0 h1:abc=\n", "go.sum:1: ", "the digest of example.com/x is not whole"),
        ("go.mod", "module x\ngo 1.22\nrequire (\n", "go.mod: ", "its `require` block does not end"),
        ("go.mod", "module x\nrequire y\n", "go.mod:2: ", "`require y` cannot be read"),
        ("Gemfile.lock", "GEM\n  specs:\n    x (1.0)\n", "Gemfile.lock: ", "it has no DEPENDENCIES"),
        ("Gemfile.lock", "GEM\n  specs:\n    x (1.0)\n      y\nDEPENDENCIES\n  x\n", "Gemfile.lock:4: ", "y is needed, but has no entry"),
        ("composer.lock", "{\n\"packages\": [\n{ \"name\": \"a/b\" } ] }", "composer.lock:3: ", "missing field `version`"),
        ("composer.lock", "[]", "composer.lock:1: ", "it is no composer.lock"),
    ] {
        let error = read(path, text.as_bytes(), &alone()).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(part) && error.contains(". Write it"), "{error}");
    }
    for (lockfile, text, name) in [
        ("a/yarn.lock", YARN_V1, "a/package.json"),
        ("a/poetry.lock", POETRY, "a/pyproject.toml"),
        ("a/composer.lock", COMPOSER, "a/composer.json"),
    ] {
        let error = read(lockfile, text.as_bytes(), &manifest(name, "{\n,")).unwrap_err();
        assert!(error.path == name && error.line > 0, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_a_reader_panic((path, bytes) in prop::sample::select(all().to_vec()).prop_flat_map(|(path, text)| (Just(path), mutated(text)))) {
        if let Ok(lockfile) = read(path, &bytes, &alone()) {
            let paths = lockfile.shortest_paths();
            (0..lockfile.packages.len()).for_each(|index| assert_ne!(paths.to(index).len(), 0));
        }
        let _ = includes(path, &bytes, true);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}|([a-z=<>@\\[\\]();:/.# \\\\-]{0,20}\n){0,6}") {
        for (path, _) in all() {
            let _ = read(path, text.as_bytes(), &alone());
            let _ = includes(path, text.as_bytes(), true);
        }
    }
}
