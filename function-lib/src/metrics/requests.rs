//! From encoded data points to OTLP export requests that fit a frame.
//!
//! The messages nest, and each is preceded by its length: a level is gathered in a buffer of its own and copied into
//! the next one when it is whole. A request that gets too large is closed in the middle of a metric, which goes on,
//! with the same name, in the next one.

use bytes::Bytes;
use lambda_flush_proto::splice::{field, field_header, field_len};
use opentelemetry::InstrumentationScope;

use super::HandOver;
use crate::encode;
use crate::fields::text;

/// Data points of one request, roughly. Well below what a frame holds, so that a single point, which can't be cut,
/// nearly always fits, and that the kernel takes a request at once.
pub(crate) const REQUEST_BYTES_TARGET: usize = 128 << 10;

/// See the module's description.
pub(crate) struct Requests<'a> {
    resource: &'a [u8],
    resource_schema_url: &'a str,
    hand_over: &'a mut HandOver<'a>,
    scopes: Vec<u8>,
    scope: Open,
    metrics: Vec<u8>,
    metric: Open,
    data_tag: u32,
    points: Vec<u8>,
    point: Vec<u8>,
    items: u32,
}

/// A message that is being gathered: what comes before its repeated field, and after it.
#[derive(Debug, Default)]
struct Open {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<'a> Requests<'a> {
    /// Each finished request goes to `hand_over`.
    pub(crate) fn new(resource: &'a [u8], schema_url: &'a str, hand_over: &'a mut HandOver<'a>) -> Self {
        Self {
            resource,
            resource_schema_url: schema_url,
            hand_over,
            scopes: Vec::new(),
            scope: Open::default(),
            metrics: Vec::new(),
            metric: Open::default(),
            data_tag: 0,
            points: Vec::new(),
            point: Vec::new(),
            items: 0,
        }
    }

    pub(crate) fn begin_scope(&mut self, scope: &InstrumentationScope) {
        let Open { head, tail } = &mut self.scope;
        head.clear();
        tail.clear();
        field(1, &encode::scope(scope), head);
        text(3, scope.schema_url().unwrap_or_default(), tail);
    }

    /// A metric whose data is the field `data_tag`: `head` writes what precedes that, `tail` what follows the data
    /// points in it.
    pub(crate) fn begin_metric(
        &mut self,
        data_tag: u32,
        head: impl FnOnce(&mut Vec<u8>),
        tail: impl FnOnce(&mut Vec<u8>),
    ) {
        self.data_tag = data_tag;
        self.metric.head.clear();
        self.metric.tail.clear();
        head(&mut self.metric.head);
        tail(&mut self.metric.tail);
    }

    /// One data point of the metric that was begun.
    pub(crate) fn point(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.point.clear();
        put(&mut self.point);
        let gathered = self.scopes.len() + self.metrics.len() + self.points.len();
        if gathered > 0 && gathered + self.point.len() > REQUEST_BYTES_TARGET {
            self.end_metric();
            self.end_scope();
            self.end();
        }
        field(1, &self.point, &mut self.points);
        self.items += 1;
    }

    pub(crate) fn end_metric(&mut self) {
        if self.points.is_empty() {
            return;
        }
        let Open { head, tail } = &self.metric;
        let data = self.points.len() + tail.len();
        field_header(2, head.len() + field_len(self.data_tag, data), &mut self.metrics);
        self.metrics.extend_from_slice(head);
        field_header(self.data_tag, data, &mut self.metrics);
        self.metrics.append(&mut self.points);
        self.metrics.extend_from_slice(tail);
    }

    pub(crate) fn end_scope(&mut self) {
        if self.metrics.is_empty() {
            return;
        }
        let Open { head, tail } = &self.scope;
        field_header(2, head.len() + self.metrics.len() + tail.len(), &mut self.scopes);
        self.scopes.extend_from_slice(head);
        self.scopes.append(&mut self.metrics);
        self.scopes.extend_from_slice(tail);
    }

    /// Hands over what is gathered, if that is anything.
    pub(crate) fn end(&mut self) {
        if self.items == 0 {
            return;
        }
        let mut tail = Vec::new();
        text(3, self.resource_schema_url, &mut tail);
        let len = field_len(1, self.resource.len()) + self.scopes.len() + tail.len();
        let mut request = Vec::with_capacity(field_len(1, len));
        field_header(1, len, &mut request);
        field(1, self.resource, &mut request);
        request.append(&mut self.scopes);
        request.extend_from_slice(&tail);
        (self.hand_over)(lambda_flush_proto::Signal::Metrics, self.items, Bytes::from(request));
        self.items = 0;
    }
}
