//! The exporter: from a batch to its outcome, whatever the backend does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::answer::{self, Answered};
use super::compress::Compressors;
use super::connect::{Connection, Target};
use super::failure::Failure;
use super::headers_file::HeadersFile;
use super::pool::Pool;
use super::request::Payload;
use crate::clock::Clock;
use crate::config::{Destination, ExportConfig, Headers};
use crate::core::{Outcome, Signal};

/// Sends export requests; connects, reads files and sets TLS up only when there is something to send.
#[derive(Debug)]
pub struct Exporter {
    parts: Arc<Parts>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Parts {
    config: ExportConfig,
    /// One for each kind of connection, and which signal uses which.
    targets: Vec<Target>,
    of_signal: Vec<(Signal, usize)>,
    headers_file: Option<HeadersFile>,
    compressors: Compressors,
}

impl Exporter {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(config: ExportConfig) -> Self {
        let (mut targets, mut of_signal): (Vec<Target>, _) = (Vec::new(), Vec::new());
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            let Some(destination) = config.of(signal) else { continue };
            let target = Target::new(destination, &config.proxies, config.name_server);
            let known = targets.iter().position(|known| known.same(&target));
            of_signal.push((signal, known.unwrap_or(targets.len())));
            if known.is_none() {
                targets.push(target);
            }
        }
        let pool = Arc::new(Pool::new(config.idle_max));
        let headers_file = config.headers_from.clone().map(HeadersFile::new);
        let parts = Parts { config, targets, of_signal, headers_file, compressors: Compressors::default() };
        Self { parts: Arc::new(parts), pool }
    }

    /// Forgets all connections: after a thaw the backend has closed them.
    pub fn reset(&mut self) {
        self.pool = Arc::new(Pool::new(self.parts.config.idle_max));
    }

    /// Sends one request; ends within `timeout`, and within the signal's own, whatever the backend does.
    pub fn send(
        &self,
        signal: Signal,
        body: Bytes,
        timeout: Duration,
        clock: Clock,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let (parts, pool) = (Arc::clone(&self.parts), Arc::clone(&self.pool));
        async move {
            let Some(destination) = parts.config.of(signal) else {
                let message = format!("there is no endpoint for {}", signal.name());
                return Outcome::Refused { message };
            };
            let timeout = timeout.min(destination.timeout);
            let export = Export {
                parts: &parts,
                pool: &pool,
                destination,
                clock,
                until: Instant::now() + timeout,
                sent: AtomicBool::new(false),
            };
            match tokio::time::timeout(timeout, export.run(signal, body)).await {
                Ok(outcome) => outcome,
                Err(_) => export.timed_out(timeout),
            }
        }
    }
}

/// One call of [`Exporter::send`].
struct Export<'a> {
    parts: &'a Parts,
    pool: &'a Pool,
    destination: &'a Destination,
    clock: Clock,
    until: Instant,
    /// Whether the request was given to a connection.
    sent: AtomicBool,
}

impl Export<'_> {
    async fn run(&self, signal: Signal, body: Bytes) -> Outcome {
        self.try_run(signal, body).await.unwrap_or_else(|failure| failure.outcome(false))
    }

    async fn try_run(&self, signal: Signal, body: Bytes) -> Result<Outcome, Failure> {
        let target = self.parts.of_signal.iter().find(|(of, _)| *of == signal).map(|(_, number)| *number);
        let (number, target) = target
            .and_then(|number| Some((number, self.parts.targets.get(number)?)))
            .ok_or_else(|| Failure::Never(format!("there is no endpoint for {}", signal.name())))?;
        let payload = Payload::new(&self.parts.compressors, self.destination, body).await?;
        let Some(file) = &self.parts.headers_file else {
            let headers = self.destination.headers.overridden(&Headers::default());
            return Ok(self.exchange(number, target, &payload, headers).await?.outcome);
        };
        let used = file.headers().await?;
        let headers = self.destination.headers.overridden(&used);
        let answered = self.exchange(number, target, &payload, headers).await?;
        if !answered.denied {
            return Ok(answered.outcome);
        }
        // Somebody may have rotated them.
        let Some(rotated) = file.changed(&used).await else { return Ok(answered.outcome) };
        self.sent.store(false, Ordering::Relaxed);
        let headers = self.destination.headers.overridden(&rotated);
        Ok(self.exchange(number, target, &payload, headers).await?.outcome)
    }

    /// Once more on a fresh connection if a used one took nothing: a backend may close it at any time, and what it
    /// has not been sent it can't have processed. Where it may have been sent, the core decides.
    async fn exchange(
        &self,
        number: usize,
        target: &Target,
        payload: &Payload,
        headers: HeaderMap,
    ) -> Result<Answered, Failure> {
        let mut fresh = false;
        loop {
            let now = self.clock.now().wall;
            let (connection, reused) = self.pool.take(number, target, now, fresh).await?;
            let left = self.until.saturating_duration_since(Instant::now());
            let request = payload.request(self.destination, target, headers.clone(), left)?;
            self.sent.store(true, Ordering::Relaxed);
            let result = match connection {
                Connection::H1(mut sender) => match sender.try_send_request(request).await {
                    Ok(response) => {
                        let answered = self.read(response, target, &headers).await;
                        if answered.clean {
                            self.pool.give_back(number, sender, self.clock.now().wall);
                        }
                        Ok(answered)
                    }
                    Err(error) => Err(error),
                },
                Connection::H2(mut sender) => {
                    let mut doubt = Doubt { pool: self.pool, number, dispelled: false };
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            let answered = self.read(response, target, &headers).await;
                            doubt.dispelled = answered.clean;
                            Ok(answered)
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            let mut error = match result {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            let untouched = error.take_message().is_some();
            if untouched && reused {
                self.sent.store(false, Ordering::Relaxed);
                fresh = true;
                continue;
            }
            let outcome = Failure::of(error.error()).outcome(!untouched);
            return Ok(Answered { outcome, denied: false, clean: false });
        }
    }

    async fn read(
        &self,
        response: http::Response<hyper::body::Incoming>,
        target: &Target,
        headers: &HeaderMap,
    ) -> Answered {
        let hide = |text: &str| target.secrets(headers).hidden(text);
        answer::read(response, self.destination.protocol, self.clock.now().wall, &hide).await
    }

    fn timed_out(&self, timeout: Duration) -> Outcome {
        let sent = self.sent.load(Ordering::Relaxed);
        let what = if sent { "no answer" } else { "no connection" };
        Failure::Later(format!("{what} within {} ms", timeout.as_millis())).outcome(sent)
    }
}

/// A shared connection that somebody is waiting on: forgotten unless the answer came, for it may be dead and would be
/// found again and again.
struct Doubt<'a> {
    pool: &'a Pool,
    number: usize,
    dispelled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.dispelled {
            self.pool.forget_shared(self.number);
        }
    }
}
