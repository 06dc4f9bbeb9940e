//! Every sequence of a small alphabet of events, to a fixed depth, then a SHUTDOWN: no sequence breaks a promise.

use std::time::Duration;

use lambda_flush_extension::core::{Event, FlushConfig, LinkId, Outcome, Platform, RequestId, Strategy};
use lambda_flush_proto::Signal;

use super::driver::{Backend, Driver, config};
use super::function::Function;

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Connect,
    Disconnect,
    Item,
    Started,
    Done,
    Invoke,
    /// The core's timer fires.
    Wake,
    /// A little time passes without its firing.
    Tick,
    Exported,
    MaybeSent,
    Refused,
    ClockBack,
    /// A request at a door.
    Request,
    /// `platform.start` of the last invocation.
    PlatformStart,
    /// `platform.runtimeDone` of the last invocation.
    PlatformDone,
    /// The same of the one before.
    PlatformLate,
    Shutdown,
}

/// A function with the library.
const LINKED: [Letter; 13] = [
    Letter::Connect,
    Letter::Disconnect,
    Letter::Item,
    Letter::Started,
    Letter::Done,
    Letter::Invoke,
    Letter::Wake,
    Letter::Tick,
    Letter::Exported,
    Letter::MaybeSent,
    Letter::Refused,
    Letter::ClockBack,
    Letter::Shutdown,
];

/// A function with some SDK, and the Telemetry API.
const STOCK: [Letter; 11] = [
    Letter::Request,
    Letter::PlatformStart,
    Letter::PlatformDone,
    Letter::PlatformLate,
    Letter::Invoke,
    Letter::Wake,
    Letter::Tick,
    Letter::Exported,
    Letter::MaybeSent,
    Letter::ClockBack,
    Letter::Shutdown,
];

/// Both at once.
const MIXED: [Letter; 12] = [
    Letter::Disconnect,
    Letter::Item,
    Letter::Request,
    Letter::Started,
    Letter::Done,
    Letter::PlatformStart,
    Letter::PlatformDone,
    Letter::Invoke,
    Letter::Wake,
    Letter::Exported,
    Letter::MaybeSent,
    Letter::Shutdown,
];

struct Run {
    driver: Driver,
    next: u64,
    invoked: u64,
    clock_set: bool,
}

impl Run {
    /// Registered, one item handed off: where it becomes interesting.
    fn new(config: FlushConfig, alphabet: &[Letter], offers: u64) -> Self {
        let mut driver = Driver::new(config);
        driver.backend = Backend::Silent;
        driver.functions.push(Function { offers, ..Function::new(1) });
        driver.handle(Event::Registered);
        let mut run = Self { driver, next: 1, invoked: 0, clock_set: false };
        if alphabet.contains(&Letter::PlatformStart) {
            run.driver.handle(Event::Platform(Platform::Subscribed));
        }
        if alphabet.contains(&Letter::Item) {
            run.play(Letter::Connect);
            run.play(Letter::Item);
        } else {
            run.play(Letter::Request);
        }
        run
    }

    /// Whether the letter can happen here at all, and makes a difference.
    fn possible(&self, letter: Letter) -> bool {
        let driver = &self.driver;
        let connected = driver.functions[0].connected.is_some();
        match letter {
            Letter::Connect => !connected,
            Letter::Disconnect | Letter::Item | Letter::Started | Letter::Done => connected,
            Letter::Invoke | Letter::Shutdown => driver.rules.next_outstanding(),
            Letter::Wake => driver.armed.is_some(),
            Letter::Tick => driver.armed.is_some_and(|at| at > driver.mono + TICK),
            Letter::Exported | Letter::MaybeSent | Letter::Refused => !driver.flights.is_empty(),
            Letter::ClockBack => driver.armed.is_some() && !self.clock_set,
            Letter::Request | Letter::PlatformStart | Letter::PlatformDone => true,
            Letter::PlatformLate => self.invoked > 1,
        }
    }

    fn play(&mut self, letter: Letter) {
        let driver = &mut self.driver;
        let id = format!("r{}", self.invoked.max(1));
        match letter {
            Letter::Connect => {
                let link = LinkId(self.next);
                driver.functions[0].connect(link);
                driver.handle(Event::LinkOpened(link));
            }
            Letter::Disconnect => driver.functions[0].disconnect(),
            Letter::Item => driver.functions[0].item(self.next, Signal::Traces, 16),
            Letter::Started => driver.functions[0].started(&id, "1"),
            Letter::Done => driver.functions[0].done(&id, "1"),
            Letter::Invoke => {
                self.invoked += 1;
                driver.invoke(&format!("r{}", self.invoked), 1_000);
            }
            Letter::Wake => driver.run_until(driver.armed.unwrap_or(driver.mono)),
            Letter::Tick => driver.run_until(driver.mono + TICK),
            Letter::Exported => self.answer(Outcome::Exported),
            Letter::MaybeSent => {
                self.answer(Outcome::Retry { after: None, maybe_sent: true, message: String::new() });
            }
            Letter::Refused => self.answer(Outcome::Refused { message: String::new() }),
            Letter::ClockBack => {
                self.clock_set = true;
                driver.step_clock(true, Duration::from_secs(3_600));
            }
            Letter::Request => driver.request(vec![self.next], 16),
            Letter::PlatformStart => {
                driver.handle(Event::Platform(Platform::InvocationStarted { request_id: RequestId(id) }));
            }
            Letter::PlatformDone => platform_done(driver, id),
            Letter::PlatformLate => platform_done(driver, format!("r{}", self.invoked.saturating_sub(1))),
            Letter::Shutdown => driver.shutdown(500),
        }
        self.next += 1;
        self.driver.read_all();
    }

    fn answer(&mut self, outcome: Outcome) {
        let first = self.driver.flights.keys().next().copied();
        if let Some(batch) = first {
            self.driver.handle(Event::ExportDone(batch, outcome));
        }
    }

    /// Whatever came before, SHUTDOWN brings everything to an end in time.
    fn close(mut self) {
        if !self.driver.rules.exited {
            self.driver.run(2_000);
            self.driver.shutdown(500);
            self.driver.run(501);
        }
        assert!(self.driver.rules.exited);
        let handed_off = self.driver.handed_off() as u64;
        let ledger = self.driver.core.ledger();
        assert!(ledger.accepted <= handed_off && ledger.taken() == ledger.settled());
    }
}

fn platform_done(driver: &mut Driver, id: String) {
    let (request_id, status) = (RequestId(id), "success".to_owned());
    // Some say how long it took and some do not.
    let took = driver.log.len().is_multiple_of(2).then_some(Duration::from_millis(30));
    driver.handle(Event::Platform(Platform::InvocationDone { request_id, status, error_type: None, took }));
}

const TICK: Duration = Duration::from_millis(7);

/// Walks the tree of sequences by playing each one from the start; a prefix is a list of letters.
fn walk(config: &FlushConfig, alphabet: &[Letter], depth: usize) -> u64 {
    walk_offering(0, config, alphabet, depth)
}

/// The function offers a ring of so many bytes.
fn walk_offering(offers: u64, config: &FlushConfig, alphabet: &[Letter], depth: usize) -> u64 {
    let mut stack: Vec<Vec<Letter>> = vec![Vec::new()];
    let mut sequences = 0;
    while let Some(prefix) = stack.pop() {
        let mut run = Run::new(config.clone(), alphabet, offers);
        for letter in &prefix {
            run.play(*letter);
        }
        if prefix.len() < depth && !run.driver.rules.exited {
            for letter in alphabet {
                if run.possible(*letter) {
                    let mut longer = prefix.clone();
                    longer.push(*letter);
                    stack.push(longer);
                }
            }
        } else {
            sequences += 1;
            run.close();
        }
    }
    sequences
}

/// How deep; `LAMBDA_FLUSH_SIM_DEPTH` goes deeper.
fn depth() -> usize {
    let depth = std::env::var("LAMBDA_FLUSH_SIM_DEPTH").ok().and_then(|text| text.parse().ok());
    depth.unwrap_or(6)
}

#[test]
fn no_sequence_breaks_a_promise() {
    let sequences = walk(&config(), &LINKED, depth());
    println!("{sequences} sequences");
    assert!(sequences > 10_000, "the alphabet shrank: {sequences}");
}

#[test]
fn nor_with_the_telemetry_api_and_requests_at_the_doors() {
    let sequences = walk(&config(), &STOCK, depth());
    println!("{sequences} sequences");
    assert!(sequences > 10_000, "the alphabet shrank: {sequences}");
    assert!(walk(&config(), &MIXED, depth() - 1) > 10_000);
}

#[test]
fn nor_with_a_ring() {
    assert!(walk_offering(4 << 20, &config(), &LINKED, depth() - 1) > 10_000);
    let managed = FlushConfig { managed: true, ..config() };
    assert!(walk_offering(4 << 20, &managed, &MIXED, depth() - 2) > 1_000);
}

#[test]
fn nor_on_managed_instances() {
    for strategy in [Strategy::End, Strategy::Shutdown] {
        assert!(walk(&FlushConfig { managed: true, strategy, ..config() }, &MIXED, depth() - 2) > 1_000);
    }
}

#[test]
fn nor_with_the_other_configurations() {
    for config in [
        FlushConfig { strategy: Strategy::Shutdown, dead_letter: false, ..config() },
        FlushConfig { export: false, ..config() },
        FlushConfig { billed_max: Duration::ZERO, ..config() },
    ] {
        walk(&config, &LINKED, depth() - 2);
        walk(&config, &STOCK, depth() - 2);
    }
}
