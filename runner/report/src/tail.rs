//! The last lines of a stage's log, and lines out of chunks.
//!
//! Logs arrive as chunks of any size at up to gigabytes a second; only what can still be shown is looked at. Memory is bounded by
//! lines (mostly [`KEPT`]) of [`LONGEST`] bytes a stage.

use std::collections::VecDeque;

use event::Stream;

/// Lines that are kept unless told otherwise.
pub const KEPT: usize = 50;
/// Bytes of a line that are kept; the rest of the line is dropped here (the log file has it).
pub const LONGEST: usize = 4096;

/// Joins the pieces of lines that each stream of a stage sends.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<(Stream, Vec<u8>)>,
}

impl Lines {
    /// Calls `each` with every line that this chunk completes, without its line feed.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let open = match self.open.iter().position(|(of, _)| *of == stream) {
            Some(index) => &mut self.open[index].1,
            None => {
                self.open.push((stream, Vec::new()));
                &mut self.open.last_mut().expect("just pushed").1
            }
        };
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        let last = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            if open.is_empty() {
                each(&piece[..piece.len().min(LONGEST)]);
            } else {
                extend(open, piece);
                each(open);
                open.clear();
            }
        }
        extend(open, last);
    }

    /// What is open, line by line: the stage has ended.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        for (_, line) in self.open.drain(..) {
            if !line.is_empty() {
                each(&line);
            }
        }
    }

    fn drop_open(&mut self, stream: Stream) {
        self.open.retain(|(of, _)| *of != stream);
    }

    fn open_line(&self, stream: Stream) -> Option<&[u8]> {
        self.open.iter().find(|(of, line)| *of == stream && !line.is_empty()).map(|(_, line)| line.as_slice())
    }
}

fn extend(line: &mut Vec<u8>, piece: &[u8]) {
    let room = LONGEST.saturating_sub(line.len());
    line.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[derive(Debug)]
pub struct Tail {
    keep: usize,
    lines: VecDeque<Box<[u8]>>,
    pieces: Lines,
    latest: Option<Stream>,
}

impl Default for Tail {
    fn default() -> Self {
        Tail::of(KEPT)
    }
}

impl Tail {
    /// Keeps that many lines.
    pub fn of(keep: usize) -> Self {
        Tail { keep, lines: VecDeque::new(), pieces: Lines::default(), latest: None }
    }

    pub fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
        self.latest = Some(stream);
        if let Some(start) = start_of_last_lines(bytes, self.keep) {
            bytes = &bytes[start..];
            self.lines.clear();
            self.pieces.drop_open(stream);
        }
        let (lines, keep) = (&mut self.lines, self.keep);
        self.pieces.feed(stream, bytes, |line| {
            if lines.len() == keep {
                lines.pop_front();
            }
            lines.push_back(line.into());
        });
    }

    /// The newest line, even if it has not ended: what to show while the stage runs.
    pub fn newest(&self) -> Option<&[u8]> {
        let open = self.latest.and_then(|stream| self.pieces.open_line(stream));
        open.or_else(|| self.lines.back().map(|line| &**line))
    }

    /// Up to `count` last lines, oldest first, with those that have not ended.
    pub fn last(&self, count: usize) -> Vec<&[u8]> {
        let mut all: Vec<&[u8]> = self.lines.iter().map(|line| &**line).collect();
        all.extend(self.pieces.open.iter().map(|(_, line)| line.as_slice()).filter(|line| !line.is_empty()));
        let surplus = all.len().saturating_sub(count);
        all.split_off(surplus)
    }
}

/// Where the last `count` complete lines of a chunk begin, if it has more than that; reads no further back.
fn start_of_last_lines(bytes: &[u8], count: usize) -> Option<usize> {
    let mut end = bytes.len();
    for _ in 0..=count {
        end = bytes[..end].iter().rposition(|&byte| byte == b'\n')?;
    }
    Some(end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(lines: Vec<&[u8]>) -> Vec<String> {
        lines.into_iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn pieces_of_two_streams_do_not_mix() {
        let mut tail = Tail::default();
        tail.push(Stream::Stage, b"one\ntw");
        tail.push(Stream::Command(1), b"other\nunfin");
        tail.push(Stream::Stage, b"o\n");
        assert_eq!(text(tail.last(9)), ["one", "other", "two", "unfin"]);
        assert_eq!(text(tail.last(2)), ["two", "unfin"]);
        assert_eq!(tail.newest(), Some(&b"two"[..]));
        tail.push(Stream::Command(1), b"ished");
        assert_eq!(tail.newest(), Some(&b"unfinished"[..]));
    }

    #[test]
    fn a_chunk_of_many_lines_leaves_the_last_and_a_line_without_end_stays_small() {
        let mut tail = Tail::default();
        tail.push(Stream::Stage, b"old\nhalf ");
        let many: String = (0..100_000).map(|line| format!("line {line}\n")).collect();
        tail.push(Stream::Stage, many.as_bytes());
        let kept = text(tail.last(usize::MAX));
        assert_eq!((kept.len(), kept[0].as_str(), kept[KEPT - 1].as_str()), (KEPT, "line 99950", "line 99999"));
        for _ in 0..1000 {
            tail.push(Stream::Stage, &[b'x'; 65536]);
        }
        assert_eq!(tail.newest().map(<[u8]>::len), Some(LONGEST));
    }

    #[test]
    #[allow(clippy::print_stdout)]
    fn intake_is_far_above_half_a_gigabyte_a_second() {
        let chunk: Vec<u8> = b"a line of a log that is about as long as they usually are, give or take\n".repeat(900);
        let mut tail = Tail::default();
        let clock = std::time::Instant::now();
        let rounds = 8_000;
        for _ in 0..rounds {
            tail.push(Stream::Stage, &chunk);
        }
        let rate = (chunk.len() * rounds) as f64 / clock.elapsed().as_secs_f64() / 1e9;
        println!("{rate:.1} GB/s");
        assert!(rate > 0.5, "{rate:.2} GB/s");
    }

    proptest! {
        /// However a text is cut into chunks, the tail is the text's last lines.
        #[test]
        fn cuts_do_not_matter(lines in proptest::collection::vec("[a-z]{0,9}", 0..200), cuts in proptest::collection::vec(0usize..2000, 0..20)) {
            let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let mut tail = Tail::default();
            for pair in cuts.windows(2) {
                tail.push(Stream::Stage, &whole.as_bytes()[pair[0]..pair[1]]);
            }
            let wanted = &lines[lines.len().saturating_sub(KEPT)..];
            prop_assert_eq!(text(tail.last(KEPT)), wanted);
        }
    }
}
