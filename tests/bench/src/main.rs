//! `bench`: what the extension costs beside a floor in the same run. Promises P5 (start, memory, size) and P7 (relay).
//! With `--carriers`: what the library costs in the function, P6.

mod arguments;
mod backend;
mod carriers;
mod figures;
mod floor;
mod http1;
mod instructions;
mod link;
mod otlp;
mod picture;
mod platform;
mod process;
mod relay;
mod start;

use std::process::ExitCode;

use arguments::Arguments;
use figures::Figures;

/// A message for the person at the terminal.
type Fault = String;

fn main() -> ExitCode {
    let done = arguments::read().and_then(|arguments| match arguments {
        Arguments::Help => {
            println!("{}", arguments::USAGE);
            Ok(true)
        }
        Arguments::Floor { bodies, codec, level, rounds } => {
            floor::repeat(&bodies, codec, level, rounds).map(|()| true)
        }
        Arguments::Compare(wanted) => carriers::measure(&wanted).map(|()| true),
        Arguments::Measure(wanted) => measure(&wanted),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything is within its limit, or nobody asked.
fn measure(wanted: &arguments::Wanted) -> Result<bool, Fault> {
    let mut figures = Figures::default();
    figures.sizes(wanted)?;
    start::measure(wanted, &mut figures)?;
    if !wanted.start_only {
        relay::measure(wanted, &mut figures)?;
    }
    if wanted.instructions {
        instructions::measure(wanted, &mut figures)?;
    }
    let json = figures.json();
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).map_err(|fault| format!("{}: {fault}", path.display()))
    };
    if let Some(path) = &wanted.json_file {
        write(path, &format!("{json:#}\n"))?;
    }
    if let Some(path) = &wanted.picture {
        write(path, &picture::svg(&figures))?;
    }
    let shown = if wanted.json { json.to_string() } else { figures.table() };
    println!("{shown}");
    Ok(!wanted.gate || figures.over(wanted.tolerance_percent).is_empty())
}
