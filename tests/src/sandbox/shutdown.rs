//! The end of an environment, in the order of AWS's `rapid/shutdown.go`: first the function, then the extensions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::budget::Budget;
use super::lifecycle::ms;
use super::report::{ExtensionExit, FunctionExit, Report, ShutdownReason};
use super::shared::Shared;
use super::state::{AgentEvent, Phase, Process, Runtime, State};
use crate::party::{Exit, Party, Signal};
use crate::trace::unix_ms;

/// Wait for the exit of a process that was sent SIGKILL; only an uninterruptible one needs more than a moment.
const SIGKILL_WAIT: Duration = Duration::from_secs(5);
/// Wait for the rest of the output after the last exit; a process that left its group may keep a pipe open.
const PIPE_WAIT: Duration = Duration::from_secs(1);

/// Ends the environment because the test asks for it: whoever moves the lifecycle gives up its turn.
pub(crate) async fn on_request(shared: &Arc<Shared>, reason: ShutdownReason) -> Report {
    shared.update(|state| state.shutdown_requested = true);
    let _turn = shared.turn.lock().await;
    end(shared, reason).await
}

/// Ends every process and forgets every registration; files stay. The caller holds the turn.
pub(crate) async fn end(shared: &Shared, reason: ShutdownReason) -> Report {
    let started = Instant::now();
    let budget = shared.update(|state| {
        state.phase = Phase::Ending;
        state.thaw();
        state.invoke = None;
        state.fatal = None;
        state.announced_error = None;
        let any = |external| state.agents.iter().any(|agent| agent.external == external);
        let budget = Budget::new(any(true), any(false), shared.config.runtime_share);
        let detail = json!({ "reason": reason.as_str(), "budget_ms": ms(budget.total) });
        state.trace.push(&Party::Platform, "shutdown", detail);
        budget
    });
    let deadline = started + budget.total;
    let deadline_ms = unix_ms() + ms(budget.total);
    end_function(shared, started + budget.runtime, budget).await;
    release_shutdown(shared, reason, deadline_ms);
    if shared.until(deadline, all_exited).await.is_none() {
        shared.update(|state| kill(state, |_| true));
        shared.until(Instant::now() + SIGKILL_WAIT, all_exited).await;
    }
    let duration = started.elapsed();
    end_leftovers(shared).await;
    shared.update(|state| {
        state.trace.push(&Party::Platform, "shutdown_done", json!({ "duration_ms": ms(duration) }));
        let report = report(shared, state, &Times { reason, budget: budget.total, duration, deadline });
        state.phase = Phase::Idle;
        state.processes.clear();
        state.agents.clear();
        state.telemetry.begin();
        state.runtime = Runtime::default();
        report
    })
}

/// SIGTERM, the runtime's share of the budget, SIGKILL. Without any extension SIGKILL comes at once.
async fn end_function(shared: &Shared, share_end: Instant, budget: Budget) {
    let is_function = |process: &Process| process.party == Party::Function;
    let exited = |state: &mut State| state.running(&Party::Function).is_none().then_some(());
    if !budget.runtime.is_zero() {
        shared.update(|state| {
            let Some(process) = state.processes.iter_mut().find(|it| is_function(it) && it.exit.is_none())
            else {
                return;
            };
            process.sigterm_at = Some(Instant::now());
            process.signal(Signal::Term);
            state.trace.push(&Party::Function, "sigterm", json!({}));
        });
        if shared.until(share_end, exited).await.is_some() {
            return;
        }
    }
    shared.update(|state| kill(state, is_function));
    shared.until(Instant::now() + SIGKILL_WAIT, exited).await;
}

/// SHUTDOWN for those who subscribed to it, SIGKILL for the others.
fn release_shutdown(shared: &Shared, reason: ShutdownReason, deadline_ms: u64) {
    let body =
        json!({ "eventType": "SHUTDOWN", "deadlineMs": deadline_ms, "shutdownReason": reason.as_str() });
    shared.update(|state| {
        state.telemetry.flush();
        let mut subscribed = Vec::new();
        for agent in state.agents.iter_mut().filter(|agent| agent.external && agent.wants_shutdown) {
            let fate = agent.release(AgentEvent { kind: "SHUTDOWN", body: body.clone() });
            let detail = json!({ "reason": reason.as_str(), "deadline_ms": deadline_ms, "fate": fate });
            state.trace.push(&agent.party(), "shutdown", detail);
            subscribed.push(agent.party());
        }
        kill(state, |process| process.party != Party::Function && !subscribed.contains(&process.party));
    });
}

/// Sends SIGKILL to the groups of those running processes.
fn kill(state: &mut State, chosen: impl Fn(&Process) -> bool) {
    for process in state.processes.iter_mut().filter(|process| process.exit.is_none() && chosen(process)) {
        process.killed = true;
        process.signal(Signal::Kill);
        state.trace.push(&process.party, "sigkill", json!({}));
    }
}

fn all_exited(state: &mut State) -> Option<()> {
    state.processes.iter().all(|process| process.exit.is_some()).then_some(())
}

/// Kills what is left of the process groups, and reads the output to its end.
async fn end_leftovers(shared: &Shared) {
    shared.update(|state| {
        for process in &state.processes {
            process.signal(Signal::Kill);
        }
    });
    let silent =
        |state: &mut State| state.processes.iter().all(|process| process.open_pipes == 0).then_some(());
    shared.until(Instant::now() + PIPE_WAIT, silent).await;
}

/// Kills everything at once, when the sandbox is dropped.
pub(crate) async fn kill_everything(shared: &Shared) {
    shared.update(|state| {
        state.shutdown_requested = true;
        state.phase = Phase::Ending;
        kill(state, |_| true);
    });
    shared.until(Instant::now() + SIGKILL_WAIT, all_exited).await;
    end_leftovers(shared).await;
}

struct Times {
    reason: ShutdownReason,
    budget: Duration,
    duration: Duration,
    deadline: Instant,
}

fn report(shared: &Shared, state: &State, times: &Times) -> Report {
    let exit_of = |process: &Process| process.exit.unwrap_or_else(|| (Exit::default(), Instant::now()));
    let mut report = Report::empty(times.reason);
    report.budget = times.budget;
    report.duration = times.duration;
    for process in &state.processes {
        let (exit, at) = exit_of(process);
        let Party::Extension(name) = &process.party else {
            let after_sigterm = process.sigterm_at.map(|sigterm_at| at.saturating_duration_since(sigterm_at));
            report.function = Some(FunctionExit { exit, after_sigterm, killed: process.killed });
            continue;
        };
        let agent = state.agents.iter().find(|agent| agent.name == *name);
        let released_at = agent.and_then(|agent| agent.shutdown_released_at);
        report.extensions.push(ExtensionExit {
            name: name.clone(),
            exit,
            spare: times.deadline.saturating_duration_since(at).min(times.budget),
            after_shutdown: released_at.and_then(|released_at| at.checked_duration_since(released_at)),
            seen_shutdown: agent.is_some_and(|agent| agent.seen_shutdown),
            killed: process.killed,
        });
    }
    report.lines = shared.output.lines();
    report.lines_dropped = shared.output.dropped();
    report.trace = state.trace.clone();
    report
}
