//! The scenarios: what happens to the function, and what must be true afterwards.

use std::time::Duration;

use lambda_testkit::{Outcome, Script, ShutdownReason, Signal, Status};

use crate::measured;
use crate::rig::{Ended, Fault, Rig};

/// The function's timeout in the demo.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Spans of a paced invocation, of which SIGKILL cuts off the end.
const PACED_SPANS: u32 = 10_000;
/// Spans that must have ended before SIGKILL.
const SPANS_BEFORE_KILL: usize = 2_500;

/// One scenario.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) story: &'static str,
    ending: Ending,
}

/// How the function's last invocation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Ok,
    Error,
    Panic,
    Timeout,
    Sigkill,
    BackendDown,
    SigtermAtOnce,
    SigtermBlocked,
}

/// What came of it.
pub(super) struct Played {
    pub(super) ended: Ended,
    pub(super) complaints: Vec<String>,
}

/// All of them, in the order in which they are played.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "normal",
        story: "two invocations, then the environment is no longer needed",
        ending: Ending::Ok,
    },
    Scenario { name: "error", story: "the handler returns an error", ending: Ending::Error },
    Scenario { name: "panic", story: "the handler panics", ending: Ending::Panic },
    Scenario { name: "timeout", story: "the handler hangs until Lambda ends it", ending: Ending::Timeout },
    Scenario { name: "sigkill", story: "SIGKILL in the middle of an invocation", ending: Ending::Sigkill },
    Scenario {
        name: "backend-down",
        story: "the backend is down when the environment ends: dead letters",
        ending: Ending::BackendDown,
    },
    Scenario {
        name: "sigterm",
        story: "SIGTERM right after the response, before anybody could flush",
        ending: Ending::SigtermAtOnce,
    },
    Scenario {
        name: "blocked",
        story: "SIGTERM while the handler blocks the only thread of its runtime",
        ending: Ending::SigtermBlocked,
    },
];

/// Whether each sum at the backend is what the function says it has measured.
fn delivered_all(ended: &Ended) -> bool {
    let sums = measured::delivered(&ended.backend);
    !ended.tallied.is_empty() && ended.tallied.iter().all(|(name, tallied)| sums.get(name) == Some(tallied))
}

impl Scenario {
    /// Plays it on an environment of its own.
    pub(super) async fn play(&self) -> Result<Played, Fault> {
        let rig = Rig::start(|builder| builder.timeout(TIMEOUT)).await?;
        rig.backend.keep_bodies(true);
        let mut complaints = Vec::new();
        if self.ending == Ending::BackendDown {
            rig.backend.set(Script::status(503));
        }
        match self.ending {
            Ending::SigtermAtOnce => {
                let mut invocation = rig.sandbox.begin(r#"{"spans":2000}"#);
                if invocation.response().await.is_none() {
                    complaints.push("there was no response".to_owned());
                }
            }
            Ending::SigtermBlocked => {
                drop(rig.sandbox.begin(r#"{"spans":2000,"block_ms":15000}"#));
                rig.until_ended(2_000, TIMEOUT).await;
            }
            _ => complaints.extend(self.judge(&self.invoke(&rig).await)),
        }
        if self.ending == Ending::Ok {
            let again = self.invoke(&rig).await;
            complaints.extend(self.judge(&again));
        }
        let ended = rig.end(ShutdownReason::Spindown, self.ending == Ending::Sigkill).await?;
        complaints.extend(self.weigh(&ended));
        Ok(Played { ended, complaints })
    }

    async fn invoke(&self, rig: &Rig) -> Outcome {
        let then = match self.ending {
            Ending::Ok | Ending::BackendDown | Ending::Sigkill => "ok",
            Ending::SigtermAtOnce | Ending::SigtermBlocked => "ok",
            Ending::Error => "error",
            Ending::Panic => "panic",
            Ending::Timeout => "hang",
        };
        if self.ending != Ending::Sigkill {
            return rig.sandbox.invoke(format!(r#"{{"spans":2000,"then":"{then}"}}"#)).await;
        }
        let paced = format!(r#"{{"spans":{PACED_SPANS},"pace":{{"every":100,"sleep_ms":2}}}}"#);
        let invocation = rig.sandbox.begin(paced);
        rig.until_ended(SPANS_BEFORE_KILL, TIMEOUT).await;
        rig.sandbox.kill_function(Signal::Kill);
        invocation.outcome().await
    }

    fn judge(&self, outcome: &Outcome) -> Option<String> {
        let expected = match self.ending {
            Ending::Ok | Ending::BackendDown | Ending::SigtermAtOnce | Ending::SigtermBlocked => Status::Ok,
            Ending::Error | Ending::Panic => Status::FunctionError,
            Ending::Timeout => Status::Timeout,
            Ending::Sigkill => Status::Crash,
        };
        let payload = String::from_utf8_lossy(&outcome.payload);
        (outcome.status != expected)
            .then(|| format!("the invocation ended as {:?}: {payload}", outcome.status))
    }

    fn weigh(&self, ended: &Ended) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut demand = |holds: bool, complaint: &str| {
            if !holds {
                complaints.push(complaint.to_owned());
            }
        };
        let verdict = &ended.verdict;
        demand(verdict.spans_ended >= 2_000, "fewer than 2,000 spans ended");
        demand(verdict.lost.is_empty(), "spans are lost");
        demand(verdict.overflowed.is_empty(), "spans died in the library's buffer");
        demand(verdict.duplicates == 0, "spans were delivered twice");
        demand(verdict.faults.is_empty(), "a dead letter or a summary can't be read");
        demand(verdict.ledger_balanced.is_ok(), "the ledger does not balance");
        let killed = ended.report.extensions.iter().any(|extension| extension.killed);
        demand(!killed, "the extension was not gone before the deadline");
        match self.ending {
            Ending::BackendDown => demand(
                ended.evidence.dead_letters.batches.iter().any(|batch| batch.signal == "metrics"),
                "the measurements are in no dead letter",
            ),
            // At SIGKILL up to the last second's measurements die with the process.
            Ending::Sigkill => {}
            _ => demand(delivered_all(ended), "a sum at the backend is not the function's own"),
        }
        if self.ending == Ending::BackendDown {
            demand(ended.witnessed_dead() == verdict.spans_ended, "not every span is in a dead letter");
        } else {
            demand(ended.witnessed_at_backend() == verdict.spans_ended, "not every span is at the backend");
        }
        complaints
    }
}
