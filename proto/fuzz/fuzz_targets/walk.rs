//! Any bytes as an export request: what the walk lets through, a real decoder decodes, with the same number of items.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lambda_flush_proto::fuzzing::walk(data, oracle::items);
});
