//! The layer that prints each event as a line of JSON on stdout, in every build and whatever else works.

use std::io::Write;
use std::time::SystemTime;

use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::EventsOnly;
use super::event::Origins;
use super::line;
use super::silence::Silence;
use crate::telemetry::Telemetry;

#[derive(Debug, Default)]
struct Stdout {
    origins: Origins,
}

impl<S: Subscriber> Layer<S> for Stdout {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.origins.register(dispatch);
    }

    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let Some(_silence) = Silence::begin() else { return };
        let Some(origin) = self.origins.of(event) else { return };
        let line = line::line(event, SystemTime::now(), &origin);
        // One write each, under the lock that `println!` takes. A closed stdout is no reason to disturb the function.
        drop(std::io::stdout().lock().write_all(&line));
    }
}

impl Telemetry {
    /// A layer for a `tracing` subscriber of your own that prints each event on stdout, one line of JSON each:
    /// `timestamp` (RFC 3339), `level`, `message`, `target`, then where they exist `requestId`, `trace_id`, `span_id`
    /// and `fields` with the event's own. An unsigned or a non-finite number, a byte or an error keeps all it says.
    ///
    /// It has its own filter: `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG`, else INFO, without the events of HTTP clients and
    /// runtimes; `lambda_runtime`'s errors are let through, for that is where a handler's errors and panics are
    /// told. With `LAMBDA_FLUSH_STDOUT=off` it prints nothing.
    ///
    /// ```
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let subscriber = tracing_subscriber::registry().with(telemetry.stdout_layer());
    /// tracing::subscriber::with_default(subscriber, || tracing::info!(items = 3, "priced"));
    /// // {"timestamp":"2026-11-23T14:25:36.123Z","level":"INFO","message":"priced","target":"orders","fields":{"items":3}}
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    pub fn stdout_layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span> + Send + Sync,
    {
        Stdout::default().with_filter(EventsOnly(self.stdout_filter.clone()))
    }
}
