//! What became of every item, for one destination. It must balance at every step (promise P1):
//! `accepted + recovered + originated = exported + rejected + dead_lettered + spooled + dropped + held`.

use std::collections::BTreeMap;

/// Why an item was given up. Every one is counted and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// `LAMBDA_FLUSH_DEAD_LETTER=none`.
    NoDeadLetter,
    /// Printing dead letters failed or did not end in time.
    DeadLetterFailed,
    /// The driver panicked; what it held is gone.
    Panic,
    /// Of a signal this version does not know.
    UnknownSignal,
}

impl DropReason {
    /// Its name in the summary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoDeadLetter => "no_dead_letter",
            Self::DeadLetterFailed => "dead_letter_failed",
            Self::Panic => "panic",
            Self::UnknownSignal => "unknown_signal",
        }
    }
}

/// See the module's description. Counts are telemetry items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Taken into custody from functions.
    pub accepted: u64,
    /// Read back from the spool of an earlier process.
    pub recovered: u64,
    /// Made by the extension itself.
    pub originated: u64,
    /// Taken by the backend.
    pub exported: u64,
    /// Refused by the backend for good.
    pub rejected: u64,
    /// Printed for `replay`.
    pub dead_lettered: u64,
    /// Left in the spool.
    pub spooled: u64,
    /// Given up.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Of the settled ones: may have reached the backend once before. Not a term of the balance.
    pub possible_duplicates: u64,
    /// Items that came a second time on another link and were not taken again. Not a term of the balance.
    pub repeated: u64,
}

impl Ledger {
    /// Counts `items` given up.
    pub fn drop_items(&mut self, reason: DropReason, items: u64) {
        if items > 0 {
            *self.dropped.entry(reason).or_default() += items;
        }
    }

    /// Everything that came in.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.accepted + self.recovered + self.originated
    }

    /// Everything that has an end.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let dropped: u64 = self.dropped.values().sum();
        self.exported + self.rejected + self.dead_lettered + self.spooled + dropped
    }

    /// Whether the identity holds for `held` items that have no end yet.
    #[must_use]
    pub fn balances(&self, held: u64) -> bool {
        self.taken() == self.settled() + held
    }
}
