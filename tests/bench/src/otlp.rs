//! Spans of about 350 bytes, encoded by hand: ids and times are random, the rest repeats as in real telemetry.

use fastrand::Rng;
use lambda_flush_proto::splice::{field, varint_field};

/// The same load in each run.
const SEED: u64 = 0x6c66_6275;
/// 2025-01-01 in nanoseconds.
const START_NANOS: u64 = 1_735_689_600_000_000_000;

/// An encoded `Resource`.
pub(crate) fn resource() -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in
        [("service.name", "checkout"), ("faas.name", "checkout"), ("cloud.region", "eu-central-1")]
    {
        field(1, &attribute(key, value), &mut out);
    }
    out
}

/// An encoded `InstrumentationScope`.
pub(crate) fn scope() -> Vec<u8> {
    let mut out = Vec::new();
    field(1, b"checkout::orders", &mut out);
    out
}

/// `count` encoded `Span`s.
pub(crate) fn spans(count: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(SEED);
    let mut now = START_NANOS;
    (0..count)
        .map(|_| {
            now += rng.u64(1_000..2_000_000);
            span(&mut rng, now)
        })
        .collect()
}

/// An `ExportTraceServiceRequest` of these spans.
pub(crate) fn request(spans: &[Vec<u8>]) -> Vec<u8> {
    let mut scope_spans = Vec::new();
    field(1, &scope(), &mut scope_spans);
    for span in spans {
        field(2, span, &mut scope_spans);
    }
    let mut resource_spans = Vec::new();
    field(1, &resource(), &mut resource_spans);
    field(2, &scope_spans, &mut resource_spans);
    let mut out = Vec::new();
    field(1, &resource_spans, &mut out);
    out
}

fn span(rng: &mut Rng, now: u64) -> Vec<u8> {
    let names = ["GET /orders/{id}", "SELECT orders", "publish order", "PUT /cart/{id}", "charge"];
    let mut out = Vec::new();
    field(1, &rng.u128(..).to_be_bytes(), &mut out);
    field(2, &rng.u64(..).to_be_bytes(), &mut out);
    field(4, &rng.u64(..).to_be_bytes(), &mut out);
    field(5, rng.choice(names).unwrap_or_default().as_bytes(), &mut out);
    varint_field(6, 3, &mut out);
    // fixed64: start and end.
    for (key, time) in [(0x39, now), (0x41, now + rng.u64(10_000..90_000_000))] {
        out.push(key);
        out.extend_from_slice(&time.to_le_bytes());
    }
    let order = rng.u32(..);
    let attributes = [
        ("http.request.method", "GET".to_owned()),
        ("url.path", format!("/orders/{order}")),
        ("server.address", "orders.internal.example".to_owned()),
        ("db.system.name", "postgresql".to_owned()),
        ("db.query.text", "SELECT * FROM orders WHERE id = $1".to_owned()),
        ("user_agent.original", "okhttp/4.12.0".to_owned()),
        ("app.customer", format!("{:x}", rng.u32(..))),
    ];
    for (key, value) in attributes {
        field(9, &attribute(key, &value), &mut out);
    }
    field(15, &[], &mut out);
    out
}

/// An encoded `KeyValue` with a string.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    field(1, value.as_bytes(), &mut any);
    let mut out = Vec::new();
    field(1, key.as_bytes(), &mut out);
    field(2, &any, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_large_as_the_promise_says() {
        let spans = spans(1_000);
        let bytes: usize = spans.iter().map(Vec::len).sum();
        assert!((330..370).contains(&(bytes / spans.len())), "{} bytes a span", bytes / spans.len());
        assert_eq!(spans, super::spans(1_000));
        assert!(request(&spans).len() > bytes);
    }
}
