//! The byte budget: what is held plus what is granted plus the rings never exceeds it, so what a function wrote within
//! its credit is never refused.

use lambda_flush_proto::limits::RING_BYTES_MIN;

use crate::limits::{GRANT_BYTES_MIN, LINK_CREDIT_BYTES_MIN, RING_BUDGET_BYTES_MIN};

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

    /// How large a ring a link gets that offers one of `offered` bytes, when `taken` bytes are held, granted or other
    /// rings'. Zero: none. What is written to it stays resident for as long as the link lives. More than the credit
    /// would never be used, and most of what is free is left for the credit.
    #[must_use]
    pub fn ring(self, offered: u64, taken: u64) -> u64 {
        if self.bytes_max < RING_BUDGET_BYTES_MIN {
            return 0;
        }
        let free = self.bytes_max.saturating_sub(taken);
        // A little less than the credit, or the largest request would never find room at the doors of the least budget
        // that has a ring.
        let ring = offered.min(self.window() - GRANT_BYTES_MIN).min(free / 3);
        if ring >= RING_BYTES_MIN { ring - ring % 8 } else { 0 }
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
    fn rings_leave_room_for_credit_and_small_budgets_have_none() {
        let largest = (lambda_flush_proto::limits::FRAME_BYTES_MAX + 4) as u64;
        for bytes_max in [RING_BUDGET_BYTES_MIN, 12 << 20, 16 << 20, 64 << 20] {
            let budget = Budget::new(bytes_max);
            let mut taken = budget.share();
            let mut rings = Vec::new();
            for _ in 0..16 {
                let ring = budget.ring(4 << 20, taken);
                assert!(ring == 0 || ring >= largest && ring.is_multiple_of(8), "{ring} of {bytes_max}");
                let credit = budget.grant(0, taken + ring);
                assert!(
                    ring == 0 || credit >= largest,
                    "a ring that the largest frame may not be written to"
                );
                assert!(credit > 0 || rings.len() > 4, "{bytes_max}: {rings:?}");
                taken += ring + credit;
                assert!(taken <= bytes_max);
                rings.push(ring);
            }
            assert!(rings[0] > 0 && (rings[15] == 0 || bytes_max > 16 << 20), "{bytes_max}: {rings:?}");
        }
        let fits = Budget::new(16 << 20);
        assert_eq!(fits.ring(4 << 20, 2 << 20), (4 << 20) - GRANT_BYTES_MIN);
        assert_eq!((fits.ring((2 << 20) + 7, 0), fits.ring(RING_BYTES_MIN, 0)), (2 << 20, RING_BYTES_MIN));
        assert_eq!(
            (fits.ring(0, 0), fits.ring(RING_BYTES_MIN - 8, 0), fits.ring(u64::MAX, u64::MAX)),
            (0, 0, 0)
        );
        assert_eq!(Budget::new(RING_BUDGET_BYTES_MIN - 1).ring(4 << 20, 0), 0);
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
