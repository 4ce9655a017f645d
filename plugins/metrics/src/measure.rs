//! Measures until each metric is decided. Who has a network and a clock is handed in.

use std::time::Duration;

use runner_analysis::{Probe, Side, Standing, Tally, Web, describe};
use runner_sdk::report::{TestCase, TestStatus};

/// Time, and somebody who reads.
pub trait Clock {
    fn now(&self) -> Duration;
    fn pause(&mut self, duration: Duration);
    fn tell(&mut self, line: &str);
}

/// What became of a metric.
pub struct Measured {
    pub case: TestCase,
    /// Why it does not pass.
    pub breach: Option<String>,
    pub last: Option<f64>,
}

/// `epoch`: the moment that `before` means, in seconds since 1970.
pub fn measure(probes: &[Probe], epoch: f64, web: &mut dyn Web, clock: &mut dyn Clock) -> Vec<Measured> {
    let began = clock.now();
    let now_side = Side::default();
    let before = Side { at: Some(epoch), ..Side::default() };
    let mut tallies: Vec<Tally> =
        probes.iter().map(|probe| Tally::new(&probe.name, probe.conditions.clone(), probe.limits, Duration::ZERO)).collect();
    let mut took = vec![Duration::ZERO; probes.len()];
    while let Some((at, due)) = tallies.iter().enumerate().filter_map(|(at, tally)| Some((at, tally.due()?))).min_by_key(|(_, due)| *due) {
        let now = clock.now() - began;
        if due > now {
            clock.pause(due - now);
            continue;
        }
        let reading = probes[at].read(web, &now_side);
        let beside = probes[at].with.map(|_| probes[at].read(web, &before));
        let now = clock.now() - began;
        let standing = tallies[at].take(now, &reading, beside.as_ref()).clone();
        took[at] = now;
        match standing {
            Standing::Open => {}
            Standing::Passed => clock.tell(&format!("✓ {}", probes[at].name)),
            Standing::Held(why) => clock.tell(&format!("… {}: {why}", probes[at].name)),
            Standing::Breached(why) => clock.tell(&format!("✗ {}: {why}", probes[at].name)),
        }
    }
    let measured = |((probe, tally), duration): ((&Probe, &Tally), Duration)| {
        let breach = match tally.standing() {
            Standing::Passed => None,
            Standing::Breached(why) => Some(why.clone()),
            Standing::Open | Standing::Held(_) => Some("it was not decided".to_owned()),
        };
        let status = if breach.is_some() { TestStatus::Failed } else { TestStatus::Passed };
        let message = describe(probe, &now_side, &[tally]).join("\n");
        let last = tally.points().iter().filter_map(|point| point.value).next_back();
        Measured {
            case: TestCase { suite: "metrics".into(), name: probe.name.clone(), status, duration, message, location: None },
            breach,
            last,
        }
    };
    probes.iter().zip(&tallies).zip(took).map(measured).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use runner_analysis::Failed;
    use serde_json::json;

    use super::*;
    use crate::settings::tests::settings;

    #[derive(Default)]
    struct World {
        now: Duration,
        told: Vec<String>,
    }

    impl Clock for World {
        fn now(&self) -> Duration {
            self.now
        }
        fn pause(&mut self, duration: Duration) {
            self.now += duration;
        }
        fn tell(&mut self, line: &str) {
            self.told.push(line.to_owned());
        }
    }

    /// A value for now and one for before; none: no answer.
    struct Prometheus(Option<f64>, Option<f64>);

    impl Web for Prometheus {
        fn get(&mut self, url: &str, _: &BTreeMap<String, String>, _: Duration) -> Result<(u16, Vec<u8>), Failed> {
            let value = if url.ends_with("&time=1000.000") { self.1 } else { self.0 };
            let Some(value) = value else { return Err(Failed::Passing("refused".into())) };
            let result = json!([{ "value": [1, value.to_string()] }]);
            Ok((200, json!({ "status": "success", "data": { "resultType": "vector", "result": result } }).to_string().into_bytes()))
        }
    }

    fn run(metric: serde_json::Value, now: Option<f64>, before: Option<f64>) -> (Vec<Measured>, World) {
        let mut world = World::default();
        let probes = settings(json!([metric])).probes().unwrap();
        let told = measure(&probes, 1000.0, &mut Prometheus(now, before), &mut world);
        (told, world)
    }

    #[test]
    fn each_is_measured_until_it_is_decided() {
        let metric = || json!({ "count": 3, "interval": "10s", "initial-delay": "5s" });
        let (told, world) = run(metric(), Some(0.001), None);
        assert!(told[0].breach.is_none() && told[0].last == Some(0.001) && told[0].case.status == TestStatus::Passed);
        assert_eq!((world.now, world.told.as_slice()), (Duration::from_secs(25), &["✓ errors".to_owned()][..]));
        let (told, world) = run(metric(), Some(0.5), None);
        assert_eq!(told[0].breach.as_deref(), Some("0.5 does not keep `result <= 0.01`"));
        assert_eq!(world.now, Duration::from_secs(5));
        for part in ["query      errors", "threshold  success", "breached   0.5"] {
            assert!(told[0].case.message.contains(part), "{}", told[0].case.message);
        }
    }

    #[test]
    fn it_never_fails_open() {
        for value in [None, Some(f64::NAN)] {
            let (told, _) = run(json!({ "interval": "10s" }), value, None);
            assert!(told[0].breach.is_some() && told[0].case.status == TestStatus::Failed, "{value:?}");
        }
        let compared = json!({ "success": "ratio <= 1.2", "compare": { "with": "before" }, "interval": "1s" });
        for (now, before, passes) in [(1.1, Some(1.0), true), (1.3, Some(1.0), false), (1.1, None, false)] {
            let (told, _) = run(compared.clone(), Some(now), before);
            assert_eq!(told[0].breach.is_none(), passes, "{now} {before:?}: {:?}", told[0].breach);
        }
    }
}
