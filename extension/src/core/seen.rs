//! Which sequence numbers of a process were taken. Links are read independently, so after a reconnect the old
//! link's last frames may come after the new link's first ones: the highest number alone does not tell.

use crate::limits::SEQUENCE_GAPS_MAX;

/// See the module's description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    last: u64,
    /// Inclusive ranges below `last` that have not come, ascending.
    gaps: Vec<(u64, u64)>,
}

impl Seen {
    /// Takes `seq`; `false` if it came before. Numbers start at 1.
    pub fn take(&mut self, seq: u64) -> bool {
        if seq > self.last {
            if seq - self.last > 1 {
                self.gap(self.last + 1, seq - 1);
            }
            self.last = seq;
            return true;
        }
        let Some(at) = self.gaps.iter().position(|(from, to)| (*from..=*to).contains(&seq)) else {
            return false;
        };
        let (from, to) = self.gaps.remove(at);
        if seq < to {
            self.gaps.insert(at, (seq + 1, to));
        }
        if from < seq {
            self.gaps.insert(at, (from, seq - 1));
        }
        if self.gaps.len() > SEQUENCE_GAPS_MAX {
            self.gaps.remove(0);
        }
        true
    }

    fn gap(&mut self, from: u64, to: u64) {
        if self.gaps.len() == SEQUENCE_GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push((from, to));
    }

    /// The highest number taken.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once_in_any_order() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut numbers: Vec<u64> = (1..=30).collect();
            random.shuffle(&mut numbers);
            let mut seen = Seen::default();
            for number in &numbers {
                assert!(seen.take(*number), "{number} in {numbers:?}");
                assert!(!seen.take(*number));
            }
            assert!(seen.gaps.is_empty());
            assert_eq!(seen.last(), 30);
        }
    }

    #[test]
    fn gaps_are_bounded_and_the_extremes_do_not_overflow() {
        let mut seen = Seen::default();
        for number in (2..10_000).step_by(2) {
            assert!(seen.take(number));
        }
        assert_eq!(seen.gaps.len(), SEQUENCE_GAPS_MAX);
        assert!(!seen.take(1) && seen.take(9_997), "the oldest gaps are forgotten");
        assert!(!seen.take(0));
        assert!(seen.take(u64::MAX) && !seen.take(u64::MAX) && seen.take(u64::MAX - 1));
        assert!(seen.gaps.len() <= SEQUENCE_GAPS_MAX);
    }
}
