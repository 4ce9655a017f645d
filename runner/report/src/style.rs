//! Lines of styled text: how wide they are, how they are cut and wrapped, and the escape sequences that colour them, which are added
//! last. A piece of text gets into a [`Line`] only cleaned ([`crate::sanitize`]), so no reporter can forget it.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use crate::sanitize;

/// What a piece of text is for; the colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Text,
    Strong,
    Faint,
    Good,
    Bad,
    Warn,
    Accent,
}

impl Role {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Role::Text => Style::new(),
            Role::Strong => Style::new().bold(),
            Role::Faint => Style::new().dimmed(),
            Role::Good => color(AnsiColor::Green),
            Role::Bad => color(AnsiColor::Red).bold(),
            Role::Warn => color(AnsiColor::Yellow),
            Role::Accent => color(AnsiColor::Cyan),
        }
    }
}

/// The signs that reports draw with.
#[derive(Debug, PartialEq, Eq)]
pub struct Symbols {
    pub passed: &'static str,
    pub failed: &'static str,
    pub warning: &'static str,
    pub skipped: &'static str,
    pub blocked: &'static str,
    pub cancelled: &'static str,
    pub again: &'static str,
    /// Waits for one.
    pub person: &'static str,
    pub gutter: &'static str,
    pub dash: &'static str,
    pub dot: &'static str,
    pub cut: &'static str,
    pub full: &'static str,
    pub empty: &'static str,
    pub spinner: &'static [&'static str],
}

pub static UNICODE: Symbols = Symbols {
    passed: "✓",
    failed: "✗",
    warning: "!",
    skipped: "○",
    blocked: "⊘",
    cancelled: "■",
    again: "↻",
    person: "?",
    gutter: "│",
    dash: "─",
    dot: "·",
    cut: "…",
    full: "━",
    empty: "┄",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
};

/// Where the locale is not UTF-8.
pub static ASCII: Symbols = Symbols {
    passed: "+",
    failed: "x",
    warning: "!",
    skipped: "-",
    blocked: "/",
    cancelled: "#",
    again: "~",
    person: "?",
    gutter: "|",
    dash: "-",
    dot: "-",
    cut: "..",
    full: "=",
    empty: ".",
    spinner: &["|", "/", "-", "\\"],
};

/// Columns that a character takes, or one more: terminals differ in emoji sequences, and a line that is too short does no harm.
fn columns(c: char) -> usize {
    // The selector that turns the character before it into an emoji, which is one column wider.
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) }
}

pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(Role, String)>,
    /// To be copied by the reader (a path, TOML, a line of a log): never wrapped or cut to the width of the terminal.
    whole: bool,
}

impl Line {
    pub fn new() -> Self {
        Line::default()
    }

    pub fn of(role: Role, text: &str) -> Self {
        Line::new().and(role, text)
    }

    pub fn and(mut self, role: Role, text: &str) -> Self {
        self.push(role, text);
        self
    }

    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    pub fn push(&mut self, role: Role, text: &str) {
        match self.spans.last_mut() {
            Some((last, span)) if *last == role => sanitize::clean_into(text, span),
            _ => self.spans.push((role, sanitize::clean(text))),
        }
    }

    /// Spaces up to column `to`.
    pub fn pad(&mut self, to: usize) {
        let missing = to.saturating_sub(self.width());
        if missing > 0 {
            self.push(Role::Text, &" ".repeat(missing));
        }
    }

    pub fn append(&mut self, other: Line) {
        self.whole |= other.whole;
        self.spans.extend(other.spans);
    }

    pub fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| width(text)).sum()
    }

    /// At most `limit` columns; the end of a longer line is replaced by `cut`.
    pub fn fit(self, limit: usize, cut: &str) -> Line {
        if self.width() <= limit {
            return self;
        }
        let cut = if width(cut) <= limit { cut } else { "" };
        let mut room = limit - width(cut);
        let mut fitted = Line { spans: Vec::new(), whole: self.whole };
        'spans: for (role, text) in self.spans {
            let mut kept = String::new();
            for c in text.chars() {
                if columns(c) > room {
                    fitted.spans.push((role, kept + cut));
                    break 'spans;
                }
                room -= columns(c);
                kept.push(c);
            }
            fitted.spans.push((role, kept));
        }
        fitted
    }

    /// Broken between words, so that no line is wider than `limit`; lines after the first begin with `hang` spaces.
    pub fn wrap(self, limit: usize, hang: usize) -> Vec<Line> {
        let limit = limit.max(2);
        if self.whole || self.width() <= limit {
            return vec![self];
        }
        let hang = if hang + 2 < limit { hang } else { 0 };
        let letters: Vec<(Role, char)> = self.spans.iter().flat_map(|(role, text)| text.chars().map(move |c| (*role, c))).collect();
        let mut lines = Vec::new();
        let mut start = 0;
        while start < letters.len() {
            let indent = if lines.is_empty() { 0 } else { hang };
            let (mut used, mut end, mut space) = (indent, start, None);
            while end < letters.len() && used + columns(letters[end].1) <= limit {
                used += columns(letters[end].1);
                // A space before which there is nothing but spaces is the line's own indent.
                if letters[end].1 == ' ' && letters[start..end].iter().any(|(_, c)| *c != ' ') {
                    space = Some(end);
                }
                end += 1;
            }
            if end < letters.len() && letters[end].1 != ' ' {
                end = space.unwrap_or(end.max(start + 1));
            }
            let mut line = Line::new();
            line.pad(indent);
            for &(role, c) in &letters[start..end] {
                match line.spans.last_mut() {
                    Some((last, span)) if *last == role => span.push(c),
                    _ => line.spans.push((role, c.to_string())),
                }
            }
            lines.push(line);
            start = end;
            while letters.get(start).is_some_and(|(_, c)| *c == ' ') {
                start += 1;
            }
        }
        lines
    }

    /// The text to write, without a line feed. Without `unicode`, every other character than ASCII becomes `?`.
    pub fn render(&self, color: bool, unicode: bool) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        // Trailing spaces would be copied along.
        let end = self.spans.iter().rposition(|(_, text)| !text.trim_end_matches(' ').is_empty()).map_or(0, |index| index + 1);
        for (index, (role, text)) in self.spans[..end].iter().enumerate() {
            let text = if index + 1 == end { text.trim_end_matches(' ') } else { text };
            if text.is_empty() {
                continue;
            }
            let style = if color { role.style() } else { Style::new() };
            let _ = write!(out, "{style}");
            if unicode {
                out.push_str(text);
            } else {
                // As many as the character has columns, so that tables stay tables.
                text.chars().for_each(|c| if c.is_ascii() { out.push(c) } else { out.extend(std::iter::repeat_n('?', columns(c))) });
            }
            let _ = write!(out, "{style:#}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn text(line: &Line) -> String {
        line.render(false, true)
    }

    #[test]
    fn wide_characters_are_cut_where_they_fit() {
        let line = Line::of(Role::Strong, "日本語").and(Role::Text, " text");
        assert_eq!(line.width(), 11);
        assert_eq!(text(&line.clone().fit(11, "…")), "日本語 text");
        assert_eq!(text(&line.clone().fit(6, "…")), "日本…");
        assert_eq!(text(&line.clone().fit(5, "…")), "日本…");
        assert_eq!(text(&line.fit(0, "…")), "");
    }

    #[test]
    fn lines_wrap_between_words_and_break_words_that_are_too_long() {
        let wrap = |line: &str, limit, hang| -> Vec<String> { Line::of(Role::Text, line).wrap(limit, hang).iter().map(text).collect() };
        assert_eq!(wrap("one two three", 8, 2), ["one two", "  three"]);
        assert_eq!(wrap("abcdefghijkl", 5, 0), ["abcde", "fghij", "kl"]);
        assert_eq!(wrap("  indented words", 10, 2), ["  indented", "  words"]);
        assert_eq!(wrap("ab 日本語日本語", 6, 0), ["ab", "日本語", "日本語"]);
        assert_eq!(Line::of(Role::Text, "a path that is copied").whole().wrap(5, 0).len(), 1);
    }

    #[test]
    fn colour_is_added_last_and_only_where_it_is_wanted() {
        let line = Line::of(Role::Bad, "no").and(Role::Text, " way  ");
        assert_eq!(line.render(true, true), "\u{1b}[1m\u{1b}[31mno\u{1b}[0m way");
        assert_eq!(line.render(false, true), "no way");
        assert_eq!(Line::of(Role::Good, "✓ 日").render(false, false), "? ??");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_limit_and_no_word_is_lost(
            pieces in proptest::collection::vec(("[a-z 日é\u{fe0f}👩✈\\x00-\\x1f\u{1b}\u{300}]{0,30}", 0usize..3), 0..6),
            limit in 2usize..40,
            hang in 0usize..6,
        ) {
            let roles = [Role::Text, Role::Bad, Role::Faint];
            let mut line = Line::new();
            for (piece, role) in &pieces {
                line.push(roles[*role], piece);
            }
            let fitted = text(&line.clone().fit(limit, "…"));
            prop_assert!(UnicodeWidthStr::width(fitted.as_str()) <= limit, "{:?}", fitted);
            let whole: String = line.render(false, true).split(' ').collect();
            let wrapped: Vec<String> = line.wrap(limit, hang).iter().map(text).collect();
            for line in &wrapped {
                prop_assert!(UnicodeWidthStr::width(line.as_str()) <= limit, "{:?}", line);
                prop_assert!(!line.chars().any(sanitize::acts));
            }
            prop_assert_eq!(wrapped.concat().split(' ').collect::<String>(), whole);
        }
    }
}
