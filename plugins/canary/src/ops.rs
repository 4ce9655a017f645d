//! From what the canary decides to what is done to the cluster, in which order. Pure.
//!
//! No request is lost because of the order: who is to get more traffic has its Pods ready first, and who is to get less gives up Pods only afterwards.

use std::time::Duration;

use crate::steps::Action;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    Stable,
    Canary,
    Baseline,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The Pods and the image of a Deployment.
    Set { which: Which, replicas: Option<u32>, image: Option<String> },
    /// Waits until it has its Pods, all ready. One that is `lenient` goes on after `within` nevertheless.
    Settled { which: Which, within: Duration, lenient: bool },
    /// The canary's part of the routes' traffic.
    Route(u32),
    /// The routes' weights as they were.
    RestoreRoutes,
    /// Whether all is as it was.
    Verify,
}

/// A Deployment as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Was {
    pub replicas: u32,
    pub image: String,
}

/// For as long Pods are waited for that need not be ready, once somebody wants the stage to stop: what remains to be done has to fit into the time that is left.
const HURRY: Duration = Duration::from_secs(2);

/// How things were, and what is wanted.
#[derive(Debug, Clone)]
pub struct Aim {
    pub stable: Was,
    pub canary: Was,
    pub baseline: Option<Was>,
    pub image: String,
    /// Whether routes part the traffic; otherwise the numbers of Pods do.
    pub routed: bool,
    pub deadline: Duration,
}

/// How things are now, as far as the next order depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Pods of the canary.
    pub canary: u32,
    /// Pods that a step `scale` has asked for.
    pub asked: Option<u32>,
    /// Whether the stable Deployment may have got the new image.
    pub promoting: bool,
    /// Whether there is little time: somebody wants the stage to stop.
    pub hurry: bool,
}

/// The Pods of canary and stable that come closest to a part of the traffic, where each Pod has the same.
pub fn parted(total: u32, weight: u32, baseline: bool) -> (u32, u32) {
    if weight == 0 {
        return (0, total);
    }
    let canary = u32::try_from((u64::from(total) * u64::from(weight) + 50) / 100).unwrap_or(total).max(1);
    let others = if baseline { canary.saturating_mul(2) } else { canary };
    let stable = if weight >= 100 { 0 } else { total.saturating_sub(others).max(1) };
    (canary, stable)
}

/// The part of the traffic, in percent, that so many of so many Pods have.
pub fn share(canary: u32, all: u32) -> f64 {
    f64::from(canary) * 100.0 / f64::from(all.max(1))
}

/// Somebody wants the stage to stop while this is under way.
pub fn hurry<'o>(order: impl IntoIterator<Item = &'o mut Op>) {
    for op in order {
        if let Op::Settled { within, lenient: true, .. } = op {
            *within = HURRY.min(*within);
        }
    }
}

impl Aim {
    /// What is to be done for an action, one after the other. Empty for what is no change of the cluster.
    pub fn order(&self, action: &Action, now: Now) -> Vec<Op> {
        match action {
            Action::SetWeight(weight) => self.weight(*weight, now),
            Action::Scale(pods) => self.start(*pods),
            Action::Promote => self.promote(),
            Action::RestoreWeights => self.restore_weights(now),
            Action::RestorePods => self.restore_pods(now),
            Action::AskApproval | Action::Measure(_) | Action::Finish(_) => Vec::new(),
        }
    }

    fn settled(&self, which: Which) -> Op {
        Op::Settled { which, within: self.deadline, lenient: false }
    }

    /// The canary's Pods, and as many of the baseline's, ready.
    fn start(&self, pods: u32) -> Vec<Op> {
        let mut ops = vec![Op::Set { which: Which::Canary, replicas: Some(pods), image: Some(self.image.clone()) }];
        if self.baseline.is_some() {
            ops.push(Op::Set { which: Which::Baseline, replicas: Some(pods), image: Some(self.stable.image.clone()) });
            ops.push(self.settled(Which::Baseline));
        }
        ops.push(self.settled(Which::Canary));
        ops
    }

    fn weight(&self, weight: u32, now: Now) -> Vec<Op> {
        if self.routed {
            // as many Pods as the traffic takes, unless a step said how many
            let part = u32::try_from((u64::from(self.stable.replicas) * u64::from(weight)).div_ceil(100)).unwrap_or(u32::MAX);
            let wanted = now.asked.unwrap_or(part.max(u32::from(weight > 0)));
            let mut ops = if wanted > now.canary || (weight > 0 && now.canary == 0) { self.start(wanted.max(1)) } else { Vec::new() };
            ops.push(Op::Route(weight));
            if wanted < now.canary && now.asked.is_none() {
                ops.extend(self.start(wanted));
            }
            return ops;
        }
        let (canary, stable) = parted(self.stable.replicas, weight, self.baseline.is_some());
        let stable = [Op::Set { which: Which::Stable, replicas: Some(stable), image: None }, self.settled(Which::Stable)];
        let canary_ops = self.start(canary);
        if canary >= now.canary { canary_ops.into_iter().chain(stable).collect() } else { stable.into_iter().chain(canary_ops).collect() }
    }

    fn promote(&self) -> Vec<Op> {
        let (replicas, image) = (Some(self.stable.replicas), Some(self.image.clone()));
        let mut ops = vec![Op::Set { which: Which::Stable, replicas, image }, self.settled(Which::Stable)];
        if self.routed {
            ops.push(Op::Route(0));
        }
        ops.push(Op::Set { which: Which::Canary, replicas: Some(self.canary.replicas), image: None });
        ops.extend(self.baseline.as_ref().map(|was| Op::Set {
            which: Which::Baseline,
            replicas: Some(was.replicas),
            image: Some(was.image.clone()),
        }));
        ops
    }

    /// The stable Deployment as it was, which is waited for: but not for ever, since what it takes over from is worse.
    fn restore_stable(&self, now: Now) -> [Op; 2] {
        let image = now.promoting.then(|| self.stable.image.clone());
        let within = if now.hurry { HURRY } else { Duration::from_secs(60).min(self.deadline) };
        [
            Op::Set { which: Which::Stable, replicas: Some(self.stable.replicas), image },
            Op::Settled { which: Which::Stable, within, lenient: true },
        ]
    }

    fn restore_weights(&self, now: Now) -> Vec<Op> {
        if self.routed { vec![Op::RestoreRoutes] } else { self.restore_stable(now).into() }
    }

    fn restore_pods(&self, now: Now) -> Vec<Op> {
        let mut ops = Vec::new();
        if self.routed && now.promoting {
            ops.extend(self.restore_stable(now));
        }
        let back = |which: Which, was: &Was| Op::Set { which, replicas: Some(was.replicas), image: Some(was.image.clone()) };
        ops.push(back(Which::Canary, &self.canary));
        ops.extend(self.baseline.as_ref().map(|was| back(Which::Baseline, was)));
        ops.push(Op::Verify);
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aim(routed: bool) -> Aim {
        let was = |replicas: u32, image: &str| Was { replicas, image: image.into() };
        Aim {
            stable: was(10, "shop:1"),
            canary: was(0, "shop:0"),
            baseline: None,
            image: "shop:2".into(),
            routed,
            deadline: Duration::from_secs(300),
        }
    }

    /// `canary=1@shop:2 canary? stable=9`
    fn lines(ops: &[Op]) -> String {
        let name = |which: &Which| format!("{which:?}").to_lowercase();
        let line = |op: &Op| match op {
            Op::Set { which, replicas, image } => {
                let image = image.as_ref().map(|image| format!("@{image}")).unwrap_or_default();
                format!("{}={}{image}", name(which), replicas.unwrap())
            }
            Op::Settled { which, lenient, .. } => format!("{}{}", name(which), if *lenient { "~" } else { "?" }),
            Op::Route(weight) => format!("route={weight}"),
            Op::RestoreRoutes => "routes".into(),
            Op::Verify => "verify".into(),
        };
        ops.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn orders() {
        let now = |canary: u32| Now { canary, asked: None, promoting: false, hurry: false };
        let promoting = Now { promoting: true, ..now(5) };
        for (wanted, routed, action, now) in [
            ("canary=1@shop:2 canary? stable=9 stable?", false, Action::SetWeight(10), now(0)),
            ("canary=5@shop:2 canary? stable=5 stable?", false, Action::SetWeight(50), now(1)),
            ("stable=9 stable? canary=1@shop:2 canary?", false, Action::SetWeight(10), now(5)),
            ("stable=10@shop:2 stable? canary=0", false, Action::Promote, now(5)),
            ("stable=10 stable~", false, Action::RestoreWeights, now(5)),
            ("canary=0@shop:0 verify", false, Action::RestorePods, now(5)),
            ("stable=10@shop:1 stable~", false, Action::RestoreWeights, promoting),
            ("canary=1@shop:2 canary? route=5", true, Action::SetWeight(5), now(0)),
            ("canary=5@shop:2 canary? route=50", true, Action::SetWeight(50), now(1)),
            ("route=5", true, Action::SetWeight(5), now(1)),
            ("route=10 canary=1@shop:2 canary?", true, Action::SetWeight(10), now(5)),
            ("canary=3@shop:2 canary? route=50", true, Action::SetWeight(50), Now { asked: Some(3), ..now(0) }),
            ("route=50", true, Action::SetWeight(50), Now { asked: Some(3), ..now(3) }),
            ("stable=10@shop:2 stable? route=0 canary=0", true, Action::Promote, now(5)),
            ("routes", true, Action::RestoreWeights, promoting),
            ("stable=10@shop:1 stable~ canary=0@shop:0 verify", true, Action::RestorePods, promoting),
            ("canary=2@shop:2 canary?", true, Action::Scale(2), now(0)),
        ] {
            assert_eq!(lines(&aim(routed).order(&action, now)), wanted, "{action:?} {now:?}");
        }
        let with_baseline = Aim { baseline: Some(Was { replicas: 0, image: "shop:0".into() }), ..aim(false) };
        assert_eq!(
            lines(&with_baseline.order(&Action::SetWeight(10), now(0))),
            "canary=1@shop:2 baseline=1@shop:1 baseline? canary? stable=8 stable?"
        );
        assert_eq!(lines(&with_baseline.order(&Action::RestorePods, now(1))), "canary=0@shop:0 baseline=0@shop:0 verify");
    }

    #[test]
    fn pods_that_come_closest() {
        for (total, weight, wanted) in [
            (10, 10, (1, 9)),
            (10, 50, (5, 5)),
            (10, 100, (10, 0)),
            (3, 10, (1, 2)),
            (1, 10, (1, 1)),
            (2, 50, (1, 1)),
            (10, 0, (0, 10)),
            (7, 25, (2, 5)),
        ] {
            assert_eq!(parted(total, weight, false), wanted, "{weight}% of {total}");
        }
        assert_eq!(parted(10, 10, true), (1, 8));
        assert!((share(1, 3) - 33.3).abs() < 0.1);
    }
}
