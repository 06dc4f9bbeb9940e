//! A file begins with its subject, has at most 400 lines; a function has at most 70.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

use crate::source::{Complaint, Source};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// The first line is a `//!` with words behind it.
pub(crate) fn first_line(source: &Source) -> Vec<Complaint> {
    if source.is_generated() {
        return Vec::new();
    }
    let first = source.text.lines().next().unwrap_or_default();
    match first.strip_prefix("//!") {
        Some(subject) if !subject.trim().is_empty() => Vec::new(),
        _ => vec![source.complaint(1, "does not begin with `//!` and its subject")],
    }
}

pub(crate) fn file(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX || source.is_generated() {
        return Vec::new();
    }
    vec![source.complaint(lines, format!("{lines} lines, at most {FILE_LINES_MAX}"))]
}

/// Counted from `fn`'s line to the closing brace; an inner function counts for itself and for the outer one.
pub(crate) fn functions(source: &Source) -> Vec<Complaint> {
    if source.is_generated() {
        return Vec::new();
    }
    let mut long = LongFunctions { source, complaints: Vec::new() };
    long.visit_file(&source.syntax);
    long.complaints
}

struct LongFunctions<'a> {
    source: &'a Source,
    complaints: Vec<Complaint>,
}

impl LongFunctions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span().start().line;
        let lines = body.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {} has {lines} lines, at most {FUNCTION_LINES_MAX}", signature.ident);
            self.complaints.push(self.source.complaint(first, what));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn a_file_without_its_subject_is_refused() {
    assert_eq!(first_line(&Source::new("a.rs", "//! Subject.\nfn a() {}")), []);
    for bad in ["fn a() {}", "// Subject.\n", "//!\n", "\n//! Late.\n"] {
        assert_eq!(first_line(&Source::new("a.rs", bad)).len(), 1, "{bad:?}");
    }
}

#[test]
fn a_long_file_is_refused() {
    assert_eq!(file(&Source::new("a.rs", &"//\n".repeat(FILE_LINES_MAX))), []);
    assert_eq!(file(&Source::new("a.rs", &"//\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
    assert_eq!(file(&Source::new("a/generated.rs", &"//\n".repeat(FILE_LINES_MAX + 1))), []);
}

#[test]
fn a_long_function_is_refused_wherever_it_stands() {
    let of = |lines: usize| format!("fn f() {{\n{}}}", "//\n".repeat(lines - 2));
    let (fits, long) = (of(FUNCTION_LINES_MAX), of(FUNCTION_LINES_MAX + 1));
    for (before, after) in [("", ""), ("impl A {", "}"), ("trait A {", "}"), ("mod a { #[test] ", "}")] {
        let check = |body: &str| functions(&Source::new("a.rs", &format!("{before}{body}{after}")));
        assert_eq!(check(&fits), []);
        assert_eq!(check(&long).len(), 1, "{before}");
    }
}
