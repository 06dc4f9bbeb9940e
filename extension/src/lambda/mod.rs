//! Lambda's Extensions API.

pub mod fallback;
pub mod lifecycle;
pub mod turnstile;
