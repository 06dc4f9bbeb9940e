//! What is held until it is exported: items spliced into OTLP export requests, bounded, counted. Pure.
//!
//! All three export requests have the same shape and the same field numbers
//! (<https://github.com/open-telemetry/opentelemetry-proto>, `collector/*/v1/*_service.proto`):
//! `{1: ResourceX{1: resource, 2: ScopeX{1: scope, 2: item …, 3: schema_url} …, 3: schema_url} …}`.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use lambda_flush_proto::Signal;
use lambda_flush_proto::splice::{field, field_header, field_len};

use super::settings::{SIGNALS, index};
use crate::carrier::Item;
use crate::counters::{Counters, DropReason};
use crate::scopes::Scopes;

const REQUEST_RESOURCES: u32 = 1;
const RESOURCE: u32 = 1;
const RESOURCE_SCOPES: u32 = 2;
const RESOURCE_SCHEMA_URL: u32 = 3;
const SCOPE: u32 = 1;
const SCOPE_ITEMS: u32 = 2;
const SCOPE_SCHEMA_URL: u32 = 3;

/// A request is closed when it is larger: common backends refuse bodies over 4 MiB.
pub(crate) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// One OTLP export request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) signal: Signal,
    pub(crate) items: u64,
    pub(crate) body: Bytes,
    /// What it counts for in [`Held`].
    held_bytes: usize,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("signal", &self.signal)
            .field("items", &self.items)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// See the module's description.
pub(crate) struct Held {
    resource: Bytes,
    resource_schema_url: String,
    scopes: Scopes,
    /// By the scopes' numbers, less one: encoding and schema URL.
    encoded_scopes: Vec<(Bytes, String)>,
    open: [Open; SIGNALS.len()],
    closed: VecDeque<Batch>,
    bytes: usize,
    bytes_max: usize,
    buffered: u64,
    counters: Counters,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("buffered", &self.buffered)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A request that still takes items.
#[derive(Default)]
struct Open {
    groups: Vec<Group>,
    /// Whole requests, which concatenate.
    requests: Vec<u8>,
    items: u64,
    bytes: usize,
}

/// Items of one scope, as fields of that scope.
struct Group {
    scope: usize,
    items: Vec<u8>,
}

impl Held {
    pub(crate) fn new(resource: Bytes, resource_schema_url: String, bytes_max: usize) -> Self {
        Self {
            resource,
            resource_schema_url,
            scopes: Scopes::default(),
            encoded_scopes: Vec::new(),
            open: Default::default(),
            closed: VecDeque::new(),
            bytes: 0,
            bytes_max,
            buffered: 0,
            counters: Counters::default(),
        }
    }

    /// Keeps an item, or drops and counts it.
    pub(crate) fn push_item(&mut self, item: &Item<'_>) {
        let Some(scope) = self.scope(item) else { return self.refuse(DropReason::TooManyScopes, 1) };
        let bytes = field_len(SCOPE_ITEMS, item.encoded.bytes().len());
        if !self.admit(bytes, 1) {
            return;
        }
        let Some(open) = self.open.get_mut(index(item.signal)) else { return };
        open.items += 1;
        open.bytes += bytes;
        // Items of one scope come in runs.
        let at = open.groups.iter().rposition(|group| group.scope == scope).unwrap_or_else(|| {
            open.groups.push(Group { scope, items: Vec::new() });
            open.groups.len() - 1
        });
        if let Some(group) = open.groups.get_mut(at) {
            field(SCOPE_ITEMS, item.encoded.bytes(), &mut group.items);
        }
        self.close_if_large(item.signal);
    }

    /// Keeps a whole OTLP export request, or drops and counts it.
    pub(crate) fn push_request(&mut self, signal: Signal, items: u32, request: &[u8]) {
        if !self.admit(request.len(), u64::from(items)) {
            return;
        }
        let Some(open) = self.open.get_mut(index(signal)) else { return };
        open.items += u64::from(items);
        open.bytes += request.len();
        open.requests.extend_from_slice(request);
        self.close_if_large(signal);
    }

    /// Counts items that ended and are not kept.
    pub(crate) fn refuse(&mut self, reason: DropReason, items: u64) {
        self.counters.ended += items;
        self.counters.dropped(reason, items);
    }

    /// The oldest request, with all that is held by now if nothing older waits.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.closed.is_empty() {
            self.close_all();
        }
        self.closed.pop_front()
    }

    /// Requests that take no more items and are not taken.
    pub(crate) fn closed(&self) -> usize {
        self.closed.len()
    }

    /// Lets no request take more items; how many there are then.
    pub(crate) fn close_all(&mut self) -> usize {
        for signal in SIGNALS {
            self.close(signal);
        }
        self.closed()
    }

    /// A request that was taken and is not settled.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        self.closed.push_front(batch);
    }

    /// A request that was taken is with the backend, `rejected` of its items excepted.
    pub(crate) fn settled(&mut self, batch: &Batch, rejected: u64) {
        let rejected = rejected.min(batch.items);
        self.bytes = self.bytes.saturating_sub(batch.held_bytes);
        self.buffered = self.buffered.saturating_sub(batch.items);
        self.counters.written += batch.items - rejected;
        self.counters.dropped(DropReason::Rejected, rejected);
    }

    /// Forgets everything, uncounted: it is another process's.
    pub(crate) fn clear(&mut self) {
        *self =
            Self::new(self.resource.clone(), std::mem::take(&mut self.resource_schema_url), self.bytes_max);
    }

    /// Items held, those of requests that were taken included.
    pub(crate) fn buffered(&self) -> u64 {
        self.buffered
    }

    /// Whether more than half of the room is taken.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn scope(&mut self, item: &Item<'_>) -> Option<usize> {
        let id = self.scopes.id(item.scope)?;
        while let Some(scope) = self.scopes.name_next() {
            self.encoded_scopes.push((scope.encoded, scope.schema_url.to_owned()));
        }
        usize::try_from(id).ok()?.checked_sub(1)
    }

    fn admit(&mut self, bytes: usize, items: u64) -> bool {
        self.counters.ended += items;
        let fits = self.bytes + bytes <= self.bytes_max;
        if fits {
            self.bytes += bytes;
            self.buffered += items;
        } else {
            self.counters.dropped(DropReason::BufferFull, items);
        }
        fits
    }

    fn close_if_large(&mut self, signal: Signal) {
        if self.open.get(index(signal)).is_some_and(|open| open.bytes > REQUEST_BYTES_MAX) {
            self.close(signal);
        }
    }

    fn close(&mut self, signal: Signal) {
        let Some(open) = self.open.get_mut(index(signal)).map(std::mem::take) else { return };
        if open.bytes == 0 && open.items == 0 {
            return;
        }
        let body = self.body(&open).into();
        self.closed.push_back(Batch { signal, items: open.items, body, held_bytes: open.bytes });
    }

    fn body(&self, open: &Open) -> Vec<u8> {
        let scopes: usize =
            open.groups.iter().map(|group| field_len(RESOURCE_SCOPES, self.scope_len(group))).sum();
        let resource = field_len(RESOURCE, self.resource.len())
            + scopes
            + url_len(RESOURCE_SCHEMA_URL, &self.resource_schema_url);
        let mut out = Vec::with_capacity(field_len(REQUEST_RESOURCES, resource) + open.requests.len());
        if !open.groups.is_empty() {
            field_header(REQUEST_RESOURCES, resource, &mut out);
            field(RESOURCE, &self.resource, &mut out);
            for group in &open.groups {
                let Some((scope, url)) = self.encoded_scopes.get(group.scope) else { continue };
                field_header(RESOURCE_SCOPES, self.scope_len(group), &mut out);
                field(SCOPE, scope, &mut out);
                out.extend_from_slice(&group.items);
                put_url(SCOPE_SCHEMA_URL, url, &mut out);
            }
            put_url(RESOURCE_SCHEMA_URL, &self.resource_schema_url, &mut out);
        }
        out.extend_from_slice(&open.requests);
        out
    }

    fn scope_len(&self, group: &Group) -> usize {
        self.encoded_scopes.get(group.scope).map_or(0, |(scope, url)| {
            field_len(SCOPE, scope.len()) + group.items.len() + url_len(SCOPE_SCHEMA_URL, url)
        })
    }
}

fn url_len(tag: u32, url: &str) -> usize {
    if url.is_empty() { 0 } else { field_len(tag, url.len()) }
}

fn put_url(tag: u32, url: &str, out: &mut Vec<u8>) {
    if !url.is_empty() {
        field(tag, url.as_bytes(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch;
    use opentelemetry::InstrumentationScope;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    fn held(bytes_max: usize) -> Held {
        let resource = Resource { dropped_attributes_count: 7, ..Resource::default() };
        Held::new(resource.encode_to_vec().into(), "https://schema.example".to_owned(), bytes_max)
    }

    fn scope(name: &str) -> InstrumentationScope {
        InstrumentationScope::builder(name.to_owned())
            .with_schema_url(format!("https://{name}.example"))
            .build()
    }

    fn span(name: &str) -> Vec<u8> {
        Span { name: name.to_owned(), ..Span::default() }.encode_to_vec()
    }

    fn push(held: &mut Held, name: &str, scope_name: &str) {
        let scope = scope(scope_name);
        push_as(held, Signal::Traces, name, &scope);
    }

    fn push_as(held: &mut Held, signal: Signal, name: &str, scope: &InstrumentationScope) {
        scratch::encoded(
            |out| out.extend(span(name)),
            |encoded| held.push_item(&Item { signal, scope, encoded }),
        );
    }

    #[test]
    fn a_request_decodes_to_what_was_put_in() {
        let mut held = held(1 << 20);
        for (name, scope) in [("1", "a"), ("2", "b"), ("3", "a")] {
            push(&mut held, name, scope);
        }
        let whole = ExportTraceServiceRequest { resource_spans: vec![Default::default()] };
        held.push_request(Signal::Traces, 2, &whole.encode_to_vec());
        let batch = held.take().unwrap();
        assert_eq!((batch.items, held.buffered(), held.take()), (5, 5, None));
        let request = ExportTraceServiceRequest::decode(batch.body.clone()).unwrap();
        let [ours, other] = request.resource_spans.as_slice() else { panic!("{request:?}") };
        assert_eq!(ours.schema_url, "https://schema.example");
        assert_eq!(ours.resource.as_ref().unwrap().dropped_attributes_count, 7);
        let scopes: Vec<(String, String, Vec<&str>)> = ours
            .scope_spans
            .iter()
            .map(|scope| {
                let names = scope.spans.iter().map(|span| span.name.as_str()).collect();
                (scope.scope.as_ref().unwrap().name.clone(), scope.schema_url.clone(), names)
            })
            .collect();
        let expected = [("a", vec!["1", "3"]), ("b", vec!["2"])]
            .map(|(name, spans)| (name.to_owned(), format!("https://{name}.example"), spans));
        assert_eq!(scopes, expected);
        assert_eq!(*other, Default::default());
        held.settled(&batch, 2);
        assert_eq!((held.buffered(), held.counters().written), (0, 3));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_room_comes_back() {
        let mut held = held(100);
        for _ in 0..20 {
            push(&mut held, "ten bytes!", "a");
        }
        let kept = held.buffered();
        assert!((1..20).contains(&kept) && held.is_half_full());
        assert_eq!(held.counters().reasons().collect::<Vec<_>>(), [("buffer_full", 20 - kept)]);
        let batch = held.take().unwrap();
        push(&mut held, "ten bytes!", "a");
        assert_eq!(held.buffered(), kept, "what was taken is still held");
        held.put_back(batch.clone());
        assert_eq!(held.take(), Some(batch.clone()));
        held.settled(&batch, 0);
        push(&mut held, "ten bytes!", "a");
        assert_eq!((held.buffered(), held.counters().ended, held.counters().written), (1, 22, kept));
    }

    #[test]
    fn large_requests_are_split_and_the_oldest_goes_first() {
        let mut held = held(16 << 20);
        for name in ["first", "second", "third"] {
            push(&mut held, &name.repeat(REQUEST_BYTES_MAX / 4), "a");
        }
        push(&mut held, "last", "a");
        let batches: Vec<_> = std::iter::from_fn(|| held.take()).map(|batch| batch.items).collect();
        assert_eq!(batches, [1, 1, 1, 1]);
    }

    #[test]
    fn each_signal_has_its_own_request() {
        let mut held = held(1 << 20);
        for signal in SIGNALS {
            push_as(&mut held, signal, "x", &scope("a"));
        }
        let batches: Vec<_> = std::iter::from_fn(|| held.take()).map(|batch| batch.signal).collect();
        assert_eq!(batches, SIGNALS);
    }
}
