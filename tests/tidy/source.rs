//! The workspace's Rust files, read and parsed once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose content is not ours, or not source.
const NOT_SOURCE: [&str; 5] = ["target", ".git", "corpus", "artifacts", "node_modules"];

/// A walk that misses one of these would let everything pass.
const MUST_BE_FOUND: [&str; 5] = [
    "extension/src/lib.rs",
    "function-lib/src/lib.rs",
    "proto/src/lib.rs",
    "tests/tidy/main.rs",
    "xtask/src/main.rs",
];

/// One Rust file.
pub(crate) struct Source {
    /// Relative to the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl Source {
    /// Parses; panics on text that is no Rust, as a test may.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        Self { path: path.to_owned(), text: text.to_owned(), syntax }
    }

    /// Written by a program, so that rules about reading do not apply.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.ends_with("/generated.rs") && !self.path.contains("/tests/")
    }

    pub(crate) fn complaint(&self, line: usize, what: impl Into<String>) -> Complaint {
        Complaint { path: self.path.clone(), line, what: what.into() }
    }
}

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every Rust file of the workspace, by path.
pub(crate) fn all() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(root(), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        Source::new(&relative, &fs::read_to_string(path).unwrap())
    };
    let all: Vec<Source> = paths.iter().map(read).collect();
    for path in MUST_BE_FOUND {
        assert!(all.iter().any(|source| source.path == path), "{path} was not found: the walk is broken");
    }
    all
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && NOT_SOURCE.iter().all(|name| entry.file_name() != *name) {
            walk(&path, found);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
