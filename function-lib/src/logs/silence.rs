//! No feedback: what happens on a thread while one of its events is being handled is no event.
//!
//! Handing over emits nothing itself. But a `Debug` that logs, called to render a field, would come round for ever.
//! Threads that export enter OpenTelemetry's suppressed scope instead, which spans honour, too
//! (`Context::enter_telemetry_suppressed_scope`): direct mode's thread is in it from its first line to its last. No
//! event has an [`super::event::Origin`] there, so that none is printed or exported.

use std::cell::Cell;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread's events are dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Silence(());

impl Silence {
    /// `None` where there is silence already: the event at hand is one of those to drop.
    pub(super) fn begin() -> Option<Self> {
        // Not `then_some`, which would make one to drop it, and so end the silence.
        SILENT.with(|silent| (!silent.replace(true)).then(|| Self(())))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        SILENT.with(|silent| silent.set(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_silence_at_a_time_and_it_ends() {
        let first = Silence::begin();
        assert!(first.is_some());
        for _ in 0..2 {
            assert!(Silence::begin().is_none());
        }
        drop(first);
        let panicked = std::panic::catch_unwind(|| {
            let _silence = Silence::begin();
            panic!("in a field's Debug");
        });
        assert!(panicked.is_err() && Silence::begin().is_some());
    }
}
