//! What the backend does with a request.

use std::time::Duration;

/// The treatment of one request. Every variant but [`Script::ResetMidBody`] reads the body whole and records it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Script {
    /// 200 at once.
    Healthy,
    /// 200 after this time.
    Delay(Duration),
    /// Another status, with headers such as `Retry-After`.
    Status {
        /// The HTTP status code; one that HTTP does not know becomes 500.
        code: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// A gRPC status. A backend that speaks HTTP answers 500 instead.
    Grpc {
        /// `grpc-status`.
        code: u32,
        /// `grpc-message`.
        message: String,
        /// An encoded `google.rpc.Status`, or nothing.
        details: Vec<u8>,
    },
    /// No answer, as long as the client keeps the connection.
    Hang,
    /// A connection reset while the body comes in: nothing of it counts as received.
    ResetMidBody,
    /// A connection reset instead of an answer: the client cannot know that everything was received.
    ResetAfterBody,
    /// 200 with OTLP's partial success: the last `rejected` items of the request are refused.
    PartialSuccess {
        /// Number of items refused.
        rejected: usize,
        /// The reason that the client is told.
        message: String,
    },
}

impl Script {
    /// A status without headers.
    pub fn status(code: u16) -> Self {
        Self::Status { code, headers: Vec::new() }
    }

    /// A status with `Retry-After` in seconds.
    pub fn retry_after(code: u16, seconds: u32) -> Self {
        Self::Status { code, headers: vec![("Retry-After".to_owned(), seconds.to_string())] }
    }
}
