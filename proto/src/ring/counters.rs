//! The counters in the ring's header: what became of the items of a process that can't say so itself any more.

use crate::wire::Counters;

/// Why the function gave an item up, by slot. What is in a slot stays there for ever.
pub const DROP_REASONS: [&str; 7] = [
    "buffer_full",
    "too_large",
    "no_extension",
    "version_refused",
    "too_many_scopes",
    "shut_down",
    "rejected",
];

/// Slots for reasons; those without a name here are a newer library's.
pub const DROP_SLOTS: usize = 16;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderCounters {
    /// Items that ended in the process.
    pub ended: u64,
    /// Items it wrote to the extension, on this link and on those before.
    pub written: u64,
    /// Items it gave up.
    pub dropped: [u64; DROP_SLOTS],
}

impl HeaderCounters {
    /// As a frame would say it. Nothing is known of the function's buffer but that the rest was in it.
    #[must_use]
    pub fn to_wire(&self) -> Counters {
        let mut counters = Counters { ended: self.ended, written: self.written, ..Counters::default() };
        let mut gone = self.written;
        for (slot, items) in self.dropped.iter().enumerate().filter(|(_, items)| **items > 0) {
            let reason = DROP_REASONS.get(slot).copied().unwrap_or("other");
            counters.add_dropped(reason, *items);
            gone = gone.saturating_add(*items);
        }
        counters.buffered = self.ended.saturating_sub(gone);
        counters
    }
}

impl Counters {
    /// Counts `items` more that were given up. Not inlined: the map's code is large.
    #[inline(never)]
    pub fn add_dropped(&mut self, reason: &str, items: u64) {
        let counted = self.dropped.entry(reason.to_owned()).or_default();
        *counted = counted.saturating_add(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_without_a_name_count_as_other_and_nothing_overflows() {
        let mut dropped = [0; DROP_SLOTS];
        (dropped[0], dropped[7], dropped[15]) = (2, 3, u64::MAX);
        let counters = HeaderCounters { ended: 9, written: 4, dropped }.to_wire();
        assert_eq!((counters.ended, counters.written, counters.buffered), (9, 4, 0));
        assert_eq!(counters.dropped["buffer_full"], 2);
        assert_eq!(counters.dropped["other"], u64::MAX);
        let none = HeaderCounters { ended: 9, written: 4, dropped: [0; DROP_SLOTS] }.to_wire();
        assert_eq!((none.buffered, none.dropped.len()), (5, 0));
    }
}
