//! The byte budget: what is held plus what is granted never exceeds it, so what a function wrote within its
//! credit is never refused.

use crate::limits::{GRANT_BYTES_MIN, LINK_CREDIT_BYTES_MIN};

/// See the module's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    bytes_max: u64,
}

impl Budget {
    /// A budget of `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max }
    }

    /// The credit one link should have outstanding.
    #[must_use]
    pub fn window(self) -> u64 {
        (self.bytes_max / 4).max(LINK_CREDIT_BYTES_MIN)
    }

    /// What to grant a link that has `outstanding` credit left, when `taken` bytes are held or granted in all.
    /// Zero: not now. As the budget fills the grants get smaller, so that idle links leave something for the next.
    #[must_use]
    pub fn grant(self, outstanding: u64, taken: u64) -> u64 {
        let free = self.bytes_max.saturating_sub(taken);
        let window = self.window().min(free);
        if outstanding >= window / 2 {
            return 0;
        }
        let grant = (window - outstanding).min(free / 2);
        if grant >= GRANT_BYTES_MIN { grant } else { 0 }
    }

    /// What links and doors each have for themselves.
    #[must_use]
    pub fn share(self) -> u64 {
        self.bytes_max / 8
    }

    /// Whether so much is held, or so little left beside what is `reserved`, that what is held has to go out,
    /// convenient or not. `wanted` bytes were asked for and could not be had.
    #[must_use]
    pub fn pressed(self, held: u64, reserved: u64, wanted: u64) -> bool {
        let free = self.bytes_max.saturating_sub(held + reserved);
        held >= self.bytes_max / 2 || (held > 0 && free < wanted.max(self.bytes_max / 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BUFFER_BYTES_MIN;

    #[test]
    fn grants_never_pass_the_budget_and_the_largest_frame_always_fits_an_idle_window() {
        let budget = Budget::new(BUFFER_BYTES_MIN);
        let mut links = [0; 6];
        for _ in 0..4 {
            for link in 0..links.len() {
                links[link] += budget.grant(links[link], links.iter().sum());
                assert!(links.iter().sum::<u64>() <= BUFFER_BYTES_MIN);
            }
        }
        assert!(links[0] > (lambda_flush_proto::limits::FRAME_BYTES_MAX + 4) as u64);
        assert!(links.iter().all(|credit| *credit >= GRANT_BYTES_MIN), "there is some for each: {links:?}");
        assert_eq!(budget.grant(links[0], links[0]), 0, "a full window needs nothing");
        assert_eq!(budget.grant(0, BUFFER_BYTES_MIN), 0, "a full budget grants nothing");
    }

    #[test]
    fn a_link_without_enough_credit_for_the_largest_frame_gets_it_from_an_empty_budget() {
        let budget = Budget::new(BUFFER_BYTES_MIN);
        let largest = (lambda_flush_proto::limits::FRAME_BYTES_MAX + 4) as u64;
        for left in [0, 1, largest / 2, largest - 1] {
            assert!(left + budget.grant(left, left) >= largest, "{left}");
        }
    }
}
