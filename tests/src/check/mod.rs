//! Compares what a function ended with what the backend got, what was dead-lettered, and what the ledger says.

mod dead_letter;
mod scan;
mod summary;
mod verdict;

pub use dead_letter::{DeadBatch, DeadLetters};
pub use summary::{Cause, Destination, Doors, FunctionCounts, Summary};
pub use verdict::{Evidence, Verdict, check};
