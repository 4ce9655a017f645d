//! Who waits for whom, by the names in the file: needs that exist, no circles, and whether a stage that a reference points to has
//! certainly passed.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::model::{Stage, shown};
use crate::plan::RunOn;

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    /// An index into the stages of the file.
    pub to: usize,
    /// Where it is said.
    pub span: Span,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Needs,
    /// `needs = ["*"]`.
    All,
    Any,
    Consumes,
}

pub(crate) struct Graph<'a> {
    pub stages: &'a [Stage],
    index: HashMap<&'a str, usize>,
    /// For each stage what it waits for, each stage once, in the order of the file; `needs-any` last.
    pub edges: Vec<Vec<Edge>>,
}

impl<'a> Graph<'a> {
    /// Pushes unknown stages, artifacts and stages that need themselves, and goes on without them.
    pub fn new(stages: &'a [Stage], diagnostics: &mut Vec<Diagnostic>) -> Graph<'a> {
        let index: HashMap<&str, usize> = stages.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
        let mut graph = Graph { stages, index, edges: Vec::with_capacity(stages.len()) };
        let everybody: Vec<usize> = (0..stages.len()).filter(|&i| stages[i].needs_all.is_none()).collect();
        for (from, stage) in stages.iter().enumerate() {
            let mut edges: Vec<Edge> = Vec::new();
            let mut seen: HashSet<usize> = HashSet::new();
            for need in &stage.needs {
                if let Some(to) = graph.find(from, &need.value, &need.span, "needs", diagnostics)
                    && seen.insert(to)
                {
                    edges.push(Edge { to, span: need.span.clone(), kind: Kind::Needs });
                }
            }
            for consume in &stage.consumes {
                if let Some(to) = graph.find(from, &consume.stage, &consume.span, "consumes", diagnostics) {
                    graph.check_artifact(from, to, &consume.artifact, &consume.span, diagnostics);
                    if seen.insert(to) {
                        edges.push(Edge { to, span: consume.span.clone(), kind: Kind::Consumes });
                    }
                }
            }
            if let Some(span) = &stage.needs_all {
                for &to in &everybody {
                    if seen.insert(to) {
                        edges.push(Edge { to, span: span.clone(), kind: Kind::All });
                    }
                }
            }
            for any in &stage.needs_any {
                let Some(to) = graph.find(from, &any.value, &any.span, "needs-any", diagnostics) else { continue };
                if seen.insert(to) {
                    edges.push(Edge { to, span: any.span.clone(), kind: Kind::Any });
                } else {
                    diagnostics.push(
                        Diagnostic::warning("needs-twice", any.span.clone(), format!("`{}` is needed anyway", shown(&any.value)))
                            .hint("of a stage in `needs`, `needs-any` can't ask for less: remove it from one of them"),
                    );
                }
            }
            graph.edges.push(edges);
        }
        graph
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> + Clone + '_ {
        self.stages.iter().map(|s| s.name.as_str())
    }

    fn find(&self, from: usize, name: &str, span: &Span, key: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<usize> {
        match self.position(name) {
            Some(to) if to == from => {
                let message = format!("`{}` can't wait for itself", shown(name));
                diagnostics.push(Diagnostic::error("self-need", span.clone(), message).hint(format!("remove it from `{key}`")));
                None
            }
            Some(to) => Some(to),
            None => {
                let mut diagnostic = Diagnostic::error("unknown-stage", span.clone(), format!("there is no stage `{}`", shown(name)));
                diagnostic.hint = Some(self.suggest(name));
                diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// A hint for a stage that does not exist.
    pub fn suggest(&self, name: &str) -> String {
        match did_you_mean(name, self.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("stages: {}", list(self.names())),
        }
    }

    fn check_artifact(&self, from: usize, to: usize, artifact: &str, span: &Span, diagnostics: &mut Vec<Diagnostic>) {
        let (consumer, stage) = (&self.stages[from], &self.stages[to]);
        if let Some(found) = stage.artifacts.iter().find(|a| a.name.name == artifact) {
            if found.on == RunOn::Failure && consumer.run_on == RunOn::Success && !stage.soft_fail {
                let message = format!("`{}` never sees `{artifact}`, which is kept only if `{}` fails", consumer.name, stage.name);
                diagnostics.push(
                    Diagnostic::error("artifact-never", span.clone(), message)
                        .related(found.name.span.clone(), "kept on failure")
                        .hint(format!("keep it `on = \"always\"`, or give `{}` another `run-on`", consumer.name)),
                );
            }
            return;
        }
        let names = stage.artifacts.iter().map(|a| a.name.name.as_str());
        let hint = match did_you_mean(artifact, names.clone()) {
            Some(near) => format!("did you mean `{}.{near}`?", stage.name),
            None if stage.artifacts.is_empty() => {
                format!("declare it:\n\n[stage.{}.artifacts]\n{artifact} = {{ paths = [\"…\"] }}", stage.name)
            }
            None => format!("its artifacts: {}", list(names)),
        };
        let message = format!("`{}` has no artifact `{}`", stage.name, shown(artifact));
        diagnostics.push(Diagnostic::error("unknown-artifact", span.clone(), message).hint(hint));
    }

    /// Pushes one diagnostic for each group of stages that wait for each other, with the whole circle.
    pub fn refuse_cycles(&self, diagnostics: &mut Vec<Diagnostic>) {
        for group in self.groups() {
            let circle = self.circle(&group);
            let Some(first) = circle.first() else { continue };
            let name = |stage: usize| self.stages[stage].name.as_str();
            let mut line: Vec<&str> = circle.iter().take(12).map(|(from, _)| name(*from)).collect();
            if circle.len() > line.len() {
                line.push("…");
            }
            line.push(name(first.0));
            let said = |(from, edge): &(usize, &Edge)| format!("`{}` waits for `{}`", name(*from), name(edge.to));
            let mut diagnostic =
                Diagnostic::error("cycle", first.1.span.clone(), format!("stages wait for each other in a circle: {}", line.join(" → ")))
                    .label(said(first));
            for edge in circle.iter().skip(1).take(11) {
                diagnostic = diagnostic.related(edge.1.span.clone(), said(edge));
            }
            diagnostics.push(diagnostic.hint("remove one of these needs"));
        }
    }

    /// Strongly connected groups of more than one stage, in the order of the file (Tarjan, on an explicit stack).
    fn groups(&self) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let count = self.stages.len();
        let (mut order, mut low) = (vec![NEW; count], vec![0; count]);
        let mut on_stack = vec![false; count];
        let (mut stack, mut groups, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if order[root] != NEW {
                continue;
            }
            let mut calls: Vec<(usize, usize)> = vec![(root, 0)];
            while let Some((at, edge)) = calls.last_mut() {
                let at = *at;
                if *edge == 0 {
                    (order[at], low[at]) = (next, next);
                    next += 1;
                    stack.push(at);
                    on_stack[at] = true;
                }
                if let Some(Edge { to, .. }) = self.edges[at].get(*edge) {
                    *edge += 1;
                    if order[*to] == NEW {
                        calls.push((*to, 0));
                    } else if on_stack[*to] {
                        low[at] = low[at].min(order[*to]);
                    }
                    continue;
                }
                calls.pop();
                if let Some((parent, _)) = calls.last() {
                    low[*parent] = low[*parent].min(low[at]);
                }
                if low[at] == order[at] {
                    let start = stack.iter().rposition(|s| *s == at).unwrap_or(0);
                    let mut group = stack.split_off(start);
                    for member in &group {
                        on_stack[*member] = false;
                    }
                    if group.len() > 1 {
                        group.sort_unstable();
                        groups.push(group);
                    }
                }
            }
        }
        groups.sort_unstable();
        groups
    }

    /// The shortest circle through a group's first stage.
    fn circle(&self, group: &[usize]) -> Vec<(usize, &Edge)> {
        let start = group[0];
        let members: HashSet<usize> = group.iter().copied().collect();
        let mut came: HashMap<usize, (usize, &Edge)> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for edge in self.edges[at].iter().filter(|e| members.contains(&e.to)) {
                if edge.to == start {
                    let mut circle = vec![(at, edge)];
                    let mut back = at;
                    while back != start {
                        let (from, edge) = came[&back];
                        circle.push((from, edge));
                        back = from;
                    }
                    circle.reverse();
                    return circle;
                }
                if edge.to != start && !came.contains_key(&edge.to) {
                    came.insert(edge.to, (at, edge));
                    queue.push_back(edge.to);
                }
            }
        }
        Vec::new()
    }

    /// Whether `from` waits for `to`, directly or through others.
    pub fn waits_for(&self, from: usize, to: usize) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for edge in &self.edges[at] {
                if edge.to == to {
                    return true;
                }
            }
            for edge in &self.edges[at] {
                if seen.insert(edge.to) {
                    open.push(edge.to);
                }
            }
        }
        false
    }

    /// Why `producer` may not have passed when `consumer` runs; `None` if it certainly has. `consumer` waits for `producer`.
    ///
    /// A need is met by a stage that passed, that failed softly, or that its own `when` left out; a stage whose need is not met does not
    /// run, unless its `run-on` says otherwise. So certainty goes back along `needs` through stages that run on success.
    pub fn may_miss(&self, consumer: usize, producer: usize) -> Option<String> {
        let it = &self.stages[producer];
        if it.when.is_some() {
            return Some(format!("`{}` may be skipped: it has `when`", it.name));
        }
        if it.soft_fail {
            return Some(format!("`{}` may fail: it has `soft-fail`", it.name));
        }
        if it.run_on == RunOn::Failure {
            return Some(format!("`{}` may be skipped: it runs on failure only", it.name));
        }
        if self.stages[consumer].run_on != RunOn::Success {
            return Some(format!("`{}` runs even if `{}` failed, because of its `run-on`", self.stages[consumer].name, it.name));
        }
        let mut seen = HashSet::from([consumer]);
        let mut open = vec![consumer];
        let mut through = None;
        while let Some(at) = open.pop() {
            for edge in self.edges[at].iter().filter(|e| e.kind != Kind::Any) {
                if edge.to == producer {
                    return None;
                }
                if !seen.insert(edge.to) {
                    continue;
                }
                if self.stages[edge.to].run_on == RunOn::Success {
                    open.push(edge.to);
                } else if through.is_none() && self.waits_for(edge.to, producer) {
                    through = Some(edge.to);
                }
            }
        }
        Some(match through {
            Some(stage) => {
                format!("`{}` may have failed: `{}`, which stands between, runs nevertheless", it.name, self.stages[stage].name)
            }
            None => format!("`{}` may have failed: it is needed through `needs-any`", it.name),
        })
    }
}

/// Names for a hint; not more than a person reads.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let mut shown: Vec<String> = names.take(MOST + 1).map(|name| format!("`{}`", crate::model::shown(name))).collect();
    if shown.len() > MOST {
        shown[MOST] = "…".into();
    }
    shown.join(", ")
}
