//! How a value gets into a text of each receiver's own markup, and how texts are kept within a receiver's limits.
//!
//! Branch names, messages of stages and the like come from whoever pushed: wherever they stand, they are data. They can't mention
//! people, make links, or begin another line.

use std::borrow::Cow;

/// The markup of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Escape {
    /// No markup at all.
    Plain,
    /// As `Plain`, in one line: a subject, a header.
    Line,
    /// Slack's mrkdwn: `&`, `<` and `>` are all that is special in it.
    Slack,
    /// GitHub's Markdown, with its mentions and references.
    Markdown,
    /// The part of Markdown that Adaptive Cards know. They show HTML as it is, and mention only whom the card itself names.
    Card,
    /// A part of a URL.
    Url,
}

/// After `@` and `#`: what follows is no name and no number any more.
const ZERO_WIDTH_SPACE: char = '\u{200b}';

impl Escape {
    /// The value as data.
    pub fn value(self, text: &str) -> Cow<'_, str> {
        match self {
            Escape::Plain => Cow::Borrowed(text),
            Escape::Line => one_line(text),
            Escape::Slack => slack(text).into(),
            Escape::Markdown => markdown(text).into(),
            Escape::Card => card(text).into(),
            Escape::Url => percent_encoding::utf8_percent_encode(text, URL).into(),
        }
    }
}

/// All but RFC 3986's unreserved characters.
const URL: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Control characters and line breaks become blanks.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ").into()
}

/// What Slack says must be encoded, and nothing else.
pub fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in one_line(text).chars() {
        match character {
            // a backslash or an entity would not do: mentions are looked for in what is shown
            '@' | '#' => {
                escaped.push(character);
                escaped.push(ZERO_WIDTH_SPACE);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '+' | '!' | '|' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn card(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in one_line(text).chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '~') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The text, or as much of it as `most` UTF-16 units hold together with a word on how much is missing. An entity or an escape is not cut
/// in two.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    let length = |text: &str| text.encode_utf16().count();
    let whole = length(text);
    if whole <= most {
        return Cow::Borrowed(text);
    }
    // the word itself is at most this long: a number has 20 digits at most
    let room = most.saturating_sub(" […  characters left out]".len() + 20);
    let mut used = 0;
    let end = text.char_indices().find(|(_, character)| {
        used += character.len_utf16();
        used > room
    });
    let mut kept = &text[..end.map_or(text.len(), |(at, _)| at)];
    if let Some(at) = kept.rfind('&').filter(|at| kept.len() - at < 6 && !kept[*at..].contains(';')) {
        kept = &kept[..at];
    }
    if kept.chars().rev().take_while(|character| *character == '\\').count() % 2 == 1 {
        kept = &kept[..kept.len() - 1];
    }
    let kept = kept.trim_end();
    format!("{kept} [… {} characters left out]", whole - length(kept)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_data_in_every_markup() {
        let branch = "feature/<!channel>@org/team&[x](http://evil)#1";
        for (escape, expected) in [
            (Escape::Plain, branch),
            (Escape::Slack, "feature/&lt;!channel&gt;@org/team&amp;[x](http://evil)#1"),
            (Escape::Markdown, "feature/&lt;\\!channel&gt;@\u{200b}org/team&amp;\\[x\\]\\(http://evil\\)#\u{200b}1"),
            (Escape::Card, "feature/<!channel>@org/team&\\[x\\]\\(http://evil\\)#1"),
            (Escape::Url, "feature%2F%3C%21channel%3E%40org%2Fteam%26%5Bx%5D%28http%3A%2F%2Fevil%29%231"),
        ] {
            assert_eq!(escape.value(branch), expected, "{escape:?}");
        }
        for (escape, expected) in [(Escape::Line, "a b: c"), (Escape::Markdown, "a b: c")] {
            assert_eq!(escape.value("a\r\nb: c"), expected, "{escape:?}");
        }
    }

    #[test]
    fn what_is_cut_says_so_and_keeps_within_the_limit() {
        assert_eq!(cut("short", 5), "short");
        for (text, most) in [("x".repeat(5000), 3000), ("😀".repeat(200), 255), ("a&amp;".repeat(100), 140), ("\\*".repeat(100), 101)] {
            let short = cut(&text, most);
            assert!(short.encode_utf16().count() <= most, "{short}");
            let (kept, word) = short.split_once(" [… ").unwrap();
            let left_out: usize = word.strip_suffix(" characters left out]").unwrap().parse().unwrap();
            assert_eq!(kept.encode_utf16().count() + left_out, text.encode_utf16().count());
            assert!(!kept.ends_with("&am") && !kept.ends_with("&amp"), "{kept}");
        }
        let escaped = cut("aaaaaaaaaa\\*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 58).into_owned();
        assert!(escaped.starts_with("aaaaaaaaaa [… "), "{escaped}");
    }
}
