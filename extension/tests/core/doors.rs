//! A sender of whole OTLP requests, and what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lambda_flush_extension::core::{Admission, DoorRequest, Event, Signal};
use lambda_flush_proto::splice::field;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Doors {
    requests: u64,
    /// Without an answer yet.
    pub waiting: BTreeMap<DoorRequest, Vec<u64>>,
    /// Ids of items that were taken.
    pub accepted: BTreeSet<u64>,
    pub refused: BTreeSet<u64>,
    pub retry_after: Option<Duration>,
}

/// A request with one item of `bytes` bytes for each id.
pub fn body(ids: &[u64], bytes: usize) -> Bytes {
    let (mut scope, mut resource, mut request) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    for id in ids {
        let mut item = id.to_le_bytes().to_vec();
        item.resize(bytes.max(8), 0x5A);
        field(2, &item, &mut scope);
    }
    field(2, &scope, &mut resource);
    field(1, &resource, &mut request);
    request.freeze()
}

impl Doors {
    /// What comes in when somebody sends a request.
    pub fn send(&mut self, ids: Vec<u64>, bytes: usize) -> Event {
        self.requests += 1;
        let request = DoorRequest(self.requests);
        let items = ids.len() as u64;
        let body = body(&ids, bytes);
        self.waiting.insert(request, ids);
        Event::RequestReceived { request, signal: Signal::Traces, items, body }
    }

    pub fn answered(&mut self, request: DoorRequest, admission: Admission) {
        let ids = self.waiting.remove(&request).expect("one answer for each request");
        match admission {
            Admission::Accepted => self.accepted.extend(ids),
            Admission::TooLarge => self.refused.extend(ids),
            Admission::Refused { retry_after } => {
                assert!(retry_after >= Duration::from_secs(1), "refused for {retry_after:?} only");
                self.retry_after = Some(retry_after);
                self.refused.extend(ids);
            }
        }
    }
}
