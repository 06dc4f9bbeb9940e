//! When metrics are collected while invocations run: each second, and 100 ms before each deadline. Pure.
//!
//! A timeout kills what was not handed over, so the last measurements must not wait for the end of the invocation.
//! With no invocation running there is nothing due, however long a freeze was.

use std::time::{Duration, Instant, SystemTime};

/// Between two collections of a running invocation.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long before a deadline the last one is.
const DEADLINE_MARGIN: Duration = Duration::from_millis(100);

/// Invocations that are followed at the same time. One more has no checkpoints of its own.
const RUNNING_MAX: usize = 1024;

/// One reading of both clocks. Deadlines are on the wall clock: the monotonic one may stand still in a freeze.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    running: Vec<Running>,
    /// The next of those each second, while anything runs.
    tick: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    attempt: String,
    /// The checkpoint before its deadline, until it has been.
    last: Option<SystemTime>,
}

impl Checkpoints {
    /// An invocation begins that has to end by `deadline`.
    pub(crate) fn begin(&mut self, attempt: &str, deadline: SystemTime, now: Moment) {
        if self.running.len() >= RUNNING_MAX {
            return;
        }
        if self.running.is_empty() {
            self.tick = now.monotonic.checked_add(INTERVAL);
        }
        // A deadline that leaves no time before it, or is in the past, comes from an emulator.
        let last = deadline.checked_sub(DEADLINE_MARGIN).filter(|last| *last > now.wall);
        self.running.push(Running { attempt: attempt.to_owned(), last });
    }

    /// It has ended. Returns whether nothing runs any more: then there are no more checkpoints either.
    pub(crate) fn end(&mut self, attempt: &str) -> bool {
        self.running.retain(|running| running.attempt != attempt);
        if self.running.is_empty() {
            self.tick = None;
        }
        self.running.is_empty()
    }

    /// When to look at [`Self::take_due`] next; `None` with no invocation running.
    pub(crate) fn next(&self, now: Moment) -> Option<Instant> {
        let last = self.running.iter().filter_map(|running| running.last).min();
        let last = last.and_then(|last| {
            let left = last.duration_since(now.wall).unwrap_or_default();
            now.monotonic.checked_add(left)
        });
        self.tick.into_iter().chain(last).min()
    }

    /// Whether to collect now. The next one is a full second away, however late this one is.
    pub(crate) fn take_due(&mut self, now: Moment) -> bool {
        let mut due = self.tick.is_some_and(|tick| tick <= now.monotonic);
        for running in &mut self.running {
            if running.last.is_some_and(|last| last <= now.wall) {
                running.last = None;
                due = true;
            }
        }
        if due {
            self.tick = now.monotonic.checked_add(INTERVAL);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(start: Moment, by: Duration) -> Moment {
        Moment { monotonic: start.monotonic + by, wall: start.wall + by }
    }

    #[test]
    fn a_running_invocation_is_collected_each_second_and_before_its_deadline() {
        let (mut checkpoints, start) = (Checkpoints::default(), Moment::now());
        checkpoints.begin("1", start.wall + 2_500 * MS, start);
        let mut due = Vec::new();
        for elapsed_ms in 0..2_600 {
            let now = after(start, elapsed_ms * MS);
            let next = checkpoints.next(now).unwrap();
            if checkpoints.take_due(now) {
                assert_eq!(next, now.monotonic, "a thread that waits until `next` is there in time");
                due.push(elapsed_ms);
            }
        }
        assert_eq!(due, [1_000, 2_000, 2_400]);
    }

    #[test]
    fn nothing_is_due_between_invocations_nor_at_once_in_the_next_one_however_long_the_freeze() {
        for clocks_stop in [true, false] {
            let (mut checkpoints, start) = (Checkpoints::default(), Moment::now());
            checkpoints.begin("1", start.wall + 3_000 * MS, start);
            checkpoints.end("1");
            assert_eq!(checkpoints.next(after(start, 5 * MS)), None);
            let frozen = 3_600_000 * MS;
            let monotonic = if clocks_stop { start.monotonic } else { start.monotonic + frozen };
            let thaw = Moment { monotonic, wall: start.wall + frozen };
            assert!(!checkpoints.take_due(thaw));
            checkpoints.begin("2", thaw.wall + 3_000 * MS, thaw);
            assert!(!checkpoints.take_due(after(thaw, 999 * MS)));
            assert!(checkpoints.take_due(after(thaw, 1_000 * MS)));
        }
    }

    #[test]
    fn concurrent_invocations_share_the_second_and_have_their_own_deadlines() {
        let (mut checkpoints, start) = (Checkpoints::default(), Moment::now());
        checkpoints.begin("1", start.wall + 60_000 * MS, start);
        let second = after(start, 300 * MS);
        checkpoints.begin("2", second.wall + 500 * MS, second);
        assert_eq!(checkpoints.next(second), Some(second.monotonic + 400 * MS));
        assert!(!checkpoints.end("2"), "the other one runs");
        assert_eq!(checkpoints.next(second), Some(start.monotonic + INTERVAL));
        assert!(checkpoints.end("1"));
        assert_eq!(checkpoints.next(second), None);
    }

    #[test]
    fn a_deadline_without_room_before_it_has_no_checkpoint() {
        for deadline in [SystemTime::UNIX_EPOCH, SystemTime::now() + 50 * MS] {
            let (mut checkpoints, start) = (Checkpoints::default(), Moment::now());
            checkpoints.begin("1", deadline, start);
            assert!(!checkpoints.take_due(after(start, 60 * MS)));
            assert_eq!(checkpoints.next(start), Some(start.monotonic + INTERVAL));
        }
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let (mut checkpoints, start) = (Checkpoints::default(), Moment::now());
        for attempt in 0..RUNNING_MAX + 10 {
            checkpoints.begin(&attempt.to_string(), start.wall + 3_000 * MS, start);
        }
        assert_eq!(checkpoints.running.len(), RUNNING_MAX);
    }
}
