//! The machine itself: its configuration, its parts and the one place where events are told apart.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::budget::Budget;
use super::clock::SteadyClock;
use super::doors::Doors;
use super::hold::Hold;
use super::ledger::{DropReason, Ledger};
use super::links::{Links, Process};
use super::moment::{Moment, Wall};
use super::phase::{Invocation, Phase};
use super::policy::RoundTrips;
use super::store::{Batch, Store};
use super::{Action, BatchId, Event, Level, LinkId, Notice, Outcome, Platform, RequestId};
use crate::limits::{MERGE_BATCHES_MIN, THAW_AFTER};

/// When to export (`LAMBDA_FLUSH_STRATEGY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// At the end of each invocation, as far as the billed cap allows.
    End,
    /// Only at SHUTDOWN, and when memory runs short.
    Shutdown,
}

/// What the core has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushConfig {
    /// See [`Strategy`].
    pub strategy: Strategy,
    /// `LAMBDA_FLUSH_MAX_BILLED_MS`: how long `/next` may be held after the function is done.
    pub billed_max: Duration,
    /// `LAMBDA_FLUSH_OTLP_TIMEOUT`: one export request.
    pub export_timeout: Duration,
    /// On managed instances: no INVOKE events, no freeze, flushes by timer.
    pub managed: bool,
    /// `LAMBDA_FLUSH_BUFFER_BYTES_MAX`.
    pub buffer_bytes_max: u64,
    /// `LAMBDA_FLUSH_OTLP_REQUEST_BYTES_MAX`: a batch is closed at this size.
    pub request_bytes_max: usize,
    /// Whether there is a backend.
    pub export: bool,
    /// Whether dead letters are printed.
    pub dead_letter: bool,
    /// How fast dead letters are made before that was measured (bytes a second).
    pub dead_letter_rate: u64,
}

/// An invocation that the platform says did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which.
    pub request_id: RequestId,
    /// As the platform spelt it.
    pub status: String,
    /// If it gave one.
    pub error_type: Option<String>,
}

/// See [`crate::core`].
#[derive(Debug)]
pub struct Flusher {
    pub(super) config: FlushConfig,
    pub(super) phase: Phase,
    pub(super) clock: SteadyClock,
    pub(super) hold: Hold,
    pub(super) links: Links,
    pub(super) doors: Doors,
    pub(super) store: Store,
    pub(super) budget: Budget,
    pub(super) trips: RoundTrips,
    pub(super) jitter: fastrand::Rng,
    pub(super) dead_letter_rate: u64,
    pub(super) ledger: Ledger,
    actions: VecDeque<Action>,
    told: BTreeSet<&'static str>,
    pub(super) ended: Option<(String, Wall)>,
    cause: Option<Cause>,
}

impl Flusher {
    /// In [`Phase::Init`].
    #[must_use]
    pub fn new(config: FlushConfig) -> Self {
        Self {
            phase: Phase::Init,
            clock: SteadyClock::default(),
            hold: Hold::new(config.billed_max),
            links: Links::default(),
            doors: Doors::default(),
            store: Store::new(config.request_bytes_max),
            budget: Budget::new(config.buffer_bytes_max),
            trips: RoundTrips::default(),
            jitter: fastrand::Rng::with_seed(0),
            dead_letter_rate: config.dead_letter_rate.max(1),
            ledger: Ledger::default(),
            actions: VecDeque::new(),
            told: BTreeSet::new(),
            ended: None,
            cause: None,
            config,
        }
    }

    /// Seeds the jitter. To be called at the first INVOKE or SHUTDOWN: restored snapshots share what came before.
    pub fn seed(&mut self, seed: u64) {
        self.jitter = fastrand::Rng::with_seed(seed);
    }

    /// Takes an event. Total: never fails, never panics on input.
    pub fn handle(&mut self, now: Moment, event: Event) {
        if self.phase == Phase::Exited {
            if let Event::RequestReceived { request, signal, items, body } = event {
                self.request_received(now, request, (signal, items, body));
            }
            return;
        }
        if matches!(event, Event::Invoke { .. } | Event::Shutdown { .. }) {
            // It may have been ahead for days, and the deadline goes by the platform's clock.
            if matches!(self.phase, Phase::Serving { .. }) {
                self.clock.asleep();
            }
            self.clock.awake(now);
        }
        let now = self.clock.read(now);
        match event {
            Event::Registered => self.registered(now),
            Event::Invoke { request_id, deadline } => self.invoke(now, request_id, deadline),
            Event::Shutdown { reason, deadline } => self.begin_shutdown(now, reason, deadline),
            Event::LinkOpened(link) => self.links.open(link, now),
            Event::LinkReceived(link, messages) => self.received(now, link, &messages),
            Event::LinkClosed { link, torn, counters } => self.links.close(link, torn, counters),
            Event::RequestReceived { request, signal, items, body } => {
                self.request_received(now, request, (signal, items, body));
            }
            Event::Platform(event) => self.platform(now, event),
            Event::ExportDone(batch, outcome) => self.export_done(now, batch, outcome),
            Event::DeadLetterPrepared { batch, line_bytes, took } => {
                self.dead_letter_prepared(batch, line_bytes, took);
            }
            Event::DeadLettersWritten { written, failed } => self.dead_letters_written(&written, &failed),
            Event::Wake => {}
        }
        self.advance(now);
        self.top_up_credit();
        debug_assert!(self.balances(), "the ledger does not balance: {:?}", self.ledger);
    }

    /// Takes the outcome of an export as [`Event::ExportDone`] does, but judges nothing by it yet: another event has
    /// to follow.
    pub fn note_export_done(&mut self, now: Moment, batch: BatchId, outcome: Outcome) {
        if self.phase != Phase::Exited {
            let now = self.clock.read(now);
            self.export_done(now, batch, outcome);
        }
    }

    fn advance(&mut self, now: Moment) {
        if let Phase::Invoking(invocation) = &self.phase {
            let over = self.hold.over(now, invocation, &mut self.links);
            match over {
                Some(over) => self.begin_settling(now, over),
                None => self.overlap(now),
            }
        }
        match self.phase {
            Phase::Settling { until, exporting } => self.settle(now, until, exporting),
            Phase::Serving { gathering } => self.serve(now, gathering),
            Phase::ShuttingDown(_) => self.shut_down(now),
            Phase::Init | Phase::Parked { .. } | Phase::Invoking(_) | Phase::Exited => {}
        }
    }

    /// What to do next, until there is nothing. To be asked after each [`Self::handle`].
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Wake`] is wanted. To be asked after each [`Self::handle`].
    #[must_use]
    pub fn poll_timeout(&self, now: Moment) -> Option<Wall> {
        self.steady_timeout(self.clock.at(now)).map(|at| self.clock.outside(at))
    }

    fn steady_timeout(&self, now: Moment) -> Option<Wall> {
        match &self.phase {
            Phase::Init | Phase::Parked { .. } | Phase::Exited => None,
            Phase::Invoking(invocation) => {
                let hold = self.hold.timeout(now, invocation, &self.links);
                Some(self.overlap_timeout(now, invocation).map_or(hold, |overlap| overlap.min(hold)))
            }
            Phase::Settling { until, .. } => {
                let retry = self.store.next_retry(Batch::may_be_billed);
                Some(retry.filter(|at| !now.reached(*at)).map_or(*until, |at| at.min(*until)))
            }
            Phase::Serving { gathering } => self.serving_timeout(now, *gathering),
            Phase::ShuttingDown(ending) => self.shutdown_timeout(now, ending),
        }
    }

    /// The account so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Items that have no end yet.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.store.items()
    }

    /// Promise P1.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.ledger.balances(self.store.items())
    }

    /// Where we stand.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The function processes seen.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        self.links.processes()
    }

    /// Whether the byte budget holds: what is held, what is granted and the rings.
    #[must_use]
    pub fn within_budget(&self) -> bool {
        self.store.credit_bytes() + self.links.reserved() <= self.config.buffer_bytes_max
    }

    /// The reason and deadline of the SHUTDOWN that ended it all.
    #[must_use]
    pub fn ended(&self) -> Option<(String, Wall)> {
        self.ended.clone()
    }

    /// The last invocation that the platform says did not succeed, unless a later one did.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Items taken at the doors, and items refused there.
    #[must_use]
    pub fn door_items(&self) -> (u64, u64) {
        self.doors.items()
    }

    /// The driver is gone: what is held can't be brought anywhere any more. Returns the closed account.
    pub fn abandon(&mut self) -> &Ledger {
        self.ledger.drop_items(DropReason::Panic, self.store.items());
        self.store = Store::default();
        self.phase = Phase::Exited;
        &self.ledger
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn notice(&mut self, level: Level, message: String) {
        self.act(Action::Notice(Notice { level, message }));
    }

    /// One line of a kind in the life of the environment.
    pub(super) fn notice_once(&mut self, kind: &'static str, level: Level, message: impl FnOnce() -> String) {
        if self.told.insert(kind) {
            self.notice(level, message());
        }
    }

    fn registered(&mut self, now: Moment) {
        match self.phase {
            Phase::Init if self.config.managed => {
                self.clock.awake(now);
                self.begin_serving();
            }
            Phase::Init => self.park(now),
            _ => {}
        }
    }

    pub(super) fn park(&mut self, now: Moment) {
        let since = Moment { wall: self.clock.outside(now.wall), ..now };
        self.clock.asleep();
        self.phase = Phase::Parked { since };
        self.act(Action::CallNext);
    }

    fn invoke(&mut self, now: Moment, request_id: RequestId, deadline: Wall) {
        match self.phase {
            Phase::ShuttingDown(_) => return,
            Phase::Init if self.config.managed => return self.begin_serving(),
            // There is no such event on managed instances; whoever sends it must not be kept waiting.
            Phase::Serving { .. } => return self.act(Action::CallNext),
            _ => {}
        }
        self.notice_thaw(now);
        self.hold.begin(now, &request_id);
        self.phase = Phase::Invoking(Invocation { request_id, deadline, began: now });
        if self.hold.guessing(&self.links) {
            // What is held may go out while the handler runs, before anybody can tell when it ends.
            self.store.merge(now, MERGE_BATCHES_MIN);
            self.store.close_open();
        }
        // Nobody may be there to hold `/next` for, but memory has to be freed some time.
        if self.pressed() && !self.config.billed_max.is_zero() {
            self.overlap(now);
        }
    }

    fn platform(&mut self, now: Moment, event: Platform) {
        match event {
            Platform::Subscribed => self.hold.platform.subscribed(),
            Platform::InvocationStarted { request_id } => self.hold.platform.started(now, &request_id),
            Platform::InvocationDone { request_id, status, error_type, took } => {
                self.hold.platform.done(now, &request_id, took);
                if status != "success" {
                    self.cause = Some(Cause { request_id, status, error_type });
                } else if !self.config.managed {
                    // Concurrent ones tell nothing of each other.
                    self.cause = None;
                }
            }
        }
    }

    /// Whether so much is held or reserved that what is held has to go out, convenient or not.
    pub(super) fn pressed(&self) -> bool {
        let reserved = self.links.reserved() + self.kept_for_doors();
        self.budget.pressed(self.store.credit_bytes(), reserved, self.doors.wanted_bytes())
    }

    pub(super) fn notice_thaw(&mut self, now: Moment) {
        if let Phase::Parked { since } = self.phase
            && now.since(since) > THAW_AFTER
        {
            self.act(Action::ResetConnections);
        }
    }

    fn top_up_credit(&mut self) {
        let mut taken = self.store.memory_bytes() + self.links.reserved() + self.kept_for_doors();
        let mut grants: Vec<(LinkId, u64)> = Vec::new();
        for (id, link) in self.links.iter_mut() {
            let more = self.budget.grant(link.outstanding, taken);
            if link.process.is_some() && more > 0 {
                link.outstanding += more;
                taken += more;
                grants.push((id, more));
            }
        }
        for (link, more_bytes) in grants {
            self.act(Action::Reply(link, super::Reply::Grant { more_bytes }));
        }
    }
}
