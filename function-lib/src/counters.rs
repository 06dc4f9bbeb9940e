//! What became of every item: `ended = written + buffered + dropped{reason}`, at every moment.

use std::collections::BTreeMap;

use lambda_flush_proto::ring::counters::DROP_REASONS;
use lambda_flush_proto::wire;

/// Why an item was given up in the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The carrier was full and so was the library's buffer.
    BufferFull,
    /// The item does not fit a frame.
    TooLarge,
    /// There is no extension beside this function.
    NoExtension,
    /// The extension speaks only versions of the protocol this library does not.
    VersionRefused,
    /// More, or larger, instrumentation scopes than a link may name.
    TooManyScopes,
    /// It ended after the telemetry was shut down.
    ShutDown,
    /// Direct mode only: the backend refused it for good.
    Rejected,
}

impl DropReason {
    const ALL: [Self; 7] = [
        Self::BufferFull,
        Self::TooLarge,
        Self::NoExtension,
        Self::VersionRefused,
        Self::TooManyScopes,
        Self::ShutDown,
        Self::Rejected,
    ];

    /// The name in ledgers and statistics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        // The ring's header has them in the same order.
        DROP_REASONS.get(self as usize).copied().unwrap_or("other")
    }
}

/// See the module's description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) ended: u64,
    pub(crate) written: u64,
    dropped: [u64; DropReason::ALL.len()],
    dropped_in_all: u64,
}

impl Counters {
    pub(crate) fn dropped(&mut self, reason: DropReason, items: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += items;
            self.dropped_in_all += items;
        }
    }

    /// By reason, as the ring's header has them.
    pub(crate) fn slots(&self) -> &[u64] {
        &self.dropped
    }

    pub(crate) fn dropped_in_all(&self) -> u64 {
        self.dropped_in_all
    }

    /// Reasons that occurred.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = DropReason::ALL.into_iter().zip(self.dropped);
        counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.as_str(), count))
    }

    /// For the extension's ledger.
    pub(crate) fn to_wire(&self, buffered: u64) -> wire::Counters {
        wire::Counters {
            ended: self.ended,
            written: self.written,
            buffered,
            dropped: self.reasons().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        }
    }
}

/// What became of the items of this process so far: `ended = written + buffered + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sampled spans that have started.
    pub started: u64,
    /// Items that have ended.
    pub ended: u64,
    /// Items in the extension's custody; in direct mode, in the backend's.
    pub written: u64,
    /// Items in the library's buffer.
    pub buffered: u64,
    /// Items given up, by [`DropReason::as_str`].
    pub dropped: BTreeMap<&'static str, u64>,
    /// The size of the shared memory that items go through; 0 where they go through the socket.
    pub ring_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place() {
        let mut counters = Counters::default();
        for (items, reason) in (1..).zip(DropReason::ALL) {
            counters.dropped(reason, items);
        }
        let reasons: BTreeMap<_, _> = counters.reasons().collect();
        assert_eq!(reasons.len(), DropReason::ALL.len());
        assert_eq!(reasons["buffer_full"], 1);
        assert_eq!(reasons["shut_down"], 6);
        assert_eq!(reasons["rejected"], 7);
        let names = [
            "buffer_full",
            "too_large",
            "no_extension",
            "version_refused",
            "too_many_scopes",
            "shut_down",
            "rejected",
        ];
        assert_eq!(DropReason::ALL.map(DropReason::as_str), names);
    }
}
