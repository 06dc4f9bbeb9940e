//! Entries for the fuzzer and for the committed corpora, so that both run the same checks.

use crate::Signal;
use crate::extension_link::{ExtensionLink, Received};
use crate::function_link::FunctionLink;
use crate::otlp::walk::count;

/// Feeds `data` to both ends in pieces whose size the first byte chooses. Must not panic, must not loop.
pub fn decode(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let whole = received(stream, stream.len().max(1));
    let pieces = received(stream, piece);
    assert!(whole == pieces, "how the bytes were cut changed what they mean");
    let mut function = FunctionLink::new(1);
    for chunk in stream.chunks(piece) {
        if function.receive(chunk).is_err() {
            return;
        }
    }
}

fn received(stream: &[u8], piece: usize) -> (Vec<Received>, bool) {
    let mut link = ExtensionLink::default();
    let mut out = Vec::new();
    for chunk in stream.chunks(piece) {
        link.receive(chunk);
        loop {
            match link.poll() {
                Ok(Some(Received::Hello(hello))) => {
                    link.welcome(1 << 20);
                    out.push(Received::Hello(hello));
                }
                Ok(Some(message)) => out.push(message),
                Ok(None) => break,
                Err(_) => return (out, false),
            }
        }
    }
    (out, true)
}

/// Goes through `data` as an export request, whose signal the first byte chooses. Whether it passed; what passes has
/// to `decode`, with the same number of items.
pub fn walk(data: &[u8], decode: impl Fn(Signal, &[u8]) -> Option<u64>) -> bool {
    let Some((first, request)) = data.split_first() else { return false };
    let signal = [Signal::Traces, Signal::Metrics, Signal::Logs].get(usize::from(first % 3)).copied();
    let signal = signal.unwrap_or_default();
    match count(signal, request) {
        Ok(items) => {
            assert_eq!(Some(items), decode(signal, request), "what passes decodes");
            true
        }
        Err(_) => false,
    }
}
