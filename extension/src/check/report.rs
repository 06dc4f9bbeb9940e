//! What `--check` has found: the same facts for people and as JSON. Keys are stable: added to, never renamed.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Marks the line as ours; always `check`.
    pub lambda_flush: &'static str,
    /// Of this program.
    pub version: &'static str,
    /// No fault in the configuration, and no step failed.
    pub ok: bool,
    /// What is wrong with the variables.
    pub configuration: Configuration,
    /// What holds, by the variables or by default.
    pub settings: Settings,
    /// Each backend, with what was tried on it.
    pub destinations: Vec<Destination>,
}

/// What is wrong with the variables.
#[derive(Debug, Serialize)]
pub struct Configuration {
    /// Nothing.
    pub ok: bool,
    /// All of it.
    pub faults: Vec<FaultLine>,
}

/// One fault of one variable.
#[derive(Debug, Serialize)]
pub struct FaultLine {
    /// The variable.
    pub variable: String,
    /// What is wrong, and what to change.
    pub message: String,
}

/// What decides about telemetry that can't be sent at once.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// `LAMBDA_FLUSH_DEAD_LETTER`: `stdout` or `none`.
    pub dead_letter: &'static str,
    /// `LAMBDA_FLUSH_BUFFER_BYTES_MAX`, in bytes.
    pub buffer_bytes_max: u64,
    /// `LAMBDA_FLUSH_STRATEGY`.
    pub strategy: &'static str,
    /// `LAMBDA_FLUSH_MAX_BILLED_MS`, in milliseconds.
    pub max_billed_ms: u64,
    /// `LAMBDA_FLUSH_OTLP_TIMEOUT`, in milliseconds.
    pub otlp_timeout_ms: u64,
}

/// One backend.
#[derive(Debug, Serialize)]
pub struct Destination {
    /// Scheme, host and port.
    pub endpoint: String,
    /// What goes there: `traces`, `metrics`, `logs`.
    pub signals: Vec<&'static str>,
    /// `http/protobuf` or `grpc`.
    pub protocol: &'static str,
    /// `gzip`, `zstd` or `none`.
    pub compression: &'static str,
    /// Names of the headers that are sent; never their values.
    pub headers: Vec<String>,
    /// In the order in which they were made.
    pub steps: Vec<Step>,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `resolve`, `connect`, `tls`, `export`.
    pub step: &'static str,
    /// Of an export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<&'static str>,
    /// How it ended.
    pub status: Status,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What was found.
    pub detail: String,
    /// What to change, if something has to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should.
    Ok,
    /// Not.
    Fail,
    /// Not tried, for an earlier one failed.
    Skipped,
}

/// What a step found, without its name and time.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) detail: String,
    pub(super) change: Option<String>,
}

impl Finding {
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        Self { status: Status::Ok, detail: detail.into(), change: None }
    }

    pub(super) fn fail(detail: impl Into<String>, change: impl Into<String>) -> Self {
        Self { status: Status::Fail, detail: detail.into(), change: Some(change.into()) }
    }

    pub(super) fn skipped(detail: impl Into<String>) -> Self {
        Self { status: Status::Skipped, detail: detail.into(), change: None }
    }

    pub(super) fn step(self, step: &'static str, signal: Option<&'static str>, took: Duration) -> Step {
        let ms = (took.as_secs_f64() * 10_000.0).round() / 10.0;
        Step { step, signal, status: self.status, ms, detail: self.detail, change: self.change }
    }
}

impl Report {
    /// How many steps there were, and how many failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let steps = || self.destinations.iter().flat_map(|destination| &destination.steps);
        (steps().count(), steps().filter(|step| step.status == Status::Fail).count())
    }

    /// One line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people: aligned, one thing a line.
    #[must_use]
    pub fn human(&self) -> String {
        let mut out = format!("lambda-flush-extension {}\n\n", self.version);
        self.say_configuration(&mut out);
        for destination in &self.destinations {
            destination.say(&mut out);
        }
        let (steps, failed) = self.counts();
        let faults = match self.configuration.faults.len() {
            1 => "1 fault".to_owned(),
            faults => format!("{faults} faults"),
        };
        // Writing to a `String` does not fail, here and below.
        match (failed, self.configuration.ok) {
            (0, true) => writeln!(out, "\nall well: {steps} steps"),
            (0, false) => writeln!(out, "\nFAIL: {faults} in the configuration"),
            (_, true) => writeln!(out, "\nFAIL: {failed} of {steps} steps"),
            (_, false) => writeln!(out, "\nFAIL: {failed} of {steps} steps, {faults} in the configuration"),
        }
        .ok();
        out
    }

    fn say_configuration(&self, out: &mut String) {
        let Settings { dead_letter, buffer_bytes_max, strategy, max_billed_ms, otlp_timeout_ms } =
            &self.settings;
        if self.configuration.ok {
            writeln!(out, "configuration          ok").ok();
        }
        for FaultLine { variable, message } in &self.configuration.faults {
            writeln!(out, "configuration          FAIL  {variable} {message}").ok();
        }
        writeln!(out, "  dead letters         {dead_letter}").ok();
        writeln!(out, "  buffer               {buffer_bytes_max} bytes").ok();
        writeln!(out, "  strategy             {strategy}, at most {max_billed_ms} ms billed").ok();
        writeln!(out, "  timeout              {otlp_timeout_ms} ms an export").ok();
    }
}

impl Destination {
    fn say(&self, out: &mut String) {
        let Self { endpoint, signals, protocol, compression, headers, steps } = self;
        let headers = if headers.is_empty() { "no headers".to_owned() } else { headers.join(", ") };
        writeln!(out, "\n{endpoint}  {}; {protocol}, {compression}; {headers}", signals.join(", ")).ok();
        for step in steps {
            step.say(out);
        }
    }
}

impl Step {
    fn say(&self, out: &mut String) {
        let signal = self.signal.map(|signal| format!(" {signal}")).unwrap_or_default();
        let name = format!("{}{signal}", self.step);
        let mark = match self.status {
            Status::Ok => "ok",
            Status::Fail => "FAIL",
            Status::Skipped => {
                writeln!(out, "  {name:<20} -                  {}", self.detail).ok();
                return;
            }
        };
        writeln!(out, "  {name:<20} {mark:<5} {:>9.1} ms  {}", self.ms, self.detail).ok();
        if let Some(change) = &self.change {
            writeln!(out, "  {:<20} {:<20}{change}", "", "->").ok();
        }
    }
}
