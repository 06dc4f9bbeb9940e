//! `lambda-extension` as a turnstile: its processor returns when the core lets `/next` be called.
//!
//! The processor never fails, for the crate would report `init/error` and with it fail the invocation. The crate's
//! `run()` ends on transport errors, odd bodies and unknown events: then [`super::fallback`] takes over with the
//! same extension id. Only SHUTDOWN ends the process.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use lambda_extension::{Extension, LambdaEvent, NextEvent};
use tokio::sync::oneshot;
use tower::Service;

use super::fallback;
use super::lifecycle::Gate;
use super::telemetry::subscription::Subscription;
use crate::core::{Level, Notice};
use crate::limits::{REGISTER_BACKOFF_MAX, REGISTER_BACKOFF_MIN};
use crate::output::Output;
use crate::panics;

/// Who registers, and for what.
#[derive(Debug)]
pub struct Registration<'a> {
    /// The base name of the extension's file.
    pub name: &'a str,
    /// `AWS_LAMBDA_RUNTIME_API`.
    pub runtime_api: &'a str,
    /// On managed instances nobody may register for INVOKE.
    pub managed: bool,
    /// To be had once the extension is registered.
    pub telemetry: Option<Subscription>,
    /// Told just before the first `/next`.
    pub registered: oneshot::Sender<()>,
}

/// Registers and turns for ever.
pub async fn run(registration: Registration<'_>, gate: Gate, output: &Output) {
    let Registration { name, runtime_api, managed, telemetry, registered: told } = registration;
    let events: &[&str] = if managed { &["SHUTDOWN"] } else { &["INVOKE", "SHUTDOWN"] };
    let registered = register(name, events, gate.clone(), output).await;
    let id = registered.extension_id.clone();
    // Before the first `/next`, which may end the time for it.
    if let Some(telemetry) = telemetry {
        telemetry.begin(runtime_api, &id).await;
    }
    gate.registered().await;
    // Whoever waited for it ends only with the process.
    let _ended = told.send(());
    let ended = match panics::caught(registered.run()).await {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    let message =
        format!("the event loop of lambda-extension ended ({ended}); the extension's own loop goes on");
    output.notice(&Notice { level: Level::Warn, message });
    fallback::run(runtime_api, &id, gate).await;
}

async fn register(
    name: &str,
    events: &[&str],
    gate: Gate,
    output: &Output,
) -> lambda_extension::RegisteredExtension<Turnstile> {
    let mut backoff = REGISTER_BACKOFF_MIN;
    loop {
        let extension = Extension::new()
            .with_extension_name(name)
            .with_events(events)
            .with_events_processor(Turnstile(gate.clone()));
        match panics::caught(extension.register()).await {
            Ok(Ok(registered)) => return registered,
            Ok(Err(error)) => tell(output, &error.to_string()),
            Err(panic) => tell(output, &panic),
        }
        // An extension that exits fails the customer's invocations; one that waits can still be let in.
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(REGISTER_BACKOFF_MAX);
    }
}

fn tell(output: &Output, error: &str) {
    let message = format!("the extension could not be registered and tries again: {error}");
    output.notice(&Notice { level: Level::Error, message });
}

struct Turnstile(Gate);

impl Service<LambdaEvent> for Turnstile {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent) -> Self::Future {
        let gate = self.0.clone();
        Box::pin(async move {
            match event.next {
                NextEvent::Invoke(invoke) => gate.invoke(invoke.request_id, invoke.deadline_ms).await,
                NextEvent::Shutdown(shutdown) => {
                    gate.shutdown(shutdown.shutdown_reason, shutdown.deadline_ms).await;
                }
            }
            Ok(())
        })
    }
}
