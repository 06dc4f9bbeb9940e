//! `cargo verify`: picks lanes, runs them one after another, ends with a table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::{Arg, ValueExt};

use crate::Fault;
use crate::lane::{Lane, Outcome};
use crate::lanes;
use crate::run::Run;

const USAGE: &str = "\
usage: cargo verify [--ci|--all] [--strict] [--list] [--lane NAME]...

  --ci         the lanes that CI runs (the default)
  --all        every lane
  --lane NAME  this lane only; may be repeated
  --list       print the lanes and run nothing
  --strict     a skipped lane is a failure";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    all: bool,
    strict: bool,
    list: bool,
    help: bool,
    names: Vec<String>,
}

/// One finished lane, as the table shows it.
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Runs the command; the exit code is a failure if a lane failed, or skipped under `--strict`.
pub(crate) fn main(args: lexopt::Parser) -> Result<ExitCode, Fault> {
    let wanted = parse(args)?;
    if wanted.help {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&wanted, lanes::ALL)?;
    if wanted.list {
        for lane in chosen {
            println!("{:<12} {}", lane.name, lane.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let rows: Vec<Row> = chosen.into_iter().map(run_lane).collect();
    print_table(&rows, started.elapsed());
    let well = rows.iter().all(|row| is_well(&row.outcome, wanted.strict));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(mut args: lexopt::Parser) -> Result<Wanted, Fault> {
    let mut wanted = Wanted::default();
    while let Some(arg) = args.next().map_err(|fault| fault.to_string())? {
        match arg {
            Arg::Long("ci") => wanted.all = false,
            Arg::Long("all") => wanted.all = true,
            Arg::Long("strict") => wanted.strict = true,
            Arg::Long("list") => wanted.list = true,
            Arg::Long("help") | Arg::Short('h') => wanted.help = true,
            Arg::Long("lane") => {
                let name = args.value().and_then(|value| value.string());
                wanted.names.push(name.map_err(|fault| fault.to_string())?);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected())),
        }
    }
    Ok(wanted)
}

/// The lanes to run, in their fixed order: cheap ones first.
fn choose<'a>(wanted: &Wanted, lanes: &'a [Lane]) -> Result<Vec<&'a Lane>, Fault> {
    if let Some(unknown) = wanted.names.iter().find(|name| lanes.iter().all(|lane| lane.name != **name)) {
        return Err(format!("no lane is called {unknown:?}; `cargo verify --list --all` prints them"));
    }
    let chosen = |lane: &&Lane| {
        let named = wanted.names.iter().any(|name| name == lane.name);
        if wanted.names.is_empty() { wanted.all || lane.in_ci } else { named }
    };
    Ok(lanes.iter().filter(chosen).collect())
}

fn run_lane(lane: &Lane) -> Row {
    println!("== {}: {}", lane.name, lane.about);
    let started = Instant::now();
    let outcome = match Run::begin(lane.name, Duration::from_secs(lane.limit_minutes * 60)) {
        Ok(mut run) => {
            let outcome = (lane.check)(&mut run);
            if let Outcome::Failed(_) = outcome {
                run.show();
            }
            outcome
        }
        Err(fault) => Outcome::Failed(fault),
    };
    let took = started.elapsed();
    println!("   {} {} in {:.1} s", lane.name, outcome.label(), took.as_secs_f32());
    Row { name: lane.name, outcome, took }
}

fn is_well(outcome: &Outcome, strict: bool) -> bool {
    match outcome {
        Outcome::Passed(_) => true,
        Outcome::Skipped(_) => !strict,
        Outcome::Failed(_) => false,
    }
}

fn print_table(rows: &[Row], took: Duration) {
    println!();
    for row in rows {
        println!("{:<12} {:>7.1} s  {}", row.name, row.took.as_secs_f32(), row.outcome.label());
    }
    println!("{:<12} {:>7.1} s", "all", took.as_secs_f32());
    println!("{}", tally(rows.iter().map(|row| &row.outcome)));
}

/// The last line of the command: scripts read it.
fn tally<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let (mut passed, mut failed, mut skipped) = (0_u32, 0_u32, 0_u32);
    for outcome in outcomes {
        match outcome {
            Outcome::Passed(_) => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::Skipped(_) => skipped += 1,
        }
    }
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(args: &[&str]) -> Result<Wanted, Fault> {
        parse(lexopt::Parser::from_args(args))
    }

    fn names(args: &[&str]) -> Result<Vec<&'static str>, Fault> {
        Ok(choose(&wanted(args)?, lanes::ALL)?.into_iter().map(|lane| lane.name).collect())
    }

    #[test]
    fn ci_is_the_default_and_all_has_more() {
        assert_eq!(names(&[]), names(&["--ci"]));
        assert!(names(&["--all"]).unwrap().len() > names(&[]).unwrap().len());
    }

    #[test]
    fn lanes_can_be_named_and_keep_their_order() {
        assert_eq!(names(&["--lane", "clippy", "--lane=fmt"]).unwrap(), ["fmt", "clippy"]);
        assert!(names(&["--lane", "nonsense"]).unwrap_err().contains("nonsense"));
        assert!(wanted(&["--nonsense"]).is_err());
    }

    #[test]
    fn a_skip_counts_only_when_strict() {
        let outcomes = [
            Outcome::Passed(String::new()),
            Outcome::Skipped("no tool".to_owned()),
            Outcome::Failed("broken".to_owned()),
        ];
        assert_eq!(tally(outcomes.iter()), "1 passed, 1 failed, 1 skipped");
        assert_eq!(outcomes.each_ref().map(|outcome| is_well(outcome, false)), [true, true, false]);
        assert_eq!(outcomes.each_ref().map(|outcome| is_well(outcome, true)), [true, false, false]);
    }
}
