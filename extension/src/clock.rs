//! The only reader of the system's clocks.

use std::time::{Duration, Instant, SystemTime};

use crate::core::{Moment, Wall};

/// Counts monotonic time from its making.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    #[cfg(test)]
    ahead: Duration,
}

impl Clock {
    /// Monotonic time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            #[cfg(test)]
            ahead: Duration::ZERO,
        }
    }

    /// For tests: so much later than it is, by both clocks.
    #[cfg(test)]
    pub(crate) fn ahead(self, by: Duration) -> Self {
        Self { ahead: self.ahead + by, ..self }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Moment { monotonic: self.start.elapsed(), wall };
        #[cfg(test)]
        let now = Moment { monotonic: now.monotonic + self.ahead, wall: now.wall + self.ahead };
        now
    }

    /// A deadline as Lambda gives it.
    #[must_use]
    pub fn from_unix_ms(ms: u64) -> Wall {
        Duration::from_millis(ms)
    }
}
