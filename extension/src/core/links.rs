//! The hand-off links and the function processes behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lambda_flush_proto::Counters;
use lambda_flush_proto::wire::{Hello, Scope};

use super::batch::{Described, Origin};
use super::seen::Seen;
use super::{LinkId, Moment, RequestId, Wall};
use crate::limits::{LINK_INVOCATIONS_MAX, LINK_QUIET, PROCESSES_MAX};

/// Why an item is lost that was in the function's buffer when that ended.
pub const FUNCTION_DIED: &str = "function_died";

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// Of the process; known after `Hello`.
    pub process: Option<u64>,
    resource: Arc<Described>,
    scopes: BTreeMap<u32, Arc<Described>>,
    no_scope: Arc<Described>,
    /// Credit the function has not used yet.
    pub outstanding: u64,
    /// What its ring takes, for as long as it lives.
    pub ring_bytes: u64,
    last_received: Moment,
    /// Announces its invocations in time; a link that missed once is not waited for.
    timely: bool,
    /// Announced and not ended, with their attempts; more than one only where they run concurrently.
    invocations: Vec<(RequestId, String)>,
    /// Where the last item came from, and the id of its scope.
    origin: Option<(u32, Origin)>,
    /// The function's last frame has come: its counters are final, whatever was still running.
    left: bool,
}

/// What a function process told us of itself, for the summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Its nonce.
    pub nonce: u64,
    /// The sequence numbers taken.
    pub seen: Seen,
    /// Items taken from it.
    pub accepted: u64,
    /// The last counters it sent.
    pub counters: Counters,
    /// It ended without counters that cover its last items.
    pub unknown_tail: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<LinkId, Link>,
    processes: Vec<Process>,
}

impl Links {
    /// A function connected.
    pub fn open(&mut self, id: LinkId, now: Moment) {
        let link = Link {
            process: None,
            resource: Arc::default(),
            scopes: BTreeMap::new(),
            no_scope: Arc::default(),
            outstanding: 0,
            ring_bytes: 0,
            last_received: now,
            timely: true,
            invocations: Vec::new(),
            origin: None,
            left: false,
        };
        self.links.insert(id, link);
    }

    /// A link ended, perhaps `torn` in the middle of an item. With counters that outlived the function nothing of it is
    /// unknown.
    pub fn close(&mut self, id: LinkId, torn: bool, counters: Option<Counters>) {
        let Some(link) = self.links.remove(&id) else { return };
        let in_invocation = !link.invocations.is_empty() && !link.left;
        if let Some(process) = self.process_of(link.process) {
            match counters {
                // A last word that accounts for everything knows the reasons better.
                Some(counters) if !(link.left && process.covered()) => process.died(counters),
                _ => process.unknown_tail = torn || in_invocation || !process.covered(),
            }
        }
    }

    /// Nothing more is read: ends every link and returns them. What is on its way on them is not known.
    pub fn end_all(&mut self) -> Vec<LinkId> {
        let ended: Vec<LinkId> = self.links.keys().copied().collect();
        for id in &ended {
            self.close(*id, false, None);
        }
        ended
    }

    /// One link.
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// All links, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
        self.links.iter_mut().map(|(id, link)| (*id, link))
    }

    /// The processes seen, for the summary.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Finds or makes the process with this nonce.
    pub fn process(&mut self, nonce: u64) -> Option<&mut Process> {
        if !self.processes.iter().any(|process| process.nonce == nonce) {
            if self.processes.len() >= PROCESSES_MAX {
                let live = |process: &Process| self.links.values().any(|l| l.process == Some(process.nonce));
                let ended = self.processes.iter().position(|process| !live(process));
                self.processes.remove(ended.unwrap_or(0));
            }
            self.processes.push(Process {
                nonce,
                seen: Seen::default(),
                accepted: 0,
                counters: Counters::default(),
                unknown_tail: false,
            });
        }
        self.process_of(Some(nonce))
    }

    /// The function of a link used `credit_bytes` of its credit.
    pub fn used(&mut self, id: LinkId, credit_bytes: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.used(credit_bytes);
        }
    }

    /// Items came: whose they are, and where those of a scope come from. `None`: before any `Hello`.
    pub fn source(&mut self, id: LinkId, scope_id: Option<u32>) -> Option<(&mut Process, Option<&Origin>)> {
        let nonce = self.links.get(&id)?.process?;
        // It was forgotten for too many others.
        if !self.processes.iter().any(|process| process.nonce == nonce) {
            self.process(nonce);
        }
        let origin = match scope_id {
            Some(scope_id) => Some(self.links.get_mut(&id)?.origin(scope_id)),
            None => None,
        };
        let process = self.processes.iter_mut().find(|process| process.nonce == nonce)?;
        Some((process, origin))
    }

    fn process_of(&mut self, nonce: Option<u64>) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| Some(process.nonce) == nonce)
    }

    /// Counters came on a link; `last` if they cover everything the function has recorded.
    pub fn counters(&mut self, id: LinkId, counters: Counters) {
        let Some(nonce) = self.links.get(&id).map(|link| link.process) else { return };
        if let Some(process) = self.process_of(nonce) {
            process.counters = counters;
            process.unknown_tail = false;
        }
    }

    /// Credit granted and not used, over all links.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.links.values().map(|link| link.outstanding).sum()
    }

    /// What links take of the byte budget beside what is held: their credit and their rings.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.links.values().map(|link| link.outstanding + link.ring_bytes).sum()
    }

    /// Whether a link that keeps its word announced this invocation.
    #[must_use]
    pub fn announced(&self, request_id: &RequestId) -> bool {
        self.links.values().any(|link| link.timely && link.announced(request_id))
    }

    /// Whether a link can be expected to announce the next invocation.
    #[must_use]
    pub fn any_timely(&self) -> bool {
        self.links.values().any(|link| link.timely && link.process.is_some())
    }

    /// The invocation is given up: no link that owes us word of it is waited for until it is timely again.
    /// Returns the attempt that was announced, if any.
    pub fn miss(&mut self, request_id: &RequestId) -> Option<String> {
        for link in self.links.values_mut() {
            link.timely = false;
        }
        self.ended(request_id)
    }

    /// An invocation is over as far as others know. Returns the attempt that was announced, if any.
    pub fn ended(&mut self, request_id: &RequestId) -> Option<String> {
        let mut attempt = None;
        for link in self.links.values_mut() {
            if let Some(position) = link.invocations.iter().position(|(id, _)| id == request_id) {
                attempt = Some(link.invocations.swap_remove(position).1);
            }
        }
        attempt
    }

    /// When the last link that has not ended will count as drained, if it stays quiet. `None`: all have ended.
    #[must_use]
    pub fn quiet_at(&self, since: Moment) -> Option<Wall> {
        let quiet = |link: &Link| link.last_received.wall.max(since.wall) + LINK_QUIET;
        self.links.values().map(quiet).max()
    }
}

impl Process {
    /// Whether the last counters account for everything that came: what they called buffered has come since, and
    /// nothing that they do not know.
    fn covered(&self) -> bool {
        self.accounted() == self.counters.ended
    }

    /// What came, and what the function gave up.
    fn accounted(&self) -> u64 {
        let dropped = self.counters.dropped.values();
        dropped.fold(self.accepted, |sum, items| sum.saturating_add(*items))
    }

    /// It ended without a word, but these counters are up to date: what had ended and neither came nor was dropped was in
    /// its buffer. An item that came and was not counted any more has ended all the same.
    fn died(&mut self, counters: Counters) {
        self.counters = counters;
        self.unknown_tail = false;
        let accounted = self.accounted();
        let died = self.counters.ended.saturating_sub(accounted);
        self.counters.ended = self.counters.ended.max(accounted);
        self.counters.written = self.counters.written.max(self.accepted);
        self.counters.buffered = 0;
        if died > 0 {
            self.counters.add_dropped(FUNCTION_DIED, died);
        }
    }
}

impl Link {
    /// A `Hello`: the resource of everything that follows. Scopes stay.
    pub fn hello(&mut self, hello: &Hello) {
        self.process = Some(hello.process);
        self.origin = None;
        // The same resource stays the same one, so that items before and after stand together.
        if self.resource.bytes != hello.resource || self.resource.schema_url != hello.resource_schema_url {
            self.resource = Arc::new(Described {
                bytes: Bytes::copy_from_slice(&hello.resource),
                schema_url: hello.resource_schema_url.clone(),
            });
        }
    }

    /// A scope gets its name. The bytes are copied, so that they do not keep the read buffer alive.
    pub fn scope(&mut self, scope: &Scope) {
        let described =
            Described { bytes: Bytes::copy_from_slice(&scope.scope), schema_url: scope.schema_url.clone() };
        self.scopes.insert(scope.id, Arc::new(described));
        self.origin = None;
    }

    /// Something came.
    pub fn received(&mut self, now: Moment) {
        self.last_received = now;
    }

    /// The function used `credit_bytes` of its credit.
    pub fn used(&mut self, credit_bytes: u64) {
        self.outstanding = self.outstanding.saturating_sub(credit_bytes);
    }

    /// Where an item of this link comes from. A scope nobody named is an empty scope: the item still counts.
    fn origin(&mut self, scope_id: u32) -> &Origin {
        // Items of one scope come in runs.
        let known = self.origin.take_if(|(id, _)| *id == scope_id);
        let (_, origin) = self.origin.insert(known.unwrap_or_else(|| {
            let scope = self.scopes.get(&scope_id).unwrap_or(&self.no_scope);
            (scope_id, Origin { resource: Arc::clone(&self.resource), scope: Arc::clone(scope) })
        }));
        origin
    }

    /// The function's last frame came.
    pub fn goodbye(&mut self) {
        self.left = true;
    }

    fn announced(&self, request_id: &RequestId) -> bool {
        self.invocations.iter().any(|(id, _)| id == request_id)
    }

    /// An invocation began in the function, beside others or after them.
    pub fn invocation_started(&mut self, request_id: RequestId, attempt: String, concurrently: bool) {
        if !concurrently {
            self.invocations.clear();
        }
        if self.invocations.len() < LINK_INVOCATIONS_MAX {
            self.invocations.push((request_id, attempt));
        }
    }

    /// An invocation ended in the function: this link keeps its word.
    pub fn invocation_done(&mut self, request_id: &RequestId, attempt: &str, concurrently: bool) {
        if concurrently {
            let ended = |(id, of): &(RequestId, String)| id == request_id && of == attempt;
            if let Some(position) = self.invocations.iter().position(ended) {
                self.invocations.swap_remove(position);
            }
        } else {
            self.invocations.clear();
        }
        self.timely = true;
    }
}
