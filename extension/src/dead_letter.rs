//! The dead letter: a batch as JSON lines that `replay` can read back.
//!
//! Body → zstd → base64 → parts of at most [`DEAD_LETTER_LINE_BYTES_MAX`], for CloudWatch Logs takes events of at
//! most 256 KB. Every part names the batch, its number and how many there are; the checksum is of the whole body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::core::DeadLetter;
use crate::limits::DEAD_LETTER_LINE_BYTES_MAX;

/// Fast, and already most of what a higher level would save.
const ZSTD_LEVEL: i32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    lambda_flush: &'static str,
    version: u32,
    batch: &'a str,
    signal: &'static str,
    items: u64,
    encoding: &'static str,
    crc32: &'a str,
    part: usize,
    parts: usize,
    data: &'a str,
}

/// The lines of one batch. `environment` is drawn once per environment, so that batch ids are unique.
///
/// # Errors
/// What the compressor says.
pub fn lines(environment: u64, letter: &DeadLetter) -> std::io::Result<Vec<String>> {
    let batch = format!("{environment:016x}-{}", letter.batch.0);
    let mut crc = flate2::Crc::new();
    crc.update(&letter.body);
    let crc32 = format!("{:08x}", crc.sum());
    let text = STANDARD.encode(zstd::bulk::compress(&letter.body, ZSTD_LEVEL)?);
    let slices = slices(&text);
    let parts = slices.len();
    let line = |(index, data): (usize, &&str)| {
        let line = Line {
            lambda_flush: "dead_letter",
            version: 1,
            batch: &batch,
            signal: letter.signal.name(),
            items: letter.items,
            encoding: "zstd+base64",
            crc32: &crc32,
            part: index + 1,
            parts,
            data,
        };
        serde_json::to_string(&line).map_err(std::io::Error::other)
    };
    slices.iter().enumerate().map(line).collect()
}

/// Base64 is ASCII, so it may be cut anywhere.
fn slices(text: &str) -> Vec<&str> {
    let mut slices = Vec::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_at_checked(DEAD_LETTER_LINE_BYTES_MAX) {
        slices.push(head);
        rest = tail;
    }
    if !rest.is_empty() || slices.is_empty() {
        slices.push(rest);
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{BatchId, Signal};
    use bytes::Bytes;

    #[test]
    fn a_batch_comes_back_from_its_parts() {
        // Random bytes do not compress, so this takes several parts.
        let mut random = fastrand::Rng::with_seed(7);
        let body: Vec<u8> = (0..700_000).map(|_| random.u8(..)).collect();
        let letter = DeadLetter {
            batch: BatchId(3),
            signal: Signal::Logs,
            items: 12,
            body: Bytes::from(body.clone()),
        };
        let lines = lines(0xABCD, &letter).unwrap();
        assert!(lines.len() > 3 && lines.iter().all(|line| line.len() < 250_000));
        let parts: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text: String = parts.iter().map(|part| part["data"].as_str().unwrap()).collect();
        let decoded = zstd::stream::decode_all(&STANDARD.decode(text).unwrap()[..]).unwrap();
        assert_eq!(decoded, body);
        assert_eq!(parts[0]["batch"], "000000000000abcd-3");
        assert_eq!(parts[0]["crc32"], format!("{:08x}", crc32fast::hash(&body)));
        assert_eq!(parts[1]["part"], 2);
    }
}
