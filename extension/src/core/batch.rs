//! Batching by splicing: finished items are put together to an OTLP export request without decoding any.
//!
//! All three export requests have the same shape and the same field numbers
//! (<https://github.com/open-telemetry/opentelemetry-proto>, `collector/*/v1/*_service.proto`):
//! `{1: ResourceX{1: resource, 2: ScopeX{1: scope, 2: item …, 3: schema_url} …, 3: schema_url} …}`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lambda_flush_proto::items::ReceivedBytes;
use lambda_flush_proto::splice::{append, field, field_header, field_len};

use super::Signal;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_GROUPS_MAX, BATCH_HEAD_BYTES_MAX, BATCH_SLACK_BYTES, BATCH_SMALL_BYTES,
};

const REQUEST_RESOURCES: u32 = 1;
const RESOURCE: u32 = 1;
const RESOURCE_SCOPES: u32 = 2;
const RESOURCE_SCHEMA_URL: u32 = 3;
const SCOPE: u32 = 1;
const SCOPE_ITEMS: u32 = 2;
const SCOPE_SCHEMA_URL: u32 = 3;

/// Four keys of one byte, with their lengths.
const HEADERS_BYTES_MAX: usize = 4 * (1 + 10);

/// An encoded resource or instrumentation scope with its schema URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// The encoded message.
    pub bytes: Bytes,
    /// Empty if none.
    pub schema_url: String,
}

/// Where an item came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Of the process.
    pub resource: Arc<Described>,
    /// Of the library that recorded it.
    pub scope: Arc<Described>,
}

/// Items of one signal that are not closed to a batch yet.
#[derive(Debug)]
pub struct OpenBatch {
    signal: Signal,
    groups: Vec<Group>,
    /// Whole requests.
    requests: Vec<Bytes>,
    /// Bytes gathered, with the resources and scopes that will stand around them.
    bytes: usize,
    items: u64,
    credit_bytes: u64,
    door_bytes: u64,
}

#[derive(Debug)]
struct Group {
    origin: Origin,
    /// Room for what will stand before the items, and the items as finished fields of the scope.
    buffer: BytesMut,
    head_bytes: usize,
}

impl Group {
    /// With room for its head if it may become the whole request.
    fn new(origin: Origin, first: bool) -> Self {
        let wanted = origin.resource.bytes.len() + origin.scope.bytes.len() + HEADERS_BYTES_MAX;
        let head_bytes = if first && wanted <= BATCH_HEAD_BYTES_MAX { wanted } else { 0 };
        let mut buffer = BytesMut::new();
        buffer.put_bytes(0, head_bytes);
        Self { origin, buffer, head_bytes }
    }

    fn items(&self) -> &[u8] {
        self.buffer.get(self.head_bytes..).unwrap_or_default()
    }

    /// Adds an item; returns how much that took.
    fn push(&mut self, item: &[u8]) -> usize {
        let before = self.buffer.len();
        let more = field_len(SCOPE_ITEMS, item.len());
        if self.buffer.capacity() - before < more && before > BATCH_SMALL_BYTES {
            // It is likely to become a whole batch, and grows once instead of copying itself again and again.
            self.buffer.reserve((BATCH_BYTES_MAX + BATCH_SLACK_BYTES).saturating_sub(before).max(more));
        }
        append(SCOPE_ITEMS, item, &mut self.buffer);
        self.buffer.len() - before
    }

    /// The request, if this is all of it, written around the items where they are. Not where that would keep much
    /// more memory than it needs.
    fn into_request(mut self) -> Result<Bytes, Self> {
        let spare = self.buffer.capacity() - self.buffer.len();
        if self.head_bytes == 0 || spare > self.buffer.len() / 8 {
            return Err(self);
        }
        let mut head = BytesMut::with_capacity(self.head_bytes);
        put_resource_head(std::slice::from_ref(&self), &mut head);
        put_scope_head(&self, &mut head);
        let Some(start) = self.head_bytes.checked_sub(head.len()) else { return Err(self) };
        for (place, byte) in self.buffer.iter_mut().skip(start).zip(&head) {
            *place = *byte;
        }
        put_schema_url(SCOPE_SCHEMA_URL, &self.origin.scope.schema_url, &mut self.buffer);
        put_schema_url(RESOURCE_SCHEMA_URL, &self.origin.resource.schema_url, &mut self.buffer);
        self.buffer.advance(start);
        Ok(self.buffer.freeze())
    }
}

/// A closed batch's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Of the request.
    pub signal: Signal,
    /// How many telemetry items.
    pub items: u64,
    /// What its frames took of the byte budget.
    pub credit_bytes: u64,
    /// As much of it came in at the doors.
    pub door_bytes: u64,
    /// An OTLP export request.
    pub body: Bytes,
}

impl Closed {
    /// One request with everything in `batches`, which are of one signal: repeated fields concatenate.
    #[must_use]
    pub fn concat(batches: &[super::store::Batch]) -> Self {
        let closed = || batches.iter().map(|batch| &batch.closed);
        let mut body = BytesMut::with_capacity(closed().map(|closed| closed.body.len()).sum());
        for closed in closed() {
            body.put_slice(&closed.body);
        }
        Self {
            signal: closed().next().map_or(Signal::Traces, |closed| closed.signal),
            items: closed().map(|closed| closed.items).sum(),
            credit_bytes: closed().map(|closed| closed.credit_bytes).sum(),
            door_bytes: closed().map(|closed| closed.door_bytes).sum(),
            body: body.freeze(),
        }
    }
}

impl OpenBatch {
    /// Empty.
    #[must_use]
    pub fn new(signal: Signal) -> Self {
        Self {
            signal,
            groups: Vec::new(),
            requests: Vec::new(),
            bytes: 0,
            items: 0,
            credit_bytes: 0,
            door_bytes: 0,
        }
    }

    /// Adds one encoded item.
    pub fn push_item(&mut self, origin: &Origin, item: &[u8], credit_bytes: u64) {
        self.items += 1;
        self.credit_bytes += credit_bytes;
        // Items of one scope come in runs, so the last group is nearly always the right one.
        let group = self.groups.iter_mut().rev().find(|group| group.origin.same(origin));
        let group = match group {
            Some(group) => group,
            None => {
                let known = |group: &Group| Arc::ptr_eq(&group.origin.resource, &origin.resource);
                if !self.groups.iter().any(known) {
                    self.bytes += origin.resource.bytes.len();
                }
                self.bytes += origin.scope.bytes.len();
                self.groups.push(Group::new(origin.clone(), self.groups.is_empty()));
                let Some(group) = self.groups.last_mut() else { return };
                group
            }
        };
        self.bytes += group.push(item);
    }

    /// Adds encoded items until they end or it is full at `bytes_max`; whether it is.
    pub fn push_items<'a>(
        &mut self,
        origin: &Origin,
        items: &mut impl Iterator<Item = ReceivedBytes<'a>>,
        bytes_max: usize,
    ) -> bool {
        for item in items {
            self.push_item(origin, item.bytes, item.credit_bytes);
            if self.is_full(bytes_max) {
                return true;
            }
        }
        false
    }

    /// Adds a whole OTLP export request of `items` items. It is kept as it is until the batch closes.
    pub fn push_request(&mut self, request: Bytes, items: u64, credit_bytes: u64) {
        self.items += items;
        self.credit_bytes += credit_bytes;
        self.bytes += request.len();
        self.requests.push(request);
    }

    /// `bytes` of what was added came in at the doors.
    pub fn at_doors(&mut self, bytes: u64) {
        self.door_bytes += bytes;
    }

    /// As much of what its frames took came in at the doors.
    #[must_use]
    pub fn door_bytes(&self) -> u64 {
        self.door_bytes
    }

    /// Telemetry items in it.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// What its frames took of the byte budget.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        self.credit_bytes
    }

    /// Bytes gathered, with the resources and scopes that will stand around them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has to be closed, at `bytes_max`.
    #[must_use]
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.groups.len() >= BATCH_GROUPS_MAX || self.len() >= bytes_max
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // A request that claims to have no items still takes memory and still goes out.
        self.items == 0 && self.credit_bytes == 0
    }

    /// Assembles the request. One allocation of the exact size; none if it is one whole request already, or a full
    /// batch of one scope.
    #[must_use]
    pub fn close(mut self) -> Closed {
        let body = self.single().unwrap_or_else(|| self.assemble());
        Closed {
            signal: self.signal,
            items: self.items,
            credit_bytes: self.credit_bytes,
            door_bytes: self.door_bytes,
            body,
        }
    }

    fn single(&mut self) -> Option<Bytes> {
        match (self.groups.len(), self.requests.len()) {
            (0, 1) => self.requests.pop(),
            (1, 0) => match self.groups.pop()?.into_request() {
                Ok(request) => Some(request),
                Err(group) => {
                    self.groups.push(group);
                    None
                }
            },
            _ => None,
        }
    }

    fn assemble(&mut self) -> Bytes {
        self.gather_resources();
        let by_resource = || self.groups.chunk_by(|a, b| Arc::ptr_eq(&a.origin.resource, &b.origin.resource));
        let spliced = by_resource().map(|groups| field_len(REQUEST_RESOURCES, resource_len(groups)));
        let whole = self.requests.iter().map(Bytes::len);
        let mut body = BytesMut::with_capacity(spliced.chain(whole).sum());
        for groups in by_resource() {
            put_resource(groups, &mut body);
        }
        for request in &self.requests {
            body.put_slice(request);
        }
        body.freeze()
    }

    /// Groups of one resource stand together, in the order in which the resources came.
    fn gather_resources(&mut self) {
        let mut order: Vec<Arc<Described>> = Vec::new();
        for group in &self.groups {
            if !order.iter().any(|resource| Arc::ptr_eq(resource, &group.origin.resource)) {
                order.push(Arc::clone(&group.origin.resource));
            }
        }
        self.groups.sort_by_key(|group| {
            order.iter().position(|resource| Arc::ptr_eq(resource, &group.origin.resource))
        });
    }
}

impl Origin {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resource, &other.resource) && Arc::ptr_eq(&self.scope, &other.scope)
    }
}

fn schema_url_len(tag: u32, url: &str) -> usize {
    if url.is_empty() { 0 } else { field_len(tag, url.len()) }
}

fn put_schema_url(tag: u32, url: &str, out: &mut BytesMut) {
    if !url.is_empty() {
        field(tag, url.as_bytes(), out);
    }
}

fn scope_len(group: &Group) -> usize {
    let scope = &group.origin.scope;
    field_len(SCOPE, scope.bytes.len())
        + group.items().len()
        + schema_url_len(SCOPE_SCHEMA_URL, &scope.schema_url)
}

fn resource_len(groups: &[Group]) -> usize {
    let Some(first) = groups.first() else { return 0 };
    let resource = &first.origin.resource;
    let scopes: usize = groups.iter().map(|group| field_len(RESOURCE_SCOPES, scope_len(group))).sum();
    field_len(RESOURCE, resource.bytes.len())
        + scopes
        + schema_url_len(RESOURCE_SCHEMA_URL, &resource.schema_url)
}

fn put_resource(groups: &[Group], out: &mut BytesMut) {
    let Some(first) = groups.first() else { return };
    put_resource_head(groups, out);
    for group in groups {
        put_scope_head(group, out);
        out.put_slice(group.items());
        put_schema_url(SCOPE_SCHEMA_URL, &group.origin.scope.schema_url, out);
    }
    put_schema_url(RESOURCE_SCHEMA_URL, &first.origin.resource.schema_url, out);
}

fn put_resource_head(groups: &[Group], out: &mut BytesMut) {
    let Some(first) = groups.first() else { return };
    field_header(REQUEST_RESOURCES, resource_len(groups), out);
    field(RESOURCE, &first.origin.resource.bytes, out);
}

fn put_scope_head(group: &Group, out: &mut BytesMut) {
    field_header(RESOURCE_SCOPES, scope_len(group), out);
    field(SCOPE, &group.origin.scope.bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_of_one_scope_is_written_around_its_items_and_says_the_same() {
        let described = |name: &'static [u8], url: &str| {
            Arc::new(Described { bytes: Bytes::from_static(name), schema_url: url.to_owned() })
        };
        for (item_bytes, in_place) in [(300, true), (60_000, true), (90, true), (100_000, false)] {
            let origin = Origin { resource: described(b"resource", "r"), scope: described(b"scope", "s") };
            let mut open = OpenBatch::new(Signal::Traces);
            while !open.is_full(if in_place { BATCH_BYTES_MAX } else { 1_000 }) {
                open.push_item(&origin, &vec![7; item_bytes], 1);
            }
            let mut expected = BytesMut::new();
            put_resource(&open.groups, &mut expected);
            let items = open.groups[0].items().as_ptr();
            let body = open.close().body;
            assert!(body == expected, "{item_bytes}");
            assert_eq!(body.as_ptr_range().contains(&items), in_place, "{item_bytes}");
        }
    }
}
