//! Init and invoke, in the order of AWS's `rapid/handlers.go`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::environment::{self, function_arn};
use super::extensions_api::uuid;
use super::process::{self, Program};
use super::shared::Shared;
use super::state::{AgentEvent, AgentState, Answer, CurrentInvoke, InvokeEvent, Phase, State};
use super::{freeze, telemetry};
use crate::party::Party;
use crate::trace::unix_ms;

/// Why a phase ended before its time.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The platform's error type.
    pub(crate) error_type: String,
    pub(crate) cause: Cause,
}

/// What a failure means for the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Reset, reason `failure`.
    Crash,
    /// Reset, reason `timeout`.
    Timeout,
    /// None: `Sandbox::shutdown` takes over.
    Shutdown,
}

impl Failure {
    fn timeout() -> Self {
        Self { error_type: "Sandbox.Timedout".to_owned(), cause: Cause::Timeout }
    }

    fn crash(error_type: &str) -> Self {
        Self { error_type: error_type.to_owned(), cause: Cause::Crash }
    }
}

/// Starts the extensions, then the function, and waits until all of them have called `next`.
///
/// `phase` is what the Telemetry API calls it: `init`, or `invoke` after a reset.
pub(crate) async fn init(shared: &Arc<Shared>, deadline: Instant, phase: &str) -> Result<Duration, Failure> {
    let started = Instant::now();
    shared.update(|state| {
        state.phase = Phase::Init;
        state.registration_open = true;
        state.fatal = None;
        state.announced_error = None;
        state.trace.push(&Party::Platform, "init", Value::Null);
        state.telemetry.begin();
        let record = telemetry::init_start(&shared.config, &shared.directories.log_stream, phase);
        state.telemetry.emit_of_init(record);
    });
    start_extensions(shared).await?;
    let registered = |state: &mut State| {
        let names = state.extension_names();
        names.iter().all(|name| state.agents.iter().any(|agent| agent.name == *name)).then_some(())
    };
    wait(shared, deadline, registered).await?;
    start_function(shared).await?;
    wait(shared, deadline, |state| state.runtime.ready.then_some(())).await?;
    shared.update(|state| {
        state.registration_open = false;
        state.telemetry.emit_of_init(telemetry::init_runtime_done(phase));
    });
    wait(shared, deadline, |state| all_ready(state, |_| true)).await?;
    let duration = started.elapsed();
    shared.update(|state| {
        state.phase = Phase::Serving;
        state.telemetry.emit_of_init(telemetry::init_report(phase, duration));
        state.trace.push(&Party::Platform, "init_done", json!({ "duration_ms": ms(duration) }));
        // The init of a reset goes on with its invocation.
        if shared.config.freeze && phase == "init" {
            state.freeze();
        }
    });
    Ok(duration)
}

async fn start_extensions(shared: &Arc<Shared>) -> Result<(), Failure> {
    let runtime_api = shared.address.to_string();
    for path in &shared.config.extensions {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = Program {
            party: Party::Extension(name),
            path,
            directory: &shared.directories.tmp,
            variables: environment::of_extension(&shared.config, &runtime_api, &shared.directories),
        };
        process::start(shared, program).await.map_err(|_| Failure::crash("Extension.LaunchError"))?;
    }
    Ok(())
}

async fn start_function(shared: &Arc<Shared>) -> Result<(), Failure> {
    let program = Program {
        party: Party::Function,
        path: &shared.config.function,
        directory: &shared.directories.task,
        variables: environment::of_function(&shared.config, &shared.address.to_string(), &shared.directories),
    };
    process::start(shared, program).await.map_err(|_| Failure::crash("Runtime.InvalidEntrypoint"))
}

/// One invocation as its parties see it.
pub(crate) struct Order {
    pub(crate) request_id: String,
    pub(crate) payload: Bytes,
    pub(crate) deadline: Instant,
}

/// Releases an invocation to the function and to every subscribed extension, and waits for the answer.
pub(crate) async fn await_answer(shared: &Shared, order: &Order) -> Result<Answer, Failure> {
    let left = order.deadline.saturating_duration_since(Instant::now());
    let deadline_ms = unix_ms() + ms(left);
    shared.update(|state| release(shared, state, order, deadline_ms))?;
    wait(shared, order.deadline, |state| state.invoke.as_ref()?.answer.clone()).await
}

/// Waits until the function and every extension that got INVOKE have called `next` again. Returns when they had; if
/// the environment is to be frozen, it is.
pub(crate) async fn await_everyone(shared: &Shared, order: &Order) -> Result<Instant, Failure> {
    let everyone = |state: &mut State| {
        if !state.runtime.ready {
            return None;
        }
        all_ready(state, |agent| agent.wants_invoke)?;
        let done = Instant::now();
        if shared.config.freeze {
            state.freeze();
        }
        Some(done)
    };
    let done = wait(shared, order.deadline, everyone).await?;
    shared.update(|state| {
        if let Some(invoke) = state.invoke.take() {
            let failed = invoke.answer.is_some_and(|answer| answer.error_type.is_some());
            let status = if failed { "error" } else { "success" };
            let duration = done.saturating_duration_since(invoke.begun);
            state.telemetry.emit(&telemetry::report(&shared.config, &order.request_id, status, duration));
        }
        state.trace.push(&Party::Platform, "invoke_done", json!({ "request_id": order.request_id }));
    });
    freeze::settle(shared).await;
    Ok(done)
}

fn release(shared: &Shared, state: &mut State, order: &Order, deadline_ms: u64) -> Result<(), Failure> {
    // What died between invocations fails the next one.
    if let Some(error_type) = &state.fatal {
        return Err(Failure::crash(error_type));
    }
    let arn = function_arn(&shared.config);
    let trace_header = trace_header(shared.config.xray_sampled);
    state.invoke = Some(CurrentInvoke {
        request_id: order.request_id.clone(),
        begun: Instant::now(),
        answer: None,
        runtime_done: false,
    });
    let detail =
        json!({ "request_id": order.request_id, "deadline_ms": deadline_ms, "trace_header": trace_header });
    state.trace.push(&Party::Platform, "invoke", detail);
    state.telemetry.emit(&telemetry::start(&order.request_id, &trace_header));
    state.thaw();
    state.runtime.ready = false;
    let headers = vec![
        ("Lambda-Runtime-Aws-Request-Id", order.request_id.clone()),
        ("Lambda-Runtime-Deadline-Ms", deadline_ms.to_string()),
        ("Lambda-Runtime-Invoked-Function-Arn", arn.clone()),
        ("Lambda-Runtime-Trace-Id", trace_header.clone()),
        ("Lambda-Runtime-Invocation-Id", uuid()),
    ];
    if let Some(waiter) = state.runtime.waiter.take() {
        // Nobody listening means that the function is ending; its exit, or the timeout, settles the invocation.
        waiter.send(InvokeEvent { headers, payload: order.payload.clone() }).ok();
    }
    let body = json!({
        "eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": order.request_id, "invokedFunctionArn": arn,
        "tracing": { "type": "X-Amzn-Trace-Id", "value": trace_header },
    });
    for agent in state.agents.iter_mut().filter(|agent| agent.wants_invoke) {
        let fate = agent.release(AgentEvent { kind: "INVOKE", body: body.clone() });
        state.trace.push(&agent.party(), "invoke", json!({ "fate": fate }));
    }
    Ok(())
}

/// Waits for a condition, a fatal error, a shutdown or the deadline; the condition goes first.
async fn wait<T>(
    shared: &Shared,
    deadline: Instant,
    mut condition: impl FnMut(&mut State) -> Option<T>,
) -> Result<T, Failure> {
    let end = shared.until(deadline, |state| {
        if let Some(value) = condition(state) {
            return Some(Ok(value));
        }
        if state.shutdown_requested {
            return Some(Err(Failure { error_type: "Sandbox.Shutdown".to_owned(), cause: Cause::Shutdown }));
        }
        state.fatal.as_ref().map(|error_type| Err(Failure::crash(error_type)))
    });
    end.await.unwrap_or_else(|| Err(Failure::timeout()))
}

fn all_ready(state: &State, mut counts: impl FnMut(&super::state::Agent) -> bool) -> Option<()> {
    let mut counted = state.agents.iter().filter(|agent| counts(agent));
    counted.all(|agent| agent.state == AgentState::Ready).then_some(())
}

fn trace_header(sampled: bool) -> String {
    let seconds = unix_ms() / 1_000;
    let (low, parent) = (fastrand::u128(..) >> 32, fastrand::u64(..));
    format!("Root=1-{seconds:08x}-{low:024x};Parent={parent:016x};Sampled={}", u8::from(sampled))
}

/// Whole milliseconds.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
