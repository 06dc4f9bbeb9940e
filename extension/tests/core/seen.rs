//! What happened to every item, seen from outside: by the backend and by the reader of the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lambda_flush_extension::core::{DeadLetter, Outcome};

use super::body::ids;

/// Item ids and how often each was seen.
type Times = BTreeMap<u64, u32>;

/// See the module's description.
#[derive(Debug)]
pub struct Seen {
    /// Whether items are the simulation's own, with an id at their head.
    pub ours: bool,
    /// How often the backend got it (a request that was cut counts: it may have arrived).
    pub sent: Times,
    pub exported: Times,
    pub rejected: Times,
    pub dead_letters: Times,
    /// In a request that was cut or failed so that it may have arrived.
    pub unsure: BTreeSet<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        let none = Times::new;
        Self {
            ours: true,
            sent: none(),
            exported: none(),
            rejected: none(),
            dead_letters: none(),
            unsure: BTreeSet::new(),
        }
    }
}

impl Seen {
    fn ids(&self, body: &Bytes) -> Vec<u64> {
        if self.ours { ids(body) } else { Vec::new() }
    }

    pub fn sent(&mut self, body: &Bytes) {
        let ids = self.ids(body);
        count(&mut self.sent, ids);
    }

    pub fn cut(&mut self, body: &Bytes) {
        self.unsure.extend(self.ids(body));
    }

    /// An answer is known to the witness when the core learns of it.
    pub fn answered(&mut self, outcome: &Outcome, body: &Bytes) {
        let ids = self.ids(body);
        match outcome {
            Outcome::Exported | Outcome::Partial { .. } => count(&mut self.exported, ids),
            Outcome::Rejected { .. } => count(&mut self.rejected, ids),
            Outcome::Retry { maybe_sent: true, .. } => self.unsure.extend(ids),
            Outcome::Retry { .. } | Outcome::Refused { .. } => {}
        }
    }

    pub fn printed(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            let ids = self.ids(&letter.body);
            count(&mut self.dead_letters, ids);
        }
    }
}

fn count(times: &mut Times, ids: Vec<u64>) {
    for id in ids {
        *times.entry(id).or_default() += 1;
    }
}
