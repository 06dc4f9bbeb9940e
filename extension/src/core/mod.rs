//! The pure core: decides when to flush, what to retry, when `/next` is called and what fits the deadline.
//!
//! It has no I/O, no clock, no async and no randomness of its own: [`Flusher::handle`] takes a [`Moment`]
//! and an [`Event`], [`Flusher::poll_action`] hands out [`Action`]s, [`Flusher::poll_timeout`] says when to
//! come back with [`Event::Wake`]. It is total: every event has an answer in every phase.
//!
//! Invariants, checked after every step in debug builds and by the simulation:
//! - the [`ledger`] balances against what the [`store`] holds;
//! - [`Action::CallNext`] is never asked for with an export in flight, but on managed instances, where nothing freezes;
//! - nothing is accepted after [`Action::Exit`].

pub mod batch;
pub mod budget;
pub mod clock;
pub mod doors;
pub mod flusher;
pub mod hold;
pub mod intake;
pub mod ledger;
pub mod links;
pub mod moment;
pub mod phase;
pub mod platform;
pub mod policy;
pub mod retry;
pub mod seen;
pub mod serve;
pub mod settle;
pub mod shutdown;
pub mod store;

use std::time::Duration;

use bytes::Bytes;
use lambda_flush_proto::{Counters, Received};

pub use flusher::{Cause, FlushConfig, Flusher, Strategy};
pub use ledger::{DropReason, Ledger};
pub use moment::{Moment, Wall};

/// One hand-off connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One closed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// One OTLP export request at a door (OTLP/HTTP or OTLP/gRPC), waiting for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoorRequest(pub u64);

/// `Lambda-Runtime-Aws-Request-Id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// An OTLP signal; the order is the order of export when time is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points.
    Metrics,
}

impl Signal {
    /// Its name in OTLP paths, dead letters and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The protocol's signal, unless it is newer than this code.
    #[must_use]
    pub fn from_wire(signal: lambda_flush_proto::Signal) -> Option<Self> {
        match signal {
            lambda_flush_proto::Signal::Traces => Some(Self::Traces),
            lambda_flush_proto::Signal::Metrics => Some(Self::Metrics),
            lambda_flush_proto::Signal::Logs => Some(Self::Logs),
            lambda_flush_proto::Signal::Unspecified => None,
        }
    }
}

/// What happened outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The extension is registered: init is over as far as we are concerned.
    Registered,
    /// `/next` returned INVOKE.
    Invoke {
        /// Which invocation.
        request_id: RequestId,
        /// Its deadline.
        deadline: Wall,
    },
    /// `/next` returned SHUTDOWN.
    Shutdown {
        /// As the platform spelt it.
        reason: String,
        /// When the process is killed.
        deadline: Wall,
    },
    /// A function connected.
    LinkOpened(LinkId),
    /// Messages came in on a link.
    LinkReceived(LinkId, Vec<Received>),
    /// A link is at its end.
    LinkClosed {
        /// Which.
        link: LinkId,
        /// In the middle of a frame: the item being written is lost with the writer.
        torn: bool,
        /// What the function said of its items to the end, if that outlives it (in the header of its ring).
        counters: Option<Counters>,
    },
    /// A whole, structurally valid OTLP export request stands at a door. It is answered with [`Action::Answer`].
    RequestReceived {
        /// Which.
        request: DoorRequest,
        /// Of the request.
        signal: Signal,
        /// Telemetry items in it.
        items: u64,
        /// The OTLP export request.
        body: Bytes,
    },
    /// The platform's telemetry says something.
    Platform(Platform),
    /// An export ended by itself.
    ExportDone(BatchId, Outcome),
    /// A batch stands ready as dead-letter lines.
    DeadLetterPrepared {
        /// Which.
        batch: BatchId,
        /// The size of the lines.
        line_bytes: usize,
        /// How long it took.
        took: Duration,
    },
    /// Dead letters were printed, or could not be.
    DeadLettersWritten {
        /// Printed whole.
        written: Vec<BatchId>,
        /// Not printed.
        failed: Vec<BatchId>,
    },
    /// The time of [`Flusher::poll_timeout`] has come; too early is harmless.
    Wake,
}

/// What the Telemetry API tells us (platform.md: nothing of it is certain to come, or to come in time).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// The subscription was answered with 200.
    Subscribed,
    /// `platform.start`.
    InvocationStarted {
        /// Which.
        request_id: RequestId,
    },
    /// `platform.runtimeDone`; on managed instances `platform.report`.
    InvocationDone {
        /// Which.
        request_id: RequestId,
        /// `success`, `error`, `failure`, `timeout` or something newer.
        status: String,
        /// For instance `Runtime.ExitError`.
        error_type: Option<String>,
        /// How long the function ran, if the platform says so: tells a late record from a long invocation.
        took: Option<Duration>,
    },
}

/// Whether an OTLP request was taken into custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is ours.
    Accepted,
    /// It could not be taken if nothing else were held.
    TooLarge,
    /// No room, or no time: the sender keeps it.
    Refused {
        /// When to come back (`Retry-After`, `RetryInfo`).
        retry_after: Duration,
    },
}

/// What became of an export request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The backend took all of it.
    Exported,
    /// The backend took it but for `rejected` items; never retried (OTLP, "Partial Success").
    Partial {
        /// Items refused.
        rejected: u64,
        /// The backend's words.
        message: String,
    },
    /// The request itself is bad and must not be sent again (OTLP: 400).
    Rejected {
        /// Status and the backend's words.
        message: String,
    },
    /// Not now.
    Retry {
        /// The server's Retry-After.
        after: Option<Duration>,
        /// Whether the backend may have taken it all the same.
        maybe_sent: bool,
        /// For the notice.
        message: String,
    },
    /// Not with this configuration (401, 404, a certificate): tried once more at SHUTDOWN.
    Refused {
        /// Status and the backend's words.
        message: String,
    },
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the platform for the next event: from here on the sandbox may freeze.
    CallNext,
    /// Answer on a link.
    Reply(LinkId, Reply),
    /// Answer a request at a door.
    Answer(DoorRequest, Admission),
    /// Hang up.
    CloseLink(LinkId),
    /// Send a batch to the backend and report [`Event::ExportDone`] by the deadline.
    Export {
        /// Which.
        batch: BatchId,
        /// Decides the path.
        signal: Signal,
        /// An OTLP export request.
        body: Bytes,
        /// The request ends by then.
        deadline: Wall,
    },
    /// Abort an export; its outcome is not reported.
    Cancel(BatchId),
    /// The sandbox thawed: pooled connections are dead.
    ResetConnections,
    /// Make a batch's dead-letter lines now and keep them; report [`Event::DeadLetterPrepared`].
    PrepareDeadLetter(DeadLetter),
    /// Forget prepared lines: the batch is settled.
    ForgetDeadLetter(BatchId),
    /// Print dead letters by the deadline and report [`Event::DeadLettersWritten`].
    WriteDeadLetters {
        /// In this order.
        batches: Vec<DeadLetter>,
        /// Printing ends by then.
        deadline: Wall,
    },
    /// Tell the operator.
    Notice(Notice),
    /// End the process.
    Exit,
}

/// A batch on its way to a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which.
    pub batch: BatchId,
    /// Of the body.
    pub signal: Signal,
    /// How many telemetry items.
    pub items: u64,
    /// An OTLP export request.
    pub body: Bytes,
}

/// An answer to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Answers `Hello`.
    Welcome {
        /// Bytes of item frames.
        credit_bytes: u64,
        /// How large a ring all later frames come through; 0: none.
        ring_bytes: u64,
    },
    /// Further credit.
    Grant {
        /// Bytes of item frames.
        more_bytes: u64,
    },
    /// Answers `Barrier`.
    Accepted {
        /// Everything up to here is ours.
        seq: u64,
    },
}

/// One line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How bad.
    pub level: Level,
    /// What happened and, where there is one, what to change.
    pub message: String,
}

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Good to know.
    Info,
    /// Telemetry is late or at risk.
    Warn,
    /// Something has to be changed.
    Error,
}
