//! The machine itself: its configuration, its parts and the one place where events are told apart.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::budget::Budget;
use super::clock::SteadyClock;
use super::hold::Hold;
use super::ledger::{DropReason, Ledger};
use super::links::{Links, Process};
use super::moment::{Moment, Wall};
use super::phase::{Invocation, Phase};
use super::policy::RoundTrips;
use super::store::{Batch, Store};
use super::{Action, Event, Level, LinkId, Notice, RequestId};
use crate::limits::THAW_AFTER;

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
    /// Whether there is a backend.
    pub export: bool,
    /// Whether dead letters are printed.
    pub dead_letter: bool,
    /// How fast dead letters are made before that was measured (bytes a second).
    pub dead_letter_rate: u64,
}

/// See [`crate::core`].
#[derive(Debug)]
pub struct Flusher {
    pub(super) config: FlushConfig,
    pub(super) phase: Phase,
    pub(super) clock: SteadyClock,
    pub(super) hold: Hold,
    pub(super) links: Links,
    pub(super) store: Store,
    pub(super) budget: Budget,
    pub(super) trips: RoundTrips,
    pub(super) jitter: fastrand::Rng,
    pub(super) dead_letter_rate: u64,
    pub(super) ledger: Ledger,
    actions: VecDeque<Action>,
    told: BTreeSet<&'static str>,
    pub(super) ended: Option<(String, Wall)>,
}

impl Flusher {
    /// In [`Phase::Init`].
    #[must_use]
    pub fn new(config: FlushConfig) -> Self {
        Self {
            phase: Phase::Init,
            clock: SteadyClock::default(),
            hold: Hold::default(),
            links: Links::default(),
            store: Store::default(),
            budget: Budget::new(config.buffer_bytes_max),
            trips: RoundTrips::default(),
            jitter: fastrand::Rng::with_seed(0),
            dead_letter_rate: config.dead_letter_rate.max(1),
            ledger: Ledger::default(),
            actions: VecDeque::new(),
            told: BTreeSet::new(),
            ended: None,
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
            return;
        }
        if matches!(event, Event::Invoke { .. } | Event::Shutdown { .. }) {
            self.clock.awake(now);
        }
        let now = self.clock.read(now);
        match event {
            Event::Registered => self.registered(now),
            Event::Invoke { request_id, deadline } => self.invoke(now, request_id, deadline),
            Event::Shutdown { reason, deadline } => self.begin_shutdown(now, reason, deadline),
            Event::LinkOpened(link) => self.links.open(link, now),
            Event::LinkReceived(link, messages) => self.received(now, link, messages),
            Event::LinkClosed { link, torn } => self.links.close(link, torn),
            Event::RequestReceived { request, .. } => self.act(Action::Answer(
                request,
                super::Admission::Refused { retry_after: Duration::from_secs(1) },
            )),
            Event::Platform(_) => {}
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

    fn advance(&mut self, now: Moment) {
        if let Phase::Invoking(invocation) = &self.phase {
            let over = self.hold.over(now, invocation, &mut self.links, self.config.billed_max);
            match over {
                Some(over) => self.begin_settling(now, over),
                None => self.overlap(now),
            }
        }
        match self.phase {
            Phase::Settling { until, exporting } => self.settle(now, until, exporting),
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
                let hold = Hold::timeout(now, invocation, &self.links, self.config.billed_max);
                Some(self.overlap_timeout(now, invocation).map_or(hold, |overlap| overlap.min(hold)))
            }
            Phase::Settling { until, .. } => {
                let retry = self.store.next_retry(Batch::may_be_billed);
                Some(retry.filter(|at| !now.reached(*at)).map_or(*until, |at| at.min(*until)))
            }
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

    /// Whether the byte budget holds: what is held and what is granted.
    #[must_use]
    pub fn within_budget(&self) -> bool {
        self.store.credit_bytes() + self.links.outstanding() <= self.config.buffer_bytes_max
    }

    /// The reason and deadline of the SHUTDOWN that ended it all.
    #[must_use]
    pub fn ended(&self) -> Option<(String, Wall)> {
        self.ended.clone()
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
        if self.phase == Phase::Init {
            self.park(now);
        }
    }

    pub(super) fn park(&mut self, now: Moment) {
        let since = Moment { wall: self.clock.outside(now.wall), ..now };
        self.clock.asleep();
        self.phase = Phase::Parked { since };
        self.act(Action::CallNext);
    }

    fn invoke(&mut self, now: Moment, request_id: RequestId, deadline: Wall) {
        if matches!(self.phase, Phase::ShuttingDown(_)) {
            return;
        }
        self.notice_thaw(now);
        self.hold.begin();
        self.phase = Phase::Invoking(Invocation { request_id, deadline, began: now });
        // Nobody may be there to hold `/next` for, but memory has to be freed some time.
        if self.pressed() && !self.config.billed_max.is_zero() {
            self.overlap(now);
        }
    }

    /// Whether so much is held or reserved that what is held has to go out, convenient or not.
    pub(super) fn pressed(&self) -> bool {
        self.budget.pressed(self.store.credit_bytes(), self.links.outstanding())
    }

    pub(super) fn notice_thaw(&mut self, now: Moment) {
        if let Phase::Parked { since } = self.phase
            && now.since(since) > THAW_AFTER
        {
            self.act(Action::ResetConnections);
        }
    }

    fn top_up_credit(&mut self) {
        let mut taken = self.store.memory_bytes() + self.links.outstanding();
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
