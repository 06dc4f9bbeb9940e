//! A random life of one environment: every choice comes from a seeded generator.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_flush_extension::core::phase::Phase;
use lambda_flush_extension::core::{Event, FlushConfig, LinkId, Outcome, Platform, RequestId, Strategy};
use lambda_flush_proto::Signal;

use super::driver::{Backend, Driver, Printer};
use super::function::Function;

const FUNCTIONS_MAX: usize = 3;

/// The environment and what its function is doing.
pub struct World {
    pub driver: Driver,
    random: fastrand::Rng,
    next_item: u64,
    next_link: u64,
    next_invocation: u64,
    /// The invocation the function is at: before INVOKE reached the extension, or after.
    running: Option<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut driver = Driver::new(random_config(&mut random));
        driver.reads_at_once = random.bool();
        driver.core_first = random.bool();
        driver.core.seed(seed);
        driver.prepares = random.bool().then(|| Duration::from_millis(random.u64(0..200)));
        let mut world =
            Self { driver, random, next_item: 1, next_link: 1, next_invocation: 1, running: None };
        world.mood();
        world
    }

    /// What backend and printer do from here on.
    fn mood(&mut self) {
        let after = Duration::from_millis(self.random.u64(0..400));
        let message = String::new();
        self.driver.backend = match self.random.u8(0..10) {
            0..=3 => Backend::Answers(after, Outcome::Exported),
            4 => Backend::Answers(after, Outcome::Partial { rejected: self.random.u64(0..9), message }),
            5 => Backend::Answers(after, Outcome::Rejected { message }),
            6 => Backend::Answers(after, Outcome::Refused { message }),
            7 | 8 => {
                let after_header =
                    self.random.bool().then(|| Duration::from_millis(self.random.u64(0..5_000)));
                let maybe_sent = self.random.bool();
                Backend::Answers(after, Outcome::Retry { after: after_header, maybe_sent, message })
            }
            _ => Backend::Hangs,
        };
        self.driver.printer = match self.random.u8(0..8) {
            0 => Printer::Fails,
            1 => Printer::Hangs,
            _ => Printer::Prints(Duration::from_millis(self.random.u64(0..30))),
        };
    }

    /// One random thing happens. `false` once the environment has ended.
    pub fn step(&mut self) -> bool {
        if self.driver.rules.exited {
            return false;
        }
        match self.random.u8(0..100) {
            0..=3 => self.mood(),
            4..=8 => self.connection(),
            9..=31 => self.items(),
            32..=38 => self.request(),
            39..=58 => self.invocation(),
            59..=72 => self.read(),
            73..=94 => self.time_passes(),
            95..=96 => self.clock_steps(),
            97 if self.random.bool() => self.driver.handle(Event::Wake),
            97 => self.driver.handle(Event::Platform(Platform::Subscribed)),
            98 => self.driver.handle(Event::Registered),
            _ if self.random.u8(0..12) == 0 => self.end(),
            _ => {}
        }
        true
    }

    fn connection(&mut self) {
        let functions = self.driver.functions.len();
        if functions < FUNCTIONS_MAX && (functions == 0 || self.random.u8(0..4) == 0) {
            let mut function = Function::new(1_000 + functions as u64);
            function.offers = [0, 2 << 20, 4 << 20][self.random.usize(0..3)];
            self.driver.functions.push(function);
        }
        let index = self.random.usize(0..self.driver.functions.len());
        let Some(function) = self.driver.functions.get_mut(index) else { return };
        if function.connected.is_some() {
            match self.random.u8(0..6) {
                0 => function.goodbye(),
                1 => function.tear(), // Killed in the middle of a frame.
                2..=3 => {}
                _ => return,
            }
            function.disconnect();
        } else {
            let link = LinkId(self.next_link);
            self.next_link += 1;
            function.connect(link);
            self.driver.handle(Event::LinkOpened(link));
        }
    }

    fn function(&mut self) -> Option<&mut Function> {
        let open = self.driver.functions.iter().filter(|function| function.open()).count();
        let wanted = self.random.usize(0..open.max(1));
        self.driver.functions.iter_mut().filter(|function| function.open()).nth(wanted)
    }

    fn items(&mut self) {
        let count = self.random.u64(1..20);
        let bytes = if self.random.u8(0..10) == 0 { 60_000 } else { 300 };
        let signal = if self.random.u8(0..4) == 0 { Signal::Logs } else { Signal::Traces };
        let first = self.next_item;
        self.next_item += count;
        let Some(function) = self.function() else { return };
        for id in first..first + count {
            function.item(id, signal, bytes);
        }
        // What it gives up was never ours.
        function.give_up_beyond(500);
        self.maybe_read();
    }

    fn request(&mut self) {
        let count = self.random.u64(0..30);
        let bytes = if self.random.u8(0..20) == 0 { 40_000 } else { [20, 300][self.random.usize(0..2)] };
        let ids: Vec<u64> = (self.next_item..self.next_item + count).collect();
        self.next_item += count;
        self.driver.request(ids, bytes);
    }

    /// The platform tells of this invocation or another one, rightly or not, at once or late.
    fn platform(&mut self) {
        let back = if self.random.bool() { 0 } else { self.random.u64(0..4) };
        let request_id = RequestId(format!("r{}", self.next_invocation.saturating_sub(back)));
        let event = if self.random.bool() {
            Platform::InvocationStarted { request_id }
        } else {
            let took = self.random.bool().then(|| Duration::from_millis(self.random.u64(0..3_000)));
            let status = if self.random.u8(0..8) == 0 { "failure" } else { "success" }.to_owned();
            Platform::InvocationDone { request_id, status, error_type: None, took }
        };
        let late = if self.random.bool() { 0 } else { self.random.u64(0..4_000) };
        self.driver.later(Duration::from_millis(late), Event::Platform(event));
    }

    fn invocation(&mut self) {
        if self.random.u8(0..3) == 0 {
            self.platform();
        }
        match self.running.clone() {
            None if matches!(self.driver.core.phase(), Phase::Parked { .. } | Phase::Serving { .. }) => {
                self.next_invocation += u64::from(self.random.u8(0..10) != 0); // Now and then a retry.
                self.running = Some(format!("r{}", self.next_invocation));
                let function_first = self.random.u8(0..5) == 0;
                if function_first {
                    self.function_side();
                }
                let timeout = self.random.u64(0..5_000);
                let managed = matches!(self.driver.core.phase(), Phase::Serving { .. });
                if self.driver.rules.next_outstanding() && (!managed || self.random.u8(0..20) == 0) {
                    self.driver.invoke(&format!("r{}", self.next_invocation), timeout);
                }
            }
            Some(_) => self.function_side(),
            None => {}
        }
    }

    /// The function announces, ends, dies or says nothing of its invocation.
    fn function_side(&mut self) {
        let Some(id) = self.running.clone() else { return };
        let attempt = if self.random.u8(0..8) == 0 { "2" } else { "1" };
        match self.random.u8(0..10) {
            0..=3 => {
                if let Some(function) = self.function() {
                    function.started(&id, attempt);
                }
            }
            4..=7 => {
                if let Some(function) = self.function() {
                    function.done(&id, attempt);
                }
                self.running = None;
            }
            8 => self.running = None,
            _ => {}
        }
        self.maybe_read();
    }

    fn maybe_read(&mut self) {
        if self.driver.reads_at_once {
            self.driver.read_all();
        }
    }

    fn read(&mut self) {
        let index = self.random.usize(0..FUNCTIONS_MAX);
        let bytes = if self.random.bool() { self.random.usize(1..2_000) } else { 64 << 10 };
        let Some(function) = self.driver.functions.get(index) else { return };
        let wires: Vec<LinkId> = function.wires.keys().copied().collect();
        if let Some(link) = self.random.choice(wires) {
            self.driver.read(index, link, bytes);
        }
    }

    fn time_passes(&mut self) {
        let millis = match self.random.u8(0..10) {
            0..=5 => self.random.u64(0..20),
            6..=8 => self.random.u64(0..300),
            _ => self.random.u64(0..3_000),
        };
        self.driver.run(millis);
        let freezes = matches!(self.driver.core.phase(), Phase::Parked { .. });
        if freezes && self.random.u8(0..4) == 0 {
            self.driver.freeze(Duration::from_millis(self.random.u64(0..7_200_000)));
        }
    }

    fn clock_steps(&mut self) {
        let by = Duration::from_millis(self.random.u64(0..7_200_000));
        self.driver.step_clock(self.random.bool(), by);
    }

    /// SHUTDOWN comes if anybody asked for an event; then time passes until its deadline.
    pub fn end(&mut self) {
        if !self.driver.rules.next_outstanding() {
            return;
        }
        let budget = [0, 20, 500, 1_400, 2_000][self.random.usize(0..5)];
        self.driver.shutdown(budget);
        for _ in 0..40 {
            match self.random.u8(0..5) {
                0 => self.items(),
                4 => self.request(),
                1 => self.read(),
                2 => self.driver.run(self.random.u64(0..20)),
                _ => self.function_side(),
            }
        }
        self.driver.run(budget.max(100));
        assert!(self.driver.rules.exited, "alive after the deadline in {:?}", self.driver.core.phase());
    }

    /// Brings the environment to its end and looks at what became of every item.
    pub fn close(mut self) {
        if !self.driver.rules.exited {
            self.driver.handle(Event::Registered);
            self.driver.read_all();
            self.driver.run(10_000);
            self.driver.read_all();
            let handed_off = self.driver.handed_off() as u64;
            assert_eq!(self.driver.core.ledger().accepted, handed_off, "accepted is what was handed off");
            self.driver.shutdown(2_000);
            self.driver.run(2_100);
        }
        assert!(self.driver.rules.exited);
        self.every_item_has_one_end();
    }

    /// What the core accepted is at the backend, printed, or counted as lost; nothing twice on paper.
    fn every_item_has_one_end(&self) {
        let (ledger, seen) = (self.driver.core.ledger(), &self.driver.seen);
        let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
        for id in seen.exported.keys().chain(seen.rejected.keys()).chain(seen.dead_letters.keys()) {
            *ends.entry(*id).or_default() += 1;
        }
        let again = |times: &u32| *times > 1;
        assert!(!ends.values().any(again), "an item has two ends");
        assert!(!seen.dead_letters.values().any(again), "a dead letter twice");
        assert!(!seen.exported.values().any(again), "counted as exported twice");
        let answered = (seen.exported.len() + seen.rejected.len()) as u64;
        assert_eq!(ledger.exported + ledger.rejected, answered);
        assert_eq!(ledger.dead_lettered, seen.dead_letters.len() as u64);
        assert_eq!(ledger.taken(), ledger.settled());
        let linked = |id: &u64| self.driver.functions.iter().any(|function| function.handed_off.contains(id));
        let ours = |id: &u64| linked(id) || self.driver.doors.accepted.contains(id);
        assert!(ends.keys().all(ours), "an item from nowhere");
        let maybe_twice = |id: &&u64| seen.unsure.contains(id);
        let doubtful = seen.exported.keys().filter(maybe_twice).count() as u64;
        assert!(ledger.possible_duplicates >= doubtful, "a duplicate that is not counted");
    }
}

fn random_config(random: &mut fastrand::Rng) -> FlushConfig {
    let caps = [0, 1, 20, 100, 1_000];
    FlushConfig {
        strategy: if random.u8(0..4) == 0 { Strategy::Shutdown } else { Strategy::End },
        billed_max: Duration::from_millis(caps[random.usize(0..caps.len())]),
        export_timeout: Duration::from_millis([50, 300, 10_000][random.usize(0..3)]),
        managed: random.u8(0..5) == 0,
        buffer_bytes_max: [4 << 20, 16 << 20][random.usize(0..2)],
        request_bytes_max: [16 << 10, 512 << 10][random.usize(0..2)],
        export: random.u8(0..8) != 0,
        dead_letter: random.u8(0..4) != 0,
        dead_letter_rate: [1, 100 << 10, 20 << 20][random.usize(0..3)],
    }
}
