//! The extension's end of a link: checks order, versions and credit, and hands out what came.
//!
//! ```text
//!                 Hello, agreed version
//!  AwaitingHello ──────────────────────▶ Open ──┐ Hello again (restore): a new resource
//!       │ anything else, no version      ▲      │
//!       ▼                                └──────┘
//!    WireError: the driver closes this link
//! ```

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::error::WireError;
use crate::frame::{self, Head};
use crate::items::ReceivedItems;
use crate::limits::{
    COUNTERS_REASONS_MAX, FRAME_HEADER_BYTES, LINK_HELLOS_MAX, LINK_SCOPES_BYTES_MAX, LINK_SCOPES_MAX,
    NAME_BYTES_MAX, REASON_BYTES_MAX, RESOURCE_BYTES_MAX, SCOPE_BYTES_MAX,
};
use crate::version::Versions;
use crate::wire::{
    Accepted, Counters, Credit, Hello, InvocationDone, InvocationStarted, Item, Scope, Signal, SpanStarted,
    ToExtension, Welcome, to_extension, to_function,
};

/// What came in on a link, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// The link opened, or its process has a new resource.
    Hello(Hello),
    /// Names a scope.
    Scope(Scope),
    /// One item or a whole request. It is the extension's from here on.
    Item(ReceivedItem),
    /// Several items; only [`ExtensionLink::poll_all`] puts them together.
    Items(ReceivedItems),
    /// A span that may never end.
    SpanStarted {
        /// What is known of it.
        started: SpanStarted,
        /// What the frame took of the link's credit.
        credit_bytes: u64,
    },
    /// An invocation began in the function.
    InvocationStarted(InvocationStarted),
    /// An invocation ended and its response was posted.
    InvocationDone(InvocationDone),
    /// The function ends in good order.
    Goodbye(Counters),
    /// `Accepted` is wanted.
    Barrier,
}

/// See [`Received::Item`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedItem {
    /// Sequence number in its process.
    pub seq: u64,
    /// The signal; [`Signal::Unspecified`] if the library is newer than this code.
    pub signal: Signal,
    /// What the bytes are.
    pub content: Content,
    /// The encoded bytes.
    pub bytes: Bytes,
    /// How many telemetry items.
    pub items: u64,
    /// What the frame took of the link's credit.
    pub credit_bytes: u64,
}

/// What the bytes of a [`ReceivedItem`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One span or log record of the scope with this id.
    Item {
        /// See [`Scope::id`].
        scope_id: u32,
    },
    /// A whole OTLP export request.
    Request,
}

/// See the module's description.
#[derive(Debug)]
pub struct ExtensionLink {
    versions: Versions,
    version: Option<u32>,
    inbound: BytesMut,
    hellos: usize,
    scopes: usize,
    scope_bytes: usize,
    received_bytes: u64,
    credit_bytes: u64,
}

impl Default for ExtensionLink {
    fn default() -> Self {
        Self::new(Versions::CURRENT)
    }
}

impl ExtensionLink {
    /// A link that has just been opened by a peer.
    #[must_use]
    pub fn new(versions: Versions) -> Self {
        Self {
            versions,
            version: None,
            inbound: BytesMut::new(),
            hellos: 0,
            scopes: 0,
            scope_bytes: 0,
            received_bytes: 0,
            credit_bytes: 0,
        }
    }

    /// Takes bytes that were read from the connection; [`Self::poll`] says what they mean.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
    }

    /// Where bytes that come next may be read to, instead of being handed to [`Self::receive`].
    pub fn inbound(&mut self) -> &mut BytesMut {
        &mut self.inbound
    }

    /// The next message, or `None` until more bytes come.
    ///
    /// # Errors
    /// The peer broke the protocol: nothing more can be read from this link.
    pub fn poll(&mut self) -> Result<Option<Received>, WireError> {
        while let Head::Frame(body) = frame::take(&mut self.inbound)? {
            let frame_bytes = (FRAME_HEADER_BYTES + body.len()) as u64;
            let body = match frame::as_item(body) {
                Ok(item) => return self.one_item(item, frame_bytes).map(Some),
                Err(body) => body,
            };
            let Some(message) = ToExtension::decode(body)?.message else {
                continue; // A message newer than this code.
            };
            return self.accept(message, frame_bytes).map(Some);
        }
        Ok(None)
    }

    /// All messages that are there, as [`Self::poll`] gives them one by one, but for items that stand together.
    ///
    /// # Errors
    /// As [`Self::poll`]; what came before the fault is in `messages`.
    pub fn poll_all(&mut self, messages: &mut Vec<Received>) -> Result<(), WireError> {
        loop {
            if let Some(items) = self.items() {
                messages.push(Received::Items(items));
            }
            match self.poll()? {
                Some(message) => messages.push(message),
                None => return Ok(()),
            }
        }
    }

    /// As [`Self::poll_all`], for whole frames that came through the ring; what came through the socket stays apart.
    ///
    /// # Errors
    /// As [`Self::poll_all`]; also if the last frame is not whole.
    pub fn poll_ring(
        &mut self,
        frames: &mut BytesMut,
        messages: &mut Vec<Received>,
    ) -> Result<(), WireError> {
        std::mem::swap(&mut self.inbound, frames);
        let mut polled = self.poll_all(messages);
        std::mem::swap(&mut self.inbound, frames);
        if polled.is_ok() && !frames.is_empty() {
            polled = Err(WireError::Malformed { detail: "half a frame in the ring".to_owned() });
        }
        polled
    }

    /// Whatever is wrong with what stands behind them, [`Self::poll`] finds it.
    fn items(&mut self) -> Option<ReceivedItems> {
        self.version?;
        let left = self.credit_bytes.saturating_sub(self.received_bytes);
        let items = ReceivedItems::take(&mut self.inbound, left)?;
        self.received_bytes += items.credit_bytes();
        Some(items)
    }

    fn accept(&mut self, message: to_extension::Message, frame_bytes: u64) -> Result<Received, WireError> {
        use to_extension::Message as M;
        match message {
            M::Hello(hello) => self.hello(hello),
            _ if self.version.is_none() => Err(WireError::HelloExpected),
            M::Scope(scope) => self.scope(scope),
            M::Item(item) => self.one_item(item, frame_bytes),
            M::Payload(payload) => {
                let items = u64::from(payload.items);
                self.item(
                    (payload.seq, payload.signal, payload.request, items),
                    Content::Request,
                    frame_bytes,
                )
            }
            M::SpanStarted(started) => {
                self.charge(frame_bytes)?;
                Ok(Received::SpanStarted { started, credit_bytes: frame_bytes })
            }
            M::InvocationStarted(started) => {
                within(&[&started.request_id, &started.attempt])?;
                Ok(Received::InvocationStarted(started))
            }
            M::InvocationDone(mut done) => {
                within(&[&done.request_id, &done.attempt])?;
                bound_reasons(done.counters.as_mut());
                Ok(Received::InvocationDone(done))
            }
            M::Goodbye(mut goodbye) => {
                bound_reasons(goodbye.counters.as_mut());
                Ok(Received::Goodbye(goodbye.counters.unwrap_or_default()))
            }
            M::Barrier(_) => Ok(Received::Barrier),
        }
    }

    fn hello(&mut self, hello: Hello) -> Result<Received, WireError> {
        if hello.resource.len() > RESOURCE_BYTES_MAX {
            return Err(WireError::Limit { name: "RESOURCE_BYTES_MAX" });
        }
        within(&[&hello.resource_schema_url])?;
        self.hellos += 1;
        if self.hellos > LINK_HELLOS_MAX {
            return Err(WireError::Limit { name: "LINK_HELLOS_MAX" });
        }
        let theirs = Versions { min: hello.version_min, max: hello.version };
        self.version = self.versions.agree(theirs);
        if self.version.is_none() {
            return Err(WireError::Version { theirs: hello.version });
        }
        Ok(Received::Hello(hello))
    }

    fn scope(&mut self, scope: Scope) -> Result<Received, WireError> {
        self.scopes += 1;
        if self.scopes > LINK_SCOPES_MAX {
            return Err(WireError::Limit { name: "LINK_SCOPES_MAX" });
        }
        if scope.scope.len() > SCOPE_BYTES_MAX {
            return Err(WireError::Limit { name: "SCOPE_BYTES_MAX" });
        }
        within(&[&scope.schema_url])?;
        self.scope_bytes += scope.scope.len() + scope.schema_url.len();
        if self.scope_bytes > LINK_SCOPES_BYTES_MAX {
            return Err(WireError::Limit { name: "LINK_SCOPES_BYTES_MAX" });
        }
        Ok(Received::Scope(scope))
    }

    fn one_item(&mut self, item: Item, frame_bytes: u64) -> Result<Received, WireError> {
        if self.version.is_none() {
            return Err(WireError::HelloExpected);
        }
        let content = Content::Item { scope_id: item.scope_id };
        self.item((item.seq, item.signal, item.item, 1), content, frame_bytes)
    }

    fn item(
        &mut self,
        (seq, signal, bytes, items): (u64, i32, Bytes, u64),
        content: Content,
        frame_bytes: u64,
    ) -> Result<Received, WireError> {
        self.charge(frame_bytes)?;
        let signal = Signal::try_from(signal).unwrap_or(Signal::Unspecified);
        Ok(Received::Item(ReceivedItem { seq, signal, content, bytes, items, credit_bytes: frame_bytes }))
    }

    fn charge(&mut self, frame_bytes: u64) -> Result<(), WireError> {
        self.received_bytes += frame_bytes;
        if self.received_bytes > self.credit_bytes {
            return Err(WireError::CreditExceeded {
                received_bytes: self.received_bytes,
                credit_bytes: self.credit_bytes,
            });
        }
        Ok(())
    }

    /// The answer to `Hello`, granting `credit_bytes` on top of what is granted.
    pub fn welcome(&mut self, credit_bytes: u64) -> Vec<u8> {
        self.welcome_to_ring(credit_bytes, 0)
    }

    /// As [`Self::welcome`]; all that comes from now on comes through a ring of `ring_bytes`.
    pub fn welcome_to_ring(&mut self, credit_bytes: u64, ring_bytes: u64) -> Vec<u8> {
        self.credit_bytes += credit_bytes;
        let version = self.version.unwrap_or(self.versions.max);
        frame::to_function(to_function::Message::Welcome(Welcome {
            version,
            credit_bytes: self.credit_bytes,
            ring_bytes,
        }))
    }

    /// The answer to a peer whose versions are not spoken here; then the link is closed.
    #[must_use]
    pub fn refusal(&self) -> Vec<u8> {
        let version = self.versions.max;
        frame::to_function(to_function::Message::Welcome(Welcome { version, credit_bytes: 0, ring_bytes: 0 }))
    }

    /// Grants `more_bytes` of item frames.
    pub fn grant(&mut self, more_bytes: u64) -> Vec<u8> {
        self.credit_bytes += more_bytes;
        frame::to_function(to_function::Message::Credit(Credit { credit_bytes: self.credit_bytes }))
    }

    /// Confirms everything up to `seq`.
    #[must_use]
    pub fn accepted(&self, seq: u64) -> Vec<u8> {
        frame::to_function(to_function::Message::Accepted(Accepted { seq }))
    }

    /// Whether bytes of an unfinished frame are waiting: at EOF, the item the function was writing when it died.
    #[must_use]
    pub fn torn(&self) -> bool {
        !self.inbound.is_empty()
    }
}

/// What is kept of a name is bounded.
pub(crate) fn within(names: &[&str]) -> Result<(), WireError> {
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(WireError::Limit { name: "NAME_BYTES_MAX" });
    }
    Ok(())
}

/// Reasons beyond the limits lose their name, not their count.
fn bound_reasons(counters: Option<&mut Counters>) {
    let Some(counters) = counters else { return };
    let mut other: u64 = 0;
    counters.dropped.retain(|name, items| {
        let keep = name.len() <= REASON_BYTES_MAX;
        other = other.saturating_add(if keep { 0 } else { *items });
        keep
    });
    while counters.dropped.len() > COUNTERS_REASONS_MAX - usize::from(other > 0) {
        let Some((_, items)) = counters.dropped.pop_last() else { break };
        other = other.saturating_add(items);
    }
    if other > 0 {
        counters.add_dropped("other", other);
    }
}
