//! AWS's own emulator beside the testkit: what holds on one must hold on the other.
//!
//! `cargo verify --lane rie` fetches the emulator and sets `LAMBDA_TESTKIT_RIE` to its path; without it, or where
//! namespaces are not permitted, each test says in one line that it is skipped, and passes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this target is a test")]

mod parity;
mod sandbox;

use std::path::PathBuf;

use lambda_testkit::rie::RieError;

const FUNCTION: &str = env!("CARGO_BIN_EXE_probe_function");
const EXTENSION: &str = env!("CARGO_BIN_EXE_probe_extension");

/// The emulator's path, if there is one to test with.
fn emulator() -> Option<PathBuf> {
    let path = std::env::var_os("LAMBDA_TESTKIT_RIE").map(PathBuf::from);
    if path.is_none() {
        say_skipped("LAMBDA_TESTKIT_RIE is not set");
    }
    path
}

/// The value, or `None` with a line if this machine doesn't permit what the emulator needs.
fn permitted<T>(result: Result<T, RieError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(RieError::NotPermitted(said)) => {
            say_skipped(&said);
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// The lane looks for this line.
fn say_skipped(reason: &str) {
    println!("lambda-testkit: skipped: {reason}");
}
