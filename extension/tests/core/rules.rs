//! The promises, checked after every step of every test in this target.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambda_flush_extension::core::phase::Phase;
use lambda_flush_extension::core::{
    Action, BatchId, Event, FlushConfig, Flusher, LinkId, Moment, Outcome, Platform,
};
use lambda_flush_proto::Received;

/// More wakes than this in one virtual second that lead to nothing are a busy loop. At SHUTDOWN a link may fall
/// silent and speak again every 10 ms.
const IDLE_WAKES_PER_SECOND_MAX: u32 = 110;

#[derive(Debug, Default)]
struct Invocation {
    id: String,
    began: Duration,
    /// Monotonic time of its deadline.
    deadline: Duration,
    announced: bool,
    /// Whether the platform announced or reported it.
    started: bool,
    /// When the core could know that the function is done.
    over: Option<Duration>,
    /// When the last link that announced it ended.
    ended: Option<Duration>,
}

/// Watches events and actions; panics when a promise is broken.
#[derive(Debug)]
pub struct Rules {
    cap: Duration,
    managed: bool,
    /// The longest that an invocation took, as far as the platform told; `None`: not subscribed.
    longest: Option<Duration>,
    /// Announced by the platform since the last INVOKE.
    started: BTreeSet<String>,
    next_outstanding: bool,
    registered: bool,
    invocation: Option<Invocation>,
    announced: BTreeMap<LinkId, String>,
    finished: BTreeSet<String>,
    /// Released without word of their end. Whose word it is when it comes, the first attempt's or a retry's with
    /// the same id, can't be told from outside; so a retry that was announced may be waited for.
    given_up: BTreeSet<String>,
    flights: BTreeSet<BatchId>,
    maybe_sent: BTreeSet<BatchId>,
    preparing: Option<BatchId>,
    /// When SHUTDOWN came, and its deadline.
    shutdown: Option<(Duration, Duration)>,
    pub exited: bool,
    /// Whether this step is a wake that led to nothing so far.
    idle: bool,
    /// In which second, how many.
    idle_wakes: (u64, u32),
    pub longest_hold: Duration,
}

impl Rules {
    pub fn new(config: &FlushConfig) -> Self {
        Self {
            cap: config.billed_max,
            managed: config.managed,
            longest: None,
            started: BTreeSet::new(),
            next_outstanding: false,
            registered: false,
            invocation: None,
            announced: BTreeMap::new(),
            finished: BTreeSet::new(),
            given_up: BTreeSet::new(),
            flights: BTreeSet::new(),
            maybe_sent: BTreeSet::new(),
            preparing: None,
            shutdown: None,
            exited: false,
            idle: false,
            idle_wakes: (0, 0),
            longest_hold: Duration::ZERO,
        }
    }

    pub fn event(&mut self, now: Moment, event: &Event) {
        let mono = now.monotonic;
        match event {
            Event::Registered => self.registered = true,
            Event::Invoke { request_id, deadline } => {
                self.next_outstanding = false;
                self.registered = true; // Nobody else gets an INVOKE.
                let id = request_id.0.clone();
                let over = (self.finished.remove(&id) && !self.given_up.contains(&id)).then_some(mono);
                let announced = self.announced.values().any(|announced| *announced == id);
                let deadline = mono + now.until(*deadline);
                let started = std::mem::take(&mut self.started).contains(&id);
                let ended = None;
                self.invocation =
                    Some(Invocation { id, began: mono, deadline, announced, started, over, ended });
            }
            Event::Shutdown { deadline, .. } => {
                self.next_outstanding = false;
                self.shutdown.get_or_insert((mono, mono + now.until(*deadline)));
            }
            Event::LinkReceived(link, messages) => self.messages(mono, *link, messages),
            Event::LinkClosed { link, .. } => self.closed(mono, *link),
            Event::ExportDone(batch, outcome) => {
                assert!(self.flights.remove(batch), "the driver answered what was not asked");
                if matches!(outcome, Outcome::Retry { maybe_sent: true, .. }) {
                    self.maybe_sent.insert(*batch);
                }
            }
            Event::Wake => self.idle = true,
            Event::DeadLetterPrepared { batch, .. } => self.prepared(*batch),
            Event::Platform(event) => self.platform(event),
            Event::LinkOpened(_) | Event::RequestReceived { .. } | Event::DeadLettersWritten { .. } => {}
        }
    }

    fn platform(&mut self, event: &Platform) {
        match event {
            Platform::Subscribed => drop(self.longest.get_or_insert_default()),
            Platform::InvocationStarted { request_id } if self.longest.is_some() => {
                self.started.insert(request_id.0.clone());
                if let Some(invocation) = &mut self.invocation {
                    invocation.started |= invocation.id == request_id.0;
                }
            }
            Platform::InvocationDone { request_id, took, .. } if self.longest.is_some() => {
                self.longest = self.longest.max(*took);
                if let Some(invocation) = &mut self.invocation {
                    invocation.started |= invocation.id == request_id.0;
                }
            }
            Platform::InvocationStarted { .. } | Platform::InvocationDone { .. } => {}
        }
    }

    fn prepared(&mut self, batch: BatchId) {
        self.preparing = self.preparing.filter(|preparing| *preparing != batch);
    }

    fn idle_wake(&mut self, mono: Duration) {
        let second = mono.as_secs();
        let before = if self.idle_wakes.0 == second { self.idle_wakes.1 } else { 0 };
        self.idle_wakes = (second, before + 1);
        assert!(before < IDLE_WAKES_PER_SECOND_MAX, "a busy loop: {before} idle wakes in a second");
    }

    fn messages(&mut self, mono: Duration, link: LinkId, messages: &[Received]) {
        for message in messages {
            match message {
                Received::InvocationStarted(started) => {
                    self.announced.insert(link, started.request_id.clone());
                    if let Some(invocation) = &mut self.invocation
                        && invocation.id == started.request_id
                    {
                        invocation.announced = true;
                        invocation.ended = None;
                    }
                }
                Received::InvocationDone(done) => {
                    self.announced.remove(&link);
                    match &mut self.invocation {
                        Some(invocation) if invocation.id == done.request_id => {
                            let first = invocation.over.filter(|_| !self.given_up.contains(&invocation.id));
                            invocation.over = first.or(Some(mono));
                        }
                        _ => drop(self.finished.insert(done.request_id.clone())),
                    }
                }
                _ => {}
            }
        }
    }

    fn closed(&mut self, mono: Duration, link: LinkId) {
        self.announced.remove(&link);
        let Some(invocation) = &mut self.invocation else { return };
        if invocation.announced && !self.announced.values().any(|id| *id == invocation.id) {
            invocation.ended.get_or_insert(mono);
        }
    }

    pub fn action(&mut self, now: Moment, action: &Action, core: &Flusher) {
        assert!(!self.exited || matches!(action, Action::Answer(..)), "{action:?} after Exit");
        self.idle = false;
        match action {
            Action::CallNext => self.call_next(now.monotonic),
            Action::Export { batch, .. } => {
                assert!(!self.next_outstanding || self.managed, "an export while the sandbox may freeze");
                assert!(self.flights.insert(*batch), "{batch:?} is exported twice at a time");
                if matches!(core.phase(), Phase::Settling { .. }) {
                    assert!(!self.maybe_sent.contains(batch), "{batch:?} is sent again in billed time");
                }
            }
            Action::Cancel(batch) => {
                assert!(self.flights.remove(batch), "{batch:?} is cancelled but not in flight");
                self.maybe_sent.insert(*batch);
            }
            Action::PrepareDeadLetter(letter) => {
                assert!(self.preparing.replace(letter.batch).is_none(), "two dead letters made at a time");
            }
            Action::ForgetDeadLetter(batch) => self.prepared(*batch),
            Action::WriteDeadLetters { .. } => self.in_time(now.monotonic),
            Action::Exit => {
                self.in_time(now.monotonic);
                assert!(self.flights.is_empty(), "exports in flight at Exit");
                assert_eq!(core.held(), 0, "items held at Exit");
                self.exited = true;
            }
            _ => {}
        }
    }

    /// P3: whatever was not said before the deadline is never said.
    fn in_time(&mut self, mono: Duration) {
        let (began, deadline) = self.shutdown.expect("only SHUTDOWN ends the process");
        // A SHUTDOWN that comes too late is answered at once; that is all one can do.
        assert!(mono < deadline || began == deadline, "P3: {mono:?} is not before the deadline {deadline:?}");
    }

    fn call_next(&mut self, mono: Duration) {
        assert!(!self.next_outstanding, "CallNext twice");
        assert!(self.registered, "CallNext before register");
        let quiet = self.flights.is_empty() || self.managed;
        assert!(quiet, "CallNext with exports in flight: {:?}", self.flights);
        assert!(self.shutdown.is_none(), "CallNext after SHUTDOWN");
        self.next_outstanding = true;
        let Some(invocation) = self.invocation.take() else { return };
        assert!(
            mono < invocation.deadline || mono == invocation.began,
            "P4: /next is held to the timeout: {mono:?}, {invocation:?}"
        );
        let over = invocation.over.or(invocation.ended);
        if invocation.announced && self.given_up.contains(&invocation.id) {
            return;
        }
        if invocation.over.is_none() {
            self.given_up.insert(invocation.id.clone());
        }
        let since = match over {
            Some(over) => over.max(invocation.began),
            None if invocation.announced => return, // Waited for in good faith, up to its deadline.
            // Never longer than it can be worth: the cap beyond what invocations are known to take.
            None if invocation.started => invocation.began + self.longest.unwrap_or_default(),
            None => invocation.began,
        };
        let hold = mono.saturating_sub(since);
        self.longest_hold = self.longest_hold.max(hold);
        assert!(hold <= self.cap, "P4: /next is held {hold:?} after the function was done: {invocation:?}");
    }

    /// After all actions of one step.
    pub fn after(&mut self, now: Moment, core: &Flusher) {
        if std::mem::take(&mut self.idle) {
            self.idle_wake(now.monotonic);
        }
        assert!(core.balances(), "P1: {:?}, held {}", core.ledger(), core.held());
        assert!(core.within_budget(), "the byte budget is passed");
        if let Some(at) = core.poll_timeout(now) {
            assert!(
                at > now.wall,
                "a timeout that does not move: {at:?} at {:?}, {:?}",
                now.wall,
                core.phase()
            );
        }
        let exporting = self.flights.is_empty() || !self.next_outstanding || self.managed;
        assert!(exporting, "an export in flight while the sandbox may freeze");
        let waiting =
            matches!(core.phase(), Phase::Invoking(_) | Phase::Settling { .. } | Phase::ShuttingDown(_));
        let answer_due =
            !self.flights.is_empty() || matches!(core.phase(), Phase::ShuttingDown(e) if e.writing.is_some());
        assert!(!waiting || answer_due || core.poll_timeout(now).is_some(), "stuck in {:?}", core.phase());
    }

    /// Time has come to `mono`, and everything due before has been done.
    pub fn time(&self, mono: Duration) {
        if let Some((began, deadline)) = self.shutdown {
            assert!(self.exited || mono < deadline || began == deadline, "P3: alive at the deadline");
        }
    }

    pub fn next_outstanding(&self) -> bool {
        self.next_outstanding
    }
}
