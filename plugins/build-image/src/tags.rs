//! Names of the image from templates.
//!
//! `${git.short}` and the like are the pipeline's. What they can't say is said here, in braces: a branch whose `/` no tag can hold, the date, the
//! parts of a version. A name that needs a version is left out where the run is for none, and what names "the newest" of a line of versions
//! (`{major}`, `{major}.{minor}`) is left out for a pre-release, as nobody who pins a line wants one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use semver::Version;

use crate::reference::Reference;

/// What a template may say of the run.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub sha: Option<String>,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub started: Timestamp,
}

impl About {
    /// The version that the run's tag names: `v1.2.3` or `1.2.3`.
    pub fn version(&self) -> Option<Version> {
        let tag = self.tag.as_deref()?;
        // a monorepo's tags have a package in front: `shop-v1.2.3`, `shop/1.2.3`, `shop@1.2.3`
        let starts = tag.char_indices().filter(|(at, _)| *at == 0 || tag[..*at].ends_with(['-', '/', '@', 'v']));
        starts.map(|(at, _)| &tag[at..]).find_map(|text| Version::parse(text.strip_prefix('v').unwrap_or(text)).ok())
    }
}

/// The names of one image, and those that were left out with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub references: Vec<Reference>,
    pub left_out: Vec<String>,
}

/// What is wrong with the tags, and how to mend it.
///
/// # Errors
/// If a template or what it makes is no reference, or nothing is left.
pub fn expand(templates: &[String], about: &About) -> Result<Named, String> {
    let mut named = Named::default();
    let mut known = BTreeSet::new();
    for template in templates {
        match fill(template, about)? {
            Filled::Text(text) => {
                let mut reference = Reference::parse(&text).map_err(|why| format!("tags: {why}"))?;
                if reference.digest.is_some() {
                    return Err(format!("tags: `{text}` has a digest, which nobody can choose: take it off"));
                }
                reference.tag.get_or_insert_with(|| "latest".into());
                if known.insert(reference.clone()) {
                    named.references.push(reference);
                }
            }
            Filled::LeftOut(why) => named.left_out.push(format!("{template}: {why}")),
        }
    }
    if named.references.is_empty() {
        return Err(format!("tags: none is left ({}); add one that every run has, such as `name:{{sha}}`", named.left_out.join("; ")));
    }
    Ok(named)
}

enum Filled {
    Text(String),
    LeftOut(&'static str),
}

fn fill(template: &str, about: &About) -> Result<Filled, String> {
    let version = about.version();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("tags: `{template}` has a `{{` that nothing closes"));
        };
        text.push_str(before);
        let missing = |what: &'static str| Ok(Filled::LeftOut(what));
        let value = match name {
            "sha" | "sha-full" => match &about.sha {
                None => return missing("the commit is not known"),
                Some(sha) if name == "sha" => sha.chars().take(7).collect(),
                Some(sha) => sha.clone(),
            },
            "branch" => match &about.branch {
                None => return missing("the run is for no branch"),
                Some(branch) => slug(branch),
            },
            "date" => about.started.to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string(),
            "semver" | "version" | "major" | "minor" | "patch" => match &version {
                None => return missing("the run is for no tag that is a version"),
                // `+` of build metadata can't stand in a tag
                Some(version) if name == "semver" || name == "version" => version.to_string().replace('+', "-"),
                Some(version) if !version.pre.is_empty() => return missing("the version is a pre-release"),
                Some(version) if name == "major" => version.major.to_string(),
                Some(version) if name == "minor" => version.minor.to_string(),
                Some(version) => version.patch.to_string(),
            },
            other => {
                return Err(format!(
                    "tags: `{{{other}}}` of `{template}` is none of sha, sha-full, branch, date, semver, major, minor and patch; what the pipeline \
                     knows is written `${{git.short}}`"
                ));
            }
        };
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(Filled::Text(text))
}

/// A branch as a part of a tag: what no tag can hold becomes `-`, and not twice in a row.
fn slug(branch: &str) -> String {
    let mut slug = String::with_capacity(branch.len());
    for c in branch.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' || c == '.' => slug.push(c.to_ascii_lowercase()),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug: String = slug.trim_matches(['-', '.']).chars().take(80).collect();
    if slug.is_empty() { "branch".into() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(branch: &str, tag: &str) -> About {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        About {
            sha: Some("0123456789abcdef0123456789abcdef01234567".into()),
            branch: some(branch),
            tag: some(tag),
            started: "2026-02-03T23:59:59Z".parse().unwrap(),
        }
    }

    fn tags(templates: &[&str], about: &About) -> Result<Vec<String>, String> {
        let templates: Vec<String> = templates.iter().map(|tag| format!("ghcr.io/acme/shop:{tag}")).collect();
        let named = expand(&templates, about)?;
        Ok(named.references.into_iter().filter_map(|reference| reference.tag).collect())
    }

    #[test]
    fn templates_are_filled() {
        for (branch, tag, templates, expected) in [
            (
                "main",
                "",
                &["latest", "stable", "sha-{sha}", "{branch}-{sha}"] as &[&str],
                &["latest", "stable", "sha-0123456", "main-0123456"] as &[&str],
            ),
            ("main", "", &["{date}-{sha}", "{sha-full}"], &["20260203-0123456", "0123456789abcdef0123456789abcdef01234567"]),
            ("feature/Füß--x/", "", &["{branch}"], &["feature-f-x"]),
            ("main", "v1.2.3", &["{semver}", "{major}.{minor}", "{major}", "{minor}.{patch}"], &["1.2.3", "1.2", "1", "2.3"]),
            ("main", "v2.0.0-rc.1+build", &["{semver}", "{major}"], &["2.0.0-rc.1-build"]),
            ("main", "shop@0.4.1", &["{semver}"], &["0.4.1"]),
            ("main", "shop-v0.4.1", &["{semver}"], &["0.4.1"]),
            ("main", "nightly", &["{semver}", "edge", "edge"], &["edge"]),
        ] {
            assert_eq!(tags(templates, &about(branch, tag)).unwrap(), expected, "{branch} {tag}");
        }
    }

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        let named = expand(&["shop".into()], &about("main", "")).unwrap();
        assert_eq!(named.references[0].to_string(), "docker.io/library/shop:latest");
    }

    #[test]
    fn what_makes_no_tag_says_why() {
        for (template, part) in [
            ("{sha", "nothing closes"),
            ("{commit}", "is none of sha"),
            ("a b", "is no tag"),
            ("{semver}", "none is left (ghcr.io/acme/shop:{semver}: the run is for no tag that is a version)"),
            ("x@sha256:0000000000000000000000000000000000000000000000000000000000000000", "has a digest"),
        ] {
            let error = tags(&[template], &about("main", "")).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
        assert!(tags(&["{branch}"], &about("", "")).unwrap_err().contains("no branch"));
    }
}
