//! Work on large bodies: on a thread of its own, so that the system lets the driver run beside it, and one at a time.
//!
//! A body of a kilobyte may expand to four million. So who asked for such work and found no room in the end makes all
//! others who need as much come back later: for several times as long as it took.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::limits::{DOOR_ANSWER_WAIT, DOOR_RETRY_AFTER, DOOR_WASTE_FACTOR, DOOR_WASTE_PAUSE_MAX};

/// See the module's description. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    turn: Arc<Semaphore>,
    pause_until: Arc<Mutex<Option<Instant>>>,
}

/// The work on one request.
#[derive(Debug)]
pub(crate) struct Effort {
    work: Work,
    spent: Duration,
}

impl Default for Work {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), pause_until: Arc::default() }
    }
}

impl Work {
    /// Nothing was done for it yet.
    pub(crate) fn effort(&self) -> Effort {
        Effort { work: self.clone(), spent: Duration::ZERO }
    }

    /// Whether work is begun at the moment.
    pub(crate) fn paused(&self) -> bool {
        let pause_until = self.pause_until.lock().unwrap_or_else(PoisonError::into_inner);
        pause_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Effort {
    /// Runs `work` beside everything else; no two at a time.
    ///
    /// # Errors
    /// Others work for so long that nobody waits for it, or it panicked.
    pub(crate) async fn beside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = Arc::clone(&self.work.turn).acquire_owned();
        let turn = match tokio::time::timeout(DOOR_ANSWER_WAIT, turn).await {
            Ok(Ok(turn)) => turn,
            _ => return Err(Refusal::Busy { retry_after: DOOR_RETRY_AFTER }),
        };
        let done = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let done = work();
            // Not before: who stops waiting for it does not end it.
            drop(turn);
            (done, began.elapsed())
        });
        let (done, took) = done.await.map_err(|_| Refusal::Ending)?;
        self.spent += took;
        Ok(done)
    }

    /// It was for nothing if there was no room in the end.
    pub(crate) fn judge<T>(self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if matches!(result, Err(Refusal::Busy { .. })) && !self.spent.is_zero() {
            let pause = self.spent.saturating_mul(DOOR_WASTE_FACTOR).min(DOOR_WASTE_PAUSE_MAX);
            let mut until = self.work.pause_until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = Some(Instant::now() + pause);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "it plays work that takes a thread")]
    #[tokio::test]
    async fn one_at_a_time_and_the_loop_goes_on() {
        let work = Work::default();
        let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (mut effort, running, most) = (work.effort(), Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(async move {
                    let job = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    effort.beside(job).await
                })
            })
            .collect();
        let mut turns = 0;
        while all.iter().any(|one| !one.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(turns > 8, "{turns} turns beside 160 ms of work");
    }

    #[test]
    fn work_for_nothing_is_followed_by_a_pause() {
        let work = Work::default();
        let busy = || Err::<(), _>(Refusal::Busy { retry_after: DOOR_RETRY_AFTER });
        assert_eq!(work.effort().judge(busy()), busy());
        assert!(!work.paused(), "nothing was done");
        let spent = Duration::from_millis(20);
        Effort { work: work.clone(), spent }.judge(Ok(())).unwrap();
        assert!(!work.paused(), "it was worth it");
        for (spent, pause) in
            [(spent, DOOR_WASTE_FACTOR * spent), (DOOR_WASTE_PAUSE_MAX, DOOR_WASTE_PAUSE_MAX)]
        {
            let began = Instant::now();
            assert_eq!(Effort { work: work.clone(), spent }.judge(busy()), busy());
            let until = work.pause_until.lock().unwrap().unwrap();
            assert!((began + pause..=Instant::now() + pause).contains(&until));
        }
        assert!(work.paused());
        *work.pause_until.lock().unwrap() = Some(Instant::now());
        assert!(!work.paused());
    }
}
