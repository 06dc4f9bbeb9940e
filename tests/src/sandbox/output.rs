//! What the processes print, line by line, within a bound.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::party::Party;

/// Longest line; a longer one is cut into several, as CloudWatch cuts events.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of text kept for one environment; beyond it the oldest lines go and are counted.
pub(crate) const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// One read from a pipe.
const READ_BYTES: usize = 64 * 1024;

/// A line that a process printed.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Who printed it.
    pub party: Party,
    /// True for standard error.
    pub stderr: bool,
    /// The line without its end; invalid UTF-8 is replaced.
    pub text: String,
}

/// The lines of one environment.
#[derive(Debug)]
pub(crate) struct Output {
    echo: bool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
}

impl Output {
    pub(crate) fn new(echo: bool) -> Self {
        Self { echo, kept: Mutex::default() }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
    }

    /// Lines that the bound cost.
    pub(crate) fn dropped(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }

    fn push(&self, party: &Party, stderr: bool, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned();
        if self.echo {
            eprintln!("{party}: {text}");
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += text.len();
        kept.lines.push_back(Line { at: Instant::now(), party: party.clone(), stderr, text });
        while kept.bytes > OUTPUT_BYTES_MAX {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.text.len();
            kept.dropped += 1;
        }
    }

    /// Reads a pipe to its end.
    pub(crate) async fn read(&self, mut pipe: impl AsyncRead + Unpin, party: &Party, stderr: bool) {
        let mut chunk = vec![0; READ_BYTES];
        let mut line = Vec::new();
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            let mut rest = chunk.get(..read).unwrap_or_default();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (head, tail) = rest.split_at(end);
                line.extend_from_slice(head);
                self.push(party, stderr, &line);
                line.clear();
                rest = tail.get(1..).unwrap_or_default();
            }
            line.extend_from_slice(rest);
            if line.len() >= LINE_BYTES_MAX {
                self.push(party, stderr, &line);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.push(party, stderr, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(bytes: &[u8]) -> Vec<String> {
        let output = Output::new(false);
        output.read(bytes, &Party::Function, false).await;
        output.lines().into_iter().map(|line| line.text).collect()
    }

    #[tokio::test]
    async fn lines_are_told_apart_and_the_last_one_needs_no_end() {
        assert_eq!(lines_of(b"one\n\ntwo\r\nthree").await, ["one", "", "two", "three"]);
        assert_eq!(lines_of(b"").await, Vec::<String>::new());
        assert_eq!(lines_of(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn a_long_line_is_whole_up_to_the_limit() {
        let long = "x".repeat(250_000);
        assert_eq!(lines_of(format!("{long}\n{long}\n").as_bytes()).await, [long.as_str(), &long]);
        let cut = lines_of(&vec![b'y'; 2 * LINE_BYTES_MAX]).await;
        assert!(cut.len() >= 2 && cut.concat().len() == 2 * LINE_BYTES_MAX);
    }

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let output = Output::new(false);
        let line = vec![b'z'; LINE_BYTES_MAX];
        let fit = OUTPUT_BYTES_MAX / LINE_BYTES_MAX;
        (0..fit + 2).for_each(|_| output.push(&Party::Function, false, &line));
        assert_eq!((output.lines().len(), output.dropped()), (fit, 2));
    }
}
