//! The one line at exit that an operator looks for: what became of every item.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::links::Process;
use crate::core::{Flusher, Ledger};

#[derive(Serialize)]
struct Summary<'a> {
    lambda_flush: &'static str,
    version: u32,
    reason: &'a str,
    spare_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause<'a>>,
    destinations: [Destination; 1],
    doors: Doors,
    functions: Vec<Function<'a>>,
}

/// The last invocation that did not succeed, as the platform has it.
#[derive(Serialize)]
struct Cause<'a> {
    request_id: &'a str,
    status: &'a str,
    error_type: Option<&'a str>,
}

/// Items of OTLP requests. Those refused stayed with their senders: they are no term of the balance.
#[derive(Serialize)]
struct Doors {
    accepted: u64,
    refused: u64,
}

#[derive(Serialize)]
struct Destination {
    name: &'static str,
    accepted: u64,
    recovered: u64,
    originated: u64,
    exported: u64,
    rejected: u64,
    dead_lettered: u64,
    spooled: u64,
    dropped: BTreeMap<&'static str, u64>,
    held: u64,
    possible_duplicates: u64,
    repeated: u64,
}

#[derive(Serialize)]
struct Function<'a> {
    process: String,
    ended: u64,
    written: u64,
    buffered: u64,
    dropped: &'a BTreeMap<String, u64>,
    accepted: u64,
    unknown_tail: bool,
}

/// The line. `spare_ms` is the time left before the deadline.
#[must_use]
pub fn line(core: &Flusher, reason: &str, spare_ms: u64) -> String {
    let (accepted, refused) = core.door_items();
    let summary = Summary {
        lambda_flush: "summary",
        version: 1,
        reason,
        spare_ms,
        cause: core.cause().map(|cause| Cause {
            request_id: &cause.request_id.0,
            status: &cause.status,
            error_type: cause.error_type.as_deref(),
        }),
        destinations: [destination(core.ledger(), core.held())],
        doors: Doors { accepted, refused },
        functions: core.processes().iter().map(function).collect(),
    };
    serde_json::to_string(&summary).unwrap_or_default()
}

fn destination(ledger: &Ledger, held: u64) -> Destination {
    Destination {
        name: "default",
        accepted: ledger.accepted,
        recovered: ledger.recovered,
        originated: ledger.originated,
        exported: ledger.exported,
        rejected: ledger.rejected,
        dead_lettered: ledger.dead_lettered,
        spooled: ledger.spooled,
        dropped: ledger.dropped.iter().map(|(reason, items)| (reason.name(), *items)).collect(),
        held,
        possible_duplicates: ledger.possible_duplicates,
        repeated: ledger.repeated,
    }
}

fn function(process: &Process) -> Function<'_> {
    Function {
        process: format!("{:016x}", process.nonce),
        ended: process.counters.ended,
        written: process.counters.written,
        buffered: process.counters.buffered,
        dropped: &process.counters.dropped,
        accepted: process.accepted,
        unknown_tail: process.unknown_tail,
    }
}
