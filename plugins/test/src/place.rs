//! Places in a failing test's words: `panicked at src/lib.rs:10:5:`, `(file:///…/cart.test.mjs:6:34)`, `test_shop.py:9: …`,
//! `File "shop.py", line 3`, `at t/cart.t line 3.`

use runner_sdk::report::Location;

/// Places looked at in one message: a stack of thousands of frames says nothing more.
const MOST: usize = 200;

/// All places in `text`, in order, with the paths as printed. Which of them is a file of the workspace, only the workspace knows.
pub fn places(text: &str) -> impl Iterator<Item = Location> + '_ {
    text.lines().flat_map(of_line).take(MOST)
}

fn of_line(line: &str) -> Vec<Location> {
    let mut found = Vec::new();
    // Python's own: File "/home/dev/shop/test_bad.py", line 1
    if let Some(rest) = line.split("File \"").nth(1)
        && let Some((path, rest)) = rest.split_once("\", line ")
    {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(number) = digits.parse() {
            found.push(Location::line(path, number));
            return found;
        }
    }
    // Perl's: at t/cart.t line 3.
    if let Some(place) = of_perl(line) {
        return vec![place];
    }
    for word in line.split(|c: char| c.is_whitespace() || "()[]{}<>'\"`,;|".contains(c)) {
        found.extend(of_word(word));
    }
    found
}

/// `… at t/cart.t line 3.`
fn of_perl(line: &str) -> Option<Location> {
    let (before, after) = line.split_once(" line ")?;
    let path = before.rsplit_once("at ").filter(|(before, _)| before.is_empty() || before.ends_with(' '))?.1;
    let number: String = after.chars().take_while(char::is_ascii_digit).collect();
    let is_file = !path.contains(' ') && path.rsplit_once('.').is_some_and(|(_, extension)| matches!(extension, "t" | "pl" | "pm"));
    is_file.then(|| number.parse().ok()).flatten().filter(|number| *number > 0).map(|number| Location::line(path, number))
}

/// `path:line` or `path:line:column`, with a colon or full stop behind it.
fn of_word(word: &str) -> Option<Location> {
    let word = word.trim_end_matches([':', '.', '!']);
    let (rest, last) = word.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    let (path, line, column) = match rest.rsplit_once(':').and_then(|(path, line)| Some((path, line.parse().ok()?))) {
        Some((path, line)) => (path, line, last),
        None => (rest, last, 0),
    };
    // a file has an extension; a host and its port do not look like one
    let name = path.rsplit(['/', '\\']).next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    let is_extension = (1..=8).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_number = extension.bytes().all(|byte| byte.is_ascii_digit());
    let is_file = !stem.is_empty() && is_extension && !is_number && (!path.contains("://") || path.starts_with("file://"));
    (is_file && line > 0).then(|| Location { path: path.to_owned(), line, column, ..Location::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_print() {
        type Case = (&'static str, &'static [(&'static str, u32, u32)]);
        let cases: [Case; 11] = [
            ("thread 'x' (15799) panicked at src/lib.rs:45:9:", &[("src/lib.rs", 45, 9)]),
            ("thread 'x' panicked at 'the sum is off', src/lib.rs:10:5", &[("src/lib.rs", 10, 5)]),
            ("note: test did not panic as expected at src/lib.rs:57:8", &[("src/lib.rs", 57, 8)]),
            (
                "    at TestContext.<anonymous> (file:///home/dev/shop/test/cart.test.mjs:6:34)",
                &[("file:///home/dev/shop/test/cart.test.mjs", 6, 34)],
            ),
            ("test_shop.py:9: AssertionError", &[("test_shop.py", 9, 0)]),
            ("  File \"/home/dev/shop/test_bad.py\", line 1", &[("/home/dev/shop/test_bad.py", 1, 0)]),
            ("    shop_test.go:14: got 3, want 4", &[("shop_test.go", 14, 0)]),
            ("\tat com.acme.CartTest.sum(CartTest.java:42)", &[("CartTest.java", 42, 0)]),
            ("#   at t/cart.t line 3.", &[("t/cart.t", 3, 0)]),
            ("no config at lib/Shop.pm line 12, <STDIN> line 1.", &[("lib/Shop.pm", 12, 0)]),
            ("see http://example.com:80 and 10.0.0.1:80 at 12:30:45, v1.2:3", &[]),
        ];
        for (text, expected) in cases {
            let found: Vec<Location> = places(text).collect();
            let found: Vec<(&str, u32, u32)> = found.iter().map(|place| (place.path.as_str(), place.line, place.column)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_places_or_none(text in ".{0,200}") {
            for place in places(&text) {
                assert!(place.line > 0);
            }
        }
    }
}
