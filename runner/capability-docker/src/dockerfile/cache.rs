//! `RUN --mount=type=cache`: each pipeline has caches of its own.
//!
//! An engine knows such a cache by an id that every Dockerfile can name, so that one pipeline could put into another's what that runs. Each id is
//! given the pipeline's name before it is built.

/// The text with the ids of its cache mounts made this pipeline's own.
///
/// # Errors
/// If a mount is written so that its id can't be told.
pub fn own(text: &str, pipeline: &str) -> Result<String, String> {
    let owner: String = pipeline.bytes().map(|b| if b.is_ascii_alphanumeric() || b == b'-' { char::from(b) } else { '_' }).collect();
    let mut out = String::with_capacity(text.len());
    let mut changed = 0;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let is_cache = word.starts_with("--mount=") && word.to_lowercase().split([',', '=']).any(|part| part == "cache");
        if !is_cache {
            out.push_str(piece);
            continue;
        }
        let value = |names: &[&str]| {
            let mut parts = word["--mount=".len()..].split(',').filter_map(|part| part.split_once('='));
            parts.rfind(|(name, _)| names.contains(&name.to_lowercase().as_str())).map(|(_, value)| value)
        };
        let id = value(&["id"]).or_else(|| value(&["target", "dst", "destination"]));
        let id = id.ok_or_else(|| format!("the cache mount `{word}` has no target"))?;
        // the last one counts
        out.push_str(&format!("{word},id=runner/{owner}/{}", id.trim_start_matches('/')));
        out.push_str(&piece[word.len()..]);
        changed += 1;
    }
    // a word that goes on in the next line was not seen whole
    let joined: String =
        text.split('\n').map(|line| line.trim_end().strip_suffix(['\\', '`']).map_or_else(|| format!("{line}\n"), str::to_owned)).collect();
    let whole = joined
        .split_whitespace()
        .filter(|word| word.starts_with("--mount=") && word.to_lowercase().split([',', '=']).any(|part| part == "cache"));
    if whole.count() == changed { Ok(out) } else { Err("a cache mount goes on in the next line; write each on one".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn ids_are_the_pipelines_own() {
        assert_eq!(
            own("RUN --mount=type=cache,target=/root/.npm \\\n  --mount=id=a,type=cache,dst=/x npm ci", "shop 1").unwrap(),
            "RUN --mount=type=cache,target=/root/.npm,id=runner/shop_1/root/.npm \\\n  --mount=id=a,type=cache,dst=/x,id=runner/shop_1/a npm ci"
        );
        assert_eq!(own("RUN --mount=type=bind,from=x true\n", "shop").unwrap(), "RUN --mount=type=bind,from=x true\n");
        assert!(own("RUN --mount=type=ca\\\nche,target=/x true", "shop").is_err());
        assert!(own("RUN --mount=type=cache true", "shop").is_err());
    }
}
