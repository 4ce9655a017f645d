use event::{Event, EventSink, Kind};
use proptest::prelude::*;

use super::bench;
use super::sample::*;
use crate::*;

#[derive(Debug, Clone, Copy)]
enum Act {
    Read,
    Idempotent,
    Deliver(usize),
    Deny,
    Wait,
    Event,
    Flush,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Read),
        2 => Just(Act::Idempotent),
        4 => (0..9000_usize).prop_map(Act::Deliver),
        1 => Just(Act::Deny),
        1 => Just(Act::Wait),
        3 => Just(Act::Event),
        1 => Just(Act::Flush),
    ];
    prop::collection::vec(act, 0..60)
}

fn perform(journal: &Journal, record: &AttemptRecord, attempt: u32, acts: &[Act]) {
    let mut position = 0;
    for (number, act) in acts.iter().enumerate() {
        match *act {
            Act::Read | Act::Idempotent => {
                let class = if matches!(act, Act::Read) { Class::Read } else { Class::Idempotent };
                record.intent(&intent(position, class)).unwrap();
                record.reply(&reply(position, "{}", false)).unwrap();
            }
            Act::Deliver(length) => record.delivered(&delivery(position, &body(length)), length % 7 == 0).unwrap(),
            Act::Deny => record.denied(&Denied { position, clock: 0, asked: [0; 32], denial: &denial() }).unwrap(),
            Act::Wait => {
                record.waiting(&Waiting { position, what: "poll", asked: [0; 32], until: None }).unwrap();
                record.delivered(&delivery(position, &body(0)), false).unwrap();
            }
            Act::Event => {
                let kind = Kind::Warning { message: format!("{attempt} {number}") };
                journal.emit(&Event { at: 0, kind });
                continue;
            }
            Act::Flush => {
                journal.flush().unwrap();
                continue;
            }
        }
        position += 1;
    }
}

/// The numbers of all rows, and each attempt's positions in the order of those numbers.
pub fn numbers(reader: &Reader) -> (Vec<u64>, Vec<(i64, u64)>) {
    reader
        .read(|source| {
            let mut statement = source
                .connection
                .prepare("SELECT seq, attempt, position FROM record UNION ALL SELECT seq, NULL, NULL FROM event ORDER BY seq")
                .unwrap();
            let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?))).unwrap();
            let rows: Vec<(i64, Option<i64>, Option<i64>)> = rows.collect::<Result<_, _>>().unwrap();
            let positions = rows.iter().filter_map(|(_, attempt, position)| Some(((*attempt)?, (*position)? as u64))).collect();
            Ok((rows.iter().map(|(seq, ..)| *seq as u64).collect(), positions))
        })
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn four_threads_keep_their_order(acts in prop::collection::vec(acts(), 4)) {
        let bench = bench();
        let journal = Journal::create(&bench.folder, &header()).unwrap();
        std::thread::scope(|scope| {
            for (attempt, acts) in (1..).zip(&acts) {
                let record = journal.begin(&Begin { attempt, ..begin() }, u64::MAX).unwrap();
                let journal = &journal;
                scope.spawn(move || perform(journal, &record, attempt, acts));
            }
        });
        journal.close().unwrap();
        check(&bench.folder).unwrap();
        let reader = Reader::open(&bench.folder).unwrap();
        let (seqs, positions) = numbers(&reader);
        prop_assert!(seqs.is_sorted_by(|one, next| one < next));
        let events: Vec<String> = reader.events().unwrap().into_iter().map(|event| match event.kind {
            Kind::Warning { message } => message,
            other => panic!("{other:?}"),
        }).collect();
        for (attempt, acts) in (1..).zip(&acts) {
            let count = acts.iter().filter(|act| !matches!(act, Act::Event | Act::Flush)).count() as u64;
            let mine: Vec<u64> = positions.iter().filter(|(id, _)| *id == attempt).map(|(_, position)| *position).collect();
            prop_assert_eq!(mine, (0..count).collect::<Vec<_>>());
            let told: Vec<_> = acts.iter().enumerate().filter(|(_, act)| matches!(act, Act::Event)).map(|(number, _)| format!("{attempt} {number}")).collect();
            let prefix = format!("{attempt} ");
            prop_assert_eq!(events.iter().filter(|text| text.starts_with(&prefix)).cloned().collect::<Vec<_>>(), told);
        }
    }
}
