//! How the three voices are weighed, and what git says of repositories made here.

use std::path::PathBuf;
use std::process::Command;

use super::server::Since;
use super::*;

fn told(event: EventKind, trust: Trust) -> Told {
    Told {
        server: "a server",
        event,
        trust,
        branch: Some("topic".to_owned()),
        sha: None,
        tag: None,
        base: Some("main".to_owned()),
        pull_request: None,
        since: Since::Unsaid,
        default_branch: None,
    }
}

/// `push of main, tag -, base -, trust branch, given`
fn weigh(origin: &Occasion, told: Option<&Told>, attended: bool) -> String {
    let head = Head { branch: Some("here".to_owned()), sha: None };
    let facts = decide(origin, told, attended, head, &|name| name.starts_with('v'));
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let given = if facts.event_given { ", given" } else { "" };
    let (branch, tag, base) = (or(&facts.git_branch), or(&facts.git_tag), or(&facts.git_base));
    format!("{} of {branch}, tag {tag}, base {base}, trust {}{given}", facts.event, facts.trust)
}

fn flags(event: Option<EventKind>, reference: &str, base: &str) -> Occasion {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Occasion { event, reference: some(reference), base: some(base), ..Occasion::default() }
}

#[test]
fn a_persons_word_is_believed() {
    use EventKind::{Manual, PullRequest, Push, Schedule};
    for (origin, wanted) in [
        (flags(None, "", ""), "manual of here, tag -, base -, trust local"),
        (flags(Some(Manual), "", ""), "manual of here, tag -, base -, trust local, given"),
        (flags(Some(Push), "", ""), "push of here, tag -, base -, trust branch, given"),
        (flags(Some(Push), "refs/tags/x", ""), "push of -, tag x, base -, trust tag, given"),
        (flags(Some(Push), "v1", ""), "push of -, tag v1, base -, trust tag, given"),
        (flags(Some(Schedule), "main", ""), "schedule of main, tag -, base -, trust branch, given"),
        (flags(None, "feature/x", ""), "manual of feature/x, tag -, base -, trust local"),
        (flags(None, "refs/pull/7/head", "origin/main"), "pull-request of here, tag -, base main, trust pull-request, given"),
        (flags(Some(PullRequest), "", "refs/heads/dev"), "pull-request of here, tag -, base dev, trust pull-request, given"),
        (flags(Some(PullRequest), "", "HEAD~1"), "pull-request of here, tag -, base -, trust pull-request, given"),
        (flags(Some(Push), "refs/pull/7/head", ""), "push of here, tag -, base -, trust pull-request, given"),
    ] {
        assert_eq!(weigh(&origin, None, true), wanted, "{origin:?}");
    }
}

#[test]
fn beside_a_server_nothing_raises_the_trust() {
    use EventKind::{Manual, PullRequest, Push};
    let (fork, branch) = (told(PullRequest, Trust::Fork), told(Push, Trust::Branch));
    for (origin, told, wanted) in [
        (flags(None, "", ""), &fork, "pull-request of topic, tag -, base main, trust fork, given"),
        (flags(Some(Manual), "", ""), &fork, "manual of topic, tag -, base main, trust fork, given"),
        (flags(Some(Push), "refs/heads/main", ""), &fork, "push of main, tag -, base main, trust fork, given"),
        (flags(Some(PullRequest), "", "other"), &fork, "pull-request of topic, tag -, base main, trust fork, given"),
        (flags(Some(Push), "v1", ""), &branch, "push of -, tag v1, base main, trust tag, given"),
        (flags(Some(PullRequest), "", ""), &branch, "pull-request of topic, tag -, base main, trust pull-request, given"),
        (flags(None, "refs/pull/7/head", ""), &branch, "pull-request of topic, tag -, base main, trust pull-request, given"),
    ] {
        assert_eq!(weigh(&origin, Some(told), false), wanted, "{origin:?}");
    }
}

#[test]
fn on_a_server_that_is_not_known_a_pull_request_is_a_forks() {
    use EventKind::{Manual, PullRequest};
    for (origin, wanted) in [
        (flags(None, "", ""), "push of here, tag -, base -, trust branch"),
        (flags(Some(Manual), "", ""), "manual of here, tag -, base -, trust branch, given"),
        (flags(Some(PullRequest), "", ""), "pull-request of here, tag -, base -, trust fork, given"),
        (flags(None, "refs/pull/7/head", ""), "pull-request of here, tag -, base -, trust fork, given"),
    ] {
        assert_eq!(weigh(&origin, None, false), wanted, "{origin:?}");
    }
}

/// A repository in a folder that is gone at the end.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Repository {
        let repository = Repository { folder: tempfile::tempdir().unwrap() };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn clone_of(other: &Repository, arguments: &[&str]) -> Repository {
        let repository = Repository { folder: tempfile::tempdir().unwrap() };
        let url = format!("file://{}", other.path().display());
        repository.git(&[&["clone", "-q"], arguments, &[&url, "."]].concat());
        repository
    }

    fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .current_dir(self.folder.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"])
            .args(arguments);
        for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
            command.env_remove(name);
        }
        let output = command.output().expect("git is there");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{:?}", std::time::Instant::now())).unwrap();
    }

    /// Commits a change of each file; answers the commit.
    fn commit(&self, files: &[&str]) -> String {
        files.iter().for_each(|file| self.write(file));
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn compare(&self, wanted: &Wanted<'_>) -> Found {
        let (top, root) = (self.path(), self.path().join(wanted.folder));
        Comparison {
            top: &top,
            root: &root,
            event: wanted.event,
            branch: wanted.branch,
            base: wanted.base,
            rev: None,
            told: wanted.told.as_ref(),
            attended: wanted.told.is_none(),
        }
        .find()
    }

    fn files(&self, wanted: &Wanted<'_>) -> Vec<String> {
        match self.compare(wanted).changed {
            Changed::Files(files) => files,
            Changed::Unknown(why) => panic!("{why}"),
        }
    }

    fn unknown(&self, wanted: &Wanted<'_>) -> String {
        match self.compare(wanted).changed {
            Changed::Unknown(why) => why,
            Changed::Files(files) => panic!("{files:?}"),
        }
    }
}

#[derive(Default)]
struct Wanted<'a> {
    folder: &'a str,
    event: EventKind,
    branch: Option<&'a str>,
    base: Option<&'a str>,
    told: Option<Told>,
}

fn since(event: EventKind, since: Since) -> Option<Told> {
    Some(Told { since, base: None, ..told(event, Trust::Branch) })
}

#[test]
fn a_branch_is_compared_with_where_it_parted() {
    let repository = Repository::new();
    repository.commit(&["a.txt", "ci/pipeline.toml"]);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.commit(&["b.txt", "ci/x.txt"]);
    // what happens on the other side is not what the branch changed
    repository.git(&["checkout", "-q", "main"]);
    repository.commit(&["c.txt"]);
    repository.git(&["checkout", "-q", "topic"]);
    let topic = || Wanted { branch: Some("topic"), ..Wanted::default() };
    assert_eq!(repository.files(&topic()), ["b.txt", "ci/x.txt"]);
    assert_eq!(repository.compare(&topic()).dirty, Some(false));
    assert_eq!(repository.files(&Wanted { folder: "ci", ..topic() }), ["../b.txt", "x.txt"]);
    // what is not committed counts on a person's machine, and what is ignored does not
    std::fs::write(repository.path().join(".gitignore"), "*.log\n").unwrap();
    repository.write("a.txt");
    repository.write("new/ü und.txt");
    repository.write("noise.log");
    std::fs::remove_file(repository.path().join("ci/x.txt")).unwrap();
    let found = repository.compare(&topic());
    assert_eq!(found.changed, Changed::Files([".gitignore", "a.txt", "b.txt", "ci/x.txt", "new/ü und.txt"].map(str::to_owned).to_vec()));
    assert_eq!(found.dirty, Some(true));
    let built = Wanted { event: EventKind::Push, branch: Some("topic"), told: since(EventKind::Push, Since::Unsaid), ..Wanted::default() };
    assert_eq!(repository.files(&built), ["b.txt", "ci/x.txt"], "what a CI server's job leaves lying about is no change");
}

#[test]
fn pushes_and_pull_requests_are_compared_with_what_the_server_says() {
    let repository = Repository::new();
    let first = repository.commit(&["a.txt"]);
    let second = repository.commit(&["b.txt"]);
    repository.commit(&["c.txt"]);
    let pushed =
        |before: Since| Wanted { event: EventKind::Push, branch: Some("main"), told: since(EventKind::Push, before), ..Wanted::default() };
    assert_eq!(repository.files(&pushed(Since::Before(first))), ["b.txt", "c.txt"]);
    assert!(repository.unknown(&pushed(Since::First)).contains("first push"));
    let gone = "9".repeat(40);
    assert!(repository.unknown(&pushed(Since::Before(gone.clone()))).starts_with("999999999999 is not in this clone"), "a forced push");
    let request = |commit: Option<&str>, branch: &str| Wanted {
        event: EventKind::PullRequest,
        told: since(EventKind::PullRequest, Since::Parting { commit: commit.map(str::to_owned), branch: Some(branch.to_owned()) }),
        ..Wanted::default()
    };
    repository.git(&["branch", "stable", &second]);
    assert_eq!(repository.files(&request(Some(&second), "main")), ["c.txt"]);
    assert_eq!(repository.files(&request(Some(&gone), "stable")), ["c.txt"], "the branch is as good");
    assert!(repository.unknown(&request(None, "nowhere")).starts_with("nowhere is not in this clone"));
    // pull_request_target: what is checked out is the base
    let mut target = request(Some(&repository.git(&["rev-parse", "HEAD"])), "main");
    target.told.as_mut().unwrap().sha = Some(gone);
    assert!(repository.unknown(&target).contains("the checkout is the base"));
    // a word on the command line goes first
    let said = Wanted { base: Some("stable"), ..pushed(Since::First) };
    assert_eq!(repository.files(&said), ["c.txt"]);
    assert!(repository.unknown(&Wanted { base: Some("nowhere"), ..Wanted::default() }).starts_with("nowhere is not in this clone"));
    assert!(repository.unknown(&Wanted { base: Some("--output=x"), ..Wanted::default() }).contains("--output=x"), "no option");
}

#[test]
fn where_there_is_nothing_to_compare_with_it_is_said() {
    let repository = Repository::new();
    assert_eq!(repository.unknown(&Wanted::default()), "there is no commit yet");
    repository.commit(&["a.txt"]);
    let main = |event, told| Wanted { event, branch: Some("main"), told, ..Wanted::default() };
    assert!(repository.unknown(&main(EventKind::Manual, None)).starts_with("this is `main`"));
    assert!(repository.unknown(&Wanted::default()).contains("detached"));
    let schedule = since(EventKind::Schedule, Since::Unsaid);
    assert!(repository.unknown(&main(EventKind::Schedule, schedule)).starts_with("a schedule run has nothing"));
    repository.git(&["branch", "-m", "trunk"]);
    assert!(repository.unknown(&Wanted { branch: Some("topic"), ..Wanted::default() }).contains("no branch `main` or `master`"));
}

#[test]
fn a_shallow_clone_names_what_mends_it() {
    let origin = Repository::new();
    let first = origin.commit(&["a.txt"]);
    origin.commit(&["d.txt"]);
    origin.git(&["checkout", "-q", "-b", "topic"]);
    origin.commit(&["b.txt"]);
    origin.commit(&["c.txt"]);
    // a clone takes what is checked out there for the default branch
    origin.git(&["checkout", "-q", "main"]);
    let clone = Repository::clone_of(&origin, &["--depth", "1", "--no-single-branch", "--branch", "topic"]);
    let before = Wanted { branch: Some("topic"), told: since(EventKind::Push, Since::Before(first)), ..Wanted::default() };
    assert!(clone.unknown(&before).contains("`fetch-depth: 0`"));
    let branch = Wanted { branch: Some("topic"), ..Wanted::default() };
    assert!(clone.unknown(&branch).contains("`fetch-depth: 0`"), "the two have nothing in common so far: {}", clone.unknown(&branch));
    let whole = Repository::clone_of(&origin, &["--branch", "topic"]);
    whole.git(&["remote", "set-head", "origin", "main"]);
    whole.git(&["checkout", "-q", "--detach"]);
    assert_eq!(whole.files(&branch), ["b.txt", "c.txt"], "a branch that somebody names is one on a detached head too");
}

/// A repository's own configuration can name programs; none of them is started.
#[test]
fn nothing_that_the_repository_names_is_started() {
    let repository = Repository::new();
    repository.commit(&["a.txt"]);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.commit(&["b.txt"]);
    let trap = repository.path().join("sprung");
    let program = format!("touch {}; false", trap.display());
    for key in ["core.fsmonitor", "diff.external", "core.pager", "core.sshCommand", "core.askPass"] {
        repository.git(&["config", key, &program]);
    }
    std::fs::create_dir_all(repository.path().join(".git/hooks")).unwrap();
    for hook in ["post-index-change", "post-checkout", "reference-transaction"] {
        let path = repository.path().join(".git/hooks").join(hook);
        std::fs::write(&path, format!("#!/bin/sh\n{program}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    repository.write("a.txt");
    let found = repository.compare(&Wanted { branch: Some("topic"), ..Wanted::default() });
    assert_eq!(found.changed, Changed::Files(vec!["a.txt".to_owned(), "b.txt".to_owned()]));
    let git = Git::at(&repository.path());
    let head = git.commit("HEAD").unwrap();
    assert!(!git.file(&head, "b.txt").unwrap().is_empty());
    assert!(!trap.exists());
}
