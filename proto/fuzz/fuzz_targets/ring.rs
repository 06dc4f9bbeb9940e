//! Any memory as a ring, between a writer and a reader that did not make it so.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lambda_flush_proto::fuzzing::ring(data);
});
