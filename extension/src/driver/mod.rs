//! The one loop: the world makes an event, the core decides, the actions are performed. No decision is made here.

mod exports;
mod letters;
mod rings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::core::phase::Phase;
use crate::core::{Action, Admission, DoorRequest, Event, Flusher, Level, LinkId, Notice, Platform, Reply};
use crate::export::Exporter;
use crate::lambda::lifecycle::Lifecycle;
use crate::limits::{LINK_FAULTS_TOLD_MAX, LOOK_UP, SUMMARY_WAIT};
use crate::output::Output;
use crate::receive::door::{DoorInput, Sign};
use crate::receive::link::{Answer, LinkInput};
use crate::summary;

use exports::Exports;
use letters::Letters;
use rings::{Lot, Rings};

/// Where events come from.
#[derive(Debug)]
pub struct Inputs {
    /// From the Extensions API.
    pub lifecycle: Receiver<Lifecycle>,
    /// From the hand-off socket.
    pub links: Receiver<LinkInput>,
    /// From the OTLP receivers.
    pub doors: Receiver<DoorInput>,
    /// From the Telemetry API.
    pub platform: Receiver<Platform>,
}

/// Instead of a driver, if none could be made: lets invocations pass.
pub async fn without(panic: &str, inputs: &mut Inputs, output: &Output) {
    tell_failure(output, panic);
    until_shutdown(inputs).await;
}

fn tell_failure(output: &Output, panic: &str) {
    let message = format!("the driver failed ({panic}); telemetry is lost until the next environment");
    output.notice(&Notice { level: Level::Error, message });
}

/// Lets everything pass that comes before SHUTDOWN; returns its reason and its deadline.
async fn until_shutdown(inputs: &mut Inputs) -> Option<(String, Duration)> {
    loop {
        let lifecycle = tokio::select! {
            biased;
            lifecycle = inputs.lifecycle.recv() => lifecycle?,
            // Dropped: their senders are told so, and keep what they have.
            Some(_) = inputs.doors.recv() => continue,
            Some(_) = inputs.links.recv() => continue,
            Some(_) = inputs.platform.recv() => continue,
        };
        if let Event::Shutdown { reason, deadline } = lifecycle.event {
            return Some((reason, deadline));
        }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Driver {
    clock: Clock,
    core: Flusher,
    output: Output,
    exports: Exports,
    letters: Letters,
    links: BTreeMap<LinkId, UnboundedSender<Answer>>,
    rings: Rings,
    doors: BTreeMap<DoorRequest, oneshot::Sender<Admission>>,
    door_requests: u64,
    call_next: Option<oneshot::Sender<()>>,
    seeded: bool,
    link_faults: u32,
    sign: Sign,
}

impl Driver {
    /// Ready to run.
    #[must_use]
    pub fn new(clock: Clock, core: Flusher, exporter: Exporter, output: Output) -> Self {
        Self {
            clock,
            core,
            exports: Exports::new(exporter, clock),
            letters: Letters::new(output.clone(), clock),
            output,
            links: BTreeMap::new(),
            rings: Rings::default(),
            doors: BTreeMap::new(),
            door_requests: 0,
            call_next: None,
            seeded: false,
            link_faults: 0,
            sign: Sign::default(),
        }
    }

    /// Shows the doors what they may take.
    #[must_use]
    pub fn showing(self, sign: Sign) -> Self {
        Self { sign, ..self }
    }

    /// Runs until the core says `Exit`.
    pub async fn run(&mut self, inputs: &mut Inputs) {
        while !self.turn(inputs).await {}
        self.summarise().await;
    }

    /// One event, and all that follows from it. Whether it was the last.
    async fn turn(&mut self, inputs: &mut Inputs) -> bool {
        let last = match self.next_event(inputs).await {
            Event::ExportDone(batch, outcome) => {
                // What is done can't be cancelled any more, as the core might want to when it has read the rings. But
                // nothing is judged by it before they are read: not that nobody has announced an invocation, nor that
                // nothing is left to wait for.
                self.core.note_export_done(self.clock.now(), batch, outcome);
                self.drain() || self.handle(Event::Wake)
            }
            // What stands in the rings was written before it.
            event => self.drain() || self.handle(event),
        };
        // Until the doors are used there is nothing to show but their end.
        let room = self.core.room_at_doors();
        if !last && (self.door_requests > 0 || room.is_none()) {
            self.sign.show(room);
        }
        last
    }

    /// Whether it was the last event.
    fn handle(&mut self, mut event: Event) -> bool {
        if let Event::LinkClosed { link, counters, .. } = &mut event {
            *counters = self.rings.remove(*link);
        }
        self.core.handle(self.clock.now(), event);
        while let Some(action) = self.core.poll_action() {
            if self.perform(action) {
                return true;
            }
        }
        false
    }

    /// Hands over what stands in the rings. Whether that was the end.
    fn drain(&mut self) -> bool {
        self.rings.begin();
        while let Some(Lot { link, messages, fault }) = self.rings.next() {
            if self.handle(Event::LinkReceived(link, messages)) {
                return true;
            }
            if let Some(fault) = fault {
                self.tell_link_fault(Level::Warn, format!("a hand-off link was closed: {fault}"));
                self.links.remove(&link);
                // Its counters are no better than its frames.
                self.rings.remove(link);
                if self.handle(Event::LinkClosed { link, torn: true, counters: None }) {
                    return true;
                }
            }
        }
        for link in self.rings.waiting() {
            if let Some(answers) = self.links.get(&link) {
                let _ended = answers.send(Answer::Bell);
            }
        }
        false
    }

    /// After a panic: lets invocations pass, and at SHUTDOWN says what was lost.
    pub async fn limp(&mut self, panic: &str, inputs: &mut Inputs) {
        tell_failure(&self.output, panic);
        drop(self.call_next.take());
        self.doors.clear();
        self.links.clear();
        self.rings.clear();
        self.sign.show(None);
        if let Some((reason, deadline)) = until_shutdown(inputs).await {
            self.core.abandon();
            self.print_summary(&reason, deadline).await;
        }
    }

    /// Only makes an event of what happened first.
    async fn next_event(&mut self, inputs: &mut Inputs) -> Event {
        let now = self.clock.now();
        let wake = self.core.poll_timeout(now).map_or(LOOK_UP, |at| now.until(at).min(LOOK_UP));
        tokio::select! {
            biased;
            Some(lifecycle) = inputs.lifecycle.recv() => self.lifecycle(lifecycle),
            Some(input) = inputs.links.recv() => self.link(input),
            Some(platform) = inputs.platform.recv() => Event::Platform(platform),
            Some(request) = inputs.doors.recv() => self.door(request),
            Some(event) = self.exports.next() => event,
            Some(event) = self.letters.next() => event,
            // There is more in a ring, and everybody else has had a turn.
            () = tokio::task::yield_now(), if self.rings.unread() => Event::Wake,
            () = tokio::time::sleep(wake) => Event::Wake,
        }
    }

    fn lifecycle(&mut self, lifecycle: Lifecycle) -> Event {
        if lifecycle.event != Event::Registered && !self.seeded {
            // Drawn this late because restored snapshots share everything drawn at init.
            self.seeded = true;
            self.core.seed(getrandom::u64().unwrap_or_default());
            self.letters.identify(getrandom::u64().unwrap_or_default());
        }
        self.call_next = lifecycle.call_next;
        lifecycle.event
    }

    fn door(&mut self, input: DoorInput) -> Event {
        if input.answer.is_closed() {
            // It waited for too long and was told no: its sender still has it.
            return Event::Wake;
        }
        self.door_requests += 1;
        let request = DoorRequest(self.door_requests);
        self.doors.insert(request, input.answer);
        Event::RequestReceived { request, signal: input.signal, items: input.items, body: input.body }
    }

    fn link(&mut self, input: LinkInput) -> Event {
        match input {
            LinkInput::Opened(link, replies) => {
                self.links.insert(link, replies);
                Event::LinkOpened(link)
            }
            LinkInput::Offered(link, Ok(offer)) => {
                self.rings.offer(link, offer);
                Event::Wake
            }
            LinkInput::Offered(_, Err(error)) => {
                let message = format!(
                    "a function's shared memory can't be used, so it hands over by the socket alone: {error}"
                );
                self.tell_link_fault(Level::Info, message);
                Event::Wake
            }
            LinkInput::Received(link, messages) => Event::LinkReceived(link, messages),
            LinkInput::Closed { link, torn, fault } => {
                self.links.remove(&link);
                if let Some(fault) = fault {
                    self.tell_link_fault(Level::Warn, format!("a hand-off link was closed: {fault}"));
                }
                Event::LinkClosed { link, torn, counters: None }
            }
        }
    }

    fn tell_link_fault(&mut self, level: Level, message: String) {
        self.link_faults += 1;
        if self.link_faults <= LINK_FAULTS_TOLD_MAX {
            self.output.notice(&Notice { level, message });
        }
    }

    /// Whether it was the last action.
    fn perform(&mut self, action: Action) -> bool {
        match action {
            // The first `/next` is called by `lambda-extension` itself; later ones wait for this.
            Action::CallNext => drop(self.call_next.take()),
            Action::Reply(link, reply) => {
                if let Reply::Welcome { ring_bytes, .. } = reply {
                    self.rings.welcome(link, ring_bytes);
                }
                if let Some(replies) = self.links.get(&link) {
                    // The link has just ended; its `LinkClosed` is on the way.
                    let _ended = replies.send(Answer::Reply(reply));
                }
            }
            Action::Answer(request, admission) => {
                if let Some(answer) = self.doors.remove(&request) {
                    // The client hung up; what was accepted stays accepted.
                    let _gone = answer.send(admission);
                }
            }
            Action::CloseLink(link) => {
                self.links.remove(&link);
                self.rings.remove(link);
            }
            Action::Export { batch, signal, body, deadline } => {
                self.exports.start(batch, signal, body, deadline);
            }
            Action::Cancel(batch) => self.exports.cancel(batch),
            Action::ResetConnections => self.exports.reset(),
            Action::PrepareDeadLetter(letter) => self.letters.prepare(&letter),
            Action::ForgetDeadLetter(batch) => self.letters.forget(batch),
            Action::WriteDeadLetters { batches, deadline } => self.letters.write(batches, deadline),
            Action::Notice(notice) => self.output.notice(&notice),
            Action::Exit => return true,
        }
        false
    }

    async fn summarise(&mut self) {
        let Some((reason, deadline)) = self.core.ended() else { return };
        self.print_summary(&reason, deadline).await;
    }

    async fn print_summary(&self, reason: &str, deadline: Duration) {
        let spare = self.clock.now().until(deadline);
        let spare_ms = u64::try_from(spare.as_millis()).unwrap_or(u64::MAX);
        let printed = self.output.confirmed(vec![vec![summary::line(&self.core, reason, spare_ms)]]);
        // A stalled pipe takes no summary; the exit must not wait for it.
        for printed in printed {
            let _stalled = tokio::time::timeout(SUMMARY_WAIT.min(spare - spare / 8), printed).await;
        }
    }

    /// Whether the core is parked: for tests of the wiring.
    #[must_use]
    pub fn parked(&self) -> bool {
        matches!(self.core.phase(), Phase::Parked { .. })
    }
}
