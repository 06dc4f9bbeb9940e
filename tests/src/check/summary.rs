//! The extension's summary line, and the identity that its ledger must fulfil.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::scan::objects;

/// One summary line. Fields that an older or newer extension does not print count as zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Why the environment ended.
    pub reason: String,
    /// Milliseconds that were left until the deadline.
    pub spare_ms: u64,
    /// The last invocation that did not succeed, as the platform told it.
    pub cause: Option<Cause>,
    /// The ledger.
    pub destinations: Vec<Destination>,
    /// What came as OTLP requests.
    pub doors: Doors,
    /// What the function's processes counted themselves.
    pub functions: Vec<FunctionCounts>,
}

/// An invocation that did not succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Its id.
    pub request_id: String,
    /// `error`, `failure`, `timeout`.
    pub status: String,
    /// For instance `Runtime.ExitError`.
    pub error_type: Option<String>,
}

/// The OTLP receivers' counts, in items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Doors {
    /// Taken into custody: a part of the ledger's `accepted`.
    pub accepted: u64,
    /// Left with their senders: no term of the ledger.
    pub refused: u64,
}

/// The ledger of one destination, in items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the ledger's terms, whose identity `fault` states")]
pub struct Destination {
    pub name: String,
    pub accepted: u64,
    pub recovered: u64,
    pub originated: u64,
    pub exported: u64,
    pub rejected: u64,
    pub dead_lettered: u64,
    pub spooled: u64,
    pub dropped: BTreeMap<String, u64>,
    pub held: u64,
    pub possible_duplicates: u64,
}

/// The counters of one process of the function, in items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FunctionCounts {
    /// The process's nonce.
    pub process: String,
    /// Items that ended.
    pub ended: u64,
    /// Items written to the link.
    pub written: u64,
    /// Items that the library still kept when it counted last.
    pub buffered: u64,
    /// Items that the library dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Items that the extension took.
    pub accepted: u64,
    /// True if the link ended without final counters.
    pub unknown_tail: bool,
}

impl Summary {
    /// The summaries in an extension's standard output, and what is wrong with those that can't be read.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> (Vec<Self>, Vec<String>) {
        let mut summaries = Vec::new();
        let mut faults = Vec::new();
        for object in lines.into_iter().flat_map(objects).flatten() {
            if object.get("lambda_flush").is_none_or(|kind| kind != "summary") {
                continue;
            }
            match serde_json::from_value(object) {
                Ok(summary) => summaries.push(summary),
                Err(error) => faults.push(format!("a summary can't be read: {error}")),
            }
        }
        (summaries, faults)
    }

    /// What the library and the extension say they dropped, in items.
    pub fn dropped(&self) -> u64 {
        let by_function: u64 = self.functions.iter().flat_map(|function| function.dropped.values()).sum();
        let by_extension: u64 = self.destinations.iter().flat_map(|it| it.dropped.values()).sum();
        by_function + by_extension
    }
}

impl Destination {
    /// Why the ledger does not balance; `None` if it does:
    /// `accepted + recovered + originated = exported + rejected + dead_lettered + spooled + Σ dropped + held`,
    /// and nothing is held at exit.
    pub fn fault(&self) -> Option<String> {
        let came = self.accepted + self.recovered + self.originated;
        let dropped: u64 = self.dropped.values().sum();
        let settled = self.exported + self.rejected + self.dead_lettered + self.spooled + dropped;
        if came != settled + self.held {
            return Some(format!("{}: {came} came, {settled} settled, {} held", self.name, self.held));
        }
        (self.held > 0).then(|| format!("{}: {} held at exit", self.name, self.held))
    }
}
