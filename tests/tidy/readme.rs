//! The configuration table in README.md, once it is there, is the one the code prints.

use std::fs;

use crate::source;

const BEGIN: &str = "<!-- config:begin -->";
const END: &str = "<!-- config:end -->";

/// Compares the two; nothing to say while README.md has no such table.
pub(crate) fn check() -> Result<(), String> {
    let Ok(readme) = fs::read_to_string(source::root().join("README.md")) else { return Ok(()) };
    match (table(&readme)?, table_from_code()) {
        (None, _) => Ok(()),
        (Some(_), None) => {
            Err("README.md has a configuration table, but `table_from_code` has none".to_owned())
        }
        (Some(written), Some(true_one)) => same(written, &true_one),
    }
}

/// The table as the extension's own configuration prints it.
fn table_from_code() -> Option<String> {
    Some(lambda_flush_extension::config::markdown())
}

/// What stands between the markers.
fn table(readme: &str) -> Result<Option<&str>, String> {
    let Some((_, rest)) = readme.split_once(BEGIN) else { return Ok(None) };
    match rest.split_once(END) {
        Some((table, _)) => Ok(Some(table.trim())),
        None => Err(format!("README.md: {BEGIN} without {END}")),
    }
}

fn same(written: &str, true_one: &str) -> Result<(), String> {
    let true_one = true_one.trim();
    if written == true_one {
        return Ok(());
    }
    let differs = |(written, true_one): &(&str, &str)| written != true_one;
    let first = written.lines().zip(true_one.lines()).find(differs);
    let (has, should) = first.unwrap_or(("a table of another length", ""));
    Err(format!(
        "README.md's configuration table is not the code's.\nhas:    {has}\nshould: {should}\n\n{true_one}\n"
    ))
}

#[test]
fn a_table_that_differs_is_refused() {
    let readme = format!("# A\n{BEGIN}\n| a | 1 |\n| b | 2 |\n{END}\nmore");
    let written = table(&readme).unwrap().unwrap();
    assert_eq!(same(written, "| a | 1 |\n| b | 2 |\n"), Ok(()));
    assert!(same(written, "| a | 1 |\n| b | 3 |").unwrap_err().contains("| b | 3 |"));
    assert!(same(written, "| a | 1 |").is_err());
    assert_eq!(table("no table"), Ok(None));
    assert!(table(BEGIN).is_err());
}
