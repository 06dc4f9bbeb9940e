//! The handle on a function's telemetry.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_core::Stream;
use lambda_runtime::{Diagnostic, IntoFunctionResponse, LambdaEvent};
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tower::Service;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::Error;
use crate::alone::LocalEnd;
use crate::builder::Builder;
use crate::config::Environment;
use crate::config::Source as _;
use crate::counters::Stats;
use crate::error::{FlushError, NotInLambda};
use crate::handler::TracedHandler;
use crate::handoff::{Handoff, NotWaiting};
use crate::invocation::Invocation;
use crate::layer::InvocationLayer;
use crate::logs;
use crate::metrics::Metrics;
use crate::parent::Parents;
use crate::processor::SHUTDOWN_DRAIN_MAX;
use crate::waits::Outcome;

/// What [`Telemetry::flush`] leaves of an invocation's time.
const FLUSH_MARGIN: Duration = Duration::from_millis(50);

/// How long [`Telemetry::flush`] waits outside an invocation.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(1);

/// The variables without which `lambda_runtime` panics.
const REQUIRED: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

static BUFFERED: OnceLock<Arc<AtomicU64>> = OnceLock::new();

/// A function's telemetry, from [`crate::init`] or [`Telemetry::builder`]. Clones share it.
///
/// The two-line use is [`Telemetry::run`]. The pieces also come apart:
///
/// ```no_run
/// use lambda_flush::{LambdaEvent, Telemetry, service_fn};
/// use serde_json::Value;
///
/// # async fn main_() -> Result<(), lambda_flush::Error> {
/// let telemetry = Telemetry::builder().init()?;
/// let handler = telemetry.handler(service_fn(async |event: LambdaEvent<Value>| {
///     Ok::<_, lambda_flush::Error>(event.payload)
/// }));
/// lambda_flush::lambda_runtime::Runtime::new(handler).layer(telemetry.layer()).run().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Telemetry {
    pub(crate) provider: SdkTracerProvider,
    pub(crate) handoff: Handoff,
    pub(crate) started: Arc<AtomicU64>,
    pub(crate) metrics: Metrics,
    pub(crate) logs: logs::Otlp,
    pub(crate) parents: Parents,
    pub(crate) filter: Targets,
    pub(crate) stdout_filter: Targets,
    pub(crate) disabled: bool,
    pub(crate) _end: Arc<LocalEnd>,
}

impl Telemetry {
    /// Everything [`crate::init`] does, with choices.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn make_global(&self) {
        // The first one stays: `buffered()` is for a process with one telemetry.
        drop(BUFFERED.set(self.handoff.buffered_cell()));
    }

    /// Runs the function: [`Telemetry::handler`] and [`Telemetry::layer`] around `handler`, with the bounds of
    /// `lambda_runtime::run`. Comes back only when the Runtime API fails; then what is buffered is handed over, and
    /// what ends later is dropped and counted.
    ///
    /// ```no_run
    /// use lambda_flush::{LambdaEvent, service_fn};
    /// use serde_json::Value;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), lambda_flush::Error> {
    ///     let telemetry = lambda_flush::init()?;
    ///     telemetry.run(service_fn(handler)).await
    /// }
    ///
    /// async fn handler(event: LambdaEvent<Value>) -> Result<Value, lambda_flush::Error> {
    ///     Ok(event.payload)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NotInLambda`] outside Lambda, otherwise `lambda_runtime`'s.
    pub async fn run<A, F, R, B, S, D, E>(self, handler: F) -> Result<(), Error>
    where
        F: Service<LambdaEvent<A>, Response = R>,
        F::Future: Future<Output = Result<R, F::Error>>,
        F::Error: Into<Diagnostic> + fmt::Debug,
        A: for<'de> serde::Deserialize<'de>,
        R: IntoFunctionResponse<B, S>,
        B: serde::Serialize,
        S: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<bytes::Bytes> + Send,
        E: Into<Error> + Send + fmt::Debug,
    {
        self.prepare_run()?;
        let runtime = lambda_runtime::Runtime::new(self.handler(handler)).layer(self.layer());
        let result = runtime.run().await;
        self.handoff.finish(SHUTDOWN_DRAIN_MAX);
        result
    }

    /// As [`Telemetry::run`], with as many invocations at a time as `AWS_LAMBDA_MAX_CONCURRENCY` says, which Lambda
    /// Managed Instances set; one after the other where it is not set. The bounds are those of
    /// `lambda_runtime::run_concurrent`: the handler is cloned, and its futures move between threads.
    ///
    /// ```no_run
    /// use lambda_flush::{LambdaEvent, service_fn};
    /// use serde_json::Value;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), lambda_flush::Error> {
    ///     lambda_flush::init()?.run_concurrent(service_fn(handler)).await
    /// }
    ///
    /// async fn handler(event: LambdaEvent<Value>) -> Result<Value, lambda_flush::Error> {
    ///     Ok(event.payload)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NotInLambda`] outside Lambda, otherwise `lambda_runtime`'s; also without a tokio runtime.
    pub async fn run_concurrent<A, F, R, B, S, D, E>(self, handler: F) -> Result<(), Error>
    where
        F: Service<LambdaEvent<A>, Response = R> + Clone + Send + 'static,
        F::Future: Future<Output = Result<R, F::Error>> + Send + 'static,
        F::Error: Into<Diagnostic> + fmt::Debug,
        A: for<'de> serde::Deserialize<'de> + Send + 'static,
        R: IntoFunctionResponse<B, S> + Send + 'static,
        B: serde::Serialize + Send + 'static,
        S: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<bytes::Bytes> + Send + 'static,
        E: Into<Error> + Send + fmt::Debug + 'static,
    {
        self.prepare_run()?;
        // `lambda_runtime` would panic.
        tokio::runtime::Handle::try_current()?;
        let runtime = lambda_runtime::Runtime::new(self.handler(handler)).layer(self.layer());
        let result = runtime.run_concurrent().await;
        self.handoff.finish(SHUTDOWN_DRAIN_MAX);
        result
    }

    fn prepare_run(&self) -> Result<(), NotInLambda> {
        let variables: Vec<_> = REQUIRED.into_iter().filter(|name| Environment.var(name).is_none()).collect();
        if !variables.is_empty() {
            return Err(NotInLambda { variables });
        }
        self.handoff.hooks().offer_runtime();
        Ok(())
    }

    /// `handler` with a span around each invocation, which ends on success, error, panic and cancellation.
    #[must_use]
    pub fn handler<S>(&self, handler: S) -> TracedHandler<S> {
        TracedHandler::new(handler, self.metrics.faas.clone())
    }

    /// The layer for a `lambda_runtime::Runtime`: tells the extension when an invocation begins and, after the
    /// response has been posted, that it has ended. Add it last, so that it is the outermost.
    #[must_use]
    pub fn layer(&self) -> InvocationLayer {
        InvocationLayer::new(self.handoff.clone(), self.parents.clone())
    }

    /// A layer for a `tracing` subscriber of your own. It has its own filter: `RUST_LOG`'s, or INFO, without the
    /// spans and events of HTTP clients and runtimes.
    ///
    /// ```
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let subscriber = tracing_subscriber::registry().with(telemetry.tracing_layer());
    /// tracing::subscriber::with_default(subscriber, || tracing::info_span!("work").in_scope(|| ()));
    /// assert_eq!(telemetry.stats().ended, 1);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    pub fn tracing_layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(self.filter.clone())
    }

    fn tracer(&self) -> SdkTracer {
        let scope =
            InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        self.provider.tracer_with_scope(scope.build())
    }

    /// The OpenTelemetry provider. Its `force_flush` does nothing useful here: spans are handed over when they end.
    ///
    /// ```
    /// use lambda_flush::opentelemetry::trace::{Span, Tracer, TracerProvider};
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// telemetry.tracer_provider().tracer("orders").start("load").end();
    /// assert_eq!(telemetry.stats().ended, 1);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    #[must_use]
    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Runs `hook` when Lambda ends the environment (SIGTERM): to close a connection pool, to say goodbye to a broker.
    ///
    /// The tokio runtime this is called in polls the hook, while [`Telemetry::run`] waits for the next invocation, or
    /// while a handler that has timed out waits for something. Hooks run concurrently, after what was buffered has
    /// been handed over, each for at most `budget` and all for at most 220 ms; a panic costs only the hook itself. Each
    /// is told of on stdout, in one JSON line, and as a span: done, timed out, panicked, or not polled because the runtime
    /// was blocked. The process ends with `_exit` once all is done, after 260 ms at the latest (450 ms where there is
    /// no extension at all): destructors do not run, and what was printed without a newline is not flushed. A SIGTERM
    /// handler of your own is called as well, but nobody waits for it.
    ///
    /// Once SIGTERM has come a hook runs at once, as long as others do; later it is left out, and so is the 257th.
    /// Outside of any runtime the one [`Telemetry::run`] is awaited in polls the hook. Outside of Lambda hooks never
    /// run.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[derive(Clone)] struct Pool;
    /// # impl Pool { async fn close(&self) {} }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), lambda_flush::Error> {
    /// # let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// # let pool = Pool;
    /// telemetry.on_shutdown("postgres", Duration::from_millis(100), {
    ///     let pool = pool.clone();
    ///     async move { pool.close().await }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn on_shutdown(
        &self,
        name: impl Into<String>,
        budget: Duration,
        hook: impl Future<Output = ()> + Send + 'static,
    ) {
        self.handoff.hooks().add(name.into(), budget, hook);
    }

    /// Waits until the extension has confirmed all items that have ended so far: until 50 ms before the deadline
    /// when awaited in an invocation, else for one second. Not needed in normal operation: what is written is
    /// already in the extension's custody, whatever becomes of this process.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), lambda_flush::Error> {
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// if let Err(why) = telemetry.flush().await {
    ///     eprintln!("not confirmed: {why}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`FlushError`] says what was in the way. Nothing is lost by it.
    pub async fn flush(&self) -> Result<(), FlushError> {
        if self.disabled {
            return Ok(());
        }
        self.handoff.collect();
        let timeout = Invocation::current()
            .map_or(FLUSH_WAIT_MAX, |invocation| invocation.time_left().saturating_sub(FLUSH_MARGIN));
        let waiting = self.handoff.accepted(timeout).map_err(|error| match error {
            NotWaiting::Shut(reason) => FlushError::Unavailable(reason),
            NotWaiting::NoThread => FlushError::NoThread,
        })?;
        match waiting.await {
            Outcome::Reached => Ok(()),
            Outcome::TimedOut => Err(FlushError::Timeout),
            Outcome::LinkLost if self.handoff.direct().is_some() => Err(FlushError::NotExported),
            Outcome::LinkLost => Err(FlushError::LinkLost),
        }
    }

    /// What became of the items of this process so far.
    ///
    /// ```
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let stats = telemetry.stats();
    /// assert_eq!(stats.ended, stats.written + stats.buffered + stats.dropped.values().sum::<u64>());
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { started: self.started.load(Ordering::Relaxed), ..self.handoff.stats() }
    }

    /// How many items are in the library's buffer, where they would die with the process. Costs one atomic load.
    ///
    /// ```
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// assert_eq!(telemetry.buffered(), 0);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    #[must_use]
    pub fn buffered(&self) -> u64 {
        self.handoff.buffered()
    }
}

/// [`Telemetry::buffered`] of the process's first telemetry that was installed globally; 0 before.
///
/// ```
/// assert_eq!(lambda_flush::buffered(), 0);
/// ```
#[must_use]
pub fn buffered() -> u64 {
    BUFFERED.get().map_or(0, |buffered| buffered.load(Ordering::Acquire))
}
