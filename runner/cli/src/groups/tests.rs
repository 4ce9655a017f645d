//! Turns of runs that are processes elsewhere: here each is a `Groups` of its own, since a lock belongs to an open file.

use std::sync::Mutex;

use super::*;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl EventSink for Heard {
    fn emit(&self, event: &Event) {
        if let Kind::GroupWaiting { stage, holder, holder_stage, .. } = &event.kind {
            let line = format!("{stage:?} {} {}", holder.clone().unwrap_or_default(), holder_stage.clone().unwrap_or_default());
            self.0.lock().unwrap().push(line);
        }
    }
}

struct Machine {
    folder: tempfile::TempDir,
    heard: Arc<Heard>,
}

impl Machine {
    fn new() -> Machine {
        Machine { folder: tempfile::tempdir().unwrap(), heard: Arc::default() }
    }

    fn run(&self, id: &str) -> Groups {
        Groups::new(self.folder.path().to_owned(), id, self.heard.clone())
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

fn stage(index: StageIndex) -> Taker {
    Some((index, StageRef::new("deploy")))
}

fn deploy(on_busy: OnBusy) -> Concurrency {
    Concurrency { group: "deploy/production".to_owned(), on_busy }
}

#[test]
fn who_came_first_has_its_turn_first() {
    let machine = Machine::new();
    let (mut one, mut two, mut three) = (machine.run("1"), machine.run("2"), machine.run("3"));
    let queue = deploy(OnBusy::Queue);
    assert_eq!(one.ask(stage(4), &queue), Some(TurnResult::Taken));
    assert_eq!(two.ask(stage(0), &queue), None);
    assert_eq!(three.ask(None, &queue), None);
    assert_eq!(machine.heard(), ["Some(\"deploy\") 1 deploy", "None 1 deploy"]);
    assert_eq!((two.look(), three.look()), (vec![], vec![]));
    assert_eq!(machine.heard(), [""; 0], "nothing new");
    one.release(5);
    assert_eq!(two.look(), vec![], "that was another stage");
    one.release(4);
    assert_eq!(three.look(), vec![], "the second is before it");
    assert_eq!(two.look(), vec![News::Turn(Some(0), TurnResult::Taken)]);
    assert_eq!(three.look(), vec![]);
    // a run that ends, however it ends, lets go of all that it has
    drop(two);
    assert_eq!(three.look(), vec![News::Turn(None, TurnResult::Taken)]);
    // what the whole run has its stages have, and other groups are other groups
    assert_eq!(three.ask(stage(1), &queue), Some(TurnResult::Taken));
    let other = Concurrency { group: "deploy-production".to_owned(), on_busy: OnBusy::Fail };
    assert_eq!(one.ask(stage(1), &other), Some(TurnResult::Taken));
}

#[test]
fn one_that_gives_up_waiting_is_passed_over() {
    let machine = Machine::new();
    let (mut one, mut two, mut three) = (machine.run("1"), machine.run("2"), machine.run("3"));
    let queue = deploy(OnBusy::Queue);
    one.ask(stage(0), &queue);
    two.ask(stage(0), &queue);
    three.ask(stage(0), &queue);
    two.release(0);
    drop(one);
    assert_eq!(three.look(), vec![News::Turn(Some(0), TurnResult::Taken)]);
}

#[test]
fn stages_of_one_run_take_turns_whatever_is_to_become_of_others() {
    let machine = Machine::new();
    for on_busy in [OnBusy::Queue, OnBusy::CancelOlder, OnBusy::Fail] {
        let mut run = machine.run("1");
        assert_eq!(run.ask(stage(0), &deploy(on_busy)), Some(TurnResult::Taken));
        assert_eq!(run.ask(stage(1), &deploy(on_busy)), None, "{on_busy:?}");
        assert_eq!(run.look(), vec![]);
        run.release(0);
        assert_eq!(run.look(), vec![News::Turn(Some(1), TurnResult::Taken)]);
    }
}

#[test]
fn one_that_is_not_to_wait_is_told_who_has_it() {
    let machine = Machine::new();
    let (mut one, mut two) = (machine.run("1"), machine.run("2"));
    one.ask(stage(0), &deploy(OnBusy::Queue));
    let Some(TurnResult::Refused(message)) = two.ask(stage(0), &deploy(OnBusy::Fail)) else { panic!("it is refused") };
    assert_eq!(message, format!("the group `deploy/production` is held by stage `deploy` of run 1 (process {})", std::process::id()));
    drop(one);
    assert_eq!(two.ask(stage(0), &deploy(OnBusy::Fail)), Some(TurnResult::Taken), "it left nothing in the queue");
}

#[test]
fn the_newest_run_has_the_others_stopped() {
    let machine = Machine::new();
    let (mut one, mut two, mut three) = (machine.run("1"), machine.run("2"), machine.run("3"));
    one.ask(stage(0), &deploy(OnBusy::Queue));
    two.ask(stage(0), &deploy(OnBusy::Queue));
    assert_eq!(three.ask(stage(0), &deploy(OnBusy::CancelOlder)), None);
    assert_eq!(one.look(), vec![News::Superseded("3".to_owned())], "it has it");
    assert_eq!(one.look(), vec![], "it is told once");
    assert_eq!(two.look(), vec![News::Superseded("3".to_owned())], "it waits for it");
    // an older one that comes late does not stop a newer one
    drop((one, two));
    assert_eq!(three.look(), vec![News::Turn(Some(0), TurnResult::Taken)]);
    let mut late = machine.run("2");
    assert_eq!(late.ask(stage(0), &deploy(OnBusy::CancelOlder)), None);
    assert_eq!(late.look(), vec![News::Superseded("3".to_owned())]);
    assert_eq!(three.look(), vec![]);
}

#[test]
fn a_folder_that_can_not_be_made_is_said() {
    let machine = Machine::new();
    std::fs::write(machine.folder.path().join("file"), "").unwrap();
    let mut run = Groups::new(machine.folder.path().join("file/x"), "1", machine.heard.clone());
    let Some(TurnResult::Refused(message)) = run.ask(stage(0), &deploy(OnBusy::Queue)) else { panic!("it is refused") };
    assert!(message.contains("XDG_STATE_HOME"), "{message}");
}
