//! The one loop of a run: it asks the schedule what to do, does it, and reports back. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{Event, EventSink, FailureKind, GitFacts, Kind, Outcome, PlannedStage, Trigger, Verdict};
use futures::FutureExt;
use host::{Stop, Suspended};
use journal::Journal;
use pipeline::diagnostic::Diagnostic;
use pipeline::facts::Facts;
use pipeline::plan::{Plan, StageIndex};
use schedule::{Action, ApprovalResult, ConditionResult, Input, Options, Signal, StopReason, TurnResult};
use tokio::sync::{mpsc, watch};

use crate::approvals::Approvals;
use crate::attempt::{Attempts, Left, Told};
use crate::groups::{Groups, News};
use crate::now;
use crate::past::Past;
use crate::results::{Results, Settled};
use crate::so_far::{self, Tally};

/// What a run is made of.
pub struct Drive {
    pub plan: Arc<Plan>,
    pub run: String,
    pub options: Options,
    pub attempts: Arc<Attempts>,
    pub sink: Arc<dyn EventSink>,
    /// Of `sink`, the part that shows; and what it is told of what earlier sessions settled.
    pub reports: Arc<dyn EventSink>,
    pub told: Vec<Event>,
    pub journal: Journal,
    /// What was known when it was planned, and what the user should know of it.
    pub facts: Facts,
    pub notices: Vec<String>,
    pub groups: Groups,
    /// What earlier sessions left; none for a new run.
    pub past: Option<Past>,
    /// Part of `sink`: what stages reported.
    pub tally: Arc<Tally>,
    /// SIGINT, SIGTERM and SIGHUP as they come.
    pub signals: mpsc::UnboundedReceiver<Signal>,
}

/// How a run ended.
pub struct Ended {
    pub verdict: Verdict,
    /// It came to its stages. Otherwise they are as earlier sessions left them.
    pub began: bool,
}

/// An attempt that is over.
struct Over {
    stage: StageIndex,
    attempt: u32,
    left: Left,
}

impl Drive {
    /// Runs everything to its end.
    pub async fn run(mut self) -> Ended {
        self.begin();
        let asked = Instant::now();
        if let Err((reason, verdict)) = self.turn_of_run().await {
            self.emit(Kind::Stopping { reason });
            self.emit(Kind::RunFinished { verdict, nanos: asked.elapsed().as_nanos() as u64 });
            return Ended { verdict, began: false };
        }
        let began = Instant::now();
        let plan = self.plan.clone();
        let (told, mut over) = mpsc::unbounded_channel::<Over>();
        let mut stops: Vec<Option<watch::Sender<Stop>>> = (0..plan.stages.len()).map(|_| None).collect();
        let Past { mut schedule, mut results, mut left, earlier } = match self.past.take() {
            Some(past) => past,
            None => Past::none(&plan, self.options.clone()),
        };
        let mut approvals = Approvals::new(self.journal.clone(), self.sink.clone(), earlier);
        let mut inputs = vec![Input::Start];
        loop {
            while let Some(input) = inputs.pop() {
                for action in schedule.handle(input, began.elapsed()) {
                    match action {
                        Action::Evaluate { stage } => {
                            let result = evaluate(&plan, stage, &results);
                            inputs.push(Input::Condition { stage, result });
                        }
                        Action::AskApproval { stage } => match approvals.ask(stage, &plan.stages[stage]) {
                            Ok(()) => {}
                            Err(message) => inputs.push(Input::Approval { stage, result: ApprovalResult::Rejected(message) }),
                        },
                        Action::AskTurn { stage } => {
                            let taker = Some((stage, plan.stages[stage].id.clone()));
                            let concurrency = plan.stages[stage].concurrency.as_ref();
                            let result = concurrency.map_or(Some(TurnResult::Taken), |concurrency| self.groups.ask(taker, concurrency));
                            inputs.extend(result.map(|result| Input::Turn { stage, result }));
                        }
                        Action::Start { stage, attempt } => {
                            if let Some(input) = self.start(stage, attempt, &results, &mut stops, &told) {
                                inputs.push(input);
                            }
                        }
                        Action::Stop { stage, hard, .. } => {
                            if let Some(stop) = &stops[stage] {
                                stop.send_replace(if hard { Stop::Hard } else { Stop::Soft });
                            }
                        }
                        Action::Retry { stage, attempt, outcome, delay } => self.emit(Kind::StageRetrying {
                            stage: plan.stages[stage].id.clone(),
                            attempt,
                            outcome,
                            delay: delay.as_nanos() as u64,
                        }),
                        Action::Settle { stage, attempt, outcome, took } => {
                            let left = left[stage].take().unwrap_or_default();
                            let settled = self.settle(stage, attempt, outcome, took, left);
                            results.settle(stage, settled);
                            self.groups.release(stage);
                        }
                        Action::Stopping(reason) => self.emit(Kind::Stopping { reason: reason.to_string() }),
                        Action::Done(verdict) => {
                            self.emit(Kind::RunFinished { verdict, nanos: began.elapsed().as_nanos() as u64 });
                            return Ended { verdict, began: true };
                        }
                    }
                }
            }
            let wake = schedule.wake_at();
            tokio::select! {
                Some(ended) = over.recv() => {
                    let Over { stage, attempt, left: mut what } = ended;
                    stops[stage] = None;
                    if let Some(Suspended { effect, subject, message }) = what.suspended.take() {
                        let id = plan.stages[stage].id.clone();
                        self.emit(Kind::StageSuspended { stage: id, attempt, effect, subject, message });
                        inputs.push(Input::Suspended { stage, attempt });
                        continue;
                    }
                    let outcome = std::mem::replace(&mut what.outcome, Outcome::Cancelled { message: String::new() });
                    left[stage] = Some(what);
                    inputs.push(Input::Finished { stage, attempt, outcome });
                }
                Some(signal) = self.signals.recv() => inputs.push(Input::Signal(signal)),
                () = until(began, wake) => inputs.push(Input::Tick),
                news = self.groups.news() => inputs.extend(news.into_iter().filter_map(|news| match news {
                    News::Turn(stage, result) => stage.map(|stage| Input::Turn { stage, result }),
                    News::Superseded(by) => Some(Input::Superseded(by)),
                })),
                said = approvals.said() => inputs.extend(said.into_iter().map(|(stage, result)| Input::Approval { stage, result })),
            }
        }
    }

    /// Waits for the turn of the whole run, if it takes one. No time of the run passes meanwhile, and no stage is touched; an error is why
    /// it ends here.
    async fn turn_of_run(&mut self) -> Result<(), (String, Verdict)> {
        let Some(concurrency) = self.plan.concurrency.clone() else { return Ok(()) };
        let mut answer = self.groups.ask(None, &concurrency);
        loop {
            match answer.take() {
                Some(TurnResult::Taken) => return Ok(()),
                Some(TurnResult::Refused(message)) => return Err((message, Verdict::Failed)),
                None => {}
            }
            tokio::select! {
                Some(signal) = self.signals.recv() => {
                    let verdict = if signal == Signal::Interrupt { Verdict::Interrupted } else { Verdict::Terminated };
                    return Err((StopReason::Signal(signal).to_string(), verdict));
                }
                news = self.groups.news() => for news in news {
                    match news {
                        News::Turn(_, result) => answer = Some(result),
                        News::Superseded(by) => return Err((StopReason::Superseded(by).to_string(), Verdict::Interrupted)),
                    }
                },
            }
        }
    }

    /// Says that the run begins, or goes on.
    fn begin(&self) {
        let plan = &self.plan;
        let (runner, run, pipeline) = (env!("CARGO_PKG_VERSION").to_owned(), self.run.clone(), plan.name.clone());
        let (file, jobs, stages) = (plan.file.display().to_string(), self.options.jobs.get(), planned(plan));
        let schema = event::SCHEMA;
        let Some(past) = &self.past else {
            let (git, trigger) = (checkout(&self.facts), Some(trigger(&self.facts)));
            self.emit(Kind::RunStarted { schema, runner, run, pipeline, file, jobs, stages, git, trigger });
            self.notices.iter().for_each(|message| self.emit(Kind::Warning { message: message.clone() }));
            return;
        };
        let (session, settled) = (self.journal.session(), past.settled());
        self.emit(Kind::RunResumed { schema, runner, run, pipeline, file, jobs, session, stages, settled });
        self.told.iter().for_each(|event| self.reports.emit(event));
    }

    /// Starts an attempt; answers at once where it can't even be bound.
    fn start(
        &self,
        stage: StageIndex,
        attempt: u32,
        results: &Results,
        stops: &mut [Option<watch::Sender<Stop>>],
        told: &mpsc::UnboundedSender<Over>,
    ) -> Option<Input> {
        let planned = &self.plan.stages[stage];
        let bound = match planned.bind(results) {
            Ok(bound) => bound,
            Err(mistakes) => {
                let outcome = failed(FailureKind::Misconfigured, self.mistakes(&mistakes));
                return Some(Input::Finished { stage, attempt, outcome });
            }
        };
        let mut consumed = Vec::new();
        for consume in &planned.consumes {
            match results.artifact(consume.stage, &consume.artifact) {
                Some(artifact) => {
                    consumed.push((format!("{}.{}", self.plan.stages[consume.stage].id, consume.artifact), artifact.clone()));
                }
                None => {
                    let from = &self.plan.stages[consume.stage].id;
                    let message = format!("`{from}` left no artifact `{}`", consume.artifact);
                    return Some(Input::Finished { stage, attempt, outcome: failed(FailureKind::Host, message) });
                }
            }
        }
        let ends = so_far::asks(planned).then(|| so_far::needed(&self.plan, stage, results, &self.tally));
        self.emit(Kind::StageStarted {
            stage: planned.id.clone(),
            attempt,
            plugin: planned.plugin.uses.clone(),
            digest: planned.plugin.digest.clone(),
        });
        let (stop, stopped) = watch::channel(Stop::No);
        stops[stage] = Some(stop);
        let (attempts, told) = (self.attempts.clone(), told.clone());
        tokio::spawn(async move {
            // a panic in it is told like any other end: nobody waits for ever
            let running =
                std::panic::AssertUnwindSafe(attempts.run(stage, attempt, Told { bound, consumed, ends }, stopped)).catch_unwind();
            let left = running.await.unwrap_or_else(|_| Left {
                outcome: failed(
                    FailureKind::Host,
                    "a bug in the runner, which has said on its standard error where; please report it".to_owned(),
                ),
                ..Left::default()
            });
            // nobody listens any more only when the run is over
            let _ = told.send(Over { stage, attempt, left });
        });
        None
    }

    fn settle(&self, stage: StageIndex, attempt: u32, outcome: Outcome, took: Duration, left: Left) -> Settled {
        // the outputs of a stage that failed are dropped; its artifacts are kept as their `on` says
        let outputs = if outcome.passed() { left.outputs } else { Vec::new() };
        self.emit(Kind::StageFinished {
            stage: self.plan.stages[stage].id.clone(),
            attempt,
            outcome: outcome.clone(),
            nanos: took.as_nanos() as u64,
            outputs: outputs.clone(),
            artifacts: left.artifacts.clone(),
            log: left.log,
        });
        Settled { outcome, outputs, artifacts: left.artifacts, attempt, took }
    }

    fn mistakes(&self, mistakes: &[Diagnostic]) -> String {
        pipeline::diagnostic::render(mistakes, &self.plan.sources, false).trim_end().to_owned()
    }

    fn emit(&self, kind: Kind) {
        self.sink.emit(&Event { at: now(), kind });
    }
}

/// None outside of a repository.
fn checkout(facts: &Facts) -> Option<GitFacts> {
    let (branch, sha, dirty) = (facts.git_branch.clone(), facts.git_sha.clone(), facts.dirty);
    (branch.is_some() || sha.is_some() || dirty.is_some()).then_some(GitFacts { branch, sha, dirty })
}

fn trigger(facts: &Facts) -> Trigger {
    let (event, trust) = (facts.event.to_string(), facts.trust.to_string());
    Trigger { event, trust, subject: facts.subject(), pipeline_from: facts.pipeline_from.as_ref().map(ToString::to_string) }
}

fn planned(plan: &Plan) -> Vec<PlannedStage> {
    let id = |index: &StageIndex| plan.stages[*index].id.clone();
    plan.stages
        .iter()
        .map(|stage| PlannedStage {
            id: stage.id.clone(),
            uses: stage.plugin.uses.clone(),
            needs: stage.needs.iter().chain(&stage.needs_any).map(id).collect(),
            place: Some(stage.place.clone()),
        })
        .collect()
}

fn evaluate(plan: &Plan, stage: StageIndex, results: &Results) -> ConditionResult {
    match plan.stages[stage].when.as_ref().map(|condition| condition.evaluate(results)) {
        None | Some(Ok(true)) => ConditionResult::True,
        Some(Ok(false)) => ConditionResult::False,
        Some(Err(error)) => ConditionResult::Error(error),
    }
}

fn failed(kind: FailureKind, message: String) -> Outcome {
    Outcome::Failed { kind, message, soft: false, denial: None }
}

async fn until(began: Instant, wake: Option<Duration>) {
    match wake {
        Some(wake) => tokio::time::sleep_until((began + wake).into()).await,
        None => std::future::pending().await,
    }
}
