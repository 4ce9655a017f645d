//! What is said of a stage's caches and services: one line each, shared by the terminal and the plain log.

use event::{CacheResult, Kind, ServiceState};

use crate::duration;
use crate::style::{Line, Role};
use crate::summary::bytes;

/// What the user is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Detail,
    /// It explains why a stage was slow.
    Note,
    /// It should not be so.
    Trouble,
}

/// The line, and how much it matters; none for other events.
pub fn line(kind: &Kind) -> Option<(Line, Weight)> {
    match kind {
        Kind::Cache { name, result, part, bytes: size, nanos, .. } => {
            let lead = Line::of(Role::Text, &format!("cache {name}: "));
            let cost = format!("{} in {}", bytes(*size), duration::human(*nanos));
            let changed = part.as_ref().map(|part| format!("; the key differs at {part}")).unwrap_or_default();
            Some(match result {
                CacheResult::Hit => (lead.and(Role::Good, "hit").and(Role::Faint, &format!(", {cost}")), Weight::Detail),
                CacheResult::Restored => (
                    lead.and(Role::Warn, "restored")
                        .and(Role::Text, &format!(" from older content{changed}"))
                        .and(Role::Faint, &format!(", {cost}")),
                    Weight::Note,
                ),
                CacheResult::Missed => (lead.and(Role::Warn, "missed").and(Role::Text, &changed), Weight::Note),
                CacheResult::Saved => (lead.and(Role::Text, "saved").and(Role::Faint, &format!(", {cost}")), Weight::Detail),
            })
        }
        Kind::Service { service, state, message, nanos, .. } => {
            let lead = Line::of(Role::Text, &format!("service {service}: "));
            let first = message.lines().next().unwrap_or_default();
            Some(match state {
                ServiceState::Started => (lead.and(Role::Text, "started").and(Role::Faint, &format!("  {first}")), Weight::Detail),
                ServiceState::Ready => (
                    lead.and(Role::Good, "ready").and(Role::Faint, &format!(" after {}, {first}", duration::human(*nanos))),
                    Weight::Detail,
                ),
                ServiceState::Failed => (lead.and(Role::Bad, first), Weight::Trouble),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use event::StageRef;

    use super::*;

    fn told(kind: &Kind) -> (String, Weight) {
        let (line, weight) = line(kind).unwrap();
        (line.render(false, true), weight)
    }

    #[test]
    fn what_is_told_of_a_cache_says_why_it_missed() {
        let cache = |result, part: Option<&str>| Kind::Cache {
            stage: StageRef::new("test"),
            attempt: 1,
            name: "npm".to_owned(),
            result,
            part: part.map(str::to_owned),
            bytes: 12_300_000,
            nanos: 4_000_000,
        };
        assert_eq!(told(&cache(CacheResult::Hit, None)), ("cache npm: hit, 12.3 MB in 4.0ms".to_owned(), Weight::Detail));
        let (text, weight) = told(&cache(CacheResult::Restored, Some("the files \"*/package-lock.json\"")));
        assert_eq!(text, "cache npm: restored from older content; the key differs at the files \"*/package-lock.json\", 12.3 MB in 4.0ms");
        assert_eq!(weight, Weight::Note);
        assert_eq!(told(&cache(CacheResult::Missed, Some("\"node20\""))).0, "cache npm: missed; the key differs at \"node20\"");
        assert_eq!(told(&cache(CacheResult::Saved, None)).0, "cache npm: saved, 12.3 MB in 4.0ms");
    }

    #[test]
    fn a_service_that_fails_is_trouble() {
        let service = |state, message: &str| Kind::Service {
            stage: StageRef::new("test"),
            attempt: 1,
            service: "db".to_owned(),
            state,
            message: message.to_owned(),
            nanos: 250_000_000,
        };
        assert_eq!(
            told(&service(ServiceState::Ready, "port 6379 takes connections")).0,
            "service db: ready after 250ms, port 6379 takes connections"
        );
        let (text, weight) = told(&service(ServiceState::Failed, "it ended with exit 1\nlast line"));
        assert_eq!((text.as_str(), weight), ("service db: it ended with exit 1", Weight::Trouble));
    }
}
