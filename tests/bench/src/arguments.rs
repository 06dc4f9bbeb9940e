//! The command line of the bench, as `cargo xtask bench` calls it.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::Fault;
use crate::floor::Codec;

pub(crate) const USAGE: &str = "\
usage: bench --extension FILE --crate FILE --bare FILE [--zip FILE] [--runs N] [--mib N] [--start-only]
             [--instructions] [--json] [--json-file FILE] [--svg FILE] [--gate] [--tolerance PERCENT]
       bench --carriers --extension FILE --function FILE [--runs N] [--json] [--json-file FILE] [--svg FILE]
       bench --floor DIRECTORY --codec gzip|zstd --level N --rounds N";

/// Alternating starts of the two extensions.
const RUNS: usize = 60;
/// Sessions of each carrier.
const SESSIONS: usize = 7;
/// Telemetry relayed in each case, in MiB: about a second of CPU or more.
const RELAYED_MIB: usize = 160;
/// How far over its limit a ratio may be on a machine that is not ours alone.
const TOLERANCE_PERCENT: u64 = 15;

/// What is wanted.
pub(crate) enum Arguments {
    Help,
    /// Only compress: the floor, as a process that can be counted.
    Floor {
        bodies: PathBuf,
        codec: Codec,
        level: i32,
        rounds: usize,
    },
    Measure(Wanted),
    /// The carriers beside each other.
    Compare(Compared),
}

/// A comparison of the carriers.
pub(crate) struct Compared {
    pub(crate) extension: PathBuf,
    pub(crate) function: PathBuf,
    /// Sessions of each.
    pub(crate) runs: usize,
    pub(crate) json: bool,
    pub(crate) json_file: Option<PathBuf>,
    pub(crate) picture: Option<PathBuf>,
}

/// A measurement.
pub(crate) struct Wanted {
    pub(crate) extension: PathBuf,
    /// Does nothing, on AWS's crate: the floor that a start is judged by.
    pub(crate) on_crate: PathBuf,
    /// Does nothing, on the standard library alone: told beside it.
    pub(crate) bare: PathBuf,
    pub(crate) zip: Option<PathBuf>,
    pub(crate) runs: usize,
    pub(crate) relayed_bytes: usize,
    pub(crate) start_only: bool,
    pub(crate) instructions: bool,
    pub(crate) json: bool,
    pub(crate) json_file: Option<PathBuf>,
    pub(crate) picture: Option<PathBuf>,
    pub(crate) gate: bool,
    pub(crate) tolerance_percent: u64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            extension: PathBuf::new(),
            on_crate: PathBuf::new(),
            bare: PathBuf::new(),
            zip: None,
            runs: RUNS,
            relayed_bytes: RELAYED_MIB << 20,
            start_only: false,
            instructions: false,
            json: false,
            json_file: None,
            picture: None,
            gate: false,
            tolerance_percent: TOLERANCE_PERCENT,
        }
    }
}

pub(crate) fn read() -> Result<Arguments, Fault> {
    parse(lexopt::Parser::from_env()).map_err(|fault| format!("{fault}\n{USAGE}"))
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let mut wanted = Wanted::default();
    let (mut carriers, mut function, mut runs) = (false, PathBuf::new(), None);
    let (mut bodies, mut codec, mut level, mut rounds) = (None, Codec::Zstd, 0, 1);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Arguments::Help),
            Long("floor") => bodies = Some(parser.value()?.into()),
            Long("codec") => codec = parser.value()?.parse()?,
            Long("level") => level = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("extension") => wanted.extension = parser.value()?.into(),
            Long("carriers") => carriers = true,
            Long("function") => function = parser.value()?.into(),
            Long("crate") => wanted.on_crate = parser.value()?.into(),
            Long("bare") => wanted.bare = parser.value()?.into(),
            Long("zip") => wanted.zip = Some(parser.value()?.into()),
            Long("runs") => runs = Some(parser.value()?.parse::<usize>()?.max(1)),
            Long("mib") => wanted.relayed_bytes = parser.value()?.parse::<usize>()?.max(1) << 20,
            Long("start-only") => wanted.start_only = true,
            Long("instructions") => wanted.instructions = true,
            Long("json") => wanted.json = true,
            Long("json-file") => wanted.json_file = Some(parser.value()?.into()),
            Long("svg") => wanted.picture = Some(parser.value()?.into()),
            Long("gate") => wanted.gate = true,
            Long("tolerance") => wanted.tolerance_percent = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    if carriers {
        let Wanted { extension, json, json_file, picture, .. } = wanted;
        let runs = runs.unwrap_or(SESSIONS);
        return Ok(Arguments::Compare(Compared { extension, function, runs, json, json_file, picture }));
    }
    wanted.runs = runs.unwrap_or(wanted.runs);
    Ok(match bodies {
        Some(bodies) => Arguments::Floor { bodies, codec, level, rounds },
        None => Arguments::Measure(wanted),
    })
}
