//! Life without the extension: telemetry goes from this process straight to the backend.
//!
//! The seam is [`Direct`]; the hand-off passes everything on to it once it is set. What implements it exists with
//! the feature `direct` only:
//!
//! ```text
//! item, payload ─ held.rs: spliced into OTLP requests, bounded ─ exporter.rs, thread.rs: own thread, retries
//!   ─ envelope.rs: opentelemetry-otlp makes the request ─ client.rs: our HttpClient (ureq, rustls) ─ dns.rs
//! ```
//!
//! # When
//! - After the response: the end of an invocation waits for the export, for `LAMBDA_FLUSH_MAX_BILLED_MS` at the
//!   most, because Lambda may freeze the process as soon as the next invocation is asked for.
//! - Once an export has failed, the end of an invocation waits for none: what is held is tried again while the
//!   next handler runs, where it costs nothing. The first success brings the first rule back.
//!   A request that is cut off at the cap may have arrived all the same, and then comes twice.
//! - At SIGTERM, and outside Lambda also every few seconds, at `flush()` and when the telemetry is dropped.

#[cfg(feature = "direct")]
mod client;
#[cfg(feature = "direct")]
mod dns;
#[cfg(feature = "direct")]
mod envelope;
#[cfg(feature = "direct")]
mod exporter;
#[cfg(feature = "direct")]
mod held;
#[cfg(not(feature = "direct"))]
mod off;
#[cfg(feature = "direct")]
mod settings;
#[cfg(feature = "direct")]
mod state;
#[cfg(feature = "direct")]
mod thread;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_flush_proto::wire::Signal;

use crate::carrier::Item;
use crate::counters::Stats;
use crate::waits::Waiting;

#[cfg(feature = "direct")]
pub(crate) use exporter::start;
#[cfg(not(feature = "direct"))]
pub(crate) use off::start;

/// What takes the items where there is no extension.
pub(crate) trait Direct: Send + Sync + fmt::Debug {
    /// Keeps one encoded item until it is exported. Never blocks.
    fn item(&self, item: Item<'_>);

    /// Keeps a whole OTLP export request of `items` items. Never blocks.
    fn payload(&self, signal: Signal, items: u32, request: Bytes);

    /// Whether less than half of the room is taken.
    fn has_room(&self) -> bool;

    /// An invocation begins: what an earlier export left is tried again while the handler runs.
    fn invocation_started(&self);

    /// The response is posted: exports all that is held. Resolves when that has ended, well or not, at the latest
    /// after the billed cap; `None` if there is nothing to wait for.
    fn invocation_ended(&self) -> Option<Waiting>;

    /// When the first wait is over, whatever the export thread does.
    fn next_deadline(&self) -> Option<Instant>;

    /// Ends the waits that are over.
    fn settle_overdue(&self);

    /// Exports all that is held: resolves with `Reached` only if that went well. `None` without a thread.
    fn flush(&self, timeout: Duration) -> Option<Waiting>;

    /// Begins the last export, without waiting. What comes later is still taken.
    fn begin_finish(&self, until: Instant);

    /// The last export, at SIGTERM and at the end of a local run: blocks this thread until all is exported or
    /// `until` has come, and tells in one line if items are left. Returns how many. In Lambda, what comes later is
    /// dropped.
    fn finish(&self, until: Instant) -> u64;

    /// What became of the items so far.
    fn stats(&self) -> Stats;

    /// For people: where it exports to.
    fn destination(&self) -> String;

    /// How long the end of a process that is not in Lambda may wait.
    fn local_finish_max(&self) -> Duration;
}

/// Who emits, and where the number of held items is kept.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "direct"), expect(dead_code, reason = "nobody exports anything"))]
pub(crate) struct Emitter {
    /// The encoded resource.
    pub(crate) resource: Bytes,
    pub(crate) resource_schema_url: String,
    pub(crate) buffered: Arc<AtomicU64>,
}
