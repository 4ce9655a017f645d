//! What recording costs on this machine: `cargo run -p journal --example cost`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use event::{Event, EventSink, Kind, StageRef};
use journal::{Begin, Class, Delivery, Header, Intent, Journal, Reply};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[allow(clippy::print_stdout, reason = "it is what it is for")]
fn say(what: &str, total: Duration, count: u32) {
    println!("{what:<58} {:>10.1} µs each, {count} of them", total.as_secs_f64() * 1e6 / f64::from(count));
}

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| -> std::io::Result<_> {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).map(|()| path)
    };

    let mut times = Vec::new();
    for number in 0..101 {
        let folder = at(&format!("empty-{number}"))?;
        let start = Instant::now();
        Journal::create(&folder, &header())?.close()?;
        times.push(start.elapsed());
    }
    times.sort();
    say("create and close, the fastest", times[0], 1);
    say("create and close, the middle", times[50], 1);
    say("create and close, the slowest of ten", times[90], 1);

    let journal = Journal::create(&at("records")?, &header())?;
    let record = journal.begin(&begin(), 64 << 20)?;
    let mut position = 0;
    let mut effects = |class, count: u32, promptly| -> Result<Duration, journal::JournalError> {
        let start = Instant::now();
        for _ in 0..count {
            let (request, seen) = (r#"{"path":"src/main.rs","flags":["read"]}"#, r#"{"kind":"file"}"#);
            record.intent(&Intent { position, effect: "files.open", class, subject: "src/main.rs", asked: [7; 32], request, seen })?;
            record.reply(&Reply { position, clock: position * 1000, body: r#"{"ok":3}"#, promptly })?;
            position += 1;
        }
        Ok(start.elapsed())
    };
    say("an idempotent intent and its lazy reply", effects(Class::Idempotent, 10_000, false)?, 10_000);
    say("an idempotent intent and its prompt reply", effects(Class::Idempotent, 2_000, true)?, 2_000);
    say("a read's intent and its reply", effects(Class::Read, 10_000, false)?, 10_000);
    say("an intent of class once and its prompt reply", effects(Class::Once, 50, true)?, 50);
    for (what, size, count) in [
        ("a delivery without bytes", 0, 20_000),
        ("a delivery with 1 KiB", 1 << 10, 20_000),
        ("a delivery with 64 KiB", 64 << 10, 500),
        ("a delivery with 1 MiB, beyond the limit", 1 << 20, 200),
    ] {
        let start = Instant::now();
        for number in 0..count {
            let mut bytes = vec![1; size];
            if size > 3 {
                bytes[..4].copy_from_slice(&u32::to_le_bytes(number));
            }
            let bytes = Bytes::from(bytes);
            let delivery = Delivery {
                position,
                clock: 1,
                what: "files.read",
                subject: "src/main.rs",
                asked: [7; 32],
                body: "{}",
                bytes: &bytes,
                secret: false,
            };
            record.delivered(&delivery, false)?;
            position += 1;
        }
        journal.flush()?;
        say(what, start.elapsed(), count);
    }
    drop(record);
    let start = Instant::now();
    journal.close()?;
    say("close what was recorded", start.elapsed(), 1);
    let size = std::fs::metadata(folder.path().join("records/journal.sqlite3"))?.len();
    #[allow(clippy::print_stdout, reason = "it is what it is for")]
    {
        println!("{size} bytes for {position} positions");
    }

    let journal = Journal::create(&at("growth")?, &header())?;
    let record = journal.begin(&begin(), 64 << 20)?;
    for position in 0..10_000 {
        let (request, seen) = (r#"{"path":"src/main.rs","flags":["read"]}"#, r#"{"kind":"file"}"#);
        let intent = Intent { position, effect: "files.open", class: Class::Read, subject: "src/main.rs", asked: [7; 32], request, seen };
        record.intent(&intent)?;
        record.reply(&Reply { position, clock: 1, body: r#"{"ok":3}"#, promptly: false })?;
    }
    drop(record);
    journal.close()?;
    let size = std::fs::metadata(folder.path().join("growth/journal.sqlite3"))?.len();
    #[allow(clippy::print_stdout, reason = "it is what it is for")]
    {
        println!("{:.0} bytes of the database an effect", size as f64 / 10_000.0);
    }
    let start = Instant::now();
    let journal = Journal::resume(&folder.path().join("growth"))?;
    let record = journal.begin(&begin(), 64 << 20)?;
    for position in 0..record.len() {
        record.at(position)?;
    }
    say("resume and read 10,000 effects", start.elapsed(), 1);
    drop(record);
    journal.close()?;

    let journal = Journal::create(&at("events")?, &header())?;
    let stage = StageRef::new("test (app=backend)");
    let start = Instant::now();
    for number in 0..20_000 {
        let digest = "0".repeat(64);
        journal.emit(&Event {
            at: number,
            kind: Kind::StageStarted { stage: stage.clone(), attempt: number as u32, plugin: "test".to_owned(), digest },
        });
    }
    journal.flush()?;
    say("20,000 events", start.elapsed(), 1);
    journal.close()?;

    let journal = Journal::create(&at("threads")?, &header())?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let record = journal.begin(&Begin { attempt: number, ..begin() }, 0)?;
            scope.spawn(move || crossings(&record));
        }
        Ok::<_, journal::JournalError>(())
    })?;
    say("an idempotent intent, of 4 threads", start.elapsed(), 8_000);
    journal.close()?;
    Ok(())
}

fn crossings(record: &Arc<journal::AttemptRecord>) {
    for position in 0..2_000 {
        let intent = Intent {
            position,
            effect: "files.write",
            class: Class::Idempotent,
            subject: "out.txt",
            asked: [1; 32],
            request: "{}",
            seen: "{}",
        };
        record.intent(&intent).expect("it can be written");
        record.reply(&Reply { position, clock: 1, body: "{}", promptly: false }).expect("it can be written");
    }
}

fn header() -> Header {
    Header {
        run: "run".to_owned(),
        pipeline: "shop".to_owned(),
        file: "pipeline.toml".to_owned(),
        root: "/srv/shop".into(),
        text: "format = 1\n".repeat(200),
        inputs: Vec::new(),
        git_branch: None,
        git_sha: None,
        facts: String::new(),
        included: Vec::new(),
        unconfined: false,
        jobs: 2,
        fail_fast: false,
        grace: Duration::from_secs(10),
        only: Vec::new(),
        skip: Vec::new(),
        seed: [3; 32],
        runner: "0.1.0".to_owned(),
        engine: "48".to_owned(),
        started: 1,
    }
}

fn begin() -> Begin {
    Begin {
        stage: StageRef::new("test (app=backend)"),
        attempt: 1,
        name: "test".to_owned(),
        uses: "test".to_owned(),
        plugin: "0".repeat(64),
        epoch: 1,
        context: "{}".to_owned(),
    }
}
