//! The fuzzer's committed corpus, run as an ordinary test: what it once found stays found.
#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use lambda_flush_proto::{ExtensionLink, Received, fuzzing};

/// Every input of the corpus with its file name.
fn corpus() -> Vec<(String, Vec<u8>)> {
    inputs("decode")
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn no_input_of_the_corpus_breaks_a_link() {
    for (name, input) in corpus() {
        // Shown by libtest if the next line panics.
        println!("{name}");
        fuzzing::decode(&input);
    }
}

#[test]
fn no_input_of_the_corpus_breaks_a_ring() {
    let inputs = inputs("ring");
    assert!(inputs.len() >= 10);
    for (name, input) in inputs {
        println!("{name}");
        fuzzing::ring(&input);
    }
}

/// A corpus that no longer reaches a message (after a change of the schema, say) would test nothing.
#[test]
fn the_corpus_reaches_every_message() {
    let mut reached = BTreeSet::new();
    let mut refused = 0;
    for (_, input) in corpus() {
        let mut link = ExtensionLink::default();
        link.receive(input.get(1..).unwrap_or_default());
        loop {
            match link.poll() {
                Ok(Some(message)) => {
                    drop(link.welcome(1 << 20));
                    reached.insert(name(&message));
                }
                Ok(None) => break,
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    let all = [
        "Barrier",
        "Goodbye",
        "Hello",
        "InvocationDone",
        "InvocationStarted",
        "Item",
        "Scope",
        "SpanStarted",
    ];
    assert_eq!(reached, BTreeSet::from(all));
    assert!(refused >= 10, "only {refused} inputs are refused");
}

fn name(message: &Received) -> &'static str {
    match message {
        Received::Hello(_) => "Hello",
        Received::Scope(_) => "Scope",
        Received::Item(_) | Received::Items(_) => "Item",
        Received::SpanStarted { .. } => "SpanStarted",
        Received::InvocationStarted(_) => "InvocationStarted",
        Received::InvocationDone(_) => "InvocationDone",
        Received::Goodbye(_) => "Goodbye",
        Received::Barrier => "Barrier",
    }
}
