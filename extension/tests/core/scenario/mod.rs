//! Readable timelines: what happens in an environment, and what the core does about it.

mod budget;
mod doors;
mod hold;
mod platform;
mod prolongation;
mod ring;
mod serving;
mod settle;
mod shutdown;
mod shutdown_late;

use std::time::Duration;

use lambda_flush_extension::core::{
    Action, Event, FlushConfig, Ledger, LinkId, Outcome, Platform, RequestId,
};
use lambda_flush_proto::Signal;

use super::driver::{Backend, Driver, config};
use super::function::Function;

/// An environment after init, told from outside.
struct Story {
    driver: Driver,
    next_item: u64,
    next_link: u64,
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Story {
    fn new(config: FlushConfig) -> Self {
        let mut driver = Driver::new(config);
        driver.handle(Event::Registered);
        Self { driver, next_item: 1, next_link: 1 }
    }

    /// A function process connects at init.
    fn with_function(config: FlushConfig) -> Self {
        let mut story = Self::new(config);
        story.function();
        story
    }

    /// The usual environment.
    fn usual() -> Self {
        Self::with_function(config())
    }

    fn backend(&mut self, after_ms: u64, outcome: Outcome) {
        self.driver.backend = Backend::Answers(ms(after_ms), outcome);
    }

    /// Another function process; returns its index.
    fn function(&mut self) -> usize {
        let index = self.driver.functions.len();
        self.driver.functions.push(Function::new(100 + index as u64));
        self.connect(index);
        index
    }

    fn connect(&mut self, index: usize) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.driver.functions[index].connect(link);
        self.driver.handle(Event::LinkOpened(link));
        link
    }

    fn spans_of(&mut self, index: usize, count: u64, bytes: usize) -> &mut Self {
        for _ in 0..count {
            self.driver.functions[index].item(self.next_item, Signal::Traces, bytes);
            self.next_item += 1;
        }
        self.driver.read_all();
        self
    }

    fn spans(&mut self, count: u64) -> &mut Self {
        self.spans_of(0, count, 300)
    }

    /// A request with `count` items of `bytes` bytes at a door; whether it was taken.
    fn request(&mut self, count: u64, bytes: usize) -> bool {
        let ids: Vec<u64> = (self.next_item..self.next_item + count).collect();
        self.next_item += count;
        let before = self.driver.doors.accepted.len();
        self.driver.request(ids, bytes);
        self.driver.doors.accepted.len() > before
    }

    fn platform(&mut self, event: Platform) -> &mut Self {
        self.driver.handle(Event::Platform(event));
        self
    }

    /// `platform.start`.
    fn start(&mut self, id: &str) -> &mut Self {
        self.platform(Platform::InvocationStarted { request_id: RequestId(id.to_owned()) })
    }

    /// `platform.runtimeDone` of an invocation that took so long.
    fn runtime_done(&mut self, id: &str, took_ms: u64) -> &mut Self {
        self.platform(runtime_done(id, Some(ms(took_ms))))
    }

    fn logs(&mut self, count: u64) -> &mut Self {
        for _ in 0..count {
            self.driver.functions[0].item(self.next_item, Signal::Logs, 200);
            self.next_item += 1;
        }
        self.driver.read_all();
        self
    }

    fn invoke(&mut self, id: &str) -> &mut Self {
        self.driver.invoke(id, 3_000);
        self
    }

    fn started(&mut self, id: &str) -> &mut Self {
        self.driver.functions[0].started(id, "1");
        self.driver.read_all();
        self
    }

    fn done(&mut self, id: &str) -> &mut Self {
        self.driver.functions[0].done(id, "1");
        self.driver.read_all();
        self
    }

    /// The whole invocation: INVOKE, work with `spans` spans, `InvocationDone`.
    fn invocation(&mut self, id: &str, work_ms: u64, spans: u64) -> &mut Self {
        self.invoke(id).started(id).run(work_ms).spans(spans).done(id)
    }

    fn eof(&mut self, index: usize) -> &mut Self {
        self.driver.functions[index].disconnect();
        self.driver.read_all();
        self
    }

    fn run(&mut self, millis: u64) -> &mut Self {
        self.driver.run(millis);
        self
    }

    fn shutdown(&mut self, millis: u64) -> &mut Self {
        self.driver.shutdown(millis);
        self
    }

    /// Milliseconds since the start.
    fn clock(&self) -> u64 {
        self.driver.mono.as_millis().try_into().expect("not so long")
    }

    fn parked(&self) -> bool {
        self.driver.rules.next_outstanding()
    }

    fn phase(&self) -> &'static str {
        self.driver.core.phase().name()
    }

    fn ledger(&self) -> &Ledger {
        self.driver.core.ledger()
    }

    /// Times of the actions that `wanted` picks.
    fn times(&self, wanted: impl Fn(&Action) -> bool) -> Vec<u64> {
        self.driver.log.iter().filter(|(_, action)| wanted(action)).map(|(at, _)| *at).collect()
    }

    fn exports(&self) -> Vec<u64> {
        self.times(|action| matches!(action, Action::Export { .. }))
    }

    fn notices(&self) -> Vec<String> {
        let notice = |(_, action): &'_ (u64, Action)| match action {
            Action::Notice(notice) => Some(notice.message.clone()),
            _ => None,
        };
        self.driver.log.iter().filter_map(notice).collect()
    }

    fn exited_at(&self) -> Option<u64> {
        self.times(|action| *action == Action::Exit).first().copied()
    }

    /// Every item that was handed off has exactly one end, and nothing was invented.
    fn accounted(&self) {
        assert!(self.driver.rules.exited, "still in {}", self.phase());
        let ledger = self.ledger();
        assert_eq!(ledger.accepted, self.driver.handed_off() as u64, "accepted is what was handed off");
        assert_eq!(ledger.taken(), ledger.settled(), "{ledger:?}");
        let seen = &self.driver.seen;
        let links = self.driver.functions.iter().flat_map(|function| &function.handed_off);
        for id in links.chain(&self.driver.doors.accepted) {
            let known = seen.exported.contains_key(id) || seen.dead_letters.contains_key(id);
            let counted = ledger.rejected > 0 || !ledger.dropped.is_empty();
            assert!(known || counted, "item {id} disappeared");
        }
    }

    fn duplicates(&self) -> usize {
        self.driver.seen.sent.values().filter(|times| **times > 1).count()
    }
}

fn runtime_done(id: &str, took: Option<Duration>) -> Platform {
    let (request_id, status) = (RequestId(id.to_owned()), "success".to_owned());
    Platform::InvocationDone { request_id, status, error_type: None, took }
}

fn retry(maybe_sent: bool) -> Outcome {
    Outcome::Retry { after: None, maybe_sent, message: "503".to_owned() }
}
