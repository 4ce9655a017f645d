//! A runner that is killed (`kill -9`) at every effect of a pipeline that does everything there is, and goes on: what is there at the end is
//! what is there when nobody kills it, nothing of class once was done twice, and the record replays to the same bytes.
//!
//! The moments are those of `PIPELINE_FAULT`: before an act, between the act and its reply, after the reply. Every effect is tried at one moment
//! at least, the other moments for as long as the test has time. In doubt, the test does what a person would: it looks.

mod scene;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{cluster, confined, docker, image_registry};

use crate::RUNNER;
use scene::{Left, Moment, Point, Scene, Trial};

/// Runs that are tried at the same time.
const AT_ONCE: usize = 2;
/// Of so many points one is replayed as well.
const REPLAYED: usize = 40;

/// The tests of this file take turns: each keeps the machine busy by itself.
static TURN: Mutex<()> = Mutex::new(());

/// What came of all points of a scene.
#[derive(Default)]
struct Tally {
    killed: usize,
    effects: BTreeSet<u64>,
    whats: BTreeSet<String>,
    not_reached: Vec<String>,
    in_doubt: u32,
    replayed: usize,
    wrong: Vec<String>,
}

/// Where a run is killed: at one point, or at a second one after it was resumed.
#[derive(Clone)]
struct Kill {
    first: Point,
    second: Option<String>,
}

impl Tally {
    fn end(self, name: &str, began: Instant) {
        // past the test harness, which would keep it to itself: how much was tried is what the test is for
        let _ = writeln!(
            std::io::stdout().lock(),
            "{name}: killed at {} points: {} effects, in doubt {} times; {} points not reached {:?}; {} stages replayed; {:.1?}",
            self.killed,
            self.effects.len(),
            self.in_doubt,
            self.not_reached.len(),
            self.not_reached,
            self.replayed,
            began.elapsed()
        );
        let (some, all) = (self.wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n\n"), self.wrong.len());
        assert!(self.wrong.is_empty(), "{all} of {} points went wrong\n{some}", self.killed);
        assert!(self.not_reached.len() * 10 <= self.killed, "too many points were not reached");
    }
}

/// Tries them all, the first `must` of them however long it takes.
fn try_all(scene: &Scene<'_>, reference: &Left, kills: &[Kill], must: usize, time: Duration) -> Tally {
    let (next, tally, began) = (AtomicUsize::new(0), Mutex::new(Tally::default()), Instant::now());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= kills.len() || (index >= must && began.elapsed() > time) {
                return;
            }
            let trial = std::panic::catch_unwind(|| one(scene, reference, &kills[index], index));
            let result = trial.unwrap_or_else(|_| Err(format!("== {:?}: see above", kills[index].first)));
            let mut tally = tally.lock().expect("no test thread panics");
            match result {
                Ok(None) => tally.not_reached.push(format!("{} of {}", kills[index].first.fault(), kills[index].first.what)),
                Ok(Some((doubts, replayed))) => {
                    tally.killed += 1;
                    tally.in_doubt += doubts;
                    tally.replayed += replayed;
                    tally.effects.insert(kills[index].first.number);
                    tally.whats.insert(kills[index].first.what.clone());
                }
                Err(wrong) => {
                    tally.killed += 1;
                    tally.wrong.push(wrong);
                }
            }
        }
    };
    std::thread::scope(|threads| (0..AT_ONCE).for_each(|_| drop(threads.spawn(work))));
    tally.into_inner().expect("no test thread panics")
}

/// Kills a run, goes on with it to its end, and compares. Answers how often it was in doubt, and how many stages were replayed.
fn one(scene: &Scene<'_>, reference: &Left, kill: &Kill, index: usize) -> Result<Option<(u32, usize)>, String> {
    // what arrives in pieces does so in more or in fewer: in this run it may be a delivery, which has no such moment
    let moments = if kill.first.moment == Moment::Before { vec![Moment::Before, Moment::Between] } else { vec![kill.first.moment] };
    let named =
        |error: String| format!("== {} {:?} ({} {}): {error}", kill.first.fault(), kill.second, kill.first.what, kill.first.subject);
    let mut killed = None;
    for moment in moments {
        let trial = Trial::new(scene);
        let first = trial.exec(Some(&Point { moment, ..kill.first.clone() }.fault()));
        match first.code {
            137 => killed = Some(trial),
            0 => continue,
            code => return Err(named(format!("the first run ended with {code}\n{}\n{}", first.stdout, first.stderr))),
        }
        break;
    }
    let Some(trial) = killed else { return Ok(None) };
    let cut_at = trial.cut_at();
    let careless = ["commands.", "docker.", "kubernetes.exec"].iter().any(|of| cut_at.starts_with(of)) || kill.second.is_some();
    let doubts = trial.go_on(kill.second.as_deref(), index).map_err(named)?;
    let left = trial.left().map_err(named)?;
    reference.compare(&left, careless).map_err(named)?;
    let replayed = if index.is_multiple_of(REPLAYED) { trial.replays().map_err(named)? } else { 0 };
    Ok(Some((doubts, replayed)))
}

/// Runs the scene without a fault: what is left of it, and every point at which it can be killed.
fn reference(scene: &Scene<'_>) -> (Left, Vec<Point>, usize) {
    let trial = Trial::new(scene);
    trial.exec(None).expect(0);
    let left = trial.left().unwrap_or_else(|error| panic!("{error}"));
    let points = trial.points();
    let replayed = trial.replays().unwrap_or_else(|error| panic!("the run that nobody killed: {error}"));
    (left, points, replayed)
}

/// One moment of each effect, each in turn, and every moment of what must not happen twice; then the others. And how many the first are.
fn in_turn(points: &[Point]) -> (Vec<Kill>, usize) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let numbers: BTreeSet<u64> = points.iter().map(|point| point.number).collect();
    for number in numbers {
        let of: Vec<&Point> = points.iter().filter(|point| point.number == number).collect();
        let chosen = number as usize % of.len();
        for (index, point) in of.into_iter().enumerate() {
            let kill = Kill { first: point.clone(), second: None };
            if index == chosen || point.delicate { first.push(kill) } else { rest.push(kill) }
        }
    }
    let must = first.len();
    // spread over all effects, for when there is not the time for all
    let spread = (0..7).flat_map(|offset| rest.iter().skip(offset).step_by(7).cloned().collect::<Vec<_>>());
    first.extend(spread);
    (first, must)
}

#[track_caller]
fn killed_everywhere(scene: &Scene<'_>, time: Duration, whats: &[&str]) {
    let began = Instant::now();
    let (left, mut points, replayed) = reference(scene);
    points.retain(|point| scene.tries(&point.what));
    let (kills, must) = in_turn(&points);
    let mut tally = try_all(scene, &left, &kills, must, time);
    tally.replayed += replayed;
    let missing: Vec<_> = whats.iter().filter(|what| !tally.whats.contains(**what)).collect();
    let nothing_wrong = tally.wrong.is_empty();
    tally.end(scene.name, began);
    assert!(!nothing_wrong || missing.is_empty(), "never killed at {missing:?}");
}

/// Files, requests of every class through both interfaces, commands that must not run twice, waiting; with a stage that is done and one that
/// waits.
#[test]
fn a_stage_whose_effects_happen_once_goes_on_from_every_effect() {
    if !confined(RUNNER, "a_stage_whose_effects_happen_once_goes_on_from_every_effect") {
        return;
    }
    let whats = [
        "commands.exit",
        "commands.start",
        "files.fingerprint",
        "files.link",
        "files.list",
        "files.make-directory",
        "files.make-symlink",
        "files.open",
        "files.read",
        "files.read-link",
        "files.remove-directory",
        "files.remove-file",
        "files.rename",
        "files.set-size",
        "files.set-times",
        "files.stat",
        "files.sync",
        "files.write",
        "http.body",
        "http.head",
        "http.request",
        "poll",
    ];
    let _turn = TURN.lock();
    killed_everywhere(&scene::ONCE, Duration::from_secs(50), &whats);
}

/// Commands that may run twice and a server in the background, in the workspace itself.
#[test]
fn a_stage_with_a_server_in_the_background_goes_on_from_every_effect() {
    if !confined(RUNNER, "a_stage_with_a_server_in_the_background_goes_on_from_every_effect") {
        return;
    }
    let whats = ["commands.exit", "commands.start", "commands.wait-any", "files.write", "http.body", "http.request"];
    let _turn = TURN.lock();
    killed_everywhere(&scene::AGAIN, Duration::from_secs(15), &whats);
}

/// An image that is built, named, pushed, pulled and removed, and containers of it.
#[test]
fn a_stage_with_images_and_containers_goes_on_from_every_effect() {
    let test = "a_stage_with_images_and_containers_goes_on_from_every_effect";
    let (Some(engine), Some(_)) = (docker(test), image_registry(test)) else { return };
    let whats = [
        "docker.build",
        "docker.copy",
        "docker.exec",
        "docker.exit",
        "docker.inspect",
        "docker.list",
        "docker.pull",
        "docker.push",
        "docker.remove",
        "docker.run",
        "docker.save",
        "docker.state",
        "docker.tag",
        "docker.wait-any",
    ];
    killed_everywhere(&scene::IMAGES, Duration::ZERO, &whats);
    engine.nothing_left();
}

/// Objects of a cluster that are made, changed in every way, and taken away; and a Pod that is entered.
#[test]
fn a_stage_with_objects_of_a_cluster_goes_on_from_every_effect() {
    let Some(cluster) = cluster("a_stage_with_objects_of_a_cluster_goes_on_from_every_effect") else { return };
    let tools = scene::Tools::of(&cluster);
    let whats = [
        "kubernetes.apply",
        "kubernetes.create",
        "kubernetes.delete",
        "kubernetes.event",
        "kubernetes.events",
        "kubernetes.exec",
        "kubernetes.forward",
        "kubernetes.get",
        "kubernetes.history",
        "kubernetes.list",
        "kubernetes.log",
        "kubernetes.logs",
        "kubernetes.patch",
        "kubernetes.pause",
        "kubernetes.restart",
        "kubernetes.scale",
        "kubernetes.settled",
        "kubernetes.status",
        "kubernetes.undo",
        "kubernetes.wait",
        "kubernetes.wait-any",
        "kubernetes.watch",
        "kubernetes.way-back",
    ];
    killed_everywhere(&scene::CLUSTER.in_cluster(&tools), Duration::ZERO, &whats);
}

/// A run is killed, resumed, killed and resumed.
#[test]
fn a_resume_that_is_killed_as_well_is_resumed() {
    if !confined(RUNNER, "a_resume_that_is_killed_as_well_is_resumed") {
        return;
    }
    let _turn = TURN.lock();
    let began = Instant::now();
    let (left, points, _) = reference(&scene::ONCE);
    let pairs = 24;
    let kill = |index: usize| {
        let first = points[(index * 2 + 1) * points.len() / (pairs * 2)].clone();
        let moment = [Moment::Before, Moment::Between, Moment::After][index % 3];
        // so many effects after the point at which the first session was killed
        let second = Some(format!("{}:{}", moment.name(), 1 + index * 3 % 20));
        Kill { first, second }
    };
    let kills: Vec<Kill> = (0..pairs).map(kill).collect();
    try_all(&scene::ONCE, &left, &kills, pairs, Duration::ZERO).end("twice", began);
}

/// Two stages run side by side when the runner is killed.
#[test]
fn two_stages_side_by_side_both_go_on() {
    let _turn = TURN.lock();
    let began = Instant::now();
    let (left, points, _) = reference(&scene::BESIDE);
    let wanted = 24;
    let kills: Vec<Kill> =
        (0..wanted).map(|index| Kill { first: points[(index * 2 + 1) * points.len() / (wanted * 2)].clone(), second: None }).collect();
    try_all(&scene::BESIDE, &left, &kills, wanted, Duration::ZERO).end("side by side", began);
}
