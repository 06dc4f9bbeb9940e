//! The Telemetry API: who subscribed, what they are told, and what a script makes go wrong with it.
//!
//! Of the three types only `platform` is delivered, and of that what the life of an environment consists of:
//! `initStart`, `initRuntimeDone`, `initReport`, `start`, `runtimeDone`, `report`, `telemetrySubscription`.

mod delivery;
mod malformed;
mod post;
mod record;
mod subscription;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) use record::{Record, RuntimeDone, init_report, init_runtime_done, init_start, report, start};
pub(crate) use subscription::subscribe;

/// How the Telemetry API behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TelemetryScript {
    /// 202, "not supported", and nothing is ever delivered: AWS's emulator.
    #[default]
    NotSupported,
    /// As in production: 200, and every record comes as soon as the subscription's buffering allows.
    Good,
    /// 200, and nothing is ever delivered.
    Silent,
    /// As [`Self::Good`], with every record this much later.
    Late(Duration),
    /// As [`Self::Good`], but between good records there are some of unknown and of wrong types, and between good
    /// bodies there are some that are no JSON, or no list.
    Malformed,
    /// 403, as after the init phase.
    Forbidden,
    /// As [`Self::Good`], but `platform.runtimeDone` never comes.
    LostDone,
}

/// The API's side of an environment.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) script: TelemetryScript,
    subscribers: Vec<Subscriber>,
    /// What was said in this init phase, for who subscribes in the course of it.
    of_init: Vec<Record>,
}

#[derive(Debug)]
struct Subscriber {
    extension: String,
    queue: UnboundedSender<Message>,
}

/// What a subscriber's delivery is told.
#[derive(Clone, Debug)]
enum Message {
    Record {
        record: Record,
        /// What the script adds to the buffering.
        lateness: Duration,
    },
    /// The platform closes a stream: what is due goes out at once.
    Flush,
}

impl Telemetry {
    pub(crate) fn new(script: TelemetryScript) -> Self {
        Self { script, ..Self::default() }
    }

    /// Forgets who subscribed before; what was queued for them still goes out, if they live.
    pub(crate) fn begin(&mut self) {
        self.subscribers.clear();
        self.of_init.clear();
    }

    /// Says something in the init phase, to those who will subscribe too.
    pub(crate) fn emit_of_init(&mut self, record: Record) {
        self.emit(&record);
        self.of_init.push(record);
    }

    /// Says something to every subscriber.
    pub(crate) fn emit(&self, record: &Record) {
        let script = self.script;
        for subscriber in &self.subscribers {
            subscriber.tell(script, record.clone());
        }
    }

    /// Hurries what is due.
    pub(crate) fn flush(&self) {
        for subscriber in &self.subscribers {
            // Its task ended with the environment.
            subscriber.queue.send(Message::Flush).ok();
        }
    }

    /// Takes a subscriber in place of an earlier subscription of the same extension, and tells it what it missed.
    fn admit(&mut self, subscriber: Subscriber) {
        for record in &self.of_init {
            subscriber.tell(self.script, record.clone());
        }
        self.subscribers.retain(|other| other.extension != subscriber.extension);
        self.subscribers.push(subscriber);
    }
}

impl Subscriber {
    fn tell(&self, script: TelemetryScript, record: Record) {
        let lateness = match script {
            TelemetryScript::Late(lateness) => lateness,
            TelemetryScript::Good | TelemetryScript::Malformed => Duration::ZERO,
            TelemetryScript::LostDone if record.kind() != RuntimeDone::KIND => Duration::ZERO,
            // Whoever had subscribed before the script changed to one that refuses hears nothing more.
            _ => return,
        };
        self.queue.send(Message::Record { record, lateness }).ok();
    }
}

/// A record of the given kind, now.
fn record(kind: &'static str, content: &Value) -> Record {
    Record::new(kind, content)
}
