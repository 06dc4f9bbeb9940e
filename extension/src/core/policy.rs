//! What the history of exports says about the next one.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Moment, Wall};
use crate::limits::{CUT_PAUSE_MAX, CUT_PAUSE_MIN, ROUND_TRIP_GUESS, ROUND_TRIPS_MAX};

/// Recent round trips to the backend.
#[derive(Debug)]
pub struct RoundTrips {
    recent: VecDeque<Duration>,
    /// The longest export that was cut since the last success: a round trip takes longer than that.
    cut_after: Duration,
    pause_until: Wall,
    pause: Duration,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            recent: VecDeque::with_capacity(ROUND_TRIPS_MAX),
            cut_after: Duration::ZERO,
            pause_until: Duration::ZERO,
            pause: CUT_PAUSE_MIN,
        }
    }
}

impl RoundTrips {
    /// An export succeeded.
    pub fn succeeded(&mut self, took: Duration) {
        if self.recent.len() == ROUND_TRIPS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
        self.cut_after = Duration::ZERO;
        self.pause_until = Duration::ZERO;
        self.pause = CUT_PAUSE_MIN;
    }

    /// An export was cut off by the billed cap after `ran`.
    pub fn cut(&mut self, now: Moment, ran: Duration) {
        self.cut_after = self.cut_after.max(ran);
        self.pause_until = now.wall + self.pause;
        self.pause = (self.pause * 2).min(CUT_PAUSE_MAX);
    }

    /// How long the next round trip will take at least, going by the slowest recent one.
    #[must_use]
    pub fn expected(&self) -> Duration {
        let slowest = self.recent.iter().max().copied();
        slowest.unwrap_or(ROUND_TRIP_GUESS).max(self.cut_after)
    }

    /// Whether an export may begin in billed time of which `left` of `cap` is left. Without any history it may,
    /// given half of the cap: somebody has to try. After a cut it may not, until the pause is over.
    #[must_use]
    pub fn fits(&self, now: Moment, left: Duration, cap: Duration) -> bool {
        let enough = match self.recent.iter().max() {
            Some(slowest) => *slowest <= left,
            None => left >= cap / 2,
        };
        enough && now.reached(self.pause_until) && !left.is_zero()
    }

    /// Whether the backend answered the last time it was asked. If not, one batch at a time is put at risk.
    #[must_use]
    pub fn proven(&self) -> bool {
        !self.recent.is_empty() && self.cut_after.is_zero()
    }

    /// How long a handler must have run before an export overlaps it: a handler that has run for a round trip is
    /// expected to run for another. Doubled for each time the batch may already have been sent.
    #[must_use]
    pub fn overlap_after(&self, sent_unknown: u32) -> Duration {
        self.expected().saturating_mul(1_u32 << sent_unknown.min(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let wall = Duration::from_secs(seconds);
        Moment { monotonic: wall, wall }
    }

    #[test]
    fn a_slow_backend_is_tried_once_and_then_left_alone() {
        let cap = Duration::from_millis(100);
        let mut trips = RoundTrips::default();
        assert!(trips.fits(at(10), cap, cap), "the first export may try");
        assert!(!trips.fits(at(10), cap / 3, cap), "but not in a rest of time");
        trips.cut(at(10), cap);
        assert!(!trips.fits(at(11), cap, cap));
        assert!(trips.fits(at(10).later(CUT_PAUSE_MIN), cap, cap), "it is probed again");
        trips.succeeded(Duration::from_millis(200));
        assert!(!trips.fits(at(2_000), cap, cap), "a known slow round trip does not fit");
        for _ in 0..ROUND_TRIPS_MAX {
            trips.succeeded(Duration::from_millis(20));
        }
        assert!(trips.fits(at(2_000), cap, cap), "it recovered");
    }

    #[test]
    fn an_export_overlaps_a_handler_that_runs_long_enough() {
        let mut trips = RoundTrips::default();
        trips.succeeded(Duration::from_millis(200));
        assert_eq!(trips.overlap_after(0), Duration::from_millis(200));
        assert_eq!(trips.overlap_after(2), Duration::from_millis(800));
    }

    impl Moment {
        fn later(self, by: Duration) -> Self {
            Self { monotonic: self.monotonic + by, wall: self.wall + by }
        }
    }
}
