//! One reading of both clocks. Ages and deadlines use the wall clock: the monotonic one may stop in a freeze.

use std::time::Duration;

/// Time since the Unix epoch.
pub type Wall = Duration;

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the process started; never goes back.
    pub monotonic: Duration,
    /// Since the Unix epoch; may step either way.
    pub wall: Wall,
}

impl Moment {
    /// Whether `deadline` has come.
    #[must_use]
    pub fn reached(self, deadline: Wall) -> bool {
        self.wall >= deadline
    }

    /// Time until `deadline`; zero once it has come.
    #[must_use]
    pub fn until(self, deadline: Wall) -> Duration {
        deadline.saturating_sub(self.wall)
    }

    /// Running time since `earlier`, whatever happened to the wall clock. A freeze does not count.
    #[must_use]
    pub fn ran_since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_sub(earlier.monotonic)
    }

    /// Wall time since `earlier`; zero if the clock stepped back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.wall.saturating_sub(earlier.wall)
    }
}

/// `percent` of a duration.
#[must_use]
pub fn percent_of(duration: Duration, percent: u32) -> Duration {
    duration * percent / 100
}
