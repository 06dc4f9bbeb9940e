//! The floor of relaying: the same bytes through the same compressor, and nothing else.

use std::io::{Read, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::time::{ClockId, clock_gettime};

use crate::Fault;
use crate::backend::Exported;

/// So much is compressed once for each level, to learn which one the extension uses.
const SAMPLE_BODIES: usize = 8;
/// Far enough from any other level's size.
const LEVEL_BYTES_PERCENT_MAX: usize = 1;

/// A compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// As in `Content-Encoding` and in `LAMBDA_FLUSH_OTLP_COMPRESSION`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The levels an extension may have chosen.
    fn levels(self) -> Vec<i32> {
        match self {
            Self::Gzip => (1..=9).collect(),
            Self::Zstd => (-7..=12).filter(|level| *level != 0).collect(),
        }
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| format!("no codec {name:?}"))
    }
}

/// Compresses one body after another; keeps what can be kept between them.
pub(crate) struct Compressor {
    codec: Codec,
    level: i32,
    zstd: zstd::bulk::Compressor<'static>,
}

impl Compressor {
    pub(crate) fn new(codec: Codec, level: i32) -> Result<Self, Fault> {
        let zstd_level = if codec == Codec::Zstd { level } else { 1 };
        let zstd = zstd::bulk::Compressor::new(zstd_level).map_err(|fault| fault.to_string())?;
        Ok(Self { codec, level, zstd })
    }

    pub(crate) fn compress(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        match self.codec {
            Codec::Zstd => self.zstd.compress(body).map_err(|fault| fault.to_string()),
            Codec::Gzip => {
                let level = Compression::new(u32::try_from(self.level).unwrap_or(6));
                let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 2), level);
                gzip.write_all(body).and_then(|()| gzip.finish()).map_err(|fault| fault.to_string())
            }
        }
    }
}

/// What was exported, as it was before compression.
pub(crate) fn expand(exported: &[Exported], codec: Codec) -> Result<Vec<Vec<u8>>, Fault> {
    let expand = |one: &Exported| match (one.encoding.as_str(), codec) {
        ("gzip", Codec::Gzip) => {
            let mut body = Vec::new();
            GzDecoder::new(one.body.as_slice()).read_to_end(&mut body).map_err(|fault| fault.to_string())?;
            Ok(body)
        }
        ("zstd", Codec::Zstd) => zstd::decode_all(one.body.as_slice()).map_err(|fault| fault.to_string()),
        ("", _) => Err("the extension does not compress".to_owned()),
        (other, _) => Err(format!("asked for {}, the extension sent {other}", codec.name())),
    };
    exported.iter().map(expand).collect()
}

/// The level whose output is as large as the extension's.
pub(crate) fn level(exported: &[Exported], bodies: &[Vec<u8>], codec: Codec) -> Result<i32, Fault> {
    let theirs: usize = exported.iter().take(SAMPLE_BODIES).map(|one| one.body.len()).sum();
    let mut best = (usize::MAX, 0);
    for level in codec.levels() {
        let mut compressor = Compressor::new(codec, level)?;
        let sizes = bodies.iter().take(SAMPLE_BODIES).map(|body| Ok(compressor.compress(body)?.len()));
        let ours = sizes.sum::<Result<usize, Fault>>()?;
        best = best.min((ours.abs_diff(theirs), level));
    }
    let (differs, level) = best;
    if differs * 100 <= theirs * LEVEL_BYTES_PERCENT_MAX {
        Ok(level)
    } else {
        Err(format!("no level of {} gives the extension's {theirs} bytes", codec.name()))
    }
}

/// CPU time of compressing all `bodies` once.
pub(crate) fn cpu(bodies: &[Vec<u8>], codec: Codec, level: i32) -> Result<Duration, Fault> {
    let mut compressor = Compressor::new(codec, level)?;
    let before = own_cpu();
    for body in bodies {
        std::hint::black_box(compressor.compress(body)?);
    }
    Ok(own_cpu().saturating_sub(before))
}

/// For callgrind: reads every file of a directory, compresses them all `rounds` times.
pub(crate) fn repeat(directory: &Path, codec: Codec, level: i32, rounds: usize) -> Result<(), Fault> {
    let show = |fault: std::io::Error| format!("{}: {fault}", directory.display());
    let mut files: Vec<_> =
        std::fs::read_dir(directory).map_err(show)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let bodies = files.into_iter().map(std::fs::read).collect::<Result<Vec<_>, _>>().map_err(show)?;
    for _ in 0..rounds {
        cpu(&bodies, codec, level)?;
    }
    Ok(())
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp;

    #[test]
    fn the_level_is_recognised_by_its_size() {
        let spans = otlp::spans(400);
        let bodies: Vec<Vec<u8>> = spans.chunks(100).map(otlp::request).collect();
        for (codec, used) in [(Codec::Gzip, 6), (Codec::Gzip, 1), (Codec::Zstd, 1), (Codec::Zstd, 3)] {
            let mut compressor = Compressor::new(codec, used).unwrap();
            let compressed = |body: &Vec<u8>| compressor.compress(body).unwrap();
            let exported: Vec<Exported> = bodies
                .iter()
                .map(compressed)
                .map(|body| Exported { encoding: codec.name().to_owned(), body })
                .collect();
            assert_eq!(expand(&exported, codec).unwrap(), bodies);
            let size = |level| -> usize {
                let mut compressor = Compressor::new(codec, level).unwrap();
                bodies.iter().map(|body| compressor.compress(body).unwrap().len()).sum()
            };
            let found = level(&exported, &bodies, codec).unwrap();
            assert_eq!(size(found), size(used), "{codec:?} {used}: {found}");
        }
    }

    #[test]
    fn what_is_not_compressed_is_no_floor() {
        let plain = Exported { encoding: String::new(), body: vec![1] };
        assert!(expand(&[plain], Codec::Gzip).unwrap_err().contains("does not compress"));
    }
}
