//! The function's end of the carrier: link, outbox, scopes and socket driven together, never blocking.
//!
//! All of it is called under one lock, from whatever thread ends a span, and from the library's own thread.

mod opening;

use std::time::Instant;

use bytes::Bytes;
use lambda_flush_proto::function_link::ItemFrame;
use lambda_flush_proto::wire::{InvocationStarted, Signal, invocation_done::Status};
use lambda_flush_proto::{FunctionLink, LinkState, WireError};
use opentelemetry::InstrumentationScope;

use crate::connection::{Connection, Target, Wanted};
use crate::counters::{DropReason, Stats};
use crate::outbox::{Next, Outbox};
use crate::scopes::Scopes;
use crate::scratch::Encoded;
use crate::socket::{self, Progress};
use crate::waits::{Goal, Standing, Waiting, Waits};
use crate::watch::{Blocked, Watch};

/// What [`Carrier::item`] is given.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) signal: Signal,
    pub(crate) scope: &'a InstrumentationScope,
    pub(crate) encoded: Encoded<'a>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Carrier {
    target: Option<Target>,
    link: FunctionLink,
    connection: Option<Connection>,
    scopes: Scopes,
    outbox: Outbox,
    pub(crate) waits: Waits,
    /// Why items can't be handed over any more, if they can't.
    shut: Option<DropReason>,
    queued_seq: u64,
    /// The extension has to hear of what is queued, and would not look by itself.
    bell_due: bool,
    inbound: Vec<u8>,
}

impl Carrier {
    /// Not connected yet. Without a target it never is, and drops all items for `no_extension`.
    pub(crate) fn new(process: u64, target: Option<Target>) -> Self {
        let shut = target.is_none().then_some(DropReason::NoExtension);
        Self {
            target,
            link: FunctionLink::new(process),
            connection: None,
            scopes: Scopes::default(),
            outbox: Outbox::default(),
            waits: Waits::default(),
            shut,
            queued_seq: 0,
            bell_due: false,
            inbound: Vec::new(),
        }
    }

    /// The same in a forked child: an own process with an own link, which owes nothing of its parent's.
    pub(crate) fn forked(&self, process: u64) -> Self {
        let mut child = Self::new(process, self.target.clone());
        child.shut = self.shut;
        child
    }

    /// There is no extension and there will be none.
    pub(crate) fn shut(&mut self, reason: DropReason) {
        self.shut = Some(reason);
        self.outbox.give_up(reason);
        self.disconnect();
    }

    /// Hands over one item that has ended: written now if that is possible, else kept.
    pub(crate) fn item(&mut self, item: Item<'_>) {
        let Item { signal, scope, encoded } = item;
        match (self.shut, self.scopes.id(scope)) {
            (Some(reason), _) => self.outbox.refuse(reason, 1),
            (None, None) => self.outbox.refuse(DropReason::TooManyScopes, 1),
            (None, Some(scope_id)) => {
                self.name_scopes();
                match self.link.item_in_place(signal, scope_id, encoded.with_room) {
                    Ok((seq, frame)) if self.write_at_once(frame) => self.passed(seq, frame.len()),
                    Ok((seq, frame)) => self.queue(Ok(ItemFrame { bytes: frame.to_vec(), seq, items: 1 }), 1),
                    Err(error) => self.queue(Err(error), 1),
                }
            }
        }
        self.publish();
    }

    /// Nearly always there is a ring with room, and nothing else that waits: then an item is not kept at all.
    fn write_at_once(&mut self, frame: &[u8]) -> bool {
        let ring = self.connection.as_mut().filter(|connection| connection.has_ring());
        let may = self.outbox.is_empty() && self.link.may_write_bytes(frame.len());
        ring.is_some_and(|ring| may && ring.write(frame) == Progress::Bytes(frame.len()))
    }

    /// The item `seq` is the extension's.
    fn passed(&mut self, seq: u64, frame_bytes: usize) {
        self.queued_seq = seq;
        self.link.wrote_bytes(seq, frame_bytes);
        self.outbox.passed();
        if self.connection.as_mut().is_some_and(|connection| !connection.ring(false, false)) {
            self.disconnect();
        }
    }

    /// Hands over a whole OTLP export request of `items` items.
    pub(crate) fn payload(&mut self, signal: Signal, items: u32, request: Bytes) {
        match self.shut {
            Some(reason) => self.outbox.refuse(reason, u64::from(items)),
            None => {
                let frame = self.link.payload(signal, items, request);
                self.queue(frame, u64::from(items));
            }
        }
        self.publish();
    }

    fn queue(&mut self, frame: Result<ItemFrame, WireError>, items: u64) {
        match frame {
            Ok(frame) => {
                let seq = frame.seq;
                if self.outbox.push_item(frame) {
                    self.queued_seq = seq;
                }
            }
            Err(_) => self.outbox.refuse(DropReason::TooLarge, items),
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
        self.bell_due = true;
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
        self.publish();
        self.write_until(until);
        let counters = self.outbox.counters().to_wire(self.outbox.buffered());
        self.control(self.link.goodbye(counters));
        self.bell_due = true;
        self.write_until(until);
        self.shut(DropReason::ShutDown);
    }

    /// Writes what is queued, waiting for room.
    fn write_until(&mut self, until: Instant) {
        loop {
            self.pump();
            let left = until.saturating_duration_since(Instant::now());
            let blocked = self.blocked().filter(|blocked| *blocked != Blocked::Credit && !left.is_zero());
            let (Some(_), Some(connection)) = (blocked, &self.connection) else { return };
            socket::wait(None, Some(connection.socket()), connection.room_is_writable(), Some(left));
            self.receive();
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
        if self.connection.is_some() && self.waits.take_barrier(self.standing()) {
            self.control(self.link.barrier());
            self.bell_due = true;
            self.pump();
        }
        self.waits.settle(self.standing(), Instant::now());
    }

    fn standing(&self) -> Standing {
        Standing {
            written_seq: self.link.written_seq(),
            accepted_seq: self.link.accepted_seq(),
            connected: self.connection.is_some(),
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

    /// Writes what there is room for. Returns whether something is held back until the extension has answered.
    ///
    /// Not each control frame rings: the extension reads the ring before it judges anything, an INVOKE as well as that
    /// nobody has announced it.
    fn write(&mut self) -> bool {
        let held = self.write_frames();
        let now = self.bell_due && self.outbox.is_control_written();
        if now {
            self.bell_due = false;
        }
        let stuck = !self.outbox.is_empty();
        if self.connection.as_mut().is_some_and(|connection| !connection.ring(now, stuck)) {
            self.disconnect();
        }
        held
    }

    fn write_frames(&mut self) -> bool {
        while let Some(connection) = &mut self.connection {
            let progress = match self.outbox.next(|frame| self.link.may_write(frame)) {
                Next::Write(_) if connection.is_waiting() => return true,
                Next::Write(bytes) => connection.write(bytes),
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
        while let Some(connection) = &self.connection {
            self.inbound.clear();
            match connection.receive(&mut self.inbound) {
                Progress::Bytes(_) => match self.link.receive(&self.inbound) {
                    Ok(()) => {
                        any = true;
                        self.welcomed();
                    }
                    Err(WireError::Version { .. }) => self.shut(DropReason::VersionRefused),
                    Err(_) => self.disconnect(),
                },
                Progress::WouldBlock => break,
                Progress::Closed => self.disconnect(),
            }
        }
        any
    }

    /// Where a ring is, its header has the counters of all that has ended so far.
    #[inline]
    fn publish(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.publish(self.outbox.counters());
        }
    }

    fn name_scopes(&mut self) {
        while self.connection.is_some() {
            let Some(scope) = self.scopes.name_next() else { return };
            let frame = self.link.scope(scope.id, scope.encoded, scope.schema_url);
            self.control(frame);
        }
    }

    /// A control frame exists for this connection only; one that can't be queued ends it.
    fn control(&mut self, frame: Result<Vec<u8>, WireError>) {
        if self.connection.is_none() {
            return;
        }
        let queued = frame.is_ok_and(|frame| self.outbox.push_control(frame));
        if !queued {
            self.disconnect();
        }
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.socket().close();
        }
        self.link.disconnect();
        self.outbox.disconnected();
    }

    /// What keeps the head of the outbox, if it has one.
    fn blocked(&self) -> Option<Blocked> {
        match self.outbox.next(|frame| self.link.may_write(frame)) {
            Next::Write(_) if self.connection.as_ref().is_some_and(Connection::is_waiting) => {
                Some(Blocked::Credit)
            }
            Next::Write(_) => Some(Blocked::Room),
            Next::Held => Some(Blocked::Credit),
            Next::Empty => None,
        }
    }

    /// What has to happen before anything moves on.
    pub(crate) fn watch(&self) -> Watch {
        let blocked = self.blocked();
        let waited = blocked.is_some() || !self.waits.is_empty();
        let connection = self.connection.as_ref().filter(|_| waited);
        let for_room = blocked == Some(Blocked::Room) && connection.is_some_and(Connection::room_is_writable);
        let socket = connection.map(|connection| connection.socket().clone());
        Watch { socket, for_room, until: self.waits.next_deadline() }
    }

    /// Whether nothing is there to be written, and nobody waits.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.waits.is_empty() && self.outbox.is_empty()
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
        self.connection.is_some()
    }

    /// Whether a ring was wanted, and this connection goes on without one.
    pub(crate) fn misses_ring(&self) -> bool {
        let wanted = self.target.as_ref().is_some_and(|target| target.wanted == Wanted::Ring);
        wanted && self.link.state() == LinkState::Open && self.link.ring_bytes() == 0
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = self.outbox.counters();
        Stats {
            started: 0,
            ended: counters.ended,
            written: counters.written,
            buffered: self.outbox.buffered(),
            dropped: counters.reasons().collect(),
            ring_bytes: self.link.ring_bytes(),
        }
    }
}
