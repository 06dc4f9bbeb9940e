//! Entries for the fuzzer and for the committed corpora, so that both run the same checks.

use crate::Signal;
use crate::extension_link::{ExtensionLink, Received};
use crate::function_link::FunctionLink;
use crate::otlp::walk::count;

/// Feeds `data` to both ends in pieces whose size the first byte chooses. Must not panic, must not loop.
pub fn decode(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let whole = received(stream, stream.len().max(1), false);
    let pieces = received(stream, piece, false);
    assert!(whole == pieces, "how the bytes were cut changed what they mean");
    for piece in [stream.len().max(1), piece] {
        assert!(whole == received(stream, piece, true), "taken together they mean something else");
    }
    let mut function = FunctionLink::new(1);
    for chunk in stream.chunks(piece) {
        if function.receive(chunk).is_err() {
            return;
        }
    }
}

/// One message at a time, or all that are there, and whether there was no fault. The first `Hello` is welcomed.
fn received(stream: &[u8], piece: usize, together: bool) -> (Vec<Received>, bool) {
    let (mut link, mut out, mut welcomed) = (ExtensionLink::default(), Vec::new(), false);
    for chunk in stream.chunks(piece) {
        link.receive(chunk);
        loop {
            let before = out.len();
            let polled = match together && welcomed {
                true => link.poll_all(&mut out),
                false => link.poll().map(|message| out.extend(message)),
            };
            if !welcomed && matches!(out.last(), Some(Received::Hello(_))) {
                link.welcome(1 << 20);
                welcomed = true;
            }
            if polled.is_err() {
                return (apart(out), false);
            }
            if out.len() == before {
                break;
            }
        }
    }
    (apart(out), true)
}

/// Each item as a message of its own.
pub(crate) fn apart(messages: Vec<Received>) -> Vec<Received> {
    let apart = |message| match message {
        Received::Items(items) => items.each().into_iter().map(Received::Item).collect(),
        message => vec![message],
    };
    messages.into_iter().flat_map(apart).collect()
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
