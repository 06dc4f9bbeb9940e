//! Why a request at a door is not taken, and how that is said over HTTP and over gRPC
//! (<https://opentelemetry.io/docs/specs/otlp/#failures>, `#otlpgrpc-throttling`, `#otlphttp-response`).

use std::borrow::Cow;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, StatusCode};
use lambda_flush_proto::otlp::messages::{Any, RetryInfo, RpcStatus, Span};
use prost::Message;

use crate::export::PRODUCT;
use crate::limits::{DOOR_BODY_BYTES_MAX, DOOR_RETRY_AFTER};

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not an export request.
    Malformed(String),
    /// No such path.
    Path,
    /// Not a POST.
    Method,
    /// Its body did not arrive in time.
    Slow,
    /// It is larger than any request may be.
    TooLarge,
    /// Neither protobuf nor JSON, or not what it says it is.
    MediaType,
    /// Compressed with something other than gzip.
    Encoding,
    /// There is no room now.
    Busy {
        /// When to come back.
        retry_after: Duration,
    },
    /// The environment ends.
    Ending,
    /// A gRPC message that is compressed, though nobody said how.
    Flag,
    /// gRPC needs HTTP/2.
    HttpVersion,
    /// It is an export of this extension's.
    Loop,
}

/// `google.rpc.Code`.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
}

impl Refusal {
    /// An export of the extension's must not come back to it: it would go round for ever and count as exported.
    pub(crate) fn of_sender(headers: &HeaderMap) -> Result<(), Self> {
        let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
        let product = PRODUCT.as_bytes();
        if agent.windows(product.len()).any(|part| part == product) { Err(Self::Loop) } else { Ok(()) }
    }

    /// As an HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Flag => StatusCode::BAD_REQUEST,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            // Not 408, which OTLP's clients don't try again: the sandbox may have been frozen in between.
            Self::Slow | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// As a `google.rpc.Code`.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Malformed(_) => code::INVALID_ARGUMENT,
            Self::TooLarge | Self::Busy { .. } => code::RESOURCE_EXHAUSTED,
            Self::Path | Self::Method | Self::MediaType | Self::Encoding | Self::HttpVersion => {
                code::UNIMPLEMENTED
            }
            Self::Slow | Self::Ending => code::UNAVAILABLE,
            // As https://github.com/grpc/grpc/blob/master/doc/compression.md demands.
            Self::Flag => code::INTERNAL,
            Self::Loop => code::FAILED_PRECONDITION,
        }
    }

    /// What is wrong and what to do about it.
    pub(crate) fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Malformed(what) => return Cow::Owned(what.clone()),
            Self::Path => {
                "there is no such path; OTLP/HTTP goes to /v1/traces, /v1/metrics, /v1/logs, OTLP/gRPC to the Export \
                 methods of OTLP's services"
            }
            Self::Method => "use POST",
            Self::Slow => "the body took too long to arrive",
            Self::TooLarge => {
                const { assert!(DOOR_BODY_BYTES_MAX == 4 << 20, "the text says so") };
                "the request is larger than 4 MiB, compressed or expanded, or than LAMBDA_FLUSH_BUFFER_BYTES_MAX leaves \
                 for one; send smaller batches"
            }
            Self::MediaType => {
                "use the content type application/x-protobuf, application/json or application/grpc"
            }
            Self::Encoding => "use the content encoding gzip or none",
            Self::Busy { .. } => "the extension holds as much as it may; try again later",
            Self::Ending => "the environment ends",
            Self::Flag => "the message is flagged as compressed, but there is no grpc-encoding",
            Self::HttpVersion => "OTLP/gRPC needs HTTP/2",
            Self::Loop => {
                "this is the extension's own receiver, not a backend: set LAMBDA_FLUSH_OTLP_ENDPOINT to where telemetry \
                 should go"
            }
        })
    }

    /// When it may be tried again, if ever.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } => Some(*retry_after),
            Self::Slow => Some(DOOR_RETRY_AFTER),
            _ => None,
        }
    }

    /// Whole seconds, as `Retry-After` has them.
    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0))
    }

    /// As `google.rpc.Status`, with `RetryInfo` if coming back makes sense: without it a sender must not.
    pub(crate) fn rpc_status(&self) -> RpcStatus {
        let details = self.retry_after().map(retry_info).into_iter().collect();
        RpcStatus { code: self.code(), message: self.message().into_owned(), details }
    }
}

fn retry_info(after: Duration) -> Any {
    let retry_delay = Span {
        seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(after.subsec_nanos()).unwrap_or_default(),
    };
    Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(retry_delay) }.encode_to_vec(),
    }
}
