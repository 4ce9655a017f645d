//! What Kubernetes itself says of the canary, against limits: crashes, restarts, images that can't be pulled, Pods that are not ready, a controller that gave up.
//!
//! Counts are of Pods by name, so that a Pod that was replaced takes its crashes not along; what a Pod had crashed before the canary began is not the canary's.

use std::collections::BTreeMap;
use std::time::Duration;

use runner_workloads::signals;
use runner_workloads::workload::{stalled, text};
use serde_json::Value;

use crate::settings::SignalLimits;

/// Restarts and crashes.
type Counts = (u32, u32);

#[derive(Debug)]
pub struct Health {
    limits: SignalLimits,
    /// As they are.
    pods: BTreeMap<String, Value>,
    /// The most that was seen of each, with what was there before.
    seen: BTreeMap<String, Counts>,
    before: BTreeMap<String, Counts>,
    begun: bool,
    unready_since: Option<Duration>,
}

/// What spoke against it: a name for it, and the cluster's words.
pub type Told = (&'static str, String);

impl Health {
    pub fn new(limits: SignalLimits) -> Health {
        Health { limits, pods: BTreeMap::new(), seen: BTreeMap::new(), before: BTreeMap::new(), begun: false, unready_since: None }
    }

    /// A Pod, as a watch tells of it; none if it is gone.
    pub fn pod(&mut self, name: &str, object: Option<&Value>) {
        let Some(object) = object else {
            self.pods.remove(name);
            return;
        };
        let all = signals(std::slice::from_ref(object));
        let counts = self.seen.entry(name.to_owned()).or_default();
        *counts = (counts.0.max(all.restarts), counts.1.max(all.crashes));
        if !self.begun {
            self.before.insert(name.to_owned(), *counts);
        }
        self.pods.insert(name.to_owned(), object.clone());
    }

    /// From here on, what is told is the canary's.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// The names of the Pods that are there.
    pub fn names(&self) -> Vec<&str> {
        self.pods.keys().map(String::as_str).collect()
    }

    /// `earlier`: the Deployment before it was changed last. `settling`: it is waited for its Pods, so that they may well be unready.
    pub fn judge(&mut self, now: Duration, deployment: &Value, earlier: &Value, settling: bool) -> Option<Told> {
        let pods: Vec<Value> = self.pods.values().filter(|pod| self.is_new(pod)).cloned().collect();
        let all = signals(&pods);
        if let Some(stuck) = all.stuck.first() {
            return Some(("pods", stuck.clone()));
        }
        let (mut restarts, mut crashes) = (0_u32, 0_u32);
        for (name, (restarted, crashed)) in &self.seen {
            let (earlier_restarts, earlier_crashes) = self.before.get(name).copied().unwrap_or_default();
            restarts = restarts.saturating_add(restarted.saturating_sub(earlier_restarts));
            crashes = crashes.saturating_add(crashed.saturating_sub(earlier_crashes));
        }
        if crashes > self.limits.crashes {
            return Some(("crashes", format!("{crashes} crashes, and {} are the limit", self.limits.crashes)));
        }
        if let Some(limit) = self.limits.restarts.filter(|limit| restarts > *limit) {
            return Some(("restarts", format!("{restarts} restarts, and {limit} are the limit")));
        }
        if let Some(why) = stalled(deployment, Some(earlier)) {
            return Some(("progress", why));
        }
        let part = f64::from(all.unready) / f64::from(all.pods.max(1));
        if settling || all.pods == 0 || part <= self.limits.unready {
            self.unready_since = None;
            return None;
        }
        let since = *self.unready_since.get_or_insert(now);
        let lasting = now.saturating_sub(since) >= self.limits.unready_for.0;
        lasting.then(|| {
            let limit = self.limits.unready * 100.0;
            let why = format!(
                "{} of {} Pods have not been ready for {}, and {limit} % are the limit",
                all.unready, all.pods, self.limits.unready_for
            );
            ("readiness", why)
        })
    }

    /// Pods that were there before and are on their way out say nothing of the new version.
    fn is_new(&self, pod: &Value) -> bool {
        !(self.begun && self.before.contains_key(text(pod, "/metadata/name")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: bool, restarts: u32, state: Value) -> Value {
        let ready = if ready { "True" } else { "False" };
        let last = if restarts > 0 { json!({ "terminated": { "exitCode": 1 } }) } else { json!({}) };
        json!({ "metadata": { "name": "p" }, "status": { "conditions": [{ "type": "Ready", "status": ready }],
            "containerStatuses": [{ "name": "api", "restartCount": restarts, "state": state, "lastState": last }] } })
    }

    fn told(health: &mut Health, at: u64, settling: bool) -> Option<&'static str> {
        health.judge(Duration::from_secs(at), &json!({}), &json!({}), settling).map(|(what, _)| what)
    }

    #[test]
    fn crashes_add_up_over_pods_and_time() {
        let mut health = Health::new(SignalLimits::default());
        health.pod("old", Some(&pod(true, 7, json!({}))));
        health.begin();
        health.pod("a", Some(&pod(true, 1, json!({}))));
        health.pod("b", Some(&pod(true, 1, json!({}))));
        assert_eq!(told(&mut health, 0, false), None, "two are let be");
        health.pod("a", None);
        health.pod("c", Some(&pod(false, 1, json!({}))));
        assert_eq!(told(&mut health, 0, true), Some("crashes"), "a Pod that is gone has crashed nevertheless");
        let limits = SignalLimits { crashes: 100, restarts: Some(2), ..SignalLimits::default() };
        let mut health = Health::new(limits);
        health.begin();
        health.pod("a", Some(&pod(true, 3, json!({}))));
        assert_eq!(told(&mut health, 0, false), Some("restarts"));
    }

    #[test]
    fn what_no_waiting_mends_is_told_at_once() {
        let mut health = Health::new(SignalLimits::default());
        health.begin();
        health.pod("a", Some(&pod(false, 0, json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } }))));
        assert_eq!(health.judge(Duration::ZERO, &json!({}), &json!({}), true), Some(("pods", "p/api: ImagePullBackOff: not found".into())));
        let stalled = json!({ "status": { "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out" }] } });
        let mut health = Health::new(SignalLimits::default());
        assert_eq!(health.judge(Duration::ZERO, &stalled, &json!({}), true).unwrap().0, "progress");
    }

    #[test]
    fn pods_may_be_unready_for_a_while() {
        let mut health = Health::new(SignalLimits::default());
        health.begin();
        health.pod("a", Some(&pod(false, 0, json!({}))));
        assert_eq!([told(&mut health, 0, true), told(&mut health, 100, true)], [None, None], "it is waited for them");
        assert_eq!([told(&mut health, 100, false), told(&mut health, 129, false)], [None, None]);
        assert_eq!(told(&mut health, 130, false), Some("readiness"));
        health.pod("a", Some(&pod(true, 0, json!({}))));
        assert_eq!(told(&mut health, 131, false), None);
        health.pod("a", Some(&pod(false, 0, json!({}))));
        assert_eq!(told(&mut health, 132, false), None, "it counts anew");
    }
}
