//! Any bytes from the socket, cut anywhere: both ends of the link must neither panic nor disagree with themselves.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lambda_flush_proto::fuzzing::decode(data));
