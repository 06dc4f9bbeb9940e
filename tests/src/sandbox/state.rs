//! The state of an environment: processes, registered extensions, the runtime, the invocation under way.

use std::time::Instant;

use bytes::Bytes;
use rustix::process::Pid;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::fault::Faults;
use super::telemetry::{RuntimeDone, Telemetry, TelemetryScript};
use crate::party::{Exit, Party, Signal};
use crate::trace::Trace;

/// Everything that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) trace: Trace,
    pub(crate) phase: Phase,
    pub(crate) processes: Vec<Process>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) registration_open: bool,
    pub(crate) runtime: Runtime,
    pub(crate) invoke: Option<CurrentInvoke>,
    /// The first fatal error type since the last reset; it fails the current or next invocation.
    pub(crate) fatal: Option<String>,
    /// What an extension has announced as the reason of its coming exit.
    pub(crate) announced_error: Option<&'static str>,
    pub(crate) faults: Faults,
    /// Set once by `Sandbox::shutdown`: whoever waits gives up.
    pub(crate) shutdown_requested: bool,
    /// Every process is stopped until the next event.
    pub(crate) frozen: bool,
    pub(crate) telemetry: Telemetry,
}

/// Where the environment is in its life.
///
/// ```text
/// Idle ─init─▶ Init ─all called next─▶ Serving ─reset | shutdown─▶ Ending ─▶ Idle
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No process runs.
    Idle,
    Init,
    Serving,
    /// Exits of processes are expected.
    Ending,
}

/// A child process and the group it leads.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) party: Party,
    pub(crate) pid: Pid,
    pub(crate) sigterm_at: Option<Instant>,
    /// True if the platform sent SIGKILL while it ran.
    pub(crate) killed: bool,
    pub(crate) exit: Option<(Exit, Instant)>,
    /// Pipes not yet read to their end.
    pub(crate) open_pipes: u8,
}

impl Process {
    /// Sends a signal to the group. False if there is none any more.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        rustix::process::kill_process_group(self.pid, signal.raw()).is_ok()
    }
}

/// An extension that has registered: an "agent" in the words of AWS's source.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) external: bool,
    pub(crate) wants_invoke: bool,
    pub(crate) wants_shutdown: bool,
    pub(crate) state: AgentState,
    pub(crate) waiter: Option<oneshot::Sender<AgentEvent>>,
    pub(crate) latched: Option<AgentEvent>,
    pub(crate) shutdown_released_at: Option<Instant>,
    pub(crate) seen_shutdown: bool,
}

/// ```text
/// Registered ─next─▶ Ready ─event─▶ Running ─next─▶ Ready …
/// ```
/// An event for an agent that is not `Ready` is latched and answers its next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentState {
    Registered,
    Ready,
    Running,
    /// It reported an error; only its exit can follow.
    Failed,
}

/// A body for `/event/next`.
#[derive(Clone, Debug)]
pub(crate) struct AgentEvent {
    pub(crate) kind: &'static str,
    pub(crate) body: Value,
}

/// What an agent's `next` call comes to.
#[derive(Debug)]
pub(crate) enum Next {
    Event(AgentEvent),
    Wait(oneshot::Receiver<AgentEvent>),
    /// A call is outstanding already, or the agent has failed.
    Refused(AgentState),
}

impl Agent {
    pub(crate) fn party(&self) -> Party {
        Party::Extension(self.name.clone())
    }

    pub(crate) fn next(&mut self) -> Next {
        if matches!(self.state, AgentState::Ready | AgentState::Failed) {
            return Next::Refused(self.state);
        }
        if let Some(event) = self.latched.take() {
            self.state = AgentState::Running;
            self.note_delivery(&event);
            return Next::Event(event);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiter = Some(sender);
        self.state = AgentState::Ready;
        Next::Wait(receiver)
    }

    /// Hands an event out. As with AWS, it is lost if the waiting call's connection is gone.
    pub(crate) fn release(&mut self, event: AgentEvent) -> &'static str {
        if event.kind == "SHUTDOWN" {
            self.shutdown_released_at = Some(Instant::now());
        }
        if self.state != AgentState::Ready {
            self.latched = Some(event);
            return "latched";
        }
        self.state = AgentState::Running;
        let sent = self.waiter.take().is_some_and(|waiter| waiter.send(event.clone()).is_ok());
        if sent {
            self.note_delivery(&event);
        }
        if sent { "delivered" } else { "lost" }
    }

    fn note_delivery(&mut self, event: &AgentEvent) {
        self.seen_shutdown |= event.kind == "SHUTDOWN";
    }
}

/// The runtime's side of the Runtime API.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    /// It has called `/invocation/next` and waits.
    pub(crate) ready: bool,
    pub(crate) waiter: Option<oneshot::Sender<InvokeEvent>>,
}

/// An invocation as the runtime gets it.
#[derive(Clone, Debug)]
pub(crate) struct InvokeEvent {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Bytes,
}

/// The invocation under way.
#[derive(Debug)]
pub(crate) struct CurrentInvoke {
    pub(crate) request_id: String,
    pub(crate) begun: Instant,
    pub(crate) answer: Option<Answer>,
    /// `platform.runtimeDone` was said.
    pub(crate) runtime_done: bool,
}

/// What the client gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) payload: Bytes,
    pub(crate) error_type: Option<String>,
}

impl State {
    pub(crate) fn new(faults: Faults, telemetry: TelemetryScript) -> Self {
        Self {
            trace: Trace::default(),
            phase: Phase::Idle,
            processes: Vec::new(),
            agents: Vec::new(),
            registration_open: false,
            runtime: Runtime::default(),
            invoke: None,
            fatal: None,
            announced_error: None,
            faults,
            shutdown_requested: false,
            frozen: false,
            telemetry: Telemetry::new(telemetry),
        }
    }

    /// The process of a party, if it runs.
    pub(crate) fn running(&self, party: &Party) -> Option<&Process> {
        self.processes.iter().find(|process| process.party == *party && process.exit.is_none())
    }

    /// The names of the external extensions that were started.
    pub(crate) fn extension_names(&self) -> Vec<String> {
        let name = |process: &Process| match &process.party {
            Party::Extension(name) => Some(name.clone()),
            _ => None,
        };
        self.processes.iter().filter_map(name).collect()
    }

    /// Says once, of the invocation under way, that the runtime is done with it.
    pub(crate) fn runtime_done(&mut self, status: &'static str, error_type: Option<&str>) {
        let Some(invoke) = self.invoke.as_mut().filter(|invoke| !invoke.runtime_done) else { return };
        invoke.runtime_done = true;
        let done = RuntimeDone {
            request_id: &invoke.request_id,
            status,
            error_type,
            duration: invoke.begun.elapsed(),
            produced_bytes: invoke.answer.as_ref().map_or(0, |answer| answer.payload.len()),
        };
        let record = done.record();
        self.telemetry.emit(&record);
    }

    /// Notes the first fatal error; later ones are its consequences.
    pub(crate) fn fail(&mut self, error_type: &str) {
        if self.fatal.is_none() {
            self.fatal = Some(error_type.to_owned());
        }
    }

    /// Notes the end of a process. Outside a shutdown it is fatal, also with exit code 0.
    pub(crate) fn exited(&mut self, pid: Pid, exit: Exit) {
        let Some(process) = self.processes.iter_mut().find(|process| process.pid == pid) else { return };
        process.exit = Some((exit, Instant::now()));
        let party = process.party.clone();
        self.trace.push(&party, "exited", json!({ "code": exit.code, "signal": exit.signal }));
        if matches!(self.phase, Phase::Init | Phase::Serving) {
            let of_extension = self.announced_error.unwrap_or("Extension.Crash");
            self.fail(if party == Party::Function { "Runtime.ExitError" } else { of_extension });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Agent {
        Agent {
            id: String::new(),
            name: String::new(),
            external: true,
            wants_invoke: true,
            wants_shutdown: true,
            state: AgentState::Registered,
            waiter: None,
            latched: None,
            shutdown_released_at: None,
            seen_shutdown: false,
        }
    }

    fn event(kind: &'static str) -> AgentEvent {
        AgentEvent { kind, body: Value::Null }
    }

    #[test]
    fn a_second_call_is_refused_while_the_first_one_waits() {
        let mut agent = agent();
        let Next::Wait(mut first) = agent.next() else { panic!("it waits") };
        assert!(matches!(agent.next(), Next::Refused(AgentState::Ready)));
        assert_eq!(agent.release(event("INVOKE")), "delivered");
        assert_eq!(first.try_recv().unwrap().kind, "INVOKE");
        assert!(matches!(agent.next(), Next::Wait(_)));
    }

    #[test]
    fn an_event_for_a_call_that_is_gone_is_lost_and_frees_the_agent() {
        let mut agent = agent();
        drop(agent.next());
        assert_eq!(agent.release(event("SHUTDOWN")), "lost");
        assert!(!agent.seen_shutdown);
        assert!(matches!(agent.next(), Next::Wait(_)));
    }

    #[test]
    fn an_event_for_a_busy_agent_is_latched_and_the_last_one_counts() {
        let mut agent = agent();
        assert_eq!(agent.release(event("INVOKE")), "latched");
        assert_eq!(agent.release(event("SHUTDOWN")), "latched");
        assert!(!agent.seen_shutdown);
        assert!(matches!(agent.next(), Next::Event(AgentEvent { kind: "SHUTDOWN", .. })));
        assert!(agent.seen_shutdown);
    }
}
