//! Trace and span ids straight from the kernel.
//!
//! The SDK's generator keeps a PRNG per thread. SnapStart restores many environments from one memory image,
//! and all of them would then hand out the same ids.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::{SpanId, TraceId};

/// Draws every id with `getrandom(2)`.
///
/// ```
/// use lambda_flush::KernelIdGenerator;
/// use opentelemetry_sdk::trace::IdGenerator;
///
/// assert_ne!(KernelIdGenerator.new_span_id(), KernelIdGenerator.new_span_id());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelIdGenerator;

impl opentelemetry_sdk::trace::IdGenerator for KernelIdGenerator {
    fn new_trace_id(&self) -> TraceId {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() || bytes == [0; 16] {
            return TraceId::from((u128::from(fallback()) << 64) | 1);
        }
        TraceId::from_bytes(bytes)
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(random_u64())
    }
}

/// A random number that is not zero (zero is "no id" in OpenTelemetry).
pub(crate) fn random_u64() -> u64 {
    let number = getrandom::u64().unwrap_or_else(|_| fallback());
    if number == 0 { 1 } else { number }
}

/// Where the kernel has no randomness to give: clock and counter, mixed as SplitMix64 does.
fn fallback() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let mut z = (u64::from(nanos) << 32) ^ COUNTER.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::trace::IdGenerator;
    use std::collections::HashSet;

    #[test]
    fn ids_are_valid_and_differ() {
        let spans: HashSet<_> = (0..1000).map(|_| KernelIdGenerator.new_span_id()).collect();
        let traces: HashSet<_> = (0..1000).map(|_| KernelIdGenerator.new_trace_id()).collect();
        let fallbacks: HashSet<_> = (0..1000).map(|_| fallback()).collect();
        assert_eq!((spans.len(), traces.len(), fallbacks.len()), (1000, 1000, 1000));
        assert!(!spans.contains(&SpanId::INVALID) && !traces.contains(&TraceId::INVALID));
    }
}
