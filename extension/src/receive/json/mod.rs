//! OTLP/JSON to protobuf (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>), in one pass, driven by
//! the schema: no tree is built, and protobuf is written as the JSON is read.
//!
//! More is understood than OTLP demands, as of the receivers people use: names in snake case, enums by name,
//! base64 of both alphabets, with and without padding, numbers as strings and the other way round. `null` is absent
//! everywhere, and an empty value in a list of values. Half of a surrogate pair is a replacement character. A key that comes twice is an error, not a guess; of two members
//! of a `oneof` the last one stands.

mod number;
mod scalar;
mod surrogate;
mod value;
mod write;

use lambda_flush_proto::otlp::schema;
use serde::de::DeserializeSeed;

use crate::core::Signal;
use crate::limits::DOOR_REQUEST_BYTES;
use crate::receive::doors::refusal::Refusal;
use crate::receive::doors::room::Buffer;

use value::Request;
use write::Writer;

/// The request in protobuf, in memory out of the same room. Not walked through: a list may be nested too deep.
///
/// # Errors
/// It is not an export request of this signal, with the place in the document; or there is no room.
pub(crate) fn to_protobuf(signal: Signal, request: &mut Buffer) -> Result<Buffer, Refusal> {
    let message = match signal {
        Signal::Traces => &schema::EXPORT_TRACES,
        Signal::Metrics => &schema::EXPORT_METRICS,
        Signal::Logs => &schema::EXPORT_LOGS,
    };
    surrogate::replaced(request.bytes_mut());
    let mut writer = Writer::new(request.beside(DOOR_REQUEST_BYTES)?);
    let mut json = serde_json::Deserializer::from_slice(request.bytes());
    let read = Request { message, writer: &mut writer }.deserialize(&mut json);
    match read.and_then(|()| json.end()) {
        Ok(()) => Ok(writer.into_buffer()),
        Err(error) => Err(writer.refusal(&error)),
    }
}

#[cfg(test)]
mod tests;
