//! Reads items back out of an OTLP request without knowing what they are.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Nested {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    one: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    two: Vec<Bytes>,
}

/// The ids that [`super::function::Function::item`] put at the head of each item.
pub fn ids(body: &Bytes) -> Vec<u64> {
    let mut ids = Vec::new();
    for resource in Nested::decode(body.clone()).expect("a request").one {
        for scope in Nested::decode(resource).expect("a resource").two {
            for item in Nested::decode(scope).expect("a scope").two {
                ids.push(u64::from_le_bytes(*item.first_chunk().expect("an id")));
            }
        }
    }
    ids
}
