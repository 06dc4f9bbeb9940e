//! Reads dead letters: parts of base64 of zstd of an OTLP export request, in lines of text.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::Deserialize;

use super::scan::objects;
use crate::span_id::SpanId;

/// Largest batch after decompression; a batch is bounded by the extension's buffer, which is smaller.
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
const VERSION: u64 = 1;
const ENCODING: &str = "zstd+base64";

/// The dead letters in an extension's output.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    /// The batches that are whole and sound, in order of their first part.
    pub batches: Vec<DeadBatch>,
    /// What is wrong with the others: a part is missing or cut, a checksum or a count is wrong.
    pub faults: Vec<String>,
}

/// A batch that was dead-lettered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadBatch {
    /// Its id.
    pub batch: String,
    /// `traces`, `metrics` or `logs`.
    pub signal: String,
    /// Number of items, as the extension says; for traces it has been compared.
    pub items: u64,
    /// The ids of its spans.
    pub spans: Vec<SpanId>,
    /// The OTLP export request.
    pub request: Bytes,
}

#[derive(Deserialize)]
struct Part {
    version: u64,
    batch: String,
    signal: String,
    items: u64,
    encoding: String,
    crc32: String,
    part: usize,
    parts: usize,
    data: String,
}

impl DeadLetters {
    /// Reads lines of output; other text is skipped, in lines of its own or around the JSON.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut letters = Self::default();
        let mut order = Vec::new();
        let mut by_batch: HashMap<String, Vec<Part>> = HashMap::new();
        for object in lines.into_iter().flat_map(objects) {
            let object = match object {
                Ok(object) if object.get("lambda_flush").is_some_and(|kind| kind == "dead_letter") => object,
                Ok(_) => continue,
                Err(fault) => {
                    letters.faults.push(fault);
                    continue;
                }
            };
            match serde_json::from_value::<Part>(object) {
                Ok(part) => {
                    if !by_batch.contains_key(&part.batch) {
                        order.push(part.batch.clone());
                    }
                    by_batch.entry(part.batch.clone()).or_default().push(part);
                }
                Err(error) => letters.faults.push(format!("a dead letter can't be read: {error}")),
            }
        }
        for batch in order {
            match by_batch.remove(&batch).ok_or_else(|| "no parts".to_owned()).and_then(|parts| whole(&parts))
            {
                Ok(whole) => letters.batches.push(whole),
                Err(fault) => letters.faults.push(format!("dead letter {batch}: {fault}")),
            }
        }
        letters
    }

    /// Every span in them; one that is in two batches comes twice.
    pub fn spans(&self) -> impl Iterator<Item = SpanId> {
        self.batches.iter().flat_map(|batch| batch.spans.iter().copied())
    }
}

/// Puts a batch together, whatever the order of its parts.
fn whole(parts: &[Part]) -> Result<DeadBatch, String> {
    let first = parts.first().ok_or("no parts")?;
    if first.version != VERSION || first.encoding != ENCODING {
        return Err(format!("version {} in {} is unknown", first.version, first.encoding));
    }
    let mut by_number = BTreeMap::new();
    for part in parts {
        if (&part.signal, part.items, &part.crc32, part.parts)
            != (&first.signal, first.items, &first.crc32, first.parts)
        {
            return Err("its parts do not belong together".to_owned());
        }
        if by_number.insert(part.part, &part.data).is_some_and(|before| *before != part.data) {
            return Err(format!("part {} is there twice, and differs", part.part));
        }
    }
    // Parts are numbered from 1; a writer that counts from 0 is read as well.
    let base = usize::from(!by_number.contains_key(&0));
    if !by_number.keys().copied().eq(base..first.parts.saturating_add(base)) {
        return Err(format!("{} of {} parts are there", by_number.len(), first.parts));
    }
    let text: String = by_number.into_values().map(String::as_str).collect();
    let request = decode(&text, &first.crc32)?;
    let spans = if first.signal == "traces" { spans(&request, first.items)? } else { Vec::new() };
    Ok(DeadBatch {
        batch: first.batch.clone(),
        signal: first.signal.clone(),
        items: first.items,
        spans,
        request,
    })
}

fn decode(text: &str, crc32: &str) -> Result<Bytes, String> {
    let compressed = BASE64_STANDARD.decode(text).map_err(|error| format!("base64: {error}"))?;
    let mut request = Vec::new();
    zstd::stream::read::Decoder::new(compressed.as_slice())
        .and_then(|decoder| decoder.take(BATCH_BYTES_MAX).read_to_end(&mut request))
        .map_err(|error| format!("zstd: {error}"))?;
    let found = format!("{:08x}", crc32fast::hash(&request));
    if found.eq_ignore_ascii_case(crc32) {
        Ok(request.into())
    } else {
        Err(format!("checksum {found}, not {crc32}"))
    }
}

fn spans(request: &Bytes, items: u64) -> Result<Vec<SpanId>, String> {
    let request =
        ExportTraceServiceRequest::decode(request.clone()).map_err(|error| format!("OTLP: {error}"))?;
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
    if u64::try_from(spans.len()) != Ok(items) {
        return Err(format!("{} spans, not {items}", spans.len()));
    }
    Ok(spans.iter().filter_map(|span| SpanId::from_slice(&span.span_id)).collect())
}
