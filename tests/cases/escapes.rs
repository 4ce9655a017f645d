//! Ways out of the workspace that a component tries, each stopped and told.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use end_to_end::{Case, Project};
use tempfile::TempDir;

use crate::RUNNER;

/// A project with things to take, and a folder beside it that is nobody's business.
struct Scene {
    project: Project,
    outside: TempDir,
}

const HOOK: &str = ".git/hooks/pre-commit";
const SECRET: &str = "the secret";

impl Scene {
    fn new() -> Scene {
        let outside = tempfile::Builder::new().prefix("outside-").tempdir().expect("a temporary folder");
        fs::write(outside.path().join("secret.txt"), SECRET).expect("a file");
        fs::create_dir(outside.path().join("folder")).expect("a folder");
        fs::write(outside.path().join("folder/inner.txt"), SECRET).expect("a file");
        let project = Project::hostile(RUNNER)
            .file("src/a.txt", "hi")
            .file("src/lib/b.txt", "deeper")
            .file("docs/readme.md", "read me")
            .file("secret.txt", "not granted")
            .file("plugins/other.txt", "beside a plugin")
            .file(".git/config", "[core]")
            .file(HOOK, "#!/bin/sh");
        let scene = Scene { project, outside };
        scene.link("src/planted-absolute", scene.outside.path().join("secret.txt"));
        scene.link("src/planted-relative", Path::new("../..").join(scene.name()).join("secret.txt"));
        scene.link("src/planted-folder", Path::new("../..").join(scene.name()).join("folder"));
        scene.link("src/planted-chain", Path::new("planted-relative"));
        scene.link("src/planted-loop", Path::new("planted-loop"));
        scene.link("src/to-ungranted", Path::new("../secret.txt"));
        scene.link("src/to-readme", Path::new("../docs/readme.md"));
        scene.link("src/to-runner", Path::new("../.runner"));
        scene
    }

    fn link(&self, at: &str, to: impl AsRef<Path>) {
        symlink(to, self.project.path().join(at)).expect("a symbolic link");
    }

    /// The outside folder's name: the project lies beside it.
    fn name(&self) -> &str {
        self.outside.path().file_name().and_then(|name| name.to_str()).expect("a name")
    }

    /// Nothing outside was touched, and nothing of what is protected.
    #[track_caller]
    fn untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(self.outside.path()).expect("the folder").flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, ["folder", "secret.txt"]);
        let read = |path: &str| fs::read_to_string(self.outside.path().join(path)).expect("the file");
        assert_eq!((read("secret.txt").as_str(), read("folder/inner.txt").as_str()), (SECRET, SECRET));
        assert_eq!(self.project.read(HOOK), "#!/bin/sh");
        assert_eq!(self.project.read(".git/config"), "[core]");
        assert!(self.project.read("pipeline.toml").starts_with("format = 1"));
    }
}

/// An attempt on a file; `to` is a second path, a text or a link's target.
fn op(op: &str, path: &str, to: &str) -> String {
    format!("{{ do = \"files\", op = \"{op}\", path = \"{path}\", to = \"{to}\" }}")
}

fn check(project: &Project, stage: &str, grants: &str, cases: &[(String, &str, &str)]) -> Vec<end_to_end::Attempt> {
    let cases: Vec<Case<'_>> = cases.iter().map(|(what, answer, code)| (what.as_str(), *answer, *code)).collect();
    project.cases(stage, grants, &cases)
}

const SOME: &str = "files = [{ path = \"src\", access = \"write\" }, { path = \"docs\", access = \"read\" }]";
const ALL: &str = "files = [{ path = \".\", access = \"write\" }]";

#[test]
fn nothing_outside_is_read_or_written_by_name() {
    let scene = Scene::new();
    let up = |rest: &str| format!("../{}/{rest}", scene.name());
    let absolute = |rest: &str| scene.outside.path().join(rest).display().to_string();
    let own = scene.project.path().join("src/a.txt").display().to_string();
    let out = "outside-workspace";
    check(
        &scene.project,
        "",
        SOME,
        &[
            (op("read", "src/a.txt", ""), "ok hi", ""),
            (op("write", "src/new.txt", "new"), "ok", ""),
            (op("read", "src/new.txt", ""), "ok new", ""),
            (op("read", "docs/../src/./lib//b.txt", ""), "ok deeper", ""),
            (op("read", &up("secret.txt"), ""), "refused", out),
            (op("read", &format!("src/../{}", up("secret.txt")), ""), "refused", out),
            (op("read", &format!("src/lib/../../docs/../../{}/secret.txt", scene.name()), ""), "refused", out),
            (op("read", &absolute("secret.txt"), ""), "refused", out),
            (op("read", &format!("/{}", absolute("secret.txt")), ""), "refused", out),
            (op("read", "/etc/passwd", ""), "refused", out),
            (op("read", "/proc/self/environ", ""), "refused", out),
            (op("read", "/workspace/src/a.txt", ""), "refused", out),
            // its own file by its real name: nothing of the machine's layout works inside
            (op("read", &own, ""), "refused", out),
            (op("stat", "..", ""), "refused", out),
            (op("list", "../.", ""), "refused", out),
            (op("stat", &up("folder"), ""), "refused", out),
            (op("write", &up("new.txt"), "x"), "refused", out),
            (op("write", &absolute("new.txt"), "x"), "refused", out),
            (op("mkdir", &up("new"), ""), "refused", out),
            (op("unlink", &up("secret2.txt"), ""), "refused", out),
            (op("rmdir", &up("folder2"), ""), "refused", out),
            (op("utime", &up("folder/inner.txt"), ""), "refused", out),
            (op("rename", "src/a.txt", &up("stolen.txt")), "refused", out),
            (op("rename", &up("secret3.txt"), "src/stolen.txt"), "refused", out),
            (op("link", "src/a.txt", &up("linked.txt")), "refused", out),
            (op("link", &up("secret4.txt"), "src/stolen.txt"), "refused", out),
            (op("symlink", &up("link"), "x"), "refused", out),
            (op("read", "secret.txt", ""), "refused", "not-granted"),
            (op("stat", "secret.txt", ""), "refused", "not-granted"),
            (op("read", "src/../pipeline.toml", ""), "refused", "not-granted"),
            (op("list", ".git", ""), "refused", "not-granted"),
            (op("write", "docs/readme.md", "x"), "refused", "read-only"),
            (op("unlink", "docs/readme.md", ""), "refused", "*"),
            (op("smuggle", "docs/readme.md", "x"), "error bad-descriptor", ""),
            (op("read", "docs/readme.md", ""), "ok read me", ""),
            (op("read", "src/../.runner/.gitignore", ""), "error no-entry", "hidden-path"),
            (op("list", ".runner", ""), "error no-entry", "hidden-path"),
            (op("list", ".RUNNER/", ""), "error no-entry", "hidden-path"),
            (op("list", ".", ""), "ok docs,src", ""),
        ],
    );
    scene.untouched();
}

#[test]
fn planted_links_lead_nowhere() {
    let scene = Scene::new();
    let out = "outside-workspace";
    let up = format!("../../{}", scene.name());
    let absolute = scene.outside.path().display().to_string();
    check(
        &scene.project,
        "",
        SOME,
        &[
            (op("read", "src/planted-absolute", ""), "refused", out),
            (op("read", "src/planted-relative", ""), "refused", out),
            (op("read", "src/planted-folder/inner.txt", ""), "refused", out),
            (op("read", "src/planted-chain", ""), "refused", out),
            (op("read", "src/planted-loop", ""), "error loop", ""),
            (op("list", "src/planted-folder", ""), "refused", out),
            (op("read", "src/planted-folder/../secret.txt", ""), "refused", out),
            (op("write", "src/planted-folder/new.txt", "x"), "refused", out),
            (op("mkdir", "src/planted-folder/new", ""), "refused", out),
            (op("stat", "src/planted-folder/", ""), "refused", out),
            (op("rename", "src/a.txt", "src/planted-folder/a.txt"), "refused", out),
            (op("link", "src/a.txt", "src/planted-folder/b.txt"), "refused", out),
            (op("read", "src/to-ungranted", ""), "refused", "not-granted"),
            (op("read", "src/to-readme", ""), "ok read me", ""),
            (op("write", "src/to-readme", "x"), "refused", "read-only"),
            (op("list", "src/to-runner", ""), "error no-entry", "hidden-path"),
            // planting one's own
            (op("symlink", "src/mine", &absolute), "refused", out),
            (op("symlink", "src/mine-too", &up), "refused", out),
            (op("symlink", "src/inside", "../secret.txt"), "ok", ""),
            (op("read", "src/inside", ""), "refused", "not-granted"),
            (op("symlink", "src/lib/deep", "../../src"), "ok", ""),
            (op("read", "src/lib/deep/a.txt", ""), "ok hi", ""),
            // a link that was harmless where it was made is moved to where it is not
            (op("rename", "src/lib/deep", "src/moved"), "ok", ""),
            (op("list", "src/moved", ""), "refused", out),
            (op("link", "docs/readme.md", "src/readme.md"), "refused", "read-only"),
            (op("link", "src/planted-relative", "src/hard"), "refused", out),
        ],
    );
    scene.untouched();
}

#[test]
fn what_is_protected_stays_whatever_is_granted() {
    for stage in ["", "workspace = \"shared\""] {
        let scene = Scene::new();
        scene.link("hooks", ".git/hooks");
        let keep = "protected-path";
        check(
            &scene.project,
            stage,
            ALL,
            &[
                (op("read", ".git/config", ""), "ok [core]", ""),
                (op("write", "src/new.txt", "new"), "ok", ""),
                (op("write", HOOK, "evil"), "refused", keep),
                (op("write", ".git/hooks/post-checkout", "evil"), "refused", keep),
                (op("write", "src/../.git/hooks/../config", "evil"), "refused", keep),
                (op("mkdir", ".GIT", ""), "refused", keep),
                (op("write", "hooks/pre-push", "evil"), "refused", keep),
                (op("mkdir", ".git/hooks/new", ""), "refused", keep),
                (op("unlink", ".git/HEAD", ""), "", "*"),
                (op("unlink", ".git/config", ""), "refused", keep),
                (op("rename", ".git/config", "config"), "refused", keep),
                (op("rename", ".git", "git"), "refused", keep),
                (op("rename", "src/a.txt", ".git/hooks/a"), "refused", keep),
                (op("link", "src/a.txt", ".git/hooks/b"), "refused", keep),
                (op("symlink", ".git/hooks/c", "../../src/a.txt"), "refused", keep),
                (op("link", HOOK, "src/hook"), "refused", keep),
                (op("utime", ".git/hooks", ""), "refused", keep),
                (op("smuggle", ".git/config", "x"), "error bad-descriptor", ""),
                (op("write", "pipeline.toml", "x"), "refused", keep),
                (op("write", "./src/../pipeline.toml", "x"), "refused", "*"),
                (op("unlink", "pipeline.toml", ""), "refused", "*"),
                (op("rename", "pipeline.toml", "old.toml"), "refused", keep),
                (op("rename", "src/a.txt", "pipeline.toml"), "refused", keep),
                (op("link", "pipeline.toml", "src/linked.toml"), "refused", keep),
                (op("write", "hostile.wasm", "x"), "refused", keep),
                (op("rename", "src/a.txt", "hostile.wasm"), "refused", keep),
                (op("mkdir", ".runner/x", ""), "error no-entry", "hidden-path"),
                (op("rename", "src/lib", ".runner"), "error no-entry", "hidden-path"),
                (op("read", "pipeline.toml", ""), "ok format = 1", ""),
            ],
        );
        scene.untouched();
        assert_eq!(scene.project.path().join("src/new.txt").exists(), !stage.is_empty(), "only a shared workspace is written");
    }
}

/// A plugin that the pipeline names stays, and so does the folder that holds it.
#[test]
fn a_folder_with_a_plugin_in_it_is_not_moved() {
    let scene = Scene::new();
    let pipeline = |tries: &[String]| {
        let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
        scene.project.tries("workspace = \"shared\"", ALL, &tries);
        scene.project.replace("pipeline.toml", "./hostile.wasm", "./plugins/hostile.wasm");
    };
    fs::rename(scene.project.path().join("hostile.wasm"), scene.project.path().join("plugins/hostile.wasm")).expect("moved");
    pipeline(&[
        op("write", "plugins/new.txt", ""),
        op("rename", "plugins", "moved"),
        op("rename", "plugins/hostile.wasm", "plugins/old.wasm"),
        op("unlink", "plugins/hostile.wasm", ""),
        op("rename", "src", "plugins"),
    ]);
    let told = scene.project.exec_json().told();
    let answers: Vec<String> = told.attempts("try").into_iter().map(|attempt| attempt.answer).collect();
    assert!(answers[0].starts_with("ok"), "{answers:?}");
    assert!(answers[1..].iter().all(|answer| !answer.starts_with("ok")), "{answers:?}");
    assert!(scene.project.path().join("plugins/hostile.wasm").is_file());
    assert_eq!(told.denials("try").iter().filter(|denial| denial.code == "protected-path").count(), 4, "{}", told.printed());
}

/// The hooks of a repository that does not exist yet would be run by the next `git` in this folder.
#[test]
fn a_repository_is_not_made_up() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.project.path().join(".git")).expect("removed");
    check(
        &scene.project,
        "workspace = \"shared\"",
        ALL,
        &[
            (op("mkdir", ".git", ""), "refused", "protected-path"),
            (op("write", ".git", "gitdir: src"), "refused", "*"),
            (op("rename", "src", ".git"), "refused", "protected-path"),
            (op("symlink", ".Git", "src"), "refused", "protected-path"),
        ],
    );
    assert!(!scene.project.path().join(".git").exists());
}

#[test]
fn only_files_and_folders_are_opened() {
    let scene = Scene::new();
    let at = |name: &str| scene.project.path().join("src").join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("a FIFO");
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    // the checkout itself is what readers see, and so does a shared workspace
    for (stage, access) in [("", "read"), ("workspace = \"shared\"", "write")] {
        let grants = format!("files = [{{ path = \"src\", access = \"{access}\" }}]");
        check(
            &scene.project,
            &format!("timeout = \"20s\"\n{stage}"),
            &grants,
            &[
                (op("open", "src/fifo", ""), "refused", "special-file"),
                (op("open", "src/socket", ""), "refused", "special-file"),
                (op("stat", "src/fifo", ""), "ok DescriptorType::Fifo", ""),
                ("{ do = \"std-read\", path = \"/workspace/src/fifo\" }".to_owned(), "refused", "*"),
            ],
        );
    }
}

/// A file that is also a file outside: writes go to the copy.
#[test]
fn hard_links_of_the_checkout_are_copied() {
    let scene = Scene::new();
    fs::hard_link(scene.outside.path().join("secret.txt"), scene.project.path().join("src/shared.txt")).expect("a hard link");
    check(
        &scene.project,
        "",
        SOME,
        &[(op("write", "src/shared.txt", "evil"), "ok", ""), (op("read", "src/shared.txt", ""), "ok evil", "")],
    );
    scene.untouched();
}

/// Without a grant there is no workspace; the scratch folder has nothing above it.
#[test]
fn the_scratch_folder_is_all_that_is_there_ungranted() {
    let scene = Scene::new();
    let scratch = |what: &str, path: &str, to: &str| {
        format!("{{ do = \"files\", from = \"/scratch\", op = \"{what}\", path = \"{path}\", to = \"{to}\" }}")
    };
    check(
        &scene.project,
        "",
        "",
        &[
            (op("list", ".", ""), "refused /workspace is not there", ""),
            (scratch("list", ".", ""), "ok", ""),
            (scratch("write", "x", "mine"), "ok", ""),
            (scratch("read", "x", ""), "ok mine", ""),
            (scratch("list", "..", ""), "refused", "outside-workspace"),
            (scratch("read", "../workspace/secret.txt", ""), "refused", "outside-workspace"),
            (scratch("symlink", "link", "../.."), "refused", "outside-workspace"),
            (scratch("read", "/etc/passwd", ""), "refused", "outside-workspace"),
        ],
    );
    let runs = fs::read_dir(scene.project.path().join(".runner/runs")).expect("runs").flatten();
    for run in runs {
        assert!(!run.path().join("work").exists(), "a scratch folder was left behind: {}", run.path().display());
    }
}

/// What a denial says would allow it does allow it; where two things were missing, in two steps.
#[test]
fn the_remedy_of_a_denial_is_what_was_missing() {
    let scene = Scene::new();
    for (what, steps) in [
        (op("read", "secret.txt", ""), 1),
        (op("list", "docs", ""), 1),
        (op("write", "src/a.txt", "x"), 1),
        (op("write", "docs/new.md", "x"), 1),
        (op("mkdir", "new", ""), 1),
        (op("rename", "src/a.txt", "src/b.txt"), 2),
    ] {
        let mut grants = "files = [{ path = \"src\", access = \"read\" }]".to_owned();
        for _ in 0..steps {
            let attempt = scene.project.attempts("", &grants, &[&what]).remove(0);
            assert!(attempt.answer.starts_with("refused"), "{what}: {attempt:?}");
            let remedy = attempt.denials.first().and_then(|denial| denial.remedy.as_deref());
            let lines = remedy.and_then(|remedy| remedy.strip_prefix("[stage.try.grants]\n"));
            grants = lines.unwrap_or_else(|| panic!("{what}: {attempt:?}")).to_owned();
        }
        check(&scene.project, "", &grants, &[(what, "ok", "")]);
    }
}
