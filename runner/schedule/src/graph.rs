//! The graph that the machine runs: what it must know of each stage, without the plugin, the grants and the settings.
//!
//! Tests and benchmarks build one by hand; the command line builds it of a plan.

use std::sync::Arc;
use std::time::Duration;

use event::StageRef;
use pipeline::plan::{Approval, Plan, Retries, RunOn, StageIndex, WorkspaceMode};

#[derive(Debug, Clone)]
pub struct Node {
    pub id: StageRef,
    /// The key in the file; the instances of a matrix share it.
    pub name: Arc<str>,
    /// All must be met.
    pub needs: Vec<StageIndex>,
    /// One must have passed.
    pub needs_any: Vec<StageIndex>,
    /// The text of its `when`. With one, the machine asks (`Action::Evaluate`) before it starts the stage.
    pub condition: Option<Arc<str>>,
    pub run_on: RunOn,
    pub soft_fail: bool,
    /// With one, the machine asks (`Action::AskApproval`) before the first attempt.
    pub approval: Option<Approval>,
    /// It takes turns with stages of other runs: the machine asks (`Action::AskTurn`) before the first attempt of a session, and the turn is
    /// its own until it is settled.
    pub takes_turns: bool,
    /// For one attempt.
    pub timeout: Option<Duration>,
    pub retries: Retries,
    /// Runs while no other stage does.
    pub exclusive: bool,
}

impl Node {
    /// A stage with nothing out of the ordinary.
    pub fn new(name: &str) -> Self {
        Node {
            id: StageRef::new(name),
            name: Arc::from(name),
            needs: Vec::new(),
            needs_any: Vec::new(),
            condition: None,
            run_on: RunOn::Success,
            soft_fail: false,
            approval: None,
            takes_turns: false,
            timeout: None,
            retries: Retries::default(),
            exclusive: false,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    #[error("stage `{stage}` needs stage number {need}, and there are only {stages}")]
    NoSuchStage { stage: StageRef, need: StageIndex, stages: usize },
    #[error("stage `{0}` is part of, or waits for, a cycle of needs")]
    Cycle(StageRef),
}

/// Stages and who waits for whom. Checked when made: needs exist and there is no cycle.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    /// For the whole run.
    timeout: Option<Duration>,
    /// Who needs stage `i`: `dependents[first[i]..first[i + 1]]`, once for each need.
    first: Vec<usize>,
    dependents: Vec<StageIndex>,
    /// The longest way from a stage to one that nobody needs.
    height: Vec<u32>,
}

impl Graph {
    pub fn new(nodes: Vec<Node>, timeout: Option<Duration>) -> Result<Graph, GraphError> {
        let mut first = vec![0usize; nodes.len() + 1];
        for node in &nodes {
            for &need in node.needs.iter().chain(&node.needs_any) {
                if need >= nodes.len() {
                    return Err(GraphError::NoSuchStage { stage: node.id.clone(), need, stages: nodes.len() });
                }
                first[need + 1] += 1;
            }
        }
        for index in 1..first.len() {
            first[index] += first[index - 1];
        }
        let mut next = first.clone();
        let mut dependents = vec![0; first[nodes.len()]];
        for (index, node) in nodes.iter().enumerate() {
            for &need in node.needs.iter().chain(&node.needs_any) {
                dependents[next[need]] = index;
                next[need] += 1;
            }
        }
        let mut graph = Graph { nodes, timeout, first, dependents, height: Vec::new() };
        graph.height = graph.heights()?;
        Ok(graph)
    }

    /// The graph of a plan.
    ///
    /// # Panics
    /// If the plan has a cycle or a need that does not exist: `pipeline` makes no such plan.
    pub fn of(plan: &Plan) -> Graph {
        let nodes = plan.stages.iter().map(|stage| {
            let mut needs = stage.needs.clone();
            // What is consumed is needed, whether or not the file says so again.
            needs.extend(stage.consumes.iter().map(|consume| consume.stage).filter(|from| !stage.needs.contains(from)));
            Node {
                id: stage.id.clone(),
                name: Arc::from(stage.name.as_str()),
                needs,
                needs_any: stage.needs_any.clone(),
                condition: stage.when.as_ref().map(|when| Arc::from(when.source())),
                run_on: stage.run_on,
                soft_fail: stage.soft_fail,
                approval: stage.approval,
                takes_turns: stage.concurrency.is_some(),
                timeout: stage.timeout,
                retries: stage.retries,
                exclusive: stage.workspace == WorkspaceMode::Shared,
            }
        });
        Graph::new(nodes.collect(), plan.timeout).expect("a plan has no cycles and no dangling needs")
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn node(&self, stage: StageIndex) -> &Node {
        &self.nodes[stage]
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn dependents(&self, stage: StageIndex) -> std::ops::Range<usize> {
        self.first[stage]..self.first[stage + 1]
    }

    pub(crate) fn dependent(&self, edge: usize) -> StageIndex {
        self.dependents[edge]
    }

    pub(crate) fn height(&self, stage: StageIndex) -> u32 {
        self.height[stage]
    }

    /// Kahn's algorithm from the ends backwards; what it does not reach is in a cycle or before one.
    fn heights(&self) -> Result<Vec<u32>, GraphError> {
        let mut height = vec![0u32; self.nodes.len()];
        let mut waiting: Vec<usize> = (0..self.nodes.len()).map(|stage| self.dependents(stage).len()).collect();
        let mut ends: Vec<StageIndex> = (0..self.nodes.len()).filter(|&stage| waiting[stage] == 0).collect();
        let mut seen = 0;
        while let Some(stage) = ends.pop() {
            seen += 1;
            for &need in self.nodes[stage].needs.iter().chain(&self.nodes[stage].needs_any) {
                height[need] = height[need].max(height[stage] + 1);
                waiting[need] -= 1;
                if waiting[need] == 0 {
                    ends.push(need);
                }
            }
        }
        if seen == self.nodes.len() {
            return Ok(height);
        }
        let stuck = waiting.iter().position(|&left| left > 0).unwrap_or_default();
        Err(GraphError::Cycle(self.nodes[stuck].id.clone()))
    }

    /// What `--only` and `--skip` leave: the stages named by `only` with all that they need, without the stages named by
    /// `skip`. A name is a stage's key (all instances of a matrix) or one instance's id. Nothing in `only` means every stage.
    ///
    /// Needs that are only needed by a skipped stage are left out too when `only` is given.
    pub fn select(&self, only: &[String], skip: &[String]) -> Result<Selection, UnknownStages> {
        let named = |names: &[String]| -> Vec<bool> {
            let names: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
            self.nodes.iter().map(|node| names.contains(&*node.name) || names.contains(node.id.as_str())).collect()
        };
        let known: std::collections::HashSet<&str> = self.nodes.iter().flat_map(|node| [&*node.name, node.id.as_str()]).collect();
        let unknown: Vec<String> = only.iter().chain(skip).filter(|name| !known.contains(name.as_str())).cloned().collect();
        if !unknown.is_empty() {
            return Err(UnknownStages(unknown));
        }
        let skipped = named(skip);
        if only.is_empty() {
            return Ok(Selection(skipped.iter().map(|skipped| !skipped).collect()));
        }
        let wanted = named(only);
        let mut selected = vec![false; self.nodes.len()];
        let mut reached: Vec<StageIndex> = (0..self.nodes.len()).filter(|&stage| wanted[stage]).collect();
        while let Some(stage) = reached.pop() {
            if !skipped[stage] && !std::mem::replace(&mut selected[stage], true) {
                reached.extend(self.nodes[stage].needs.iter().chain(&self.nodes[stage].needs_any));
            }
        }
        Ok(Selection(selected))
    }
}

impl From<&Plan> for Graph {
    fn from(plan: &Plan) -> Self {
        Graph::of(plan)
    }
}

/// Which stages the command line left in; by stage index. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection(pub(crate) Vec<bool>);

impl Selection {
    pub fn contains(&self, stage: StageIndex) -> bool {
        self.0.get(stage).copied().unwrap_or(true)
    }
}

/// Names given to `--only` or `--skip` that no stage has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no stage is named {}", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
pub struct UnknownStages(pub Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: needs` a line, in order.
    fn graph(lines: &[(&str, &[usize])]) -> Graph {
        let nodes = lines.iter().map(|(name, needs)| Node { needs: needs.to_vec(), ..Node::new(name) }).collect();
        Graph::new(nodes, None).expect("a graph")
    }

    fn ids(graph: &Graph, selection: &Selection) -> Vec<String> {
        (0..graph.len()).filter(|&stage| selection.contains(stage)).map(|stage| graph.node(stage).id.to_string()).collect()
    }

    #[test]
    fn cycles_and_dangling_needs_are_refused() {
        let cycle = vec![Node::new("a"), Node { needs: vec![0, 2], ..Node::new("b") }, Node { needs_any: vec![1], ..Node::new("c") }];
        assert!(matches!(Graph::new(cycle, None), Err(GraphError::Cycle(_))));
        let itself = vec![Node { needs: vec![0], ..Node::new("a") }];
        assert_eq!(Graph::new(itself, None).unwrap_err(), GraphError::Cycle(StageRef::new("a")));
        let dangling = vec![Node { needs: vec![1], ..Node::new("a") }];
        assert_eq!(Graph::new(dangling, None).unwrap_err().to_string(), "stage `a` needs stage number 1, and there are only 1");
    }

    #[test]
    fn only_brings_what_it_needs_and_skip_takes_away() {
        let mut nodes = vec![
            Node::new("lint"),
            Node::new("build"),
            Node { needs: vec![1], ..Node::new("test") },
            Node { needs: vec![1], ..Node::new("test") },
            Node { needs: vec![0, 2, 3], ..Node::new("deploy") },
        ];
        nodes[2].id = StageRef::new("test (app=a)");
        nodes[3].id = StageRef::new("test (app=b)");
        let graph = Graph::new(nodes, None).expect("a graph");
        let select = |only: &[&str], skip: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
            graph.select(&owned(only), &owned(skip)).map(|selection| ids(&graph, &selection).join(", "))
        };
        assert_eq!(select(&[], &[]).unwrap(), "lint, build, test (app=a), test (app=b), deploy");
        assert_eq!(select(&["test"], &[]).unwrap(), "build, test (app=a), test (app=b)");
        assert_eq!(select(&["test (app=b)"], &[]).unwrap(), "build, test (app=b)");
        assert_eq!(select(&["deploy"], &["test"]).unwrap(), "lint, deploy");
        assert_eq!(select(&[], &["lint", "test (app=a)"]).unwrap(), "build, test (app=b), deploy");
        assert_eq!(select(&["tset"], &["lnt"]).unwrap_err().to_string(), "no stage is named `tset`, `lnt`");
    }

    #[test]
    fn height_is_the_longest_way_to_an_end() {
        let graph = graph(&[("a", &[]), ("b", &[0]), ("c", &[1, 0]), ("d", &[])]);
        assert_eq!((0..4).map(|stage| graph.height(stage)).collect::<Vec<_>>(), [2, 1, 0, 0]);
    }
}
