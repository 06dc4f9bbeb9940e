//! `unsafe` is in a few listed files, each use of it justified by a `// SAFETY:` right above.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ExprUnsafe, ItemImpl};

use crate::source::{Complaint, Source};
use crate::tokens::words;

/// The files that may; a file that no longer needs to be here fails the test as well.
const ALLOWED: [&str; 3] = [
    // The mapping of the ring, as a slice of atomics: the only one of the product.
    "proto/src/ring/memory.rs",
    // `pre_exec`: a child asks to die with its parent.
    "tests/src/sandbox/process.rs",
    // `mmap` of the witness file.
    "tests/src/witness/writer.rs",
];

pub(crate) fn check(source: &Source) -> Vec<Complaint> {
    check_with(source, &ALLOWED)
}

fn check_with(source: &Source, allowed: &[&str]) -> Vec<Complaint> {
    if allowed.contains(&source.path.as_str()) {
        let mut unjustified = Unjustified { source, complaints: Vec::new() };
        unjustified.visit_file(&source.syntax);
        return unjustified.complaints;
    }
    let unsafe_words = words(&source.syntax).into_iter().filter(|word| word.path == "unsafe");
    unsafe_words
        .map(|word| source.complaint(word.line, "`unsafe` in a file that is not listed for it"))
        .collect()
}

/// Listed files without any `unsafe`.
pub(crate) fn unused_permissions(sources: &[Source]) -> Vec<&'static str> {
    let uses = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| words(&source.syntax).iter().any(|word| word.path == "unsafe"))
    };
    ALLOWED.into_iter().filter(|path| !uses(path)).collect()
}

struct Unjustified<'a> {
    source: &'a Source,
    complaints: Vec<Complaint>,
}

impl Unjustified<'_> {
    /// The comment block that ends right above the line with `unsafe`, or above the statement it continues.
    fn judge(&mut self, line: usize) {
        let above = self.source.text.lines().take(line - 1).collect::<Vec<_>>();
        let comment =
            |text: &&&str| text.trim_start().starts_with("//") || text.trim_start().starts_with("#[");
        let justified = (0..=STATEMENT_LINES_MAX).any(|skipped| {
            let block = above.iter().rev().skip(skipped).take_while(comment);
            block.into_iter().any(|text| text.trim_start().starts_with("// SAFETY:"))
        });
        if !justified {
            self.complaints.push(self.source.complaint(line, "`unsafe` without `// SAFETY:` above it"));
        }
    }
}

/// How far into a statement its `unsafe` may stand.
const STATEMENT_LINES_MAX: usize = 2;

impl<'ast> Visit<'ast> for Unjustified<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.judge(block.unsafe_token.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        if let Some(token) = &block.unsafety {
            self.judge(token.span().start().line);
        }
        visit::visit_item_impl(self, block);
    }
}

#[test]
fn unsafe_outside_the_list_is_refused() {
    let bad = ["fn f() { unsafe { g() } }", "unsafe impl Send for A {}", "fn f() { a!(unsafe { g() }) }"];
    for code in bad {
        assert_eq!(check_with(&Source::new("a.rs", code), &["b.rs"]).len(), 1, "{code}");
    }
    assert_eq!(check_with(&Source::new("a.rs", "#![forbid(unsafe_code)]\n// unsafe\nfn f() {}"), &[]), []);
}

#[test]
fn unsafe_without_its_reason_is_refused() {
    let complaints = |code: &str| check_with(&Source::new("a.rs", code), &["a.rs"]).len();
    assert_eq!(complaints("fn f() {\n    unsafe { g() }\n}"), 1);
    assert_eq!(complaints("fn f() {\n    // SAFETY: g has no precondition.\n    unsafe { g() }\n}"), 0);
    assert_eq!(
        complaints(
            "fn f() {\n    // SAFETY: well,\n    // in two lines.\n    let a =\n        unsafe { g() };\n}"
        ),
        0
    );
    assert_eq!(
        complaints(
            "fn f() {\n    // SAFETY: far away.\n    a();\n\n    b();\n    c();\n    unsafe { g() }\n}"
        ),
        1
    );
    assert_eq!(complaints("unsafe impl Send for A {}"), 1);
}
