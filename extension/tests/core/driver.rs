//! The driver of the simulation: virtual time, the real protocol on both ends, a scripted backend and printer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lambda_flush_extension::core::{
    Action, BatchId, DeadLetter, Event, FlushConfig, Flusher, LinkId, Moment, Outcome, RequestId,
};
use lambda_flush_proto::Received;

use super::doors::Doors;
use super::function::Function;
use super::rules::Rules;
use super::seen::Seen;
pub use super::setup::{Backend, Printer, config};

/// When the virtual environment starts.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

pub struct Driver {
    pub core: Flusher,
    pub rules: Rules,
    pub backend: Backend,
    pub printer: Printer,
    /// How long it takes to make a batch's dead-letter lines; `None`: for ever.
    pub prepares: Option<Duration>,
    pub functions: Vec<Function>,
    pub doors: Doors,
    pub seen: Seen,
    /// Everything the core asked for, with the time in milliseconds since the start.
    pub log: Vec<(u64, Action)>,
    pub flights: BTreeMap<BatchId, (Bytes, Duration)>,
    pub mono: Duration,
    wall_ahead: Duration,
    /// When the driver's own timer fires; like the real one it is armed anew after each event.
    pub armed: Option<Duration>,
    due: BTreeMap<(Duration, u64), Event>,
    steps: u64,
    /// Which of two timers that are due at the same time fires first: the core's or the outside's.
    pub core_first: bool,
    /// Whether bytes on a wire are read at once.
    pub reads_at_once: bool,
    trail: VecDeque<String>,
}

impl Driver {
    pub fn new(config: FlushConfig) -> Self {
        Self {
            rules: Rules::new(&config),
            core: Flusher::new(config),
            backend: Backend::Answers(Duration::from_millis(20), Outcome::Exported),
            printer: Printer::Prints(Duration::from_millis(1)),
            prepares: Some(Duration::from_millis(1)),
            functions: Vec::new(),
            doors: Doors::default(),
            seen: Seen::default(),
            log: Vec::new(),
            flights: BTreeMap::new(),
            mono: Duration::ZERO,
            wall_ahead: EPOCH,
            armed: None,
            due: BTreeMap::new(),
            steps: 0,
            core_first: false,
            reads_at_once: true,
            trail: VecDeque::new(),
        }
    }

    pub fn now(&self) -> Moment {
        Moment { monotonic: self.mono, wall: self.mono + self.wall_ahead }
    }

    /// What stands in the rings was written before; but what is done can't be cancelled any more.
    pub fn handle(&mut self, event: Event) {
        if !matches!(event, Event::ExportDone(..)) {
            self.drain_rings();
        }
        self.step(event);
        assert!(self.doors.waiting.is_empty(), "a request without an answer");
        if self.reads_at_once {
            self.read_all();
        }
    }

    fn drain_rings(&mut self) {
        for index in 0..self.functions.len() {
            let rings = self.functions[index].wires.iter().filter(|(_, wire)| wire.ring_bytes > 0);
            for link in rings.map(|(link, _)| *link).collect::<Vec<_>>() {
                let messages = self.take(index, link, usize::MAX);
                if !messages.is_empty() {
                    self.step(Event::LinkReceived(link, messages));
                    self.functions[index].drain(); // The bell.
                }
            }
        }
    }

    fn step(&mut self, event: Event) {
        self.steps += 1;
        let now = self.now();
        self.remember(format!("{:?} {:?}", self.mono, Brief(&event)));
        self.rules.event(now, &event);
        if let Event::ExportDone(batch, _) = &event {
            self.flights.remove(batch);
        }
        self.core.handle(now, event);
        while let Some(action) = self.core.poll_action() {
            self.remember(format!("        -> {:?}", BriefAction(&action)));
            self.rules.action(now, &action, &self.core);
            self.perform(action);
        }
        self.rules.after(now, &self.core);
        self.armed = self.core.poll_timeout(now).map(|at| self.mono + now.until(at));
    }

    fn remember(&mut self, line: String) {
        if self.trail.len() == 120 {
            self.trail.pop_front();
        }
        self.trail.push_back(line);
    }

    fn perform(&mut self, action: Action) {
        match &action {
            Action::Reply(link, reply) => {
                if let Some(function) = self.functions.iter_mut().find(|f| f.wires.contains_key(link)) {
                    let bytes = function.wires.get_mut(link).map(|wire| wire.reply(*reply));
                    if function.connected == Some(*link) {
                        function.answered(&bytes.unwrap_or_default());
                    }
                }
            }
            Action::CloseLink(link) => {
                for function in &mut self.functions {
                    function.wires.remove(link);
                    if function.connected == Some(*link) {
                        function.disconnect();
                    }
                }
            }
            Action::Export { batch, body, deadline, .. } => self.export(*batch, body, *deadline),
            Action::Cancel(batch) => {
                if let Some((body, _)) = self.flights.remove(batch) {
                    self.seen.cut(&body);
                }
                self.due.retain(|_, event| !matches!(event, Event::ExportDone(of, _) if of == batch));
            }
            Action::PrepareDeadLetter(letter) => {
                if let Some(took) = self.prepares {
                    let line_bytes = letter.body.len() / 4;
                    self.later(took, Event::DeadLetterPrepared { batch: letter.batch, line_bytes, took });
                }
            }
            Action::WriteDeadLetters { batches, deadline } => self.print(batches, *deadline),
            Action::Answer(request, admission) => self.doors.answered(*request, *admission),
            _ => {}
        }
        self.log.push((u64::try_from(self.mono.as_millis()).unwrap_or(u64::MAX), action));
    }

    fn export(&mut self, batch: BatchId, body: &Bytes, deadline: Duration) {
        self.flights.insert(batch, (body.clone(), self.mono));
        self.seen.sent(body);
        let left = self.now().until(deadline);
        match self.backend.clone() {
            Backend::Silent => {}
            Backend::Answers(after, outcome) if after < left => {
                self.later(after, Event::ExportDone(batch, outcome));
            }
            Backend::Answers(..) | Backend::Hangs => {
                let message = "timeout".to_owned();
                let outcome = Outcome::Retry { after: None, maybe_sent: true, message };
                self.later(left, Event::ExportDone(batch, outcome));
            }
        }
    }

    fn print(&mut self, batches: &[DeadLetter], deadline: Duration) {
        let all: Vec<BatchId> = batches.iter().map(|letter| letter.batch).collect();
        let left = self.now().until(deadline);
        match self.printer {
            Printer::Prints(took) if took <= left => {
                self.seen.printed(batches);
                self.later(took, Event::DeadLettersWritten { written: all, failed: Vec::new() });
            }
            Printer::Hangs => {}
            Printer::Prints(_) | Printer::Fails => {
                let took = left.min(Duration::from_millis(5));
                self.later(took, Event::DeadLettersWritten { written: Vec::new(), failed: all });
            }
        }
    }

    pub fn later(&mut self, after: Duration, event: Event) {
        self.steps += 1;
        self.due.insert((self.mono + after, self.steps), event);
    }

    /// Takes the function's bytes off the wire; EOF when all are read.
    pub fn read(&mut self, index: usize, link: LinkId, bytes_max: usize) {
        let messages = self.take(index, link, bytes_max);
        if !messages.is_empty() {
            self.handle(Event::LinkReceived(link, messages));
        }
        let Some(function) = self.functions.get_mut(index) else { return };
        if function.wires.get(&link).is_some_and(|wire| wire.ring_bytes > 0) {
            function.drain();
        }
        if function.wires.get(&link).is_some_and(|wire| wire.ended && wire.bytes.is_empty()) {
            let Some(wire) = function.wires.remove(&link) else { return };
            let counters = (wire.ring_bytes > 0).then(|| function.counters());
            let ring = counters.is_some();
            self.handle(Event::LinkClosed { link, torn: wire.torn(), counters });
            if ring {
                self.exact(index);
            }
        }
    }

    fn take(&mut self, index: usize, link: LinkId, bytes_max: usize) -> Vec<Received> {
        let wire = self.functions.get_mut(index).and_then(|function| function.wires.get_mut(&link));
        wire.map(|wire| wire.read(bytes_max)).unwrap_or_default()
    }

    /// A function with a ring has ended: what became of each of its items is known.
    fn exact(&self, index: usize) {
        let function = &self.functions[index];
        let process = self.core.processes().iter().find(|process| process.nonce == function.nonce);
        if let Some(process) = process.filter(|_| function.wires.is_empty() && !self.rules.exited) {
            let dropped: u64 = process.counters.dropped.values().sum();
            assert_eq!(process.accepted + dropped, function.ended, "{process:?}");
            assert_eq!((process.unknown_tail, process.counters.buffered), (false, 0));
        }
    }

    pub fn read_all(&mut self) {
        loop {
            let pending = self.functions.iter().enumerate().find_map(|(index, function)| {
                let mut wires = function.wires.iter();
                wires.find(|(_, wire)| wire.ended || !wire.bytes.is_empty()).map(|(id, _)| (index, *id))
            });
            let Some((index, link)) = pending else { return };
            self.read(index, link, usize::MAX);
        }
    }

    /// Lets time pass, with everything that is due in it.
    pub fn run_until(&mut self, mono: Duration) {
        loop {
            let due = self.due.keys().next().copied();
            let (at, event) = match (self.armed, due) {
                (Some(armed), Some((at, _))) if at < armed || (at == armed && !self.core_first) => (at, true),
                (Some(armed), _) => (armed, false),
                (None, Some((at, _))) => (at, true),
                (None, None) => break,
            };
            if at > mono {
                break;
            }
            self.set_time(at);
            let event = if event { due.and_then(|key| self.due.remove(&key)) } else { Some(Event::Wake) };
            self.deliver(event.unwrap_or(Event::Wake));
        }
        self.set_time(mono);
    }

    fn deliver(&mut self, event: Event) {
        if let Event::ExportDone(batch, outcome) = &event
            && let Some((body, _)) = self.flights.get(batch)
        {
            self.seen.answered(outcome, body);
        }
        self.handle(event);
    }

    fn set_time(&mut self, mono: Duration) {
        self.mono = self.mono.max(mono);
        self.rules.time(self.mono);
    }

    pub fn run(&mut self, ms: u64) {
        self.run_until(self.mono + Duration::from_millis(ms));
    }

    /// The sandbox is frozen: wall time goes on, the monotonic clock stands still.
    pub fn freeze(&mut self, wall: Duration) {
        assert!(self.rules.next_outstanding() && self.flights.is_empty(), "only a parked sandbox freezes");
        self.wall_ahead += wall;
    }

    /// Somebody sets the wall clock.
    pub fn step_clock(&mut self, back: bool, by: Duration) {
        self.wall_ahead = if back { self.wall_ahead - by } else { self.wall_ahead + by };
    }

    pub fn invoke(&mut self, id: &str, timeout_ms: u64) {
        assert!(self.rules.next_outstanding(), "INVOKE comes only to who asked");
        let deadline = self.now().wall + Duration::from_millis(timeout_ms);
        self.handle(Event::Invoke { request_id: RequestId(id.to_owned()), deadline });
    }

    pub fn shutdown(&mut self, ms: u64) {
        let deadline = self.now().wall + Duration::from_millis(ms);
        self.handle(Event::Shutdown { reason: "spindown".to_owned(), deadline });
    }

    /// Somebody sends a request with these items.
    pub fn request(&mut self, ids: Vec<u64>, bytes: usize) {
        let event = self.doors.send(ids, bytes);
        self.handle(event);
    }

    /// Items that became ours.
    pub fn handed_off(&self) -> usize {
        let links: usize = self.functions.iter().map(|function| function.handed_off.len()).sum();
        links + self.doors.accepted.len()
    }

    /// All batches that were given to the printer.
    pub fn printing(&self) -> Vec<BatchId> {
        let letters = self.log.iter().filter_map(|(_, action)| match action {
            Action::WriteDeadLetters { batches, .. } => Some(batches),
            _ => None,
        });
        letters.flatten().map(|letter| letter.batch).collect()
    }

    pub fn trail(&self) -> String {
        self.trail.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the last steps before the failure:\n{}", self.trail());
        }
    }
}

struct Brief<'a>(&'a Event);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Event::LinkReceived(link, messages) => write!(f, "LinkReceived({link:?}, {})", brief(messages)),
            Event::RequestReceived { request, items, body, .. } => {
                write!(f, "RequestReceived({request:?}, {items} items, {} bytes)", body.len())
            }
            event => write!(f, "{event:?}"),
        }
    }
}

fn brief(messages: &[Received]) -> String {
    use Received as R;
    let items = messages.iter().filter(|message| matches!(message, R::Item(_) | R::Items(_))).count();
    let rest = messages.iter().filter_map(|message| match message {
        R::InvocationStarted(started) => Some(format!("Started {}", started.request_id)),
        R::InvocationDone(done) => Some(format!("Done {}", done.request_id)),
        R::Hello(_) => Some("Hello".to_owned()),
        R::Goodbye(_) => Some("Goodbye".to_owned()),
        _ => None,
    });
    format!("{items} times items {}", rest.collect::<Vec<_>>().join(", "))
}

struct BriefAction<'a>(&'a Action);

impl std::fmt::Debug for BriefAction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Action::Export { batch, deadline, body, .. } => {
                write!(f, "Export({batch:?}, {} bytes, until {deadline:?})", body.len())
            }
            Action::PrepareDeadLetter(letter) => write!(f, "PrepareDeadLetter({:?})", letter.batch),
            Action::WriteDeadLetters { batches, .. } => write!(f, "WriteDeadLetters({})", batches.len()),
            action => write!(f, "{action:?}"),
        }
    }
}
