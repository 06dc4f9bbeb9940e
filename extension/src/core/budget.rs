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
    /// Zero: not now.
    #[must_use]
    pub fn grant(self, outstanding: u64, taken: u64) -> u64 {
        if outstanding >= self.window() / 2 {
            return 0;
        }
        let free = self.bytes_max.saturating_sub(taken);
        let grant = (self.window() - outstanding).min(free);
        if grant >= GRANT_BYTES_MIN { grant } else { 0 }
    }

    /// Whether so much is held that it has to go out, convenient or not.
    #[must_use]
    pub fn pressed(self, held: u64) -> bool {
        held >= self.bytes_max / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BUFFER_BYTES_MIN;

    #[test]
    fn grants_never_pass_the_budget_and_the_largest_frame_always_fits_an_idle_window() {
        let budget = Budget::new(BUFFER_BYTES_MIN);
        let (mut first, mut second) = (0, 0);
        for _ in 0..4 {
            first += budget.grant(first, first + second);
            second += budget.grant(second, first + second);
            assert!(first + second <= BUFFER_BYTES_MIN);
        }
        assert!(first / 2 > lambda_flush_proto::limits::FRAME_BYTES_MAX as u64);
        assert_eq!(budget.grant(first, first), 0, "a full window needs nothing");
        assert_eq!(budget.grant(0, BUFFER_BYTES_MIN), 0, "a full budget grants nothing");
    }
}
