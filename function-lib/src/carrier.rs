//! The function's end of the carrier: link, outbox, scopes and socket driven together, never blocking.
//!
//! All of it is called under one lock, from whatever thread ends a span, and from the library's own thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_flush_proto::wire::{InvocationStarted, Signal, invocation_done::Status};
use lambda_flush_proto::{FunctionLink, LinkState, WireError};
use opentelemetry::InstrumentationScope;

use crate::counters::{DropReason, Stats};
use crate::outbox::{Next, Outbox};
use crate::scopes::Scopes;
use crate::socket::{self, Address, ConnectError, Progress, Socket};
use crate::waits::{Goal, Standing, Waiting, Waits};

/// Whom to connect to, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) resource: Bytes,
    pub(crate) resource_schema_url: String,
}

/// What the thread of the library has to wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// Readable always counts; writable only with `for_room`.
    pub(crate) socket: Option<Arc<Socket>>,
    pub(crate) for_room: bool,
    pub(crate) until: Option<Instant>,
}

impl Watch {
    /// Whether a thread that waits for `self` would wake for all that `other` needs.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let socket = match (&self.socket, &other.socket) {
            (_, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, Some(_)) => false,
        };
        let until = match (self.until, other.until) {
            (_, None) => true,
            (Some(ours), Some(theirs)) => ours <= theirs,
            (None, Some(_)) => false,
        };
        socket && until && (self.for_room || !other.for_room)
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.socket.is_none() && self.until.is_none()
    }
}

/// What [`Carrier::item`] is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) signal: Signal,
    pub(crate) scope: &'a InstrumentationScope,
    pub(crate) bytes: &'a [u8],
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Carrier {
    target: Option<Target>,
    link: FunctionLink,
    socket: Option<Arc<Socket>>,
    scopes: Scopes,
    outbox: Outbox,
    pub(crate) waits: Waits,
    /// Why items can't be handed over any more, if they can't.
    shut: Option<DropReason>,
    queued_seq: u64,
    inbound: Vec<u8>,
}

impl Carrier {
    /// Not connected yet. Without a target it never is, and drops all items for `no_extension`.
    pub(crate) fn new(process: u64, target: Option<Target>) -> Self {
        let shut = target.is_none().then_some(DropReason::NoExtension);
        Self {
            target,
            link: FunctionLink::new(process),
            socket: None,
            scopes: Scopes::default(),
            outbox: Outbox::default(),
            waits: Waits::default(),
            shut,
            queued_seq: 0,
            inbound: Vec::new(),
        }
    }

    /// The same in a forked child: an own process with an own link, which owes nothing of its parent's.
    pub(crate) fn forked(&self, process: u64) -> Self {
        let mut child = Self::new(process, self.target.clone());
        child.shut = self.shut;
        child
    }

    /// One attempt to connect and to greet.
    pub(crate) fn connect(&mut self) -> Result<(), ConnectError> {
        let Some(target) = &self.target else { return Ok(()) };
        let socket = Socket::connect(&target.address)?;
        // The resource has been kept under the only limit that can fail here.
        let hello = self.link.connect(&target.resource, &target.resource_schema_url);
        self.socket = Some(Arc::new(socket));
        self.scopes.forget_names();
        self.outbox.disconnected();
        self.control(hello);
        self.name_scopes();
        self.pump();
        Ok(())
    }

    /// At most one attempt to get a lost connection back, at the start of an invocation.
    pub(crate) fn reconnect(&mut self) {
        if self.shut.is_none() && self.socket.is_none() {
            // Where that fails, items wait in the outbox, which is bounded and counts.
            self.connect().ok();
        }
    }

    /// There is no extension and there will be none.
    pub(crate) fn shut(&mut self, reason: DropReason) {
        self.shut = Some(reason);
        self.outbox.give_up(reason);
        self.disconnect();
    }

    /// Waits for the extension's `Welcome`, for `timeout` at the most.
    pub(crate) fn await_welcome(&mut self, timeout: Duration) {
        let until = Instant::now() + timeout;
        while self.link.state() == LinkState::Greeting {
            let left = until.saturating_duration_since(Instant::now());
            let Some(socket) = self.socket.clone().filter(|_| !left.is_zero()) else { return };
            socket::wait(None, Some(&socket), false, Some(left));
            self.receive();
        }
        self.pump();
    }

    /// Hands over one item that has ended: written now if that is possible, else kept.
    pub(crate) fn item(&mut self, item: Item<'_>) {
        if let Some(reason) = self.shut {
            return self.outbox.refuse(reason, 1);
        }
        let Some(scope_id) = self.scopes.id(item.scope) else {
            return self.outbox.refuse(DropReason::TooManyScopes, 1);
        };
        match self.link.item(item.signal, scope_id, item.bytes) {
            Ok(frame) => {
                let seq = frame.seq;
                if self.outbox.push_item(frame) {
                    self.queued_seq = seq;
                }
            }
            Err(_) => self.outbox.refuse(DropReason::TooLarge, 1),
        }
        self.name_scopes();
        self.pump();
    }

    /// Hands over a whole OTLP export request of `items` items.
    pub(crate) fn payload(&mut self, signal: Signal, items: u32, request: Bytes) {
        if let Some(reason) = self.shut {
            return self.outbox.refuse(reason, u64::from(items));
        }
        match self.link.payload(signal, items, request) {
            Ok(frame) => {
                let seq = frame.seq;
                if self.outbox.push_item(frame) {
                    self.queued_seq = seq;
                }
            }
            Err(_) => self.outbox.refuse(DropReason::TooLarge, u64::from(items)),
        }
        self.pump();
    }

    pub(crate) fn invocation_started(&mut self, started: InvocationStarted) {
        self.receive();
        self.reconnect();
        self.control(self.link.invocation_started(started));
        self.pump();
    }

    pub(crate) fn invocation_done(&mut self, request_id: &str, attempt: &str, status: Status) {
        self.pump();
        let counters = self.outbox.counters().to_wire(self.outbox.buffered());
        self.control(self.link.invocation_done(request_id, attempt, status, counters));
        self.pump();
    }

    /// Ends the link in good order, until `until` at the latest. What waits to be written, and what ends later, is
    /// dropped for `shut_down`; the link's last frame says so.
    pub(crate) fn leave(&mut self, until: Instant) {
        if self.shut.is_some() {
            return;
        }
        self.pump();
        self.outbox.give_up_whole(DropReason::ShutDown);
        self.write_until(until);
        let counters = self.outbox.counters().to_wire(self.outbox.buffered());
        self.control(self.link.goodbye(counters));
        self.write_until(until);
        self.shut(DropReason::ShutDown);
    }

    /// Writes what is queued, waiting for room.
    fn write_until(&mut self, until: Instant) {
        loop {
            self.pump();
            let watch = self.watch();
            let left = until.saturating_duration_since(Instant::now());
            if !watch.for_room || left.is_zero() {
                return;
            }
            socket::wait(None, watch.socket.as_deref(), true, Some(left));
        }
    }

    /// Waits until all that was queued so far has got to `goal`.
    pub(crate) fn wait(&mut self, goal: Goal, until: Instant) -> Waiting {
        let waiting = self.waits.add(goal, self.queued_seq, until);
        self.settle();
        waiting
    }

    /// Moves on what waits for the link's progress.
    pub(crate) fn settle(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        if self.socket.is_some() && self.waits.take_barrier(self.standing()) {
            self.control(self.link.barrier());
            self.pump();
        }
        self.waits.settle(self.standing(), Instant::now());
    }

    fn standing(&self) -> Standing {
        Standing {
            written_seq: self.link.written_seq(),
            accepted_seq: self.link.accepted_seq(),
            connected: self.socket.is_some(),
        }
    }

    /// Writes and reads as far as that goes without waiting.
    pub(crate) fn pump(&mut self) {
        loop {
            let held = self.write();
            if !held || !self.receive() {
                return;
            }
        }
    }

    /// Writes what the kernel takes. Returns whether an item is held back for want of credit.
    fn write(&mut self) -> bool {
        while let Some(socket) = &self.socket {
            let progress = match self.outbox.next(|frame| self.link.may_write(frame)) {
                Next::Write(bytes) => socket.send(bytes),
                Next::Held => return true,
                Next::Empty => return false,
            };
            match progress {
                Progress::Bytes(written) => {
                    if let Some(frame) = self.outbox.wrote(written) {
                        self.link.wrote(&frame);
                    }
                }
                Progress::WouldBlock => return false,
                Progress::Closed => self.disconnect(),
            }
        }
        false
    }

    /// Reads all that is there. Returns whether that was anything.
    pub(crate) fn receive(&mut self) -> bool {
        let mut any = false;
        while let Some(socket) = &self.socket {
            self.inbound.clear();
            match socket.receive(&mut self.inbound) {
                Progress::Bytes(_) => match self.link.receive(&self.inbound) {
                    Ok(()) => any = true,
                    Err(WireError::Version { .. }) => self.shut(DropReason::VersionRefused),
                    Err(_) => self.disconnect(),
                },
                Progress::WouldBlock => break,
                Progress::Closed => self.disconnect(),
            }
        }
        any
    }

    fn name_scopes(&mut self) {
        while self.socket.is_some() {
            let Some(scope) = self.scopes.name_next() else { return };
            let frame = self.link.scope(scope.id, scope.encoded, scope.schema_url);
            self.control(frame);
        }
    }

    /// A control frame exists for this connection only; one that can't be queued ends it.
    fn control(&mut self, frame: Result<Vec<u8>, WireError>) {
        if self.socket.is_none() {
            return;
        }
        let queued = frame.is_ok_and(|frame| self.outbox.push_control(frame));
        if !queued {
            self.disconnect();
        }
    }

    fn disconnect(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close();
        }
        self.link.disconnect();
        self.outbox.disconnected();
    }

    /// What has to happen before anything moves on.
    pub(crate) fn watch(&self) -> Watch {
        let (blocked, for_room) = match self.outbox.next(|frame| self.link.may_write(frame)) {
            Next::Write(_) => (true, true),
            Next::Held => (true, false),
            Next::Empty => (false, false),
        };
        let waited = blocked || !self.waits.is_empty();
        let socket = self.socket.clone().filter(|_| waited);
        let for_room = for_room && socket.is_some();
        Watch { socket, for_room, until: self.waits.next_deadline() }
    }

    pub(crate) fn buffered(&self) -> u64 {
        self.outbox.buffered()
    }

    /// Whether what can wait elsewhere may come now.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Why nothing can be handed over any more, if so.
    pub(crate) fn shut_reason(&self) -> Option<DropReason> {
        self.shut
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = self.outbox.counters();
        Stats {
            started: 0,
            ended: counters.ended,
            written: counters.written,
            buffered: self.outbox.buffered(),
            dropped: counters.reasons().collect(),
        }
    }
}
