//! When a failed export is tried again: exponential backoff with full jitter, never before the server's
//! Retry-After (OTLP specification, "Failures" and "OTLP/HTTP Throttling").

use std::time::Duration;

use crate::limits::{RETRY_AFTER_MAX, RETRY_BACKOFF_MAX, RETRY_BACKOFF_MIN};

/// The wait before attempt number `attempts + 1`. `random` is uniform in `0.0..1.0`.
#[must_use]
pub fn backoff(attempts: u32, after: Option<Duration>, random: f64) -> Duration {
    let doubled = RETRY_BACKOFF_MIN.saturating_mul(1_u32 << attempts.saturating_sub(1).min(16));
    let ceiling = doubled.min(RETRY_BACKOFF_MAX);
    // Half fixed, half random: environments that failed together do not come back together.
    let jittered = ceiling / 2 + ceiling.mul_f64(random.clamp(0.0, 1.0)) / 2;
    jittered.max(after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_within_its_bounds_and_honours_the_server() {
        assert_eq!(backoff(1, None, 0.0), RETRY_BACKOFF_MIN / 2);
        assert_eq!(backoff(1, None, 1.0), RETRY_BACKOFF_MIN);
        assert_eq!(backoff(3, None, 1.0), RETRY_BACKOFF_MIN * 4);
        assert_eq!(backoff(u32::MAX, None, 1.0), RETRY_BACKOFF_MAX);
        assert_eq!(backoff(1, Some(Duration::from_secs(7)), 0.5), Duration::from_secs(7));
        assert_eq!(backoff(1, Some(Duration::from_secs(86_400)), 0.5), RETRY_AFTER_MAX);
    }
}
