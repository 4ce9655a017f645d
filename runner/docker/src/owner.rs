//! Whose a container, network or volume is.

use std::collections::HashMap;

/// The attempt that made a thing, and the process that is responsible for it. Written into labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub run: String,
    pub stage: String,
    pub attempt: u32,
    /// The runner's process: see [`Owner::this_process`]. What belongs to a process that is gone can be removed.
    pub process: String,
}

pub(crate) const RUN: &str = "dev.runner.run";
pub(crate) const STAGE: &str = "dev.runner.stage";
pub(crate) const ATTEMPT: &str = "dev.runner.attempt";
pub(crate) const PROCESS: &str = "dev.runner.process";
/// The position of the effect that made a container.
pub(crate) const EFFECT: &str = "dev.runner.effect";

/// How the name of a container begins that another process has taken over.
const CLAIMED: &str = "runner.";

impl Owner {
    /// What [`Owner::process`] is for this very process.
    pub fn this_process() -> String {
        crate::process::this()
    }

    pub fn labels(&self) -> HashMap<String, String> {
        let pairs =
            [(RUN, self.run.clone()), (STAGE, self.stage.clone()), (ATTEMPT, self.attempt.to_string()), (PROCESS, self.process.clone())];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// None: not a thing of ours.
    pub fn of(labels: &HashMap<String, String>) -> Option<Owner> {
        let get = |name: &str| labels.get(name).cloned();
        Some(Owner { run: get(RUN)?, stage: get(STAGE)?, attempt: get(ATTEMPT)?.parse().ok()?, process: get(PROCESS)? })
    }

    /// The name of a container that this process has taken over. Labels can't be changed, and names can.
    pub(crate) fn claim(id: &str) -> String {
        format!("{CLAIMED}{}.{}", Self::this_process().replace('/', "."), id.get(..12).unwrap_or(id))
    }

    /// Of a container: whoever has taken it over is responsible now.
    pub(crate) fn of_container(labels: &HashMap<String, String>, names: &[String]) -> Option<Owner> {
        let mut owner = Self::of(labels)?;
        let claimed = names.iter().find_map(|name| name.trim_start_matches('/').strip_prefix(CLAIMED)?.rsplit_once('.'));
        if let Some((process, _)) = claimed {
            owner.process = process.replace('.', "/");
        }
        Some(owner)
    }

    /// Whether the process that is responsible is no more, as far as that can be told from here.
    pub fn is_gone(&self) -> bool {
        crate::process::is_gone(&self.process)
    }

    /// As an engine's filter: things of this attempt, whichever process made them.
    pub(crate) fn filter(&self) -> HashMap<String, Vec<String>> {
        let labels = vec![format!("{RUN}={}", self.run), format!("{STAGE}={}", self.stage), format!("{ATTEMPT}={}", self.attempt)];
        HashMap::from([("label".to_owned(), labels)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_whose_it_is() {
        let owner = Owner { run: "20260101-000000-abcdef".into(), stage: "test (app=a)".into(), attempt: 2, process: "boot/1/2".into() };
        let taken_over = Owner::of_container(&owner.labels(), &[format!("/{}", Owner::claim("0123456789abcdef"))]);
        assert_eq!(taken_over, Some(Owner { process: Owner::this_process(), ..owner.clone() }));
        assert_eq!(Owner::of_container(&owner.labels(), &["/brave_lovelace".to_owned()]), Some(owner.clone()));
        assert_eq!(Owner::of(&owner.labels()), Some(owner));
        assert_eq!(Owner::of(&HashMap::from([("dev.runner.run".to_owned(), "x".to_owned())])), None);
    }
}
