//! The words of a file as full paths, those inside macro calls and `use` trees included.
//!
//! Macro arguments are opaque to the syntax tree, and a clock read inside `assert!` is a clock read all the same:
//! so the rules look at tokens, each path expanded by the file's own `use` lines.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Ident, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{File, ItemUse, UseTree};

use crate::without_tests::without_tests;

/// A word with its context, as the rules want it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// `Instant::now` is `std::time::Instant::now` if the file says `use std::time::Instant`.
    pub(crate) path: String,
    pub(crate) line: usize,
    /// Follows a single dot: a field or a method.
    pub(crate) after_dot: bool,
    /// Is followed by `!`: a macro.
    pub(crate) is_macro: bool,
}

impl Word {
    /// Whether this is the path itself or something inside it.
    pub(crate) fn is_within(&self, path: &str) -> bool {
        !self.after_dot
            && self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// All words of what the product consists of: items under `cfg(test)` are left out.
pub(crate) fn product_words(file: &File) -> Vec<Word> {
    words(&without_tests(file))
}

/// All words of the file.
pub(crate) fn words(file: &File) -> Vec<Word> {
    let tokens: Vec<TokenTree> = file.to_token_stream().into_iter().collect();
    let mut found = Vec::new();
    scan(&tokens, "", &mut found);
    let mut aliases = Aliases::default();
    aliases.visit_file(file);
    for word in found.iter_mut().filter(|word| !word.after_dot) {
        aliases.expand(&mut word.path);
    }
    found
}

/// What each name brought in by `use` stands for.
#[derive(Default)]
struct Aliases(BTreeMap<String, String>);

impl Aliases {
    fn expand(&self, path: &mut String) {
        let (first, rest) = path.split_at(path.find("::").unwrap_or(path.len()));
        if let Some(full) = self.0.get(first) {
            *path = format!("{full}{rest}");
        }
    }

    fn add(&mut self, prefix: &str, tree: &UseTree) {
        let below =
            |name: &Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        match tree {
            UseTree::Path(path) => self.add(&below(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add(prefix, tree)),
            UseTree::Name(name) if name.ident == "self" => {
                self.name(prefix.rsplit("::").next(), prefix.to_owned());
            }
            UseTree::Name(name) => self.name(Some(&name.ident.to_string()), below(&name.ident)),
            UseTree::Rename(as_) if as_.ident == "self" => {
                self.name(Some(&as_.rename.to_string()), prefix.to_owned());
            }
            UseTree::Rename(as_) => self.name(Some(&as_.rename.to_string()), below(&as_.ident)),
            UseTree::Glob(_) => {}
        }
    }

    fn name(&mut self, name: Option<&str>, full: String) {
        self.0.extend(name.filter(|name| *name != full).map(|name| (name.to_owned(), full)));
    }
}

impl<'ast> Visit<'ast> for Aliases {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add("", &item.tree);
        visit::visit_item_use(self, item);
    }
}

/// Gathers `a::b::c`; a brace after `::` is a `use` tree, whose leaves get `prefix`.
fn scan(tokens: &[TokenTree], prefix: &str, found: &mut Vec<Word>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at = match token {
            TokenTree::Ident(word) if word == "as" && !prefix.is_empty() => at + 2,
            TokenTree::Ident(word) => path(tokens, at, word, prefix, found),
            TokenTree::Group(group) => {
                scan(&group.stream().into_iter().collect::<Vec<_>>(), "", found);
                at + 1
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
        };
    }
}

/// Adds the path that begins with `first` at `start`; says where the scan goes on.
fn path(tokens: &[TokenTree], start: usize, first: &Ident, prefix: &str, found: &mut Vec<Word>) -> usize {
    let before = |back: usize, mark: char| start.checked_sub(back).is_some_and(|at| is(tokens.get(at), mark));
    // `<Instant>::now`: whose `now` it is stays unknown.
    let qualified = before(1, ':') && before(2, ':') && before(3, '>');
    let mut path = if qualified { "?::".to_owned() } else { prefix.to_owned() };
    path.push_str(if prefix.is_empty() { "" } else { "::" });
    path.push_str(&first.to_string());
    let mut at = start + 1;
    while is(tokens.get(at), ':') && is(tokens.get(at + 1), ':') {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(next)) => path.push_str(&format!("::{next}")),
            Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                scan(&tree.stream().into_iter().collect::<Vec<_>>(), &path, found);
            }
            _ => break,
        }
        at += 3;
    }
    if let Some(module) = path.strip_suffix("::self") {
        path.truncate(module.len());
    }
    found.push(Word {
        path,
        line: first.span().start().line,
        after_dot: before(1, '.') && !before(2, '.'),
        is_macro: is(tokens.get(at), '!') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_))),
    });
    at
}

fn is(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

#[cfg(test)]
fn paths(code: &str) -> Vec<String> {
    words(&syn::parse_file(code).unwrap()).into_iter().map(|word| word.path).collect()
}

#[test]
fn paths_are_expanded_through_use_lines() {
    let found =
        paths("use std::{net as n, time::{self, Instant}}; fn f() { n::x(); time::y(); Instant::now() }");
    for path in ["std::net", "std::net::x", "std::time", "std::time::y", "std::time::Instant::now"] {
        assert!(found.iter().any(|found| found == path), "{path} in {found:?}");
    }
}

#[test]
fn macro_arguments_and_qualified_paths_are_seen() {
    assert!(
        paths("fn f() { assert!(x > std::time::Instant::now()) }")
            .contains(&"std::time::Instant::now".into())
    );
    assert!(paths("fn f() { <Instant>::now() }").contains(&"?::now".into()));
}

#[test]
fn methods_ranges_and_macros_are_told_apart() {
    let words = words(&syn::parse_file("fn f() { a.b(); 0..c; print!(); d != (e) }").unwrap());
    let of = |path: &str| words.iter().find(|word| word.path == path).unwrap();
    assert!(of("b").after_dot && !of("c").after_dot);
    assert!(of("print").is_macro && !of("d").is_macro);
}
