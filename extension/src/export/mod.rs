//! Sending batches to the backend.
//!
//! - [`Exporter`]: from a batch to its outcome.
//! - `request` and `compress` make what goes out, `answer` reads what comes back, `failure` says what went wrong.
//! - `pool` keeps connections, `connect` makes them: `resolve`, TCP, a proxy, `tls`, HTTP. `kept` ends them,
//!   `pem` reads certificates, `provider` says what TLS computes with.

mod answer;
mod compress;
mod connect;
mod exporter;
mod failure;
mod headers_file;
mod kept;
pub(crate) mod pem;
mod pool;
mod provider;
mod request;
mod resolve;
mod tls;
mod transport;

use bytes::Bytes;
use http_body_util::Full;

pub use exporter::Exporter;
// For `--check`, which goes the same way step by step.
pub(crate) use failure::Failure;
pub(crate) use headers_file::HeadersFile;
pub(crate) use provider::provider;
// For the receivers.
pub(crate) use request::PRODUCT;
pub(crate) use resolve::resolve;
pub(crate) use tls::Tls;
// For calls to the platform.
pub(crate) use transport::Transport;

type Body = Full<Bytes>;
type H1 = kept::Kept<hyper::client::conn::http1::SendRequest<Body>>;
type H2 = kept::Kept<hyper::client::conn::http2::SendRequest<Body>>;
