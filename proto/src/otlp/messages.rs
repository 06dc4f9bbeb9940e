//! The few messages of OTLP and `google.rpc` that answers consist of
//! (<https://github.com/open-telemetry/opentelemetry-proto>, <https://github.com/googleapis/googleapis>, `google/rpc`).

use prost::Message;

/// `Export{Trace,Metrics,Logs}ServiceResponse`: all three have this shape.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// Unless everything was accepted without a word.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `Export{Trace,Metrics,Logs}PartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// Items.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// For people.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// `google.rpc.Code`.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Messages with their types.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Its end names the type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// How long to wait at the least.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Span>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Span {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
