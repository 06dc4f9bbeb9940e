//! What a simulated environment is made of: its configuration, and how backend and printer behave.

use std::time::Duration;

use lambda_flush_extension::core::{FlushConfig, Outcome, Strategy};

/// What the backend does with a request.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Answers after a while.
    Answers(Duration, Outcome),
    /// Takes the body and never answers.
    Hangs,
    /// The test answers.
    Silent,
}

/// What the printer does with dead letters.
#[derive(Debug, Clone, Copy)]
pub enum Printer {
    /// Prints all of them in this time.
    Prints(Duration),
    /// Prints nothing and says so.
    Fails,
    /// Prints nothing and never says so.
    Hangs,
}

pub fn config() -> FlushConfig {
    FlushConfig {
        strategy: Strategy::End,
        billed_max: Duration::from_millis(100),
        export_timeout: Duration::from_secs(10),
        managed: false,
        buffer_bytes_max: 16 << 20,
        request_bytes_max: 512 << 10,
        export: true,
        dead_letter: true,
        dead_letter_rate: 20 << 20,
    }
}
