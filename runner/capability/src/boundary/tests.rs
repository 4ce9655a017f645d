//! The boundary with a real journal behind it: an attempt is recorded, the process "dies" (the boundary is dropped), and another one takes
//! the record up.

use std::borrow::Cow;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use event::{Discard, StageRef};
use journal::{AttemptRecord, Begin, Header, Journal, Reader};
use serde::{Deserialize, Serialize};

use super::*;

/// Adds a number to the world's sum. Knows whether it did if `traceable`.
#[derive(Debug, Clone, Serialize)]
struct Add {
    amount: u64,
    #[serde(skip)]
    class: Class,
    traceable: bool,
}

impl Effect for Add {
    const NAME: &'static str = "test.add";
    type Question = ();
    type Seen = Looked;
    type Reply = u64;

    fn subject(&self) -> Cow<'_, str> {
        self.amount.to_string().into()
    }

    fn class(&self) -> Class {
        self.class
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Looked {
    before: Option<u64>,
}

#[derive(Default)]
struct World {
    sum: AtomicU64,
    acts: AtomicU64,
    looks: AtomicU64,
    /// The process dies after the act: what follows never happens.
    dies: Mutex<bool>,
}

struct Rules;

impl Policy<Add> for Rules {
    fn decide(&self, effect: &Add, seen: &Looked) -> Decision<()> {
        match (effect.amount, seen.before) {
            (13, _) => Decision::Deny(Denial::new("unlucky", "thirteen is not granted")),
            (_, None) => Decision::Observe(()),
            _ => Decision::Allow,
        }
    }
}

impl Backend<Add> for World {
    async fn observe(&self, (): (), seen: &mut Looked) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        seen.before = Some(self.sum.load(Ordering::SeqCst));
    }

    async fn act(&self, permitted: Permitted<Add>) -> u64 {
        self.acts.fetch_add(1, Ordering::SeqCst);
        let sum = self.sum.fetch_add(permitted.effect().amount, Ordering::SeqCst) + permitted.effect().amount;
        if *self.dies.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        sum
    }

    async fn recover(&self, effect: &Add, recorded: &Looked, fresh: &mut Looked) -> Recovery<u64> {
        match (recorded.before, fresh.before) {
            (Some(then), Some(now)) if effect.traceable && now == then + effect.amount => Recovery::Happened(now),
            (Some(then), Some(now)) if effect.traceable && now == then => Recovery::Repeat,
            _ if effect.class == Class::Idempotent => Recovery::Repeat,
            _ => Recovery::Unknown,
        }
    }

    fn skipped(&self, _: &Add) -> Option<u64> {
        Some(u64::MAX)
    }
}

fn add(amount: u64, class: Class) -> Add {
    Add { amount, class, traceable: false }
}

/// One attempt's journal on the disk, and the world around it.
struct Scene {
    folder: tempfile::TempDir,
    world: World,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let header = Header {
            run: "run".into(),
            pipeline: "p".into(),
            file: "pipeline.toml".into(),
            root: "/srv/shop".into(),
            text: String::new(),
            included: Vec::new(),
            facts: String::new(),
            inputs: Vec::new(),
            git_branch: None,
            git_sha: None,
            unconfined: false,
            jobs: 1,
            fail_fast: false,
            grace: Duration::ZERO,
            only: Vec::new(),
            skip: Vec::new(),
            seed: [7; 32],
            runner: "0".into(),
            engine: "e".into(),
            started: 1,
        };
        Journal::create(folder.path(), &header).unwrap().close().unwrap();
        Scene { folder, world: World::default() }
    }

    /// A process that works on the attempt.
    fn process(&self, mode: Mode) -> Process {
        self.limited(mode, 1 << 20)
    }

    fn limited(&self, mode: Mode, record_limit: u64) -> Process {
        let journal = Journal::resume(self.folder.path()).unwrap();
        let begin = Begin {
            stage: StageRef::new("s"),
            attempt: 1,
            name: "s".into(),
            uses: "x".into(),
            plugin: "d".into(),
            epoch: 1_000,
            context: "{}".into(),
        };
        let record = journal.begin(&begin, record_limit).unwrap();
        Process { boundary: boundary(record.clone(), mode), journal }
    }

    fn offline(&self) -> Boundary {
        boundary(read(self.folder.path()), Mode::Offline)
    }
}

fn boundary(record: Arc<AttemptRecord>, mode: Mode) -> Boundary {
    Boundary::new(StageRef::new("s"), 1, record, Arc::new(Discard), Clock::since(1_000)).in_mode(mode)
}

fn read(folder: &Path) -> Arc<AttemptRecord> {
    Reader::open(folder).unwrap().record(&StageRef::new("s"), 1).unwrap().unwrap().2
}

struct Process {
    boundary: Boundary,
    journal: Journal,
}

impl Process {
    fn cross(&self, world: &World, effect: Add) -> Result<u64, Refusal> {
        match at_once(self.boundary.cross(&Rules, effect, world)) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// The act happens, and the process ends before its reply is recorded.
    fn dies_in(&self, world: &World, effect: Add) {
        *world.dies.lock().unwrap() = true;
        assert!(at_once(self.boundary.cross(&Rules, effect, world)).is_pending());
        *world.dies.lock().unwrap() = false;
    }

    fn read(&self, bytes: &'static [u8]) -> Result<Bytes, LedgerError> {
        read_now(&self.boundary, bytes)
    }

    fn ends(self) {
        self.journal.close().unwrap();
    }
}

fn read_now(boundary: &Boundary, bytes: &'static [u8]) -> Result<Bytes, LedgerError> {
    let ask = Ask::new("test.read", &"file")?.of("file").again();
    boundary.deliver_now(&ask, || ((), Bytes::from_static(bytes))).map(|((), bytes)| bytes)
}

fn at_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn ledger(refusal: Refusal) -> LedgerError {
    match refusal {
        Refusal::Ledger(error) => error,
        Refusal::Denied(denial) => panic!("{denial:?}"),
    }
}

#[test]
fn what_was_recorded_is_answered_without_the_world() {
    let scene = Scene::new();
    let first = scene.process(Mode::Live(None));
    assert_eq!(first.cross(&scene.world, add(5, Class::Once)).unwrap(), 5);
    assert!(matches!(first.cross(&scene.world, add(13, Class::Once)), Err(Refusal::Denied(denial)) if denial.code == "unlucky"));
    assert_eq!(first.read(b"bytes").unwrap(), "bytes");
    let seen = first.boundary.clock().now();
    first.ends();
    let (acts, looks) = (scene.world.acts.load(Ordering::SeqCst), scene.world.looks.load(Ordering::SeqCst));
    let second = scene.process(Mode::Live(None));
    assert!(second.boundary.replays());
    assert_eq!(second.cross(&scene.world, add(5, Class::Once)).unwrap(), 5);
    assert!(matches!(second.cross(&scene.world, add(13, Class::Once)), Err(Refusal::Denied(denial)) if denial.reason.contains("thirteen")));
    assert_eq!(second.read(b"other").unwrap(), "bytes");
    assert_eq!(second.boundary.clock().now(), seen, "the guest sees the recorded time");
    assert_eq!((scene.world.acts.load(Ordering::SeqCst), scene.world.looks.load(Ordering::SeqCst)), (acts, looks));
    // and goes on
    assert_eq!(second.cross(&scene.world, add(2, Class::Once)).unwrap(), 7);
    assert!(!second.boundary.replays());
    second.ends();
    assert_eq!(scene.world.acts.load(Ordering::SeqCst), acts + 1);
}

#[test]
fn secrets_are_hidden_from_the_stage_and_the_record_alike() {
    const SECRET: &str = "s3cr3t-value";
    let (scene, mask) = (Scene::new(), Arc::new(Mask::default()));
    mask.learn(&secret::Value::new(SECRET.as_bytes().to_vec()).unwrap());
    let first = scene.process(Mode::Live(None));
    let boundary = first.boundary.hiding(mask.clone());
    // what arrives is hidden; what can be read again is the stage's own, and not kept
    let told = |boundary: &Boundary| {
        let ask = Ask::new("test.tell", &1).unwrap().of(SECRET);
        boundary.deliver_now(&ask, || (format!("in {SECRET}"), Bytes::from(format!("of {SECRET}")))).unwrap()
    };
    let hidden = ("in ************".to_owned(), Bytes::from("of ************"));
    assert_eq!(told(&boundary), hidden);
    assert_eq!(read_now(&boundary, b"my s3cr3t-value").unwrap(), "my s3cr3t-value");
    assert_eq!(read_now(&boundary, b"nothing").unwrap(), "nothing");
    drop(boundary);
    first.journal.close().unwrap();
    for file in std::fs::read_dir(scene.folder.path()).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_file()) {
        assert!(!mask.hides(&std::fs::read(file.path()).unwrap()), "{:?}", file.path());
    }
    // without the world, and without the secret
    let second = scene.offline();
    assert_eq!(told(&second), hidden);
    assert!(matches!(read_now(&second, b"my s3cr3t-value"), Err(LedgerError::NotKept { .. })));
    // with the world, the same bytes must be there
    let third = scene.process(Mode::Live(None)).boundary.hiding(mask);
    assert_eq!(told(&third), hidden);
    assert_eq!(read_now(&third, b"my s3cr3t-value").unwrap(), "my s3cr3t-value");
    assert_eq!(read_now(&third, b"nothing").unwrap(), "nothing");
}

#[test]
fn an_idempotent_effect_that_was_cut_off_is_repeated_and_a_traceable_one_found_out() {
    for (class, traceable, sum) in [(Class::Idempotent, false, 10), (Class::Read, false, 10), (Class::Once, true, 5)] {
        let scene = Scene::new();
        let first = scene.process(Mode::Live(None));
        let effect = Add { traceable, ..add(5, class) };
        first.dies_in(&scene.world, effect.clone());
        first.ends();
        let second = scene.process(Mode::Live(None));
        assert_eq!(second.cross(&scene.world, effect.clone()).unwrap(), sum, "{class:?}");
        second.ends();
        // what became of it is recorded by now
        let third = scene.process(Mode::Live(None));
        assert_eq!(third.cross(&scene.world, effect).unwrap(), sum);
        third.ends();
        assert_eq!(scene.world.sum.load(Ordering::SeqCst), sum);
    }
}

#[test]
fn an_effect_in_doubt_waits_for_a_choice() {
    let scene = Scene::new();
    let first = scene.process(Mode::Live(None));
    first.dies_in(&scene.world, add(5, Class::Once));
    first.ends();
    for _ in 0..2 {
        let asking = scene.process(Mode::Live(None));
        let error = ledger(asking.cross(&scene.world, add(5, Class::Once)).unwrap_err());
        assert!(matches!(&error, LedgerError::InDoubt { position: 0, .. }), "{error:?}");
        assert!(error.to_string().contains("--in-doubt"), "{error}");
        asking.ends();
    }
    let failing = scene.process(Mode::Live(Some(InDoubt::Fail)));
    assert!(matches!(ledger(failing.cross(&scene.world, add(5, Class::Once)).unwrap_err()), LedgerError::GivenUp { .. }));
    failing.ends();
    assert_eq!(scene.world.sum.load(Ordering::SeqCst), 5, "nothing happened meanwhile");
    let skipping = scene.process(Mode::Live(Some(InDoubt::Skip)));
    assert_eq!(skipping.cross(&scene.world, add(5, Class::Once)).unwrap(), u64::MAX);
    skipping.ends();
    let after = scene.process(Mode::Live(None));
    assert_eq!(after.cross(&scene.world, add(5, Class::Once)).unwrap(), u64::MAX, "the choice is recorded");
    after.ends();
    assert_eq!(scene.world.sum.load(Ordering::SeqCst), 5);
}

#[test]
fn another_question_is_a_divergence_that_names_the_difference() {
    let scene = Scene::new();
    let first = scene.process(Mode::Live(None));
    first.cross(&scene.world, Add { traceable: true, ..add(5, Class::Once) }).unwrap();
    first.ends();
    for (effect, wanted) in
        [(add(6, Class::Once), "effect 0 was `test.add` 5, now it is `test.add` 6"), (add(5, Class::Once), "traceable was true, now false")]
    {
        let other = scene.process(Mode::Live(None));
        let error = ledger(other.cross(&scene.world, effect).unwrap_err()).to_string();
        assert!(error.contains(wanted), "{error}");
        other.ends();
    }
    let reading = scene.process(Mode::Live(None));
    let error = reading.read(b"x").unwrap_err().to_string();
    assert!(error.contains("was `test.add` 5, now it is `test.read` file"), "{error}");
    reading.ends();
    assert_eq!(scene.world.acts.load(Ordering::SeqCst), 1);
}

#[test]
fn an_offline_replay_ends_where_the_record_ends() {
    let scene = Scene::new();
    let first = scene.process(Mode::Live(None));
    first.cross(&scene.world, add(5, Class::Once)).unwrap();
    first.dies_in(&scene.world, add(6, Class::Once));
    first.ends();
    let offline = scene.offline();
    let Poll::Ready(Ok(5)) = at_once(offline.cross(&Rules, add(5, Class::Once), &scene.world)) else { panic!("recorded") };
    // neither what was cut off nor what never was is carried out
    for amount in [6, 7] {
        let Poll::Ready(Err(refusal)) = at_once(offline.cross(&Rules, add(amount, Class::Once), &scene.world)) else { panic!("over") };
        assert!(matches!(ledger(refusal), LedgerError::Over));
    }
    assert_eq!(scene.world.acts.load(Ordering::SeqCst), 2);
}

#[test]
fn bytes_beyond_the_limit_are_compared_with_the_world_and_missed_offline() {
    let scene = Scene::new();
    let first = scene.limited(Mode::Live(None), 6);
    assert_eq!(first.read(b"kept").unwrap(), "kept");
    assert_eq!(first.read(b"not kept").unwrap(), "not kept");
    first.ends();
    let second = scene.limited(Mode::Live(None), 6);
    assert_eq!(second.read(b"other").unwrap(), "kept");
    assert_eq!(second.read(b"not kept").unwrap(), "not kept");
    second.ends();
    let third = scene.limited(Mode::Live(None), 6);
    third.read(b"").unwrap();
    let error = third.read(b"not KEPT").unwrap_err();
    assert!(matches!(&error, LedgerError::Diverged(d) if d.position == Some(1)), "{error}");
    third.ends();
    let offline = scene.offline();
    read_now(&offline, b"").unwrap();
    let error = read_now(&offline, b"not kept").unwrap_err().to_string();
    assert!(error.contains("8 bytes were more") && error.contains("limits.record"), "{error}");
}

/// Counts what is asked of it.
#[derive(Default)]
struct Lost {
    revived: AtomicU64,
    verified: AtomicU64,
    changed: Mutex<bool>,
}

impl Revive for Lost {
    fn verify(&self) -> Result<(), LedgerError> {
        self.verified.fetch_add(1, Ordering::SeqCst);
        if *self.changed.lock().unwrap() { Err(LedgerError::Over) } else { Ok(()) }
    }

    fn revive(&self) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        self.revived.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[test]
fn what_was_lost_is_put_back_once_where_the_record_ends() {
    let scene = Scene::new();
    let first = scene.process(Mode::Live(None));
    first.cross(&scene.world, add(1, Class::Once)).unwrap();
    first.ends();
    let lost = Arc::new(Lost::default());
    let revive: Arc<dyn Revive> = lost.clone();
    let second = scene.process(Mode::Live(None));
    second.boundary.on_live(Arc::downgrade(&revive));
    second.cross(&scene.world, add(1, Class::Once)).unwrap();
    assert_eq!((lost.verified.load(Ordering::SeqCst), lost.revived.load(Ordering::SeqCst)), (0, 0));
    // a read that waits for nothing finds out whether the world is the same; what takes time is put back at the first effect
    second.read(b"x").unwrap();
    assert_eq!((lost.verified.load(Ordering::SeqCst), lost.revived.load(Ordering::SeqCst)), (1, 0));
    second.cross(&scene.world, add(2, Class::Once)).unwrap();
    second.cross(&scene.world, add(3, Class::Once)).unwrap();
    assert_eq!((lost.verified.load(Ordering::SeqCst), lost.revived.load(Ordering::SeqCst)), (1, 1));
    second.ends();
    *lost.changed.lock().unwrap() = true;
    let third = scene.process(Mode::Live(None));
    third.boundary.on_live(Arc::downgrade(&revive));
    for effect in [1, 2, 3] {
        if effect == 2 {
            third.read(b"x").unwrap();
        }
        third.cross(&scene.world, add(effect, Class::Once)).unwrap();
    }
    assert!(third.cross(&scene.world, add(4, Class::Once)).is_err(), "nothing happens in a world that has changed");
    third.ends();
    assert_eq!(scene.world.sum.load(Ordering::SeqCst), 6);
}

#[test]
fn a_guest_that_was_cut_off_does_nothing_more() {
    let scene = Scene::new();
    let process = scene.process(Mode::Live(None));
    process.boundary.abandon();
    assert!(matches!(ledger(process.cross(&scene.world, add(1, Class::Once)).unwrap_err()), LedgerError::Over));
    process.ends();
    assert_eq!(scene.world.acts.load(Ordering::SeqCst), 0);
}
