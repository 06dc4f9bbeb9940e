//! One invocation from the client's side: its answer, and what became of the environment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::extensions_api::uuid;
use super::lifecycle::{self, Cause, Failure, Order};
use super::report::{Report, ShutdownReason};
use super::shared::Shared;
use super::shutdown;
use super::state::{Answer, Phase};
use super::telemetry::RuntimeDone;
use crate::engine::Engine;

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The function answered.
    Ok,
    /// The function answered with an error.
    FunctionError,
    /// The function and the extensions were not done in time. The answer may have been given before.
    Timeout,
    /// A process exited, or the environment was shut down. The answer may have been given before.
    Crash,
}

/// The end of an invocation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What the client got: the function's answer if there was one, else the platform's error.
    pub payload: Bytes,
    /// The error type, by the function or by the platform: `Sandbox.Timedout`, `Runtime.ExitError`, `Extension.Crash`.
    pub error_type: Option<String>,
    /// The invocation's id.
    pub request_id: String,
    /// From the beginning to the function's answer, if there was one.
    pub response_time: Option<Duration>,
    /// From the beginning until everyone had called `next` again, or to the failure: what Lambda bills.
    pub duration: Duration,
    /// The part of `duration` that was a new init after a reset.
    pub init_included: Option<Duration>,
    /// How the environment ended, if this invocation ended it.
    pub reset: Option<Report>,
}

/// An invocation under way. Dropping it does not stop it.
#[derive(Debug)]
pub struct Invocation {
    answer: Option<oneshot::Receiver<Bytes>>,
    outcome: JoinHandle<Outcome>,
}

impl Invocation {
    /// Waits for what the client gets, which comes as soon as the function answers, or fails. `None` on a second call.
    pub async fn response(&mut self) -> Option<Bytes> {
        let payload = self.answer.as_mut()?.await.ok();
        self.answer = None;
        payload
    }

    /// Waits until the environment is ready for the next invocation.
    pub async fn outcome(self) -> Outcome {
        self.outcome.await.unwrap_or_else(|_| Outcome {
            status: Status::Crash,
            payload: Bytes::new(),
            error_type: Some("Sandbox.Shutdown".to_owned()),
            request_id: String::new(),
            response_time: None,
            duration: Duration::ZERO,
            init_included: None,
            reset: None,
        })
    }
}

/// Starts an invocation on the engine's thread.
pub(crate) fn begin(engine: &Engine, shared: &Arc<Shared>, payload: Bytes) -> Invocation {
    let (sender, answer) = oneshot::channel();
    let shared = Arc::clone(shared);
    let outcome = engine.spawn(async move { run(&shared, payload, sender).await });
    Invocation { answer: Some(answer), outcome }
}

async fn run(shared: &Arc<Shared>, payload: Bytes, client: oneshot::Sender<Bytes>) -> Outcome {
    let _one_at_a_time = shared.turn.lock().await;
    let started = Instant::now();
    let order = Order { request_id: uuid(), payload, deadline: started + shared.config.timeout };
    let mut progress =
        Progress { started, client: Some(client), init_included: None, answer: None, done: None };
    match play(shared, &order, &mut progress).await {
        Ok(()) => progress.outcome(&order, None),
        Err(failure) => {
            let mut outcome = progress.outcome(&order, Some(&failure));
            outcome.reset = reset(shared, &failure).await;
            outcome
        }
    }
}

async fn play(shared: &Arc<Shared>, order: &Order, progress: &mut Progress) -> Result<(), Failure> {
    if shared.update(|state| state.phase == Phase::Idle && !state.shutdown_requested) {
        let begun = Instant::now();
        let init = lifecycle::init(shared, order.deadline, "invoke").await;
        progress.init_included = Some(begun.elapsed());
        init?;
    }
    let answer = lifecycle::await_answer(shared, order).await?;
    progress.tell_client(answer.payload.clone());
    progress.answer = Some(answer);
    progress.done = Some(lifecycle::await_everyone(shared, order).await?);
    Ok(())
}

async fn reset(shared: &Arc<Shared>, failure: &Failure) -> Option<Report> {
    let error_type = failure.error_type.as_str();
    let (status, reason) = match failure.cause {
        Cause::Crash => (RuntimeDone::status_of_failure(error_type), ShutdownReason::Failure),
        Cause::Timeout => ("timeout", ShutdownReason::Timeout),
        Cause::Shutdown => return None,
    };
    let told = (failure.cause == Cause::Crash).then_some(error_type);
    shared.update(|state| state.runtime_done(status, told));
    Some(shutdown::end(shared, reason).await)
}

/// What an invocation has come to so far.
struct Progress {
    started: Instant,
    client: Option<oneshot::Sender<Bytes>>,
    init_included: Option<Duration>,
    answer: Option<Answer>,
    /// When everyone had called `next` again.
    done: Option<Instant>,
}

impl Progress {
    /// The client gets the first answer; it may have stopped listening.
    fn tell_client(&mut self, payload: Bytes) {
        if let Some(client) = self.client.take() {
            client.send(payload).ok();
        }
    }

    fn outcome(&mut self, order: &Order, failure: Option<&Failure>) -> Outcome {
        let duration = self.done.unwrap_or_else(Instant::now).saturating_duration_since(self.started);
        let own_error = self.answer.as_ref().and_then(|answer| answer.error_type.clone());
        let status = match failure.map(|failure| failure.cause) {
            None if own_error.is_some() => Status::FunctionError,
            None => Status::Ok,
            Some(Cause::Timeout) => Status::Timeout,
            Some(Cause::Crash | Cause::Shutdown) => Status::Crash,
        };
        let payload = match (&self.answer, failure) {
            (Some(answer), _) => answer.payload.clone(),
            (None, Some(failure)) => error_payload(&order.request_id, failure, duration),
            (None, None) => Bytes::new(),
        };
        self.tell_client(payload.clone());
        Outcome {
            status,
            payload,
            error_type: failure.map(|failure| failure.error_type.clone()).or(own_error),
            request_id: order.request_id.clone(),
            response_time: self.answer.as_ref().map(|answer| answer.at - self.started),
            duration,
            init_included: self.init_included,
            reset: None,
        }
    }
}

fn error_payload(request_id: &str, failure: &Failure, duration: Duration) -> Bytes {
    let message = match failure.cause {
        Cause::Timeout => format!("Task timed out after {:.2} seconds", duration.as_secs_f64()),
        Cause::Crash => failure.error_type.clone(),
        Cause::Shutdown => "the environment was shut down".to_owned(),
    };
    let message = format!("RequestId: {request_id} Error: {message}");
    json!({ "errorMessage": message, "errorType": failure.error_type }).to_string().into()
}
