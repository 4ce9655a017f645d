//! One metric over time: when it is measured, what each measurement says, and when that is enough.

use std::fmt;
use std::time::Duration;

use crate::compare::{Judgement, Margins, compare};
use crate::condition::{Condition, Values};
use crate::describe::number;
use crate::reading::Reading;

/// So many of the last measurements are compared by their ranks.
const WINDOW: usize = 500;

/// What makes a number good or bad. Each that there is has to be content.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub success: Option<Condition>,
    pub failure: Option<Condition>,
    /// The measurements of both sides so far, compared with each other.
    pub ranks: Option<Margins>,
}

/// ``success `result <= 0.01`, no worse by ranks``
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.success.iter().map(|condition| format!("success `{}`", condition.source())));
        parts.extend(self.failure.iter().map(|condition| format!("failure `{}`", condition.source())));
        parts.extend(self.ranks.iter().map(|margins| {
            format!("no worse by ranks (confidence {}, tolerance {}, ratio {})", margins.confidence, margins.fraction, margins.allowed)
        }));
        f.write_str(&parts.join(", "))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub interval: Duration,
    pub initial_delay: Duration,
    /// How many measurements that say something; none: as long as it is asked, which never passes by itself.
    pub count: Option<u32>,
    /// How many may fail in all.
    pub failures: u32,
    /// How many may break one after the other.
    pub errors: u32,
    /// How many may say nothing in all.
    pub inconclusive: u32,
    /// The least observations behind a number.
    pub minimum: u64,
}

/// A measurement, for the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub at: Duration,
    pub value: Option<f64>,
    pub stable: Option<f64>,
}

/// How a metric stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against going on; it is not enough to pass.
    Open,
    /// The last measurement said nothing: nobody goes on until one does.
    Held(String),
    Passed,
    Breached(String),
}

#[derive(Debug, Clone)]
pub struct Tally {
    name: String,
    conditions: Conditions,
    limits: Limits,
    points: Vec<Point>,
    since: Duration,
    next: Duration,
    conclusive: u32,
    failures: u32,
    errors: u32,
    inconclusive: u32,
    standing: Standing,
}

enum Said {
    Success,
    Failure(String),
    /// It is well, and too little yet to count.
    Gathering,
    Nothing(String),
    Error(String),
}

impl Tally {
    /// `now`: when the analysis begins.
    pub fn new(name: &str, conditions: Conditions, limits: Limits, now: Duration) -> Tally {
        Tally {
            name: name.to_owned(),
            conditions,
            limits,
            points: Vec::new(),
            since: now,
            next: now + limits.initial_delay,
            conclusive: 0,
            failures: 0,
            errors: 0,
            inconclusive: 0,
            standing: Standing::Open,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// When it is to be measured next; none when it is decided.
    pub fn due(&self) -> Option<Duration> {
        match self.standing {
            Standing::Open | Standing::Held(_) => Some(self.next),
            Standing::Passed | Standing::Breached(_) => None,
        }
    }

    /// Takes a measurement of the canary and, where it is compared, of the stable version.
    pub fn take(&mut self, now: Duration, reading: &Reading, stable: Option<&Reading>) -> &Standing {
        if self.due().is_none() {
            return &self.standing;
        }
        let value = |reading: &Reading| match reading {
            Reading::Number { value, .. } => Some(*value),
            _ => None,
        };
        self.points.push(Point { at: now - self.since.min(now), value: value(reading), stable: stable.and_then(value) });
        self.next = now + self.limits.interval;
        let said = self.said(reading, stable);
        if !matches!(said, Said::Error(_)) {
            self.errors = 0;
        }
        self.standing = match said {
            Said::Success => {
                self.conclusive += 1;
                self.enough()
            }
            Said::Gathering => Standing::Open,
            Said::Failure(why) => {
                self.conclusive += 1;
                self.failures += 1;
                if self.failures > self.limits.failures { Standing::Breached(why) } else { self.enough() }
            }
            Said::Nothing(why) => {
                self.inconclusive += 1;
                let over = self.inconclusive > self.limits.inconclusive;
                if over {
                    Standing::Breached(format!("{} measurements said nothing; the last: {why}", self.inconclusive))
                } else {
                    Standing::Held(why)
                }
            }
            Said::Error(why) => {
                self.errors += 1;
                let over = self.errors > self.limits.errors;
                if over {
                    Standing::Breached(format!("{} measurements in a row broke; the last: {why}", self.errors))
                } else {
                    Standing::Held(why)
                }
            }
        };
        &self.standing
    }

    fn enough(&self) -> Standing {
        if self.limits.count.is_some_and(|count| self.conclusive >= count.max(1)) { Standing::Passed } else { Standing::Open }
    }

    fn said(&self, reading: &Reading, stable: Option<&Reading>) -> Said {
        let mut numbers = [None, None];
        for (place, reading) in [Some(reading), stable].into_iter().enumerate() {
            let whose = if place == 0 { "the canary" } else { "what it is compared with" };
            numbers[place] = match reading {
                None => None,
                Some(Reading::Nothing(why)) => return Said::Nothing(format!("{whose}: {why}")),
                Some(Reading::Broken(why)) => return Said::Error(format!("{whose}: {why}")),
                Some(Reading::Number { value, .. }) if !value.is_finite() => return Said::Nothing(format!("{whose}: {value}")),
                Some(Reading::Number { of: Some(of), .. }) if *of < self.limits.minimum => {
                    return Said::Nothing(format!("{whose}: {of} observations, and {} are the least", self.limits.minimum));
                }
                Some(Reading::Number { of: None, .. }) if self.limits.minimum > 0 => {
                    return Said::Nothing(format!(
                        "{whose}: nobody says of how many observations, and {} are the least",
                        self.limits.minimum
                    ));
                }
                Some(Reading::Number { value, .. }) => Some(*value),
            };
        }
        let Some(result) = numbers[0] else { return Said::Nothing("nothing was measured".to_owned()) };
        let values = Values { result, stable: numbers[1] };
        let beside = numbers[1].map(|stable| format!(" beside {}", number(stable))).unwrap_or_default();
        let told = number(result);
        let holds = |condition: &Option<Condition>| condition.as_ref().map(|condition| condition.holds(values)).transpose();
        match (holds(&self.conditions.failure), holds(&self.conditions.success)) {
            // what can't be told is no answer, even if the other condition has one; but a failure that is certain is one
            (Ok(Some(true)), _) => {
                let source = self.conditions.failure.as_ref().map(Condition::source).unwrap_or_default();
                Said::Failure(format!("{told}{beside} is a failure by `{source}`"))
            }
            (Err(why), _) | (_, Err(why)) => Said::Nothing(why),
            (Ok(_), Ok(Some(true))) | (Ok(Some(false)), Ok(None)) => self.by_ranks(),
            (Ok(None), Ok(Some(false))) => {
                let source = self.conditions.success.as_ref().map(Condition::source).unwrap_or_default();
                Said::Failure(format!("{told}{beside} does not keep `{source}`"))
            }
            (Ok(Some(false)), Ok(Some(false))) => Said::Nothing(format!("{told}{beside} is neither a success nor a failure")),
            (Ok(None), Ok(None)) if self.conditions.ranks.is_some() => self.by_ranks(),
            (Ok(None), Ok(None)) => Said::Nothing("there is no condition that could tell".to_owned()),
        }
    }

    /// What the measurements of both sides say together, the last one included.
    fn by_ranks(&self) -> Said {
        let Some(margins) = &self.conditions.ranks else { return Said::Success };
        let last = &self.points[self.points.len().saturating_sub(WINDOW)..];
        let both: (Vec<f64>, Vec<f64>) = last.iter().filter_map(|point| point.value.zip(point.stable)).unzip();
        if both.0.len() < margins.minimum {
            return Said::Gathering;
        }
        match compare(&both.0, &both.1, margins) {
            Judgement::Pass(_) => Said::Success,
            Judgement::Inconclusive(why) => Said::Nothing(why),
            Judgement::High(told) | Judgement::Low(told) => Said::Failure(format!(
                "{} measurements are worse than those it is compared with: shifted by {:.4} ({:.4} to {:.4}), {:.3} times the mean, p = {:.4}, effect size {:.2}",
                both.0.len(),
                told.estimate,
                told.low,
                told.high,
                told.ratio,
                told.p,
                told.effect
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        interval: Duration::from_secs(10),
        initial_delay: Duration::from_secs(30),
        count: Some(3),
        failures: 1,
        errors: 2,
        inconclusive: 2,
        minimum: 0,
    };

    fn tally(success: Option<&str>, failure: Option<&str>, limits: Limits) -> Tally {
        let condition = |source: Option<&str>| source.map(|source| Condition::parse(source).unwrap());
        let conditions = Conditions { success: condition(success), failure: condition(failure), ranks: None };
        Tally::new("errors", conditions, limits, Duration::ZERO)
    }

    fn word(standing: &Standing) -> &'static str {
        match standing {
            Standing::Open => "open",
            Standing::Held(_) => "held",
            Standing::Passed => "passed",
            Standing::Breached(_) => "breached",
        }
    }

    #[test]
    fn measurements_add_up() {
        let nothing = || Reading::Nothing("no series".to_owned());
        let broken = || Reading::Broken("refused".to_owned());
        let number = Reading::number;
        for (wanted, readings) in [
            (vec!["open", "open", "passed"], vec![number(0.0), number(0.0), number(0.0)]),
            (vec!["open", "open", "passed"], vec![number(0.9), number(0.0), number(0.0)]),
            (vec!["open", "breached"], vec![number(0.9), number(0.9), number(0.0)]),
            (vec!["held", "held", "breached"], vec![nothing(), nothing(), nothing()]),
            (vec!["held", "held", "breached"], vec![number(f64::NAN), number(f64::INFINITY), number(f64::NAN)]),
            (vec!["held", "open", "held", "open", "breached"], vec![nothing(), number(0.0), nothing(), number(0.0), nothing()]),
            (vec!["held", "held", "breached"], vec![broken(), broken(), broken()]),
            // one that answers again has answered; but it takes as many answers as ever to pass
            (
                vec!["held", "held", "open", "held", "open", "passed"],
                vec![broken(), broken(), number(0.0), broken(), number(0.0), number(0.0)],
            ),
            (vec!["held"], vec![Reading::Number { value: f64::NAN, of: None }]),
        ] {
            let mut tally = tally(Some("result < 0.5"), None, LIMITS);
            let told: Vec<_> = readings.iter().take(wanted.len()).map(|reading| word(tally.take(Duration::ZERO, reading, None))).collect();
            assert_eq!(told, wanted, "{readings:?}");
        }
    }

    #[test]
    fn what_a_number_says() {
        for (wanted, success, failure, value) in [
            ("open", Some("result < 1.0"), Some("result > 2.0"), 0.5),
            ("held", Some("result < 1.0"), Some("result > 2.0"), 1.5),
            ("breached", Some("result < 1.0"), Some("result > 2.0"), 2.5),
            ("open", None, Some("result > 2.0"), 0.5),
            ("breached", None, Some("result > 2.0"), 2.5),
            ("breached", Some("result < 1.0"), None, 1.5),
            ("held", None, None, 0.0),
            ("held", Some("result < other"), None, 0.0),
            ("held", Some("result < 1.0"), Some("result > other"), 0.0),
            ("breached", Some("other"), Some("result > 2.0"), 2.5),
        ] {
            let mut tally = tally(success, failure, Limits { failures: 0, ..LIMITS });
            assert_eq!(word(tally.take(Duration::ZERO, &Reading::number(value), None)), wanted, "{success:?} {failure:?} {value}");
        }
    }

    #[test]
    fn too_few_observations_say_nothing() {
        let limits = Limits { minimum: 100, failures: 0, ..LIMITS };
        let take = |reading: Reading, stable: Option<Reading>| {
            word(tally(Some("result < 0.5"), None, limits).take(Duration::ZERO, &reading, stable.as_ref()))
        };
        assert_eq!(take(Reading::number(0.0).of(99), None), "held");
        assert_eq!(take(Reading::number(0.9).of(99), None), "held");
        assert_eq!(take(Reading::number(0.0), None), "held");
        assert_eq!(take(Reading::number(0.0).of(100), None), "open");
        assert_eq!(take(Reading::number(0.0).of(100), Some(Reading::number(0.0).of(5))), "held");
        assert_eq!(take(Reading::number(0.0).of(100), Some(Reading::Broken(String::new()))), "held");
    }

    #[test]
    fn ranks_speak_when_there_are_enough_of_them() {
        let ranks = Margins { direction: crate::Direction::Increase, confidence: 0.95, fraction: 0.25, allowed: 1.1, minimum: 5 };
        let conditions = Conditions { ranks: Some(ranks), ..Conditions::default() };
        let told = |scale: f64| {
            let mut one = Tally::new("p95", conditions.clone(), Limits { failures: 0, ..LIMITS }, Duration::ZERO);
            let take = |value: f64| word(one.take(Duration::ZERO, &Reading::number(value * scale), Some(&Reading::number(value))));
            [9.0, 10.0, 11.0, 10.5, 9.5, 10.2, 9.8].map(take)
        };
        assert_eq!(told(1.0), ["open", "open", "open", "open", "open", "open", "passed"], "the first that counts is the fifth");
        assert_eq!(told(2.0)[3..5], ["open", "breached"]);
        // without the other side there is nothing to compare, and that is no pass
        let mut alone = Tally::new("p95", conditions, LIMITS, Duration::ZERO);
        assert!((0..50).all(|_| alone.take(Duration::ZERO, &Reading::number(1.0), None) == &Standing::Open));
    }

    #[test]
    fn it_is_measured_after_a_delay_and_until_it_is_decided() {
        let mut one = tally(Some("result < 0.5"), None, LIMITS);
        assert_eq!(one.due(), Some(Duration::from_secs(30)));
        for at in [30, 41, 52] {
            one.take(Duration::from_secs(at), &Reading::number(0.0), None);
        }
        assert_eq!((one.standing(), one.due()), (&Standing::Passed, None));
        assert_eq!(one.take(Duration::from_secs(60), &Reading::number(0.9), None), &Standing::Passed);
        assert_eq!(one.points().len(), 3);
        let mut endless = tally(Some("result < 0.5"), None, Limits { count: None, ..LIMITS });
        assert!((0..50).all(|_| endless.take(Duration::ZERO, &Reading::number(0.0), None) == &Standing::Open));
    }
}
