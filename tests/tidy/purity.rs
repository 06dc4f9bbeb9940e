//! `extension/src/core` and `proto/src` have no I/O, no clock, no async, no randomness, no environment.
//!
//! What they need of these comes in as an argument; so a run is a list of inputs that can be replayed.

use crate::source::{Complaint, Source};
use crate::tokens::{Word, product_words};

/// Where the rule holds.
const PURE: [&str; 2] = ["extension/src/core/", "proto/src/"];

/// The one edge to the kernel among them: it maps the memory of the ring.
const EDGE: &str = "proto/src/ring/memory.rs";

/// Paths that have no place there, with everything inside them.
const FORBIDDEN: [&str; 29] = [
    "tokio",
    "async_std",
    "smol",
    "mio",
    "futures",
    "futures_util",
    "hyper",
    "reqwest",
    "rustix",
    "libc",
    "rand",
    "getrandom",
    "std::net",
    "std::os",
    "std::env",
    "std::fs",
    "std::thread",
    "std::process",
    "std::io::Read",
    "std::io::Write",
    "std::io::BufRead",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::io::prelude",
    "std::sync::mpsc",
    "std::time::Instant::elapsed",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
];

/// The only generator: seeded by the caller.
const SEEDED: [&str; 2] = ["fastrand::Rng", "fastrand::Rng::with_seed"];

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

pub(crate) fn check(source: &Source) -> Vec<Complaint> {
    let pure = PURE.iter().any(|folder| source.path.starts_with(folder)) && source.path != EDGE;
    if !pure || is_test_file(&source.path) {
        return Vec::new();
    }
    let words = product_words(&source.syntax);
    let complain =
        |word: &Word| Some(source.complaint(word.line, format!("{} {}", word.path, impurity(word)?)));
    words.iter().filter_map(complain).collect()
}

/// A module file of its own that only tests compile (`#[cfg(test)] mod tests;`).
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Why the word has no place in pure code, if it has none.
fn impurity(word: &Word) -> Option<&'static str> {
    let last = word.path.rsplit("::").next().unwrap_or_default();
    if FORBIDDEN.iter().any(|path| word.is_within(path)) {
        Some("does I/O, waits, or depends on the process")
    } else if word.path.ends_with("::now") || (word.after_dot && last == "elapsed") {
        Some("reads a clock: `now` is an argument")
    } else if !word.after_dot && ["async", "await"].contains(&last) || (word.after_dot && last == "await") {
        Some("is not synchronous")
    } else if word.path.starts_with("fastrand") && !SEEDED.contains(&word.path.as_str()) {
        Some("is not seeded by the caller")
    } else if word.is_macro && PRINTING.contains(&last) {
        Some("prints")
    } else {
        None
    }
}

#[cfg(test)]
fn complaints(code: &str) -> usize {
    check(&Source::new("extension/src/core/a.rs", code)).len()
}

#[test]
fn each_impurity_is_refused() {
    let bad = [
        "use tokio::time::sleep;",
        "use std::net::UdpSocket;",
        "use std::{fmt, net};",
        "use std::io::{self, Read};",
        "use std::io::prelude::*;",
        "use std::os::unix::net::UnixStream;",
        "fn f(w: &mut dyn std::io::Write) {}",
        "fn f() -> Option<String> { ::std::env::var(\"A\").ok() }",
        "fn f() { std::fs::remove_file(\"a\"); }",
        "fn f() { std::thread::yield_now(); }",
        "async fn f() {}",
        "fn f() { async {}; }",
        "fn f() { let g = async || {}; }",
        "fn f() { assert!(g().await); }",
        "fn f() { let a = std::time::Instant::now(); }",
        "use std::time::SystemTime; fn f() -> SystemTime { SystemTime::now() }",
        "use std::time as t; fn f() { debug_assert!(t::Instant::now() > g()); }",
        "use std::time::Instant; fn f() { let clock = Instant::now; }",
        "fn f() { <Instant>::now(); }",
        "fn f(a: Instant) { a.elapsed(); }",
        "fn f() { rand::random::<u8>(); }",
        "fn f() { getrandom::fill(&mut []); }",
        "fn f() { fastrand::u64(..); }",
        "use fastrand::Rng; fn f() { Rng::new(); }",
        "fn f() { println!(\"a\"); }",
        "mod a { impl A { fn f() { std::process::abort() } } }",
    ];
    for code in bad {
        assert!(complaints(code) > 0, "{code}");
    }
}

#[test]
fn pure_code_and_its_tests_are_let_through() {
    let good = [
        "use std::time::{Duration, Instant}; fn f(now: Instant) -> Instant { now + Duration::from_millis(1) }",
        "use fastrand::Rng; fn f(seed: u64) -> Rng { Rng::with_seed(seed) }",
        "use std::fmt::{self, Write}; fn f(out: &mut String) -> fmt::Result { out.write_str(\"std::net\") }",
        "fn f(environment: Env, env: &str, spawned: bool) -> usize { environment.now + env.len() }",
        "// tokio::spawn\n#[cfg(test)] mod tests { #[test] fn f() { std::env::var(\"A\"); println!(); } }",
        "#[cfg(test)] use std::fs; #[test] fn f() { fs::read(\"a\"); }",
    ];
    for code in good {
        assert_eq!(complaints(code), 0, "{code}");
    }
    assert_eq!(check(&Source::new("extension/src/driver.rs", "use tokio::net::UnixListener;")), []);
    assert_eq!(check(&Source::new("proto/src/a.rs", "use std::fs;")).len(), 1);
}
