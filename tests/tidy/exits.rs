//! The product ends its process in the listed places only: the extension's `main`, the library's SIGTERM path.

use crate::source::{Complaint, Source};
use crate::tokens::{Word, product_words};

/// Where the rule holds: what runs in somebody's Lambda.
const PRODUCT: [&str; 3] = ["extension/src/", "function-lib/src/", "proto/src/"];

/// The files that may; a file that no longer needs to be here fails the test as well.
const ALLOWED: [&str; 1] = [
    // `_exit` at the end of the SIGTERM sequence: Lambda ends the process anyway, and what the function leaves of the
    // time is the extension's. `exit` would run what C libraries have registered, beside threads that go on.
    "function-lib/src/sigterm.rs",
];

/// Where functions that end the process live.
const CRATES: [&str; 5] = ["std::process", "libc", "rustix", "nix", "signal_hook"];
const ENDS: [&str; 6] = ["exit", "_exit", "_Exit", "exit_group", "abort", "quick_exit"];

pub(crate) fn check(source: &Source) -> Vec<Complaint> {
    check_with(source, &ALLOWED)
}

fn check_with(source: &Source, allowed: &[&str]) -> Vec<Complaint> {
    let is_product = PRODUCT.iter().any(|folder| source.path.starts_with(folder));
    if !is_product || allowed.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let exits = product_words(&source.syntax).into_iter().filter(ends_the_process);
    exits.map(|word| source.complaint(word.line, format!("{} ends the process here", word.path))).collect()
}

fn ends_the_process(word: &Word) -> bool {
    let last = word.path.rsplit("::").next().unwrap_or_default();
    ENDS.contains(&last) && CRATES.iter().any(|path| word.is_within(path))
}

/// Listed files that do not end the process.
pub(crate) fn unused_permissions(sources: &[Source]) -> Vec<&'static str> {
    let uses = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| product_words(&source.syntax).iter().any(ends_the_process))
    };
    ALLOWED.into_iter().filter(|path| !uses(path)).collect()
}

#[test]
fn an_exit_outside_the_list_is_refused() {
    let bad = [
        "fn f() { std::process::exit(0) }",
        "use std::process; fn f() { process::exit(0) }",
        "use std::process::abort; fn f() { abort() }",
        "use std::process::exit as leave; fn f() { leave(1) }",
        "fn f() { a!(libc::_exit(0)) }",
        "use signal_hook::low_level; fn f() { low_level::exit(0) }",
    ];
    for code in bad {
        assert!(!check_with(&Source::new("function-lib/src/a.rs", code), &[]).is_empty(), "{code}");
        assert_eq!(check_with(&Source::new("function-lib/src/a.rs", code), &["function-lib/src/a.rs"]), []);
        assert_eq!(check_with(&Source::new("tests/src/bin/a.rs", code), &[]), []);
    }
    let good = "enum Action { Exit } fn f(a: A) { a.exit(); policy::exit(); let exit = 1; }";
    assert_eq!(check_with(&Source::new("extension/src/a.rs", good), &[]), []);
}
