//! Rules about the project's own sources that no lint knows; each rule first refuses a bad snippet of its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this target is a test")]

mod exits;
mod purity;
mod readme;
mod size;
mod source;
mod tokens;
mod unsafe_code;
mod without_tests;

use source::{Complaint, Source};

/// A rule over all sources fails with every complaint at once, one per line, as `path:line: what`.
#[track_caller]
fn assert_tidy(rule: impl Fn(&Source) -> Vec<Complaint>) {
    let complaints: Vec<String> =
        source::all().iter().flat_map(rule).map(|complaint| complaint.to_string()).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}\n", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_file_says_what_it_is_about() {
    assert_tidy(size::first_line);
}

#[test]
fn functions_fit_a_screen() {
    assert_tidy(size::functions);
}

#[test]
fn files_have_one_subject() {
    assert_tidy(size::file);
}

#[test]
fn core_and_protocol_are_pure() {
    assert_tidy(purity::check);
}

#[test]
fn unsafe_code_is_where_the_list_says_and_justified() {
    assert_tidy(unsafe_code::check);
    assert_eq!(unsafe_code::unused_permissions(&source::all()), [""; 0], "listed without need");
}

#[test]
fn only_the_listed_places_end_the_process() {
    assert_tidy(exits::check);
    assert_eq!(exits::unused_permissions(&source::all()), [""; 0], "listed without need");
}

#[test]
fn the_readme_table_is_the_code_s() {
    readme::check().unwrap();
}
