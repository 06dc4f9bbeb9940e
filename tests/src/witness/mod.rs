//! The witness: a file, outside of the code under test, in which a function notes each span after it has ended.
//!
//! It is mapped into memory, so that what was noted stays readable however the process dies. Layout, little-endian:
//!
//! ```text
//!  0  magic "LFWITN01"      16  slots claimed, u64      64  records of 16 bytes:
//!  8  records noted, u64    24  records refused, u64         span id [8], buffered u32, zero [4]
//! ```
//! A writer claims a slot, writes the second half of the record, then the span id, then counts it. A slot whose span id
//! is zero was claimed by a writer that died in between; the reader skips it.

mod reader;
mod tally;
mod writer;

pub use reader::{Contents, Record, noted, read};
pub use tally::{TALLY_ENV, Tally, read_tally};
pub use writer::Witness;

/// Names the witness file for the function's process.
pub const WITNESS_ENV: &str = "LAMBDA_TESTKIT_WITNESS";
/// Sets the capacity of a witness file when it is created.
pub const RECORDS_MAX_ENV: &str = "LAMBDA_TESTKIT_WITNESS_RECORDS_MAX";
/// Capacity if [`RECORDS_MAX_ENV`] is not set.
pub const RECORDS_MAX_DEFAULT: usize = 262_144;

const MAGIC: [u8; 8] = *b"LFWITN01";
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 16;
/// Positions of the header's fields, in words of eight bytes.
const NOTED_WORD: usize = 1;
const CLAIMED_WORD: usize = 2;
const REFUSED_WORD: usize = 3;

const _: () =
    assert!(cfg!(target_endian = "little"), "the witness file is mapped as it is, and is little-endian");
