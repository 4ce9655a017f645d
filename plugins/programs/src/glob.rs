//! Files named by a pattern: `target/surefire-reports/*.xml`, `**/junit.xml`.

/// Whether `path` matches `pattern`, both relative with `/`: `?` is one character and `*` any number of them within a segment,
/// `**` as a whole segment is any number of segments, none included.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    segments(&pattern, &path)
}

/// Whether `text` has a wildcard, so that it stands for any number of files.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The folder below which everything that `pattern` can match lies: its segments before the first wildcard.
pub fn root(pattern: &str) -> String {
    let segments: Vec<&str> = pattern.split('/').collect();
    let fixed = segments.iter().position(|segment| is_pattern(segment)).unwrap_or(segments.len() - 1);
    segments[..fixed].join("/")
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        // collapsing a run of `**` keeps the search quadratic at worst
        (Some((&"**", rest)), _) if rest.first() == Some(&"**") => segments(rest, path),
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| segments(rest, &path[skipped..])),
        (Some((part, rest)), Some((name, below))) => {
            let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
            segment(&part, &name) && segments(rest, below)
        }
        _ => false,
    }
}

/// One segment, by the usual two cursors: on a mismatch the last `*` takes one character more.
fn segment(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("target/junit.xml", "target/junit.xml", true),
            ("./target/junit.xml", "target/junit.xml", true),
            ("target/*.xml", "target/junit.xml", true),
            ("target/*.xml", "target/a/junit.xml", false),
            ("target/**/*.xml", "target/junit.xml", true),
            ("target/**/*.xml", "target/a/b/junit.xml", true),
            ("**/TEST-*.xml", "a/b/TEST-shop.Cart.xml", true),
            ("**/TEST-*.xml", "a/b/REST-shop.Cart.xml", false),
            ("**", "a/b", true),
            ("**/**/**/**/**/x", "a/b/c/d/e/f/g/h/i/j/k", false),
            ("junit?.xml", "junit1.xml", true),
            ("junit?.xml", "junit.xml", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("größe*", "größe.xml", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn roots() {
        for (pattern, expected) in
            [("target/junit.xml", "target"), ("junit.xml", ""), ("a/b/*.xml", "a/b"), ("**/x.xml", ""), ("a/**/x", "a")]
        {
            assert_eq!(root(pattern), expected, "{pattern}");
        }
    }
}
