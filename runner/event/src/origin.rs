//! Where a run and its stages come from: the lines of the pipeline file, and the checkout.

use serde::{Deserialize, Serialize};

/// A line of the pipeline file, or of a file that it includes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileLine {
    /// From 1.
    pub line: u32,
    /// The included file, from the folder of the pipeline file; none: that file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Where a stage stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// Of its table.
    pub at: FileLine,
    /// Of its `grants`, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<FileLine>,
    /// Of each grant, by the name of its capability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<(String, FileLine)>,
}

impl Place {
    /// Where that stands which allows `effect` (`http.request`) or would have to: the capability's grant, else the grants, else the stage.
    pub fn of(&self, effect: &str) -> &FileLine {
        let capability = effect.split('.').next().unwrap_or_default();
        let grant = self.grant.iter().find(|(name, _)| name == capability).map(|(_, at)| at);
        grant.or(self.grants.as_ref()).unwrap_or(&self.at)
    }
}

/// What is known of the checkout that a run works on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GitFacts {
    /// None on a detached head.
    pub branch: Option<String>,
    /// None before the first commit.
    pub sha: Option<String>,
    /// Whether the work tree differs from the commit; none where nobody looked.
    pub dirty: Option<bool>,
}

/// What set a run off, and how far what runs is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trigger {
    /// `push`, `pull-request`, `schedule` or `manual`.
    pub event: String,
    /// `local`, `branch`, `tag`, `pull-request` or `fork`.
    pub trust: String,
    /// What the run is of, for people: `tag v1.2`, `pull request 7 into main`, `feature/x`.
    pub subject: String,
    /// The revision that the pipeline was taken from, where that is not the checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_from: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_belongs_to_the_line_that_is_nearest_to_what_would_allow_it() {
        let at = |line| FileLine { line, file: None };
        let mut place = Place { at: at(3), grants: Some(at(8)), grant: vec![("files".to_owned(), at(9)), ("http".to_owned(), at(10))] };
        for (effect, line) in [("http.request", 10), ("files.open", 9), ("files", 9), ("commands.start", 8), ("", 8)] {
            assert_eq!(place.of(effect).line, line, "{effect}");
        }
        place.grants = None;
        assert_eq!(place.of("commands.start").line, 3);
    }

    #[test]
    fn what_older_runners_wrote_is_read() {
        let stage: crate::PlannedStage = serde_json::from_str(r#"{"id":"a","uses":"command","needs":[]}"#).unwrap();
        assert_eq!(stage.place, None);
        let text = r#"{"at":1,"event":"run-started","schema":1,"runner":"0","run":"r","pipeline":"p","file":"f","jobs":1,"stages":[]}"#;
        let event: crate::Event = serde_json::from_str(text).unwrap();
        assert!(matches!(event.kind, crate::Kind::RunStarted { git: None, .. }));
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
    }
}
