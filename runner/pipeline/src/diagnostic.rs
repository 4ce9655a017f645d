//! A mistake in a pipeline file, and how it is shown.
//!
//! Every part that reads the file (`raw`, `model`, `plan`, the grants of each capability) pushes diagnostics and goes on, so that
//! a person sees all mistakes at once. A diagnostic says what is wrong at which bytes; how to mend it stands in `hint`.

use std::collections::HashMap;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle};
use unicode_width::UnicodeWidthStr;

use crate::source::Sources;

/// Byte offsets into the pipeline file.
pub type Span = Range<usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable, kebab-case: `unknown-key`, `cycle`, `grant-missing`. Listed in [`crate::reference::CODES`].
    pub code: &'static str,
    /// What is wrong, as one sentence with no full stop.
    pub message: String,
    /// Where: none for mistakes of the file as a whole.
    pub span: Option<Span>,
    /// What stands at the underlined text; may be empty.
    pub label: String,
    /// Other places that matter, with what they are.
    pub related: Vec<(Span, String)>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            span: span.into(),
            label: String::new(),
            related: Vec::new(),
            hint: None,
        }
    }

    pub fn warning(code: &'static str, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }
}

/// The nearest of `known` to `word`, if it is near enough to be a slip of the fingers.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .filter(|(distance, k)| *distance <= word.chars().count().max(k.chars().count()).max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Columns that a rendered diagnostic keeps to where it can: source lines are cut, sentences are wrapped.
const WIDTH: usize = 80;

/// Lines shown around nothing: a diagnostic with places further apart than this is cut down to its first place.
const MOST_LINES: usize = 5_000;

/// Renders diagnostics as rustc does, in the order of their places, errors and warnings mixed; those without a place come first.
/// Each begins with its severity and code and ends with an empty line. Colour only if asked for.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| d.span.as_ref().map_or((0, 0), |s| (s.start + 1, s.end)));
    let mut files: HashMap<usize, LineStarts> = HashMap::new();
    let mut out = String::new();
    for diagnostic in sorted {
        let (path, range) = sources.file_of(diagnostic.span.as_ref().map_or(0, |span| span.start));
        let text = &sources.text()[range.clone()];
        let lines = files.entry(range.start).or_insert_with(|| LineStarts::new(text));
        let file = File { path: path.display().to_string(), text, start: range.start, lines };
        let rendered = render_one(diagnostic, &file, sources, &renderer);
        for line in rendered.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// The file that a diagnostic stands in.
struct File<'a> {
    path: String,
    text: &'a str,
    /// In the text of all.
    start: usize,
    lines: &'a LineStarts,
}

impl File<'_> {
    /// A span of all files in this one; none if it is in another.
    fn inside(&self, span: &Span) -> Option<Span> {
        let end = self.start + self.text.len();
        (self.start <= span.start && span.start <= end)
            .then(|| clamp(&(span.start - self.start..span.end.saturating_sub(self.start)), self.text))
    }
}

fn render_one(diagnostic: &Diagnostic, file: &File<'_>, sources: &Sources, renderer: &Renderer) -> String {
    let File { path, text, lines, .. } = file;
    let (level, name) = match diagnostic.severity {
        Severity::Error => (Level::ERROR, "error"),
        Severity::Warning => (Level::WARNING, "warning"),
    };
    let message = wrap(&visible(&diagnostic.message), WIDTH.saturating_sub(name.len() + diagnostic.code.len() + 4));
    let hint = diagnostic.hint.as_ref().map(|hint| wrap(&visible(hint), WIDTH - 12));
    let title = level.primary_title(message).id(diagnostic.code);
    let mut group = Group::with_title(title);
    // What is rendered: the lines from the first to the last place, so that a large file costs no more than a small one.
    if diagnostic.span.is_none() {
        group = group.element(Origin::path(path.as_str()));
    }
    if let Some(span) = &diagnostic.span {
        let span = file.inside(span).unwrap_or(0..0);
        let first_line = lines.line(span.start);
        let near = |other: &Span| lines.line(other.start).abs_diff(first_line) <= MOST_LINES;
        let related: Vec<(Span, &String)> =
            diagnostic.related.iter().filter_map(|(span, what)| Some((file.inside(span)?, what))).filter(|(span, _)| near(span)).collect();
        let start = related.iter().map(|(s, _)| s.start).chain([span.start]).min().unwrap_or(0);
        let end = related.iter().map(|(s, _)| s.end).chain([span.end]).max().unwrap_or(0);
        let (from, to) = (lines.line_start(start), lines.line_end(end, text));
        let whole = &text[from..to];
        let inside = |span: &Span| span.start - from..span.end - from;
        let mut primary = AnnotationKind::Primary.span(inside(&span));
        let label = visible(&diagnostic.label);
        let note = (!label.is_empty() && label_is_too_wide(&label, &span, text, lines)).then(|| wrap(&label, WIDTH - 12));
        if !label.is_empty() && note.is_none() {
            primary = primary.label(label);
        }
        let mut snippet = Snippet::source(whole).path(path.as_str()).line_start(lines.line(start) + 1).annotation(primary);
        for (span, what) in &related {
            snippet = snippet.annotation(AnnotationKind::Context.span(inside(span)).label(visible(what)));
        }
        group = group.element(snippet);
        for (span, what) in diagnostic.related.iter().filter(|(span, _)| file.inside(span).is_none()) {
            let place = sources.place(span.start);
            let said = format!("{}: {}:{}:{}", visible(what), place.file.display(), place.line, place.column);
            group = group.element(Level::NOTE.message(wrap(&said, WIDTH - 12)));
        }
        if let Some(note) = note {
            group = group.element(Level::NOTE.message(note));
        }
    }
    if let Some(hint) = hint {
        group = group.element(Level::HELP.message(hint));
    }
    renderer.render(&[group])
}

/// Beside the underlined text there is no room for it.
fn label_is_too_wide(label: &str, span: &Span, text: &str, lines: &LineStarts) -> bool {
    let gutter = (lines.line(span.end) + 1).to_string().len() + 3;
    let before = &text[lines.line_start(span.start)..span.start];
    let under = text[span.clone()].lines().next().unwrap_or("");
    gutter + before.width() + under.width() + 1 + label.width() > WIDTH
}

/// Control characters from the file, made harmless for a terminal.
fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() && c != '\n' { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Breaks lines that are too long at spaces. Words, and code between backticks, are never broken.
fn wrap(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        // a line of TOML is there to be copied
        let toml = line.contains(" = {") || line.contains(" = [");
        if toml || line.width() <= width {
            out.push_str(line);
            continue;
        }
        let mut code = false;
        let mut used = 0;
        let spaces = |c: char| {
            code ^= c == '`';
            c == ' ' && !code
        };
        for (index, word) in line.split(spaces).enumerate() {
            let wide = word.width();
            if index > 0 {
                let fits = used + 1 + wide <= width;
                out.push(if fits { ' ' } else { '\n' });
                used = if fits { used + 1 } else { 0 };
            }
            out.push_str(word);
            used += wide;
        }
    }
    out
}

/// Where lines begin.
pub(crate) struct LineStarts(Vec<usize>);

impl LineStarts {
    pub(crate) fn new(text: &str) -> Self {
        LineStarts(std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)).collect())
    }

    /// From 0.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line_start(&self, offset: usize) -> usize {
        self.0[self.line(offset)]
    }

    fn line_end(&self, offset: usize, text: &str) -> usize {
        self.0.get(self.line(offset) + 1).map_or(text.len(), |next| *next)
    }
}

/// The line and column (both 1-based, the column in Unicode scalar values) of a byte offset.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

fn clamp(span: &Span, text: &str) -> Span {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    start..end
}

fn floor(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset.min(text.len()))
}
