//! The files that a pipeline is written in, as one text, so that a span says which file it stands in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Span, line_column};

/// The pipeline file, then what it includes, in the order in which they were read. Spans count from the start of the first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    text: Arc<str>,
    /// Names as they are shown, and where each begins.
    files: Vec<(PathBuf, usize)>,
}

/// A place in one of the files, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    pub file: &'a Path,
    /// From 1.
    pub line: usize,
    /// From 1, in Unicode scalar values.
    pub column: usize,
}

impl Sources {
    pub fn new(file: impl AsRef<Path>, text: &str) -> Self {
        Sources { text: Arc::from(text), files: vec![(file.as_ref().to_owned(), 0)] }
    }

    /// Adds a file; answers where it begins.
    pub(crate) fn add(&mut self, file: &Path, text: &str) -> usize {
        let start = self.text.len();
        self.text = Arc::from([&self.text, text].concat());
        self.files.push((file.to_owned(), start));
        start
    }

    /// All of it.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The pipeline file itself, as it was named.
    pub fn main(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |(file, _)| file)
    }

    /// The text of the pipeline file itself.
    pub fn main_text(&self) -> &str {
        let end = self.files.get(1).map_or(self.text.len(), |(_, start)| *start);
        &self.text[..end]
    }

    /// The included files with their texts.
    pub fn included(&self) -> impl Iterator<Item = (&Path, &str)> {
        (1..self.files.len()).map(|index| (self.files[index].0.as_path(), &self.text[self.range(index)]))
    }

    fn range(&self, index: usize) -> Span {
        let end = self.files.get(index + 1).map_or(self.text.len(), |(_, start)| *start);
        self.files[index].1..end
    }

    /// The file that an offset stands in, and its range.
    pub fn file_of(&self, offset: usize) -> (&Path, Span) {
        // the end of the text belongs to the last file, the end of a file before others to the next
        let index = self.files.partition_point(|(_, start)| *start <= offset).saturating_sub(1);
        match self.files.get(index) {
            Some((file, _)) => (file, self.range(index)),
            None => (Path::new(""), 0..0),
        }
    }

    pub fn place(&self, offset: usize) -> Place<'_> {
        let (file, range) = self.file_of(offset);
        let (line, column) = line_column(&self.text[range.clone()], offset.saturating_sub(range.start));
        Place { file, line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_their_file() {
        let mut sources = Sources::new("pipeline.toml", "a = 1\nb = 2\n");
        assert_eq!(sources.add(Path::new("ci/common.toml"), "c = 3\n# ä\nd = 4"), 12);
        let shown = |offset| {
            let place = sources.place(offset);
            format!("{}:{}:{}", place.file.display(), place.line, place.column)
        };
        assert_eq!(shown(0), "pipeline.toml:1:1");
        assert_eq!(shown(11), "pipeline.toml:2:6");
        assert_eq!(shown(12), "ci/common.toml:1:1");
        assert_eq!(shown(sources.text().len()), "ci/common.toml:3:6");
        assert_eq!(sources.main_text(), "a = 1\nb = 2\n");
        assert_eq!(sources.included().map(|(_, text)| text).collect::<Vec<_>>(), ["c = 3\n# ä\nd = 4"]);
    }
}
