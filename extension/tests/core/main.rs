//! Tests of the pure core: virtual time, no sleeping, every promise checked after every step.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, reason = "tests say how to repeat a failure")]
#![allow(unreachable_pub, reason = "a test target has no users")]

mod body;
mod doors;
mod driver;
mod exhaustive;
mod function;
mod random;
mod rules;
mod scenario;
mod seen;
mod setup;
mod splice;
mod transitions;
mod world;
