//! Who is accounted for, and who is lost.

use std::collections::HashSet;

use super::dead_letter::DeadLetters;
use super::summary::Summary;
use crate::backend::{Backend, Deliveries};
use crate::span_id::SpanId;
use crate::witness::Record;

/// Everything that is known about one environment after its end.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The spans that ended, in order.
    pub witness: Vec<Record>,
    /// What the backend got.
    pub deliveries: Deliveries,
    /// What the extension printed instead of exporting it.
    pub dead_letters: DeadLetters,
    /// What the extension says about itself.
    pub summaries: Vec<Summary>,
    /// Faults met while reading the above.
    pub faults: Vec<String>,
    /// True if the function's last process was ended by SIGKILL: then the spans that the library still kept to itself
    /// died with it, and are `overflowed` rather than `lost`.
    pub function_killed: bool,
}

impl Evidence {
    /// Gathers it from a witness file's records, a backend, and the standard output of the extension.
    pub fn gather<'a>(
        witness: Vec<Record>,
        backend: &Backend,
        extension_stdout: impl Iterator<Item = &'a str> + Clone,
        function_killed: bool,
    ) -> Self {
        let (summaries, faults) = Summary::parse(extension_stdout.clone());
        let dead_letters = DeadLetters::parse(extension_stdout);
        Self { witness, deliveries: backend.deliveries(), dead_letters, summaries, faults, function_killed }
    }
}

/// What the evidence comes to. Spans are those of the witness, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Distinct spans that ended.
    pub spans_ended: usize,
    /// Distinct spans, of any origin, that the backend answered with success.
    pub spans_received: usize,
    /// Ended, and neither answered with success, nor refused by the backend, nor dead-lettered, nor overflowed.
    pub lost: Vec<SpanId>,
    /// Would be lost, but the library had not been able to hand them over when the function was killed.
    pub overflowed: Vec<SpanId>,
    /// Deliveries, of any origin, that the backend answered with success after the first one of the same span.
    pub duplicates: u64,
    /// Spans, of any origin, that reached the backend whole although no answer to that effect was given.
    pub late: usize,
    /// Distinct spans, of any origin, in dead letters.
    pub dead_lettered: usize,
    /// Distinct spans, of any origin, that the backend refused and never took.
    pub rejected: usize,
    /// Items that the library and the extension say they dropped; such spans are among `lost`.
    pub reported_dropped: u64,
    /// Dead letters and summaries that can't be read.
    pub faults: Vec<String>,
    /// Whether there is a summary and every ledger in every summary balances, with nothing held.
    pub ledger_balanced: Result<(), String>,
}

impl Verdict {
    /// True if nothing is lost, everything could be read, and the ledger balances.
    pub fn is_ok(&self) -> bool {
        self.lost.is_empty() && self.faults.is_empty() && self.ledger_balanced.is_ok()
    }
}

/// Weighs the evidence.
pub fn check(evidence: &Evidence) -> Verdict {
    let Evidence { witness, deliveries, dead_letters, summaries, .. } = evidence;
    let dead: HashSet<SpanId> = dead_letters.spans().collect();
    let is_settled = |span: &SpanId| {
        deliveries.answered_ok.contains_key(span) || deliveries.rejected.contains(span) || dead.contains(span)
    };
    let mut ended = HashSet::new();
    let mut lost: Vec<SpanId> = witness
        .iter()
        .map(|record| record.span_id)
        .filter(|span| ended.insert(*span) && !is_settled(span))
        .collect();
    let kept_max = match witness.last() {
        Some(last) if evidence.function_killed => usize::try_from(last.buffered).unwrap_or(usize::MAX),
        _ => 0,
    };
    // What the library had handed over came first; what it still kept are the last ones.
    let overflowed = lost.split_off(lost.len().saturating_sub(kept_max));
    let not_answered = |span: &&SpanId| !deliveries.answered_ok.contains_key(*span);
    Verdict {
        spans_ended: ended.len(),
        spans_received: deliveries.answered_ok.len(),
        lost,
        overflowed,
        duplicates: deliveries.answered_ok.values().map(|times| u64::from(times.saturating_sub(1))).sum(),
        late: deliveries
            .received
            .keys()
            .filter(not_answered)
            .filter(|span| !deliveries.rejected.contains(span))
            .count(),
        dead_lettered: dead.len(),
        rejected: deliveries.rejected.iter().filter(not_answered).count(),
        reported_dropped: summaries.iter().map(Summary::dropped).sum(),
        faults: evidence.faults.iter().chain(&dead_letters.faults).cloned().collect(),
        ledger_balanced: balance(summaries),
    }
}

fn balance(summaries: &[Summary]) -> Result<(), String> {
    if summaries.is_empty() {
        return Err("there is no summary".to_owned());
    }
    let mut faults = summaries.iter().flat_map(|summary| &summary.destinations).filter_map(|it| it.fault());
    faults.next().map_or(Ok(()), Err)
}
