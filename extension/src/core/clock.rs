//! Wall time for as long as the sandbox can't be frozen: it follows every step forward and never runs slower
//! than the monotonic clock, so that a clock set back neither holds `/next` nor moves the end of SHUTDOWN.

use std::time::Duration;

use super::{Moment, Wall};

/// See the module's description.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// The last reading since INVOKE or SHUTDOWN came; `None` while the sandbox may freeze.
    last: Option<Moment>,
    /// How far the steady clock is ahead of the real one.
    ahead: Duration,
}

impl SteadyClock {
    /// INVOKE or SHUTDOWN came: from here on there is no freeze.
    pub fn awake(&mut self, now: Moment) {
        self.last.get_or_insert(now);
    }

    /// The sandbox may freeze from here on.
    pub fn asleep(&mut self) {
        *self = Self::default();
    }

    /// What the steady clock says at `now`.
    #[must_use]
    pub fn at(&self, now: Moment) -> Moment {
        let Some(last) = self.last else { return now };
        let wall = now.wall.max(last.wall + now.ran_since(last));
        Moment { wall, ..now }
    }

    /// As [`Self::at`], and remembers it.
    pub fn read(&mut self, now: Moment) -> Moment {
        let steady = self.at(now);
        if self.last.is_some() {
            self.last = Some(steady);
        }
        self.ahead = steady.wall.saturating_sub(now.wall);
        steady
    }

    /// A steady time in terms of the real clock, as it was last read.
    #[must_use]
    pub fn outside(&self, steady: Wall) -> Wall {
        steady.saturating_sub(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic: u64, wall: u64) -> Moment {
        Moment { monotonic: Duration::from_secs(monotonic), wall: Duration::from_secs(wall) }
    }

    #[test]
    fn it_follows_steps_forward_and_ignores_steps_back() {
        let mut clock = SteadyClock::default();
        clock.awake(at(1, 1_000));
        assert_eq!(clock.read(at(2, 5_000)), at(2, 5_000));
        assert_eq!(clock.read(at(4, 4_000)), at(4, 5_002));
        assert_eq!(clock.outside(Duration::from_secs(5_010)), Duration::from_secs(4_008));
        clock.asleep();
        assert_eq!(clock.read(at(5, 7)), at(5, 7), "a freeze may have done anything");
    }
}
