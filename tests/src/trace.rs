//! What happened in an environment, in order, as JSON lines; and a form of it that can be compared.
//!
//! The sandbox keeps a trace of its own; the probe binaries write one to a file, which is the same on AWS's emulator
//! and on the testkit if the two treat the processes alike.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::party::Party;

/// Details that differ from run to run and say nothing about behaviour.
const VOLATILE_DETAILS: [&str; 8] = [
    "deadline_ms",
    "duration_ms",
    "environment_id",
    "generation",
    "left_ms",
    "pid",
    "request_id",
    "trace_header",
];

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// `platform`, `function` or `extension:<name>`.
    pub who: String,
    /// What happened to them, or what they did.
    pub event: String,
    /// Particulars; an object or null.
    #[serde(default)]
    pub detail: Value,
}

/// An ordered list of [`TraceEvent`]s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    /// The events, oldest first.
    pub events: Vec<TraceEvent>,
}

/// A [`TraceEvent`] without times and identities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormalEvent {
    /// As in [`TraceEvent::who`].
    pub who: String,
    /// As in [`TraceEvent::event`].
    pub event: String,
    /// What of [`TraceEvent::detail`] repeats from run to run.
    pub detail: BTreeMap<String, Value>,
}

impl Trace {
    /// Parses JSON lines.
    ///
    /// # Errors
    /// The first line that is not a [`TraceEvent`]; empty lines are skipped.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Ok(Self { events: lines.map(serde_json::from_str).collect::<Result<_, _>>()? })
    }

    /// Reads a file of JSON lines, as the probe binaries write it.
    ///
    /// # Errors
    /// The file can't be read, or a line of it is not a [`TraceEvent`].
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string(path)?).map_err(io::Error::other)
    }

    /// The events as JSON lines.
    pub fn to_json_lines(&self) -> String {
        self.events
            .iter()
            .filter_map(|event| serde_json::to_string(event).ok())
            .map(|line| line + "\n")
            .collect()
    }

    /// The events of one party.
    pub fn of<'a>(&'a self, who: &'a str) -> impl Iterator<Item = &'a TraceEvent> {
        self.events.iter().filter(move |event| event.who == who)
    }

    /// The first event of this name by this party.
    pub fn find(&self, who: &str, event: &str) -> Option<&TraceEvent> {
        self.events.iter().find(|candidate| candidate.who == who && candidate.event == event)
    }

    /// How many events of this name this party has.
    pub fn count(&self, who: &str, event: &str) -> usize {
        self.of(who).filter(|candidate| candidate.event == event).count()
    }

    /// The trace in a form that is equal for equal behaviour.
    ///
    /// Times, ids and `next` calls are left out. The platform orders registration before the function's start, and
    /// the function's end before SHUTDOWN; what happens between such points happens to several parties at once, so
    /// there it is sorted by party. Reasons of a shutdown are in lower case.
    pub fn normalised(&self) -> Vec<NormalEvent> {
        let mut stages: Vec<(Stage, Vec<NormalEvent>)> = Vec::new();
        for event in self.events.iter().filter(|event| event.event != "next") {
            let stage = Stage::of(event);
            match stages.last_mut() {
                Some((last, events)) if *last == stage => events.push(normal(event)),
                _ => stages.push((stage, vec![normal(event)])),
            }
        }
        for (_, events) in &mut stages {
            events.sort_by(|left, right| left.who.cmp(&right.who));
        }
        stages.into_iter().flat_map(|(_, events)| events).collect()
    }

    pub(crate) fn push(&mut self, who: &Party, event: &str, detail: Value) {
        self.events.push(TraceEvent {
            at_ms: unix_ms(),
            who: who.to_string(),
            event: event.to_owned(),
            detail,
        });
    }
}

/// Stretches of a life that the platform puts in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Registration,
    FunctionStart,
    Work,
    Termination,
    Shutdown,
}

impl Stage {
    fn of(event: &TraceEvent) -> Self {
        match event.event.as_str() {
            "register" | "registered" if event.who != "function" => Self::Registration,
            "started" if event.who == "function" => Self::FunctionStart,
            "sigterm" | "sigkill" => Self::Termination,
            "shutdown" => Self::Shutdown,
            _ => Self::Work,
        }
    }
}

fn normal(event: &TraceEvent) -> NormalEvent {
    let mut detail = BTreeMap::new();
    for (key, value) in event.detail.as_object().into_iter().flatten() {
        if VOLATILE_DETAILS.contains(&key.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(reason) if key == "reason" => Value::String(reason.to_ascii_lowercase()),
            other => other.clone(),
        };
        detail.insert(key.clone(), value);
    }
    NormalEvent { who: event.who.clone(), event: event.event.clone(), detail }
}

/// Now, in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
